//! Trees of two layers, built, moved and looked at.

mod archives;
mod copies;
mod edited;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::check::{CHECKS_VERSION, Finding};
use crate::durable::RealDisk;
use crate::format::{Baseline, ImageLayer, Layer, LayerPackage};
use crate::id::LayerId;
use crate::store::{Repository, RepositoryOptions};
use crate::tree::{Changeset, Inode, Tree};

const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libz.so.1.3";
const LIST: &str = "usr/lib/sysimage/var/lib/dpkg/info/zlib1g:amd64.list";

/// Long enough to say something, also when it is packed.
fn bytes(what: &str) -> Vec<u8> {
    let mut bytes = vec![0; 600];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(what.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A base, and a layer on it, as they were built and as they are put together.
struct World {
    repository: Repository,
    /// By layer: its build, its packages, and its files.
    base: Files,
    app: Files,
    packages: Vec<LayerPackage>,
    brought: BTreeSet<ObjectId>,
    /// A file that the composition derives.
    base_derived: Option<(&'static str, Vec<u8>)>,
    _dir: tempfile::TempDir,
}

type Files = BTreeMap<&'static str, Vec<u8>>;

impl World {
    /// A base with a library of a package.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let options = RepositoryOptions::default();
        let repository = Repository::open(dir.path(), Arc::new(RealDisk), options).unwrap();
        let list = format!("/.\n/{LIBRARY}\n").into_bytes();
        Self {
            repository,
            base: BTreeMap::from([(LIBRARY, bytes("library 1")), (LIST, list)]),
            app: BTreeMap::new(),
            packages: Vec::new(),
            brought: BTreeSet::new(),
            base_derived: None,
            _dir: dir,
        }
    }

    fn with(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        let mut world = Self::new();
        world.app.extend(files);
        world
    }

    fn changes(&self, transaction: &Transaction<'_>, below: &Files, files: &Files) -> Changeset {
        let tree = |files: &Files| {
            let mut tree = Tree::new();
            tree.insert(RelPath::root(), Inode::directory(0o755));
            for (path, bytes) in files {
                let object = transaction.put_object(bytes).unwrap();
                let path = RelPath::from_text(path).unwrap();
                let mut parent = path.parent();
                while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
                    tree.insert(dir.clone(), Inode::directory(0o755));
                    parent = dir.parent();
                }
                tree.insert(path, Inode::file(object, bytes.len() as u64, 0o644));
            }
            tree
        };
        let mut all = below.clone();
        all.extend(files.clone());
        Changeset::between(&tree(below), &tree(&all))
    }

    /// Composes both; `build` is what the layer was built on.
    fn set(&self, transaction: &Transaction<'_>, build: &Files) -> (Composition, Vec<Member>) {
        let id = |files: &Files| LayerId::of(format!("{files:?}").as_bytes());
        let nothing = Files::new();
        let base = member("debian", id(&self.base), None);
        let base = Member {
            changeset: self.changes(transaction, &nothing, &self.base),
            ..base
        };
        let mut app = member("app", id(&self.app), Some(("debian", id(build))));
        app.changeset = self.changes(transaction, build, &self.app);
        app.layer.packages = self.packages.clone();
        let members = vec![base, app];
        let mut composition = Composition::default();
        for (number, member) in members.iter().enumerate() {
            for (path, change) in member.changeset.iter() {
                if let Some(post) = &change.post {
                    composition.tree.insert(path.clone(), post.clone());
                    composition.origin.insert(path.clone(), number);
                }
            }
        }
        if let Some((path, bytes)) = &self.base_derived {
            let object = transaction.put_object(bytes).unwrap();
            let inode = Inode::file(object, bytes.len() as u64, 0o644);
            composition
                .tree
                .insert(RelPath::from_text(path).unwrap(), inode);
        }
        (composition, members)
    }

    /// What the layer is made of, when it is built on today's base.
    fn derived(&self, earlier: &[DerivedFile]) -> Vec<DerivedFile> {
        let transaction = self.repository.begin().unwrap();
        let (composition, members) = self.set(&transaction, &self.base);
        let index = self.repository.index();
        derived(&Evidence {
            composition: &composition,
            members: &members,
            earlier: vec![earlier],
            brought: Some(&self.brought),
            transaction: &transaction,
            index: &index,
        })
        .unwrap()
    }

    /// What a check says of the layer with this evidence, built on `build`, on today's base.
    fn check(&self, derived: &[DerivedFile], build: &Files) -> Vec<Finding> {
        let transaction = self.repository.begin().unwrap();
        let (composition, mut members) = self.set(&transaction, build);
        members[1].baseline.derived = derived.to_vec();
        moved(&composition, &members)
    }

    /// Builds the layer, gives the base another file, and returns what a check says then.
    fn after(&mut self, path: &'static str, bytes: Option<Vec<u8>>) -> Vec<Finding> {
        let (derived, build) = (self.derived(&[]), self.base.clone());
        assert_eq!(self.check(&derived, &build), [], "before the base moved");
        match bytes {
            Some(bytes) => drop(self.base.insert(path, bytes)),
            None => drop(self.base.remove(path)),
        }
        self.check(&derived, &build)
    }
}

fn member(name: &str, id: LayerId, on: Option<(&str, LayerId)>) -> Member {
    let on = on.map(|(name, id)| ImageLayer {
        name: name.to_owned(),
        id,
        version: "1".to_owned(),
    });
    let layer = Layer::bare(name, on);
    Member {
        id: Some(id),
        layer,
        changeset: Changeset::new(),
        baseline: Baseline {
            checks: CHECKS_VERSION,
            ..Baseline::default()
        },
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of cpio.
fn cpio(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, contents) in members.iter().chain(&[("TRAILER!!!", &b""[..])]) {
        let mut header = "070701".to_owned();
        for field in [
            1,
            0o100_644,
            0,
            0,
            1,
            0,
            contents.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ] {
            header += &format!("{field:08x}");
        }
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(contents);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn ids(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| format!("{:?} {}", finding.severity, finding.id);
    findings.iter().map(line).collect()
}
