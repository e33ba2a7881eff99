//! Secrets that nobody declared: all that a layer adds is read, and what it holds fails the build.
//!
//! What a package of a public archive ships is no secret, wherever a copy of it lies: everybody can
//! fetch it. So is a package that says that Debian or Ubuntu maintain it: a company's archive may have
//! copies. Packages from elsewhere may have keys in what they document and test. For the rest
//! `[secrets] allow` says why everybody may have it, and the layer's manifest records that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use md5::{Digest as _, Md5};

use super::rules::SettleRules;
use super::{BuildError, BuildSink, private};
use crate::format::PublicSecret;
use crate::id::ObjectId;
use crate::layout::{FACTORY, dpkg, logical};
use crate::packages;
use crate::path::RelPath;
use crate::recipe::AllowedSecret;
use crate::secrets::{Place, Scanner, Secret, crypttab_keys, is_sample};
use crate::tree::{Inode, Node, Tree};

/// Labels of archives that everybody can read, and what they begin with.
const PUBLIC: [&str; 2] = ["debian", "ubuntu"];
/// Domains of those who maintain packages that everybody can read.
const PUBLIC_MAINTAINERS: [&[u8]; 2] = [b"debian.org", b"ubuntu.com"];
pub(super) const CRYPTTAB: &str = "etc/crypttab";

/// A secret that nobody declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeclaredSecret {
    /// The file in the layer.
    pub path: RelPath,
    /// What it holds, and where.
    pub secret: Secret,
}

/// What the search for secrets showed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What `[secrets] allow` let in, by path.
    pub public: BTreeMap<RelPath, PublicSecret>,
    /// Patterns of `[secrets] allow` that let nothing in, one line each.
    pub notes: Vec<String>,
}

/// Searches what a layer adds to `lower`, and refuses what nobody declared.
pub(super) fn refuse(
    rules: SettleRules<'_>,
    lower: &Tree,
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<Outcome, BuildError> {
    let added = added(lower, after);
    let mut found = scan(&added, sink)?;
    found.extend(disk_keys(&added, after, sink)?);
    if !found.is_empty() {
        let is_private = |name: &[u8]| {
            let mut locked = rules
                .packages
                .iter()
                .filter(|package| package.name.as_bytes() == name);
            // What the layers below installed was judged when they were built.
            locked.any(|package| !is_public(&package.archive))
        };
        let public = PublicContent::read(after, sink, &is_private)?;
        let mut secret = Vec::new();
        for one in found {
            let object = after.get(one.path.as_bytes()).and_then(Inode::object);
            let is_public = object.map_or(Ok(true), |object| {
                public.has(&one.path, &object, after, sink)
            });
            if !is_public? {
                secret.push(one);
            }
        }
        found = secret;
    }
    let mut outcome = Outcome::default();
    let mut used = BTreeSet::new();
    let mut allow = |path: &RelPath| {
        let rule = rule_for(rules.allowed, path)?;
        used.insert(&rule.paths);
        Some(rule.reason.clone())
    };
    let mut undeclared = Vec::new();
    for one in found {
        match allow(&one.path) {
            Some(reason) => {
                let kind = one.secret.kind.to_owned();
                outcome
                    .public
                    .entry(one.path)
                    .or_insert(PublicSecret { kind, reason });
            }
            None => undeclared.push(one),
        }
    }
    if !undeclared.is_empty() {
        return Err(BuildError::Secrets {
            layer: rules.layer.to_owned(),
            found: undeclared,
        });
    }
    // Of these, a second build would say that they are secrets.
    for (path, _) in added
        .iter()
        .filter(|(path, _)| after.get(path.as_bytes()).is_some_and(private::is_private))
    {
        if let Some(reason) = allow(path) {
            let kind = private::KIND.to_owned();
            outcome
                .public
                .entry((*path).clone())
                .or_insert(PublicSecret { kind, reason });
        }
    }
    let idle = rules
        .allowed
        .iter()
        .filter(|rule| !used.contains(&rule.paths));
    outcome.notes = idle
        .map(|rule| {
            format!(
                "[secrets] allow: '{}' lets nothing in: no file there looks like a secret",
                rule.paths
            )
        })
        .collect();
    Ok(outcome)
}

/// Returns the rule that lets in what is at `path`, where the layer or a machine has it.
pub(super) fn rule_for<'a>(
    allowed: &'a [AllowedSecret],
    path: &RelPath,
) -> Option<&'a AllowedSecret> {
    let bytes = path.as_bytes();
    let factory = bytes
        .strip_prefix(FACTORY.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"/"));
    let names = [bytes, factory.unwrap_or_else(|| logical(bytes))];
    allowed
        .iter()
        .find(|rule| names.iter().any(|name| rule.paths.matches(name)))
}

/// Returns the files whose content the layers below do not have at their paths.
fn added<'t>(lower: &Tree, after: &'t Tree) -> Vec<(&'t RelPath, ObjectId)> {
    let files = after.iter().filter_map(|(path, inode)| match inode.node {
        Node::File { object, size } if size > 0 => Some((path, inode, object)),
        _ => None,
    });
    files
        .filter(|(path, inode, _)| {
            let before = lower.get(path.as_bytes());
            before.is_none_or(|before| before.node != inode.node)
        })
        .map(|(path, _, object)| (path, object))
        .collect()
}

/// Reads the files, several at once.
pub(super) fn scan(
    files: &[(&RelPath, ObjectId)],
    sink: &BuildSink<'_>,
) -> Result<Vec<UndeclaredSecret>, BuildError> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<UndeclaredSecret>, BuildError> {
        let mut scanner = Scanner::new();
        let mut found = Vec::new();
        while let Some((path, object)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut file = sink.open(object)?;
            let secrets = scanner.scan(path.as_bytes(), &mut file);
            let secrets = secrets.map_err(|source| unreadable(path, source))?;
            found.extend(secrets.into_iter().map(|secret| UndeclaredSecret {
                path: (*path).clone(),
                secret,
            }));
        }
        Ok(found)
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in running {
            match thread.join() {
                Ok(part) => found.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<(), BuildError>(())
    })?;
    found.sort_by(|a, b| (&a.path, a.secret).cmp(&(&b.path, b.secret)));
    Ok(found)
}

fn unreadable(path: &RelPath, source: io::Error) -> BuildError {
    BuildError::Source {
        verb: "read the content of",
        path: path.as_path().to_owned(),
        source,
    }
}

/// Finds the key files that `/etc/crypttab` names: they may hold anything.
pub(super) fn disk_keys(
    files: &[(&RelPath, ObjectId)],
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<Vec<UndeclaredSecret>, BuildError> {
    let Some(object) = after.get(CRYPTTAB.as_bytes()).and_then(Inode::object) else {
        return Ok(Vec::new());
    };
    let keys = crypttab_keys(&sink.read(&object)?);
    let is_key = |path: &RelPath| keys.iter().any(|key| key == path.as_bytes());
    let found = files.iter().filter(|(path, _)| is_key(path));
    Ok(found
        .map(|(path, _)| UndeclaredSecret {
            path: (*path).clone(),
            secret: Secret {
                place: Place::File,
                kind: "a key of an encrypted disk",
            },
        })
        .collect())
}

/// What the packages of an image ship, by the digests that dpkg keeps of it.
pub(super) struct PublicContent {
    /// Digests of files of packages from public archives.
    everywhere: BTreeSet<Vec<u8>>,
    /// Digests of samples of the other packages, by path.
    samples: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl PublicContent {
    /// Reads what dpkg keeps in `tree`. `is_private` says of a package whose maintainer is not
    /// Debian's or Ubuntu's that not everybody can fetch it.
    pub(super) fn read(
        tree: &Tree,
        sink: &BuildSink<'_>,
        is_private: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Self, BuildError> {
        let status = match tree.get(dpkg::STATUS.as_bytes()).and_then(Inode::object) {
            Some(object) => sink.read(&object)?,
            None => Vec::new(),
        };
        let records = packages::dpkg::read(&status).records;
        let copied: BTreeSet<&[u8]> = records
            .iter()
            .filter(|record| has_public_maintainer(record.maintainer))
            .map(|record| record.key.0.as_bytes())
            .collect();
        let is_private = |name: &[u8]| {
            let name = name.split(|byte| *byte == b':').next().unwrap_or(name);
            !copied.contains(name) && is_private(name)
        };
        let mut public = Self {
            everywhere: BTreeSet::new(),
            samples: BTreeMap::new(),
        };
        for (path, inode) in tree.below(dpkg::INFO.as_bytes()) {
            let stem = path.name().strip_suffix(b".md5sums");
            let (Some(stem), Some(object)) = (stem, inode.object()) else {
                continue;
            };
            let file = sink.read(&object)?;
            for (path, digest) in packages::digests(&file) {
                if !is_private(stem) {
                    public.everywhere.insert(digest.to_vec());
                } else if is_sample(path) {
                    public.samples.insert(path.to_vec(), digest.to_vec());
                }
            }
        }
        for record in &records {
            if !is_private(record.key.0.as_bytes()) {
                public
                    .everywhere
                    .extend(record.conffiles().values().map(|digest| digest.to_vec()));
            }
        }
        Ok(public)
    }

    /// Says whether the file at `path` has the content of a package's, or is made of such a file.
    pub(super) fn has(
        &self,
        path: &RelPath,
        object: &ObjectId,
        tree: &Tree,
        sink: &BuildSink<'_>,
    ) -> Result<bool, BuildError> {
        if let Some(source) = python_source(path) {
            let source = RelPath::new(&source).ok();
            let inode = source
                .as_ref()
                .and_then(|source| tree.get(source.as_bytes()));
            if let (Some(source), Some(object)) = (&source, inode.and_then(Inode::object)) {
                return self.has(source, &object, tree, sink);
            }
        }
        let mut md5 = Md5::new();
        let mut file = sink.open(object)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file
                .read(&mut buffer)
                .map_err(|source| unreadable(path, source))?
            {
                0 => break,
                count => md5.update(&buffer[..count]),
            }
        }
        let digest: String = md5
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(self.everywhere.contains(digest.as_bytes())
            || self
                .samples
                .get(path.as_bytes())
                .is_some_and(|known| known == digest.as_bytes()))
    }
}

/// Says whether everybody can fetch what an archive with this label has.
fn is_public(archive: &str) -> bool {
    PUBLIC.iter().any(|label| {
        let rest = archive.strip_prefix(label);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Says whether the address of a Maintainer field is in a domain of Debian or Ubuntu, such as that of
/// their lists.
fn has_public_maintainer(field: &[u8]) -> bool {
    let address = field
        .strip_suffix(b">")
        .and_then(|rest| rest.rsplit(|byte| *byte == b'<').next());
    let domain = address.and_then(|address| {
        let at = address.iter().rposition(|byte| *byte == b'@')?;
        address.get(at + 1..)
    });
    domain.is_some_and(|domain| {
        PUBLIC_MAINTAINERS.iter().any(|public| {
            let rest = domain.strip_suffix(*public);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
        })
    })
}

/// Returns the module that bytecode at `path` was compiled from (PEP 3147).
fn python_source(path: &RelPath) -> Option<Vec<u8>> {
    let cache = path.parent()?;
    let name = path.name().strip_suffix(b".pyc")?;
    if cache.name() != b"__pycache__" {
        return None;
    }
    let stem = name.split(|byte| *byte == b'.').next()?;
    let dir = cache.parent()?;
    Some([dir.as_bytes(), b"/", stem, b".py"].concat())
}

#[cfg(test)]
#[path = "undeclared_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
