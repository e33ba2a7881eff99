//! Secrets made at installation never enter a layer: they become first-boot work, declared in a
//! generated unit.
//!
//! A layer's `[secrets]` come first, then what Debian's packages are known to make. What else is a
//! secret is refused ([`undeclared`](super::undeclared)).

use std::collections::BTreeMap;

use super::first_boot::{FirstBootWork, add_unit, known, slapd};
use super::rules::SettleRules;
use super::{BuildError, BuildSink};
use crate::layout::accounts::{GROUP, GSHADOW, PASSWD, SHADOW};
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// Files that every machine needs from its image: none of them can be a secret as a whole.
const ACCOUNTS: [&str; 4] = [PASSWD, GROUP, SHADOW, GSHADOW];

/// Takes secrets out of `after`, and adds the units that make them.
/// What was `dropped` below `/var` gets its unit too, where a service does not start without it.
pub(super) fn take_out(
    rules: SettleRules<'_>,
    lower: &Tree,
    after: &mut Tree,
    dropped: &BTreeMap<RelPath, Inode>,
    sink: &BuildSink<'_>,
) -> Result<Vec<FirstBootWork>, BuildError> {
    let mut works: BTreeMap<RelPath, FirstBootWork> = BTreeMap::new();
    let files = after.iter().filter(|(_, inode)| inode.object().is_some());
    let known: Vec<(RelPath, FirstBootWork)> = files
        .filter_map(|(path, _)| Some((path.clone(), known::secret(path, after)?)))
        .filter(|(path, _)| is_changed(path, lower, after) && !rules.ships(path.as_bytes()))
        .collect();
    let settings = slapd(lower, after, sink)?;
    if let Some(work) = settings.filter(|work| !rules.ships(work.path.as_bytes())) {
        works.insert(work.path.clone(), work);
    }
    for path in dropped.keys() {
        if let Some(work) = known::secret(path, after).or_else(|| known::data(path, after)) {
            works.insert(work.path.clone(), work);
        }
    }
    for (path, work) in known {
        // It may lie where the layer's state goes, and not where a machine has it.
        after.remove(path.as_bytes());
        works.insert(work.path.clone(), work);
    }
    for (path, secret) in rules.secrets {
        if ACCOUNTS
            .iter()
            .any(|place| place.as_bytes() == path.as_bytes())
        {
            let what = "an account database, which cannot be a secret as a whole: lock the password in a script";
            return Err(BuildError::SourceKind {
                path: path.as_path().to_owned(),
                what,
            });
        }
        let work = FirstBootWork {
            path: path.clone(),
            run: secret.run.clone(),
            also: secret.also.clone(),
        };
        works.insert(path.clone(), work);
    }
    let works: Vec<FirstBootWork> = works.into_values().collect();
    for work in &works {
        for path in std::iter::once(&work.path).chain(&work.also) {
            after.remove(path.as_bytes());
        }
        remove_links_to(work, lower, after);
        // What its own program makes when it starts needs no unit.
        if !work.run.is_empty() {
            add_unit(work, after, sink)?;
        }
    }
    Ok(works
        .into_iter()
        .filter(|work| !work.run.is_empty())
        .collect())
}

fn is_changed(path: &RelPath, lower: &Tree, after: &Tree) -> bool {
    let node = |tree: &Tree| tree.get(path.as_bytes()).map(|inode| inode.node.clone());
    node(lower) != node(after)
}

/// Removes links that the build made to a secret, such as a certificate's hash link. Their names
/// depend on the secret and are as random.
fn remove_links_to(work: &FirstBootWork, lower: &Tree, after: &mut Tree) {
    let mut gone = Vec::new();
    for secret in std::iter::once(&work.path).chain(&work.also) {
        let Some(dir) = secret.parent() else { continue };
        for (path, inode) in after.below(dir.as_bytes()) {
            let Node::Symlink { target } = &inode.node else {
                continue;
            };
            let points = **target == *secret.name() && path.parent().as_ref() == Some(&dir)
                || target
                    .strip_prefix(b"/")
                    .is_some_and(|target| target == secret.as_bytes());
            if points && lower.get(path.as_bytes()).is_none() {
                gone.push(path.clone());
            }
        }
    }
    gone.iter()
        .for_each(|path| drop(after.remove(path.as_bytes())));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::builder::fixture::{no_rules, repository};
    use crate::builder::parents::insert_with_parents;
    use crate::id::ObjectId;

    #[test]
    fn known_secrets_and_dropped_data_become_work_for_the_first_boot() {
        let (_dir, repository) = repository();
        let transaction = repository.begin().unwrap();
        let sink = BuildSink::new(&transaction);
        let path = |text: &str| RelPath::from_text(text).unwrap();
        let mut after = Tree::new();
        let mut put = |place: &str| {
            let object = sink.write(place.as_bytes()).unwrap();
            let inode = Inode::file(object, place.len() as u64, 0o600);
            insert_with_parents(&mut after, &path(place), inode);
        };
        put("etc/ssh/ssh_host_mldsa44_ed25519_key");
        put("etc/ssh/ssh_host_mldsa44_ed25519_key.pub");
        put("etc/munge/munge.key");
        // Somebody wants this one to be the same everywhere.
        put("etc/varnish/secret");
        put("usr/share/factory/var/lib/ejabberd/.erlang.cookie");
        put("usr/bin/mariadb-install-db");
        let kept = after.clone();
        let dropped = [
            "var/lib/mysql/ibdata1",
            "var/lib/rabbitmq/.erlang.cookie",
            "var/lib/x/y",
        ]
        .map(|place| (path(place), Inode::directory(0o755)));
        let dropped = BTreeMap::from(dropped);
        let shared = crate::recipe::FileInput {
            path: path("etc/varnish/secret"),
            mode: 0o600,
            content: crate::recipe::FileContent::File(ObjectId::of(b"")),
        };
        let rules = SettleRules {
            files: std::slice::from_ref(&shared),
            ..no_rules("x")
        };
        let lower = Tree::new();
        let works = take_out(rules, &lower, &mut after, &dropped, &sink).unwrap();
        let made: Vec<String> = works.iter().map(|work| work.path.to_string()).collect();
        assert_eq!(
            made,
            [
                "/etc/munge/munge.key",
                "/etc/ssh/ssh_host_mldsa44_ed25519_key",
                "/var/lib/mysql/ibdata1",
                "/var/lib/rabbitmq/.erlang.cookie",
            ]
        );
        let gone = kept
            .iter()
            .filter(|(path, _)| after.get(path.as_bytes()).is_none());
        assert_eq!(gone.count(), 4);
        let unit = after
            .get(b"usr/lib/systemd/system/layerset-first-boot-var-lib-mysql-ibdata1.service")
            .and_then(Inode::object)
            .unwrap();
        let text = String::from_utf8(sink.read(&unit).unwrap()).unwrap();
        assert!(
            text.contains("ConditionPathExists=!/var/lib/mysql/ibdata1\n"),
            "{text}"
        );
        // What a lower layer has is not this layer's.
        let mut same = kept.clone();
        assert!(
            take_out(rules, &kept, &mut same, &BTreeMap::new(), &sink)
                .unwrap()
                .is_empty()
        );
        assert_eq!(same, kept);
    }
}
