//! Secrets made at installation never enter a layer: they become first-boot work, declared in a
//! generated unit.
//!
//! A layer's `[secrets]` come first, then what Debian's packages are known to make. Private keys
//! and password hashes that nobody declared fail the build.

use std::collections::{BTreeMap, BTreeSet};

use super::parents::insert_with_parents;
use super::rules::SettleRules;
use super::{BuildError, BuildSink};
use crate::layout::accounts::{GROUP, GSHADOW, PASSWD, SHADOW};
use crate::layout::dpkg;
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// Something that each machine makes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FirstBootWork {
    /// The path that is made. The work is done when it is missing.
    pub path: RelPath,
    /// The shell command.
    pub run: String,
    /// Further paths that it makes.
    pub also: Vec<RelPath>,
}

/// What Debian's packages make: path, command, further paths.
const KNOWN: [(&str, &str, &[&str]); 5] = [
    (
        "etc/bind/rndc.key",
        "rndc-confgen -a -u bind -c /etc/bind/rndc.key",
        &[],
    ),
    (
        "etc/ssh/ssh_host_rsa_key",
        "ssh-keygen -A",
        &["etc/ssh/ssh_host_rsa_key.pub"],
    ),
    (
        "etc/ssh/ssh_host_ecdsa_key",
        "ssh-keygen -A",
        &["etc/ssh/ssh_host_ecdsa_key.pub"],
    ),
    (
        "etc/ssh/ssh_host_ed25519_key",
        "ssh-keygen -A",
        &["etc/ssh/ssh_host_ed25519_key.pub"],
    ),
    (
        "etc/ssl/private/ssl-cert-snakeoil.key",
        "make-ssl-cert generate-default-snakeoil",
        &["etc/ssl/certs/ssl-cert-snakeoil.pem"],
    ),
];

/// Where units of first-boot work go.
const UNITS: &str = "usr/lib/systemd/system";
/// Files that every machine needs from its image: none of them can be a secret as a whole.
const ACCOUNTS: [&str; 4] = [PASSWD, GROUP, SHADOW, GSHADOW];
/// Files above this size are not searched for keys, in bytes.
const KEY_LIMIT: u64 = 64 << 10;

/// Takes secrets out of `after`, adds the units that make them, and refuses what nobody declared.
pub(super) fn take_out(
    rules: SettleRules<'_>,
    lower: &Tree,
    after: &mut Tree,
    sink: &BuildSink<'_>,
) -> Result<Vec<FirstBootWork>, BuildError> {
    let mut works: BTreeMap<RelPath, FirstBootWork> = BTreeMap::new();
    for (path, run, also) in KNOWN {
        let path = RelPath::from_text(path).map_err(|source| BuildError::Path { source })?;
        if after
            .get(path.as_bytes())
            .is_some_and(|inode| inode.object().is_some())
        {
            let also = also
                .iter()
                .filter_map(|path| RelPath::from_text(path).ok())
                .collect();
            works.insert(
                path.clone(),
                FirstBootWork {
                    path,
                    run: run.to_owned(),
                    also,
                },
            );
        }
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
        add_unit(work, after, sink)?;
    }
    refuse_undeclared(rules, lower, after, sink)?;
    Ok(works)
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

fn add_unit(
    work: &FirstBootWork,
    after: &mut Tree,
    sink: &BuildSink<'_>,
) -> Result<(), BuildError> {
    let slug: String = work
        .path
        .to_string()
        .trim_start_matches('/')
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let unit = format!("layerset-first-boot-{slug}.service");
    let text = format!(
        "# Generated by layerset: no image holds this file, each machine makes its own.\n\
         [Unit]\n\
         Description=First boot: make {path}\n\
         ConditionPathExists=!{path}\n\
         DefaultDependencies=no\n\
         After=local-fs.target systemd-sysusers.service systemd-tmpfiles-setup.service\n\
         Before=basic.target shutdown.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/bin/sh -c {run}\n\
         \n\
         [Install]\n\
         WantedBy=basic.target\n",
        path = work.path,
        run = unit_quote(&work.run),
    );
    let object = sink.write(text.as_bytes())?;
    let path =
        |text: String| RelPath::from_text(&text).map_err(|source| BuildError::Path { source });
    insert_with_parents(
        after,
        &path(format!("{UNITS}/{unit}"))?,
        Inode::file(object, text.len() as u64, 0o644),
    );
    let link = Inode::symlink(&format!("../{unit}"));
    insert_with_parents(
        after,
        &path(format!("{UNITS}/basic.target.wants/{unit}"))?,
        link,
    );
    Ok(())
}

/// Quotes a shell command for `ExecStart=`, where `%` and `$` mean something, as systemd.service(5)
/// says.
fn unit_quote(command: &str) -> String {
    let mut text = String::from("\"");
    for c in command.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            '$' => text.push_str("$$"),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn refuse_undeclared(
    rules: SettleRules<'_>,
    lower: &Tree,
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<(), BuildError> {
    let mut found = Vec::new();
    for (path, inode) in after.iter() {
        let Node::File { object, size } = inode.node else {
            continue;
        };
        let unchanged = lower
            .get(path.as_bytes())
            .is_some_and(|before| before.node == inode.node);
        if unchanged || size > KEY_LIMIT {
            continue;
        }
        let contents = sink.read(&object)?;
        if holds_private_key(&contents)
            || path.as_bytes() == b"etc/shadow" && holds_password(&contents)
        {
            found.push(path.clone());
        }
    }
    if !found.is_empty() {
        // Packages ship sample keys for tests and documentation. Those are public anyway.
        let shipped = shipped_paths(lower, after, sink)?;
        found.retain(|path| !shipped.contains(path.as_bytes()));
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(BuildError::Secrets {
            layer: rules.layer.to_owned(),
            paths: found,
        })
    }
}

/// Returns the paths below `/usr` that the packages of this layer list as theirs.
fn shipped_paths(
    lower: &Tree,
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<BTreeSet<Vec<u8>>, BuildError> {
    let mut paths = BTreeSet::new();
    for (path, inode) in after.below(dpkg::INFO.as_bytes()) {
        let is_new = lower
            .get(path.as_bytes())
            .is_none_or(|before| before.node != inode.node);
        if let (true, true, Some(object)) =
            (is_new, path.as_bytes().ends_with(b".list"), inode.object())
        {
            let list = sink.read(&object)?;
            let lines = list
                .split(|byte| *byte == b'\n')
                .filter_map(|line| line.strip_prefix(b"/"));
            paths.extend(
                lines
                    .filter(|line| line.starts_with(b"usr/"))
                    .map(<[u8]>::to_vec),
            );
        }
    }
    Ok(paths)
}

fn holds_private_key(contents: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    if !contents.windows(MARK.len()).any(|window| window == MARK) {
        return false;
    }
    let text = String::from_utf8_lossy(contents);
    text.lines().any(|line| {
        line.starts_with("-----BEGIN ") && line.trim_end().ends_with("PRIVATE KEY-----")
    })
}

fn holds_password(shadow: &[u8]) -> bool {
    let text = String::from_utf8_lossy(shadow);
    text.lines().any(|line| {
        line.split(':')
            .nth(1)
            .is_some_and(|field| field.trim_start_matches('!').starts_with('$'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_password_hashes_are_recognised() {
        assert!(holds_private_key(
            b"x\n-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n"
        ));
        assert!(!holds_private_key(b"-----BEGIN CERTIFICATE-----\n"));
        assert!(holds_password(b"root:*:1::::::\nme:$y$j9T$abc:1::::::\n"));
        assert!(holds_password(b"me:!$6$abc:1::::::\n"));
        assert!(!holds_password(
            b"root:*:1::::::\nnginx:!:1::::::\nx::1::::::\n"
        ));
    }

    #[test]
    fn a_command_survives_the_quoting_of_units() {
        assert_eq!(
            unit_quote(r#"echo "$A" 100% \n"#),
            r#""echo \"$$A\" 100%% \\n""#
        );
    }
}
