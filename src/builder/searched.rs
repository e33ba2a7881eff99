//! Secrets in layers that no build here has searched: pulled and imported ones, and those that an
//! older version built.
//!
//! A layer never changes, so it is searched once: what came of it is kept in the cache, and a build
//! keeps there that it found nothing. In which archive a package was is not known of such a layer.
//! What a package ships whose maintainer is not Debian's or Ubuntu's is told, and refuses nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::undeclared::{CRYPTTAB, PublicContent, disk_keys, scan};
use super::{BuildError, BuildSink};
use crate::check::{Finding, FindingKind, Severity};
use crate::compose::waive;
use crate::durable::replace_file;
use crate::format::{Layer, PublicSecret, Waiver};
use crate::id::{LayerId, ObjectId};
use crate::path::RelPath;
use crate::store::{Repository, Transaction};
use crate::time::Date;
use crate::tree::{Changeset, Inode, Node, Tree};

/// The version of the search: when it rises, every layer is searched again.
const SEARCH: u32 = 1;

/// A secret in a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayerSecret {
    path: RelPath,
    /// What it is, and where in the file.
    what: String,
    /// Whether a package ships the file, of which nobody knows the archive.
    is_of_package: bool,
}

/// What a search came to.
#[derive(Debug, Serialize, Deserialize)]
struct Searched {
    search: u32,
    found: Vec<LayerSecret>,
}

/// A key or password that a layer has with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerPublicSecret {
    /// The layer.
    pub layer: String,
    /// The file.
    pub path: RelPath,
    /// What it is, and why everybody may have it.
    #[serde(flatten)]
    pub secret: PublicSecret,
}

/// Lists what layers let in with a reason.
pub(super) fn public_secrets<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
) -> Vec<LayerPublicSecret> {
    let all = layers.into_iter().flat_map(|layer| {
        let public = layer.public_secrets.iter();
        public.map(|(path, secret)| LayerPublicSecret {
            layer: layer.name.clone(),
            path: path.clone(),
            secret: secret.clone(),
        })
    });
    all.collect()
}

/// Keeps that a build searched a layer, and found nothing that nobody declared.
pub(super) fn remember_clean(repository: &Repository, layer: &LayerId) {
    remember(repository, layer, Vec::new());
}

/// Says whether a layer was searched before, and nothing found. It need not be here for that.
pub fn is_known_clean(repository: &Repository, layer: &LayerId) -> bool {
    known(repository, layer).is_some_and(|found| found.is_empty())
}

/// Says which secrets layers hold that nobody declared, each as a finding; `waivers` accept some on
/// the day `today`.
pub fn secrets_in(
    repository: &Repository,
    layers: &[LayerId],
    waivers: &[Waiver],
    today: Date,
) -> Result<Vec<Finding>, BuildError> {
    let transaction = repository.begin()?;
    let mut findings = Vec::new();
    for id in layers {
        findings.extend(findings_of(repository, id, &transaction)?);
    }
    // The other waivers are for other checks.
    let prefix = format!("{}:", FindingKind::Secret.word());
    let waivers = waivers.iter().filter(|w| w.finding.starts_with(&prefix));
    let waivers: Vec<Waiver> = waivers.cloned().collect();
    Ok(waive(findings, &waivers, today).findings)
}

/// Says which secrets a layer holds that nobody declared.
pub(super) fn findings_of(
    repository: &Repository,
    id: &LayerId,
    transaction: &Transaction<'_>,
) -> Result<Vec<Finding>, BuildError> {
    let found = match known(repository, id) {
        Some(found) => found,
        None => {
            let found = search(repository, id, transaction)?;
            remember(repository, id, found.clone());
            found
        }
    };
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let layer = repository.read_layer(id)?;
    let mut by_path: BTreeMap<RelPath, LayerSecret> = BTreeMap::new();
    for one in found {
        by_path.entry(one.path.clone()).or_insert(one);
    }
    Ok(by_path
        .into_values()
        .map(|one| finding(&layer.name, one))
        .collect())
}

fn finding(layer: &str, found: LayerSecret) -> Finding {
    let LayerSecret {
        path,
        what,
        is_of_package,
    } = found;
    let (severity, hint) = match is_of_package {
        true => (
            Severity::Note,
            "a package ships it: nothing has to be done if that is from an archive that everybody \
             can read"
                .to_owned(),
        ),
        false => (
            Severity::Refuse,
            format!(
                "take it out of '{layer}', or say with `[secrets]` of its layer.toml how each \
                 machine makes its own, or with `allow` why everybody may have it; then `layerset \
                 build --rebuild {layer}`. A layer from elsewhere is its publisher's to mend"
            ),
        ),
    };
    Finding {
        id: FindingKind::Secret.at(&path),
        severity,
        layer: layer.to_owned(),
        package: None,
        reason: format!("{path} holds {what}, which nobody declared"),
        path: Some(path),
        hint,
        waived: None,
    }
}

/// Where the result for a layer is kept.
fn place(repository: &Repository, layer: &LayerId) -> PathBuf {
    repository.root().join("cache/secrets").join(layer.to_hex())
}

fn known(repository: &Repository, layer: &LayerId) -> Option<Vec<LayerSecret>> {
    let bytes = std::fs::read(place(repository, layer)).ok()?;
    let searched: Searched = serde_json::from_slice(&bytes).ok()?;
    (searched.search == SEARCH).then_some(searched.found)
}

/// Keeps a result. Where that is impossible, the next one searches again.
fn remember(repository: &Repository, layer: &LayerId, found: Vec<LayerSecret>) {
    let searched = Searched {
        search: SEARCH,
        found,
    };
    let path = place(repository, layer);
    let Some((bytes, dir)) = serde_json::to_vec(&searched).ok().zip(path.parent()) else {
        return;
    };
    if std::fs::create_dir_all(dir).is_ok() {
        let _ = replace_file(repository.disk().as_ref(), &path, 0o644, &bytes);
    }
}

fn search(
    repository: &Repository,
    id: &LayerId,
    transaction: &Transaction<'_>,
) -> Result<Vec<LayerSecret>, BuildError> {
    let sink = BuildSink::new(transaction);
    let layer = repository.read_layer(id)?;
    let changeset = repository.read_changeset(&layer.changeset)?;
    let added: Vec<(&RelPath, ObjectId)> = changeset
        .iter()
        .filter_map(|(path, change)| {
            let post = change.post.as_ref()?;
            let is_new = change.pre.as_ref().is_none_or(|pre| pre.node != post.node);
            match post.node {
                Node::File { object, size } if size > 0 && is_new => Some((path, object)),
                _ => None,
            }
        })
        .collect();
    let mut found = scan(&added, &sink)?;
    // The whole tree takes memory for each file, and most layers have nothing to find.
    let table = built_on(repository, &layer, &changeset, &|path| path == CRYPTTAB);
    found.extend(disk_keys(&added, &table, &sink)?);
    found.retain(|one| !layer.public_secrets.contains_key(&one.path));
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let tree = built_on(repository, &layer, &changeset, &|_| true);
    let public = PublicContent::read(&tree, &sink, &|_| true)?;
    let shipped = PublicContent::read(&tree, &sink, &|_| false)?;
    let mut secrets = Vec::new();
    for one in found {
        let object = tree.get(one.path.as_bytes()).and_then(Inode::object);
        let is_in = |content: &PublicContent| match &object {
            Some(object) => content.has(&one.path, object, &tree, &sink),
            None => Ok(false),
        };
        if !is_in(&public)? {
            secrets.push(LayerSecret {
                is_of_package: is_in(&shipped)?,
                what: format!("{} ({})", one.secret.kind, one.secret.place),
                path: one.path,
            });
        }
    }
    Ok(secrets)
}

/// Returns what the layer was built on, as far as it is here, with what the layer did to it; of that,
/// the paths for which `is_wanted` holds.
fn built_on(
    repository: &Repository,
    layer: &Layer,
    changeset: &Changeset,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Tree {
    let mut tree = Tree::new();
    let mut apply = |changes: &Changeset| {
        let wanted = changes.iter().filter(|(path, _)| {
            std::str::from_utf8(path.as_bytes()).map_or_else(|_| is_wanted(""), is_wanted)
        });
        for (path, change) in wanted {
            match &change.post {
                Some(post) => drop(tree.insert(path.clone(), post.clone())),
                None => drop(tree.remove(path.as_bytes())),
            }
        }
    };
    for below in &layer.build.on {
        let lower = repository.read_layer(&below.id);
        let lower = lower.and_then(|lower| repository.read_changeset(&lower.changeset));
        if let Ok(lower) = lower {
            apply(&lower);
        }
    }
    apply(changeset);
    tree
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::builder::parents::insert_with_parents;
    use crate::durable::RealDisk;
    use crate::layout::dpkg;
    use crate::store::{RefName, RepositoryOptions};

    const KEY: &str = "machine example.org login bob password Zq8vT2nLw9xK4r\n";
    const STATUS: &str = "Package: known\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: X <x@lists.debian.org>\n\nPackage: other\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: Y <y@example.com>\n\n";

    #[test]
    fn a_layer_is_searched_once_and_what_packages_ship_is_told_only() {
        use md5::{Digest as _, Md5};
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let open = || {
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap()
        };
        let repository = open();
        let path = |text: &str| RelPath::from_text(text).unwrap();
        let transaction = repository.begin().unwrap();
        let mut after = Tree::new();
        let mut put = |at: &str, text: &str| {
            let object = transaction.put_object(text.as_bytes()).unwrap();
            let inode = Inode::file(object, text.len() as u64, 0o600);
            insert_with_parents(&mut after, &path(at), inode);
        };
        let variant = |n: u32| KEY.replace("bob", &format!("bob{n}"));
        let md5 = |n: u32| -> String {
            let digest = Md5::digest(variant(n));
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        for (n, at) in [
            (1, "root/.netrc"),
            (2, "opt/public/.netrc"),
            (3, "opt/known/.netrc"),
            (4, "opt/other/.netrc"),
        ] {
            put(at, &variant(n));
        }
        put(dpkg::STATUS, STATUS);
        for (name, n) in [("known", 3), ("other", 4)] {
            let line = format!("{}  opt/{name}/.netrc\n", md5(n));
            put(&format!("{}/{name}.md5sums", dpkg::INFO), &line);
        }
        let mut layer = Layer::bare("app", []);
        layer.changeset = transaction
            .put_changeset(&Changeset::between(&Tree::new(), &after))
            .unwrap();
        let secret = PublicSecret {
            kind: "a password".to_owned(),
            reason: "a test".to_owned(),
        };
        layer.public_secrets = [(path("opt/public/.netrc"), secret)].into();
        let id = transaction.put_layer(&layer).unwrap();
        transaction
            .commit(&RefName::layer("web", "app").unwrap(), &id.to_string())
            .unwrap();

        let day = Date::new(2027, 1, 31).unwrap();
        let told = |waivers: &[Waiver]| -> Vec<(String, Severity)> {
            let found = secrets_in(&repository, &[id], waivers, day).unwrap();
            let found = found.into_iter();
            found
                .map(|one| (one.id.as_str().to_owned(), one.severity))
                .collect()
        };
        let expected = [
            ("secret:/opt/other/.netrc".to_owned(), Severity::Note),
            ("secret:/root/.netrc".to_owned(), Severity::Refuse),
        ];
        assert_eq!(told(&[]), expected);
        // It costs once: the second time, nothing of the layer is read.
        let cached = place(&repository, &id);
        let kept = std::fs::read_to_string(&cached).unwrap();
        std::fs::write(&cached, kept.replace("/root/.netrc", "/root/.other")).unwrap();
        assert_eq!(told(&[])[1].0, "secret:/root/.other");
        // A search of another version is done again; so is one that is damaged.
        let old = kept.replace("\"search\":1", "\"search\":0");
        for other in [old.replace("/root/.netrc", "/root/.other"), "{".to_owned()] {
            std::fs::write(&cached, other).unwrap();
            assert_eq!(told(&[]), expected);
        }
        let waiver = Waiver {
            finding: "secret:/root/.netrc".to_owned(),
            reason: "known".to_owned(),
            expires: Date::new(2027, 2, 1).unwrap(),
        };
        let accepted = told(std::slice::from_ref(&waiver));
        assert!(
            accepted
                .iter()
                .all(|(_, severity)| *severity == Severity::Note)
        );
        // A build says so itself.
        assert!(!is_known_clean(&repository, &id));
        remember_clean(&repository, &id);
        assert!(is_known_clean(&repository, &id));
        assert_eq!(told(&[]), []);
        assert_eq!(public_secrets([&layer])[0].path, path("opt/public/.netrc"));
    }
}
