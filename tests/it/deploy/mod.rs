//! Directory targets with real mounts; here is the world that the tests share.

mod copy;
mod etc;
mod factory;
mod faults;
mod full;
mod history;
mod moving;
mod restart;
mod surroundings;
mod switch;
mod twins;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use layerset::deploy::{
    BadPolicy, Decisions, DeployError, DeploymentKind, DeploymentState, HistoryAction, JoinMethod,
    KindChoice, Note, RecordedVerdict, StageOptions, Target, TargetLocation, TargetLockWait,
};
use layerset::durable::{Disk, DurableError, RealDisk};
use layerset::format::{Image, ImageLayer};
use layerset::id::{ImageId, LayerId};
use layerset::path::RelPath;
use layerset::store::{RefName, Repository, RepositoryOptions, Transaction};
use layerset::time::Clock;
use layerset::tree::{Changeset, Inode, Owner, Tree};

use crate::support::{PATIENCE, bare_layer, is_root};

struct Noon;

impl Clock for Noon {
    fn now_sec(&self) -> i64 {
        1_750_000_000
    }
}

/// A repository and a target in a directory that is unmounted and removed whatever happens.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repository: Repository,
}

impl Drop for World {
    fn drop(&mut self) {
        self.unmount();
    }
}

impl World {
    /// Unmounts everything, as a reboot does.
    pub(crate) fn unmount(&self) {
        unmount_below(self.dir.path());
    }
}

/// Unmounts everything below a directory.
pub(crate) fn unmount_below(dir: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut below: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(dir))
        .collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in below {
        let _ = Command::new("umount").args(["-l", point]).status();
    }
}

pub(crate) fn note() -> Note {
    Note {
        who: "tester".to_owned(),
        verdict: RecordedVerdict::Unchecked,
        reason: "test".to_owned(),
        checks: Vec::new(),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

/// Entries by path: `d` a directory, `l TARGET` a link, `f CONTENTS` a file; an owner may stand before, as `user:`.
pub(crate) type Spec<'a> = BTreeMap<&'a str, String>;

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n";
const GROUP: &str = "root:x:0:\nwww:x:33:\n";

pub(crate) fn base<'a>() -> Spec<'a> {
    [
        ("etc", "d"),
        ("etc/passwd", &format!("f {PASSWD}") as &str),
        ("etc/group", &format!("f {GROUP}")),
        ("etc/app.conf", "f one\ntwo\nthree\nfour\nfive\n"),
        ("etc/www.conf", "www:f secret\n"),
        ("usr", "d"),
        ("usr/app", "f version 1\n"),
        ("var", "d"),
        ("var/log", "d"),
        ("var/www", "www:d"),
        ("var/run", "l /run"),
    ]
    .into_iter()
    .map(|(path, what)| (path, what.to_owned()))
    .collect()
}

pub(crate) fn with<'a>(mut spec: Spec<'a>, changes: &[(&'a str, &str)]) -> Spec<'a> {
    for (path, what) in changes {
        if what.is_empty() {
            spec.remove(path);
        } else {
            spec.insert(path, (*what).to_owned());
        }
    }
    spec
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(|_| Arc::new(RealDisk))
    }

    /// Makes a world whose repository is on the disk that `disk` makes for its directory.
    pub(crate) fn on(disk: impl Fn(&Path) -> Arc<dyn Disk>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self::below(dir, disk)
    }

    /// Makes a world in a directory that is as it is.
    pub(crate) fn below(dir: tempfile::TempDir, disk: impl Fn(&Path) -> Arc<dyn Disk>) -> Self {
        let root = dir.path().join("repo");
        let disk = disk(dir.path());
        Repository::init(&root, Arc::clone(&disk)).unwrap();
        let repository = Repository::open(&root, disk, RepositoryOptions::default()).unwrap();
        Self { dir, repository }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn target(&self) -> Target {
        self.target_on(Arc::new(RealDisk)).unwrap()
    }

    pub(crate) fn target_on(&self, disk: Arc<dyn Disk>) -> Result<Target, DeployError> {
        self.location(disk).open_or_init(self.repository.root())
    }

    pub(crate) fn location(&self, disk: Arc<dyn Disk>) -> TargetLocation {
        // Another test's child process may hold our lock's descriptor between fork and exec.
        let waiting = TargetLockWait {
            patience: PATIENCE,
            ..TargetLockWait::default()
        };
        TargetLocation {
            root: self.root(),
            disk,
            clock: Arc::new(Noon),
            waiting,
            machine: None,
        }
    }

    /// Where a path of the target lies.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join("layerset").join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub(crate) fn image(&self, version: &str, spec: &Spec<'_>) -> ImageId {
        self.image_with(version, spec, |_, _| ())
    }

    /// Makes an image of what `spec` cannot say.
    pub(crate) fn image_with(
        &self,
        version: &str,
        spec: &Spec<'_>,
        add: impl Fn(&Transaction<'_>, &mut Tree),
    ) -> ImageId {
        let transaction = self.repository.begin().unwrap();
        let mut tree = Tree::new();
        tree.insert(RelPath::root(), Inode::directory(0o755));
        for (name, what) in spec {
            let (owner, what) = match what.split_once(':') {
                Some((owner, rest)) if !owner.contains(' ') => (Some(owner), rest),
                _ => (None, what.as_str()),
            };
            let inode = match what.split_once(' ') {
                None => Inode::directory(0o755),
                Some(("l", target)) => Inode::symlink(target),
                Some((_, text)) => {
                    let object = transaction.put_object(text.as_bytes()).unwrap();
                    Inode::file(object, text.len() as u64, 0o644)
                }
            };
            let owner = Owner::Name(owner.unwrap_or("root").into());
            let inode = Inode {
                owner: owner.clone(),
                group: owner,
                ..inode
            };
            tree.insert(path(name), inode);
        }
        add(&transaction, &mut tree);
        tree.canonicalize_hardlinks();
        tree.validate().unwrap();
        let image = Image {
            format: 1,
            name: "web".to_owned(),
            architecture: "amd64".to_owned(),
            layers: vec![ImageLayer {
                name: "app".to_owned(),
                id: layer(&transaction, version),
                version: version.to_owned(),
            }],
            tree: transaction.put_tree(&tree).unwrap(),
            bytes: tree.bytes(),
            entries: tree.len() as u64,
            keep: 3,
            waivers: Vec::new(),
        };
        let id = transaction.put_image(&image).unwrap();
        let name = RefName::new(&format!("images/{version}")).unwrap();
        transaction.commit(&name, &id.to_string()).unwrap();
        id
    }

    fn stage(&self, image: &ImageId, options: &StageOptions) -> Result<u64, DeployError> {
        let target = self.target();
        let change = target.change("test stage")?;
        Ok(change.stage(&self.repository, image, options)?.generation)
    }

    fn switch(&self, to: u64) -> Result<(), DeployError> {
        let target = self.target();
        let change = target.change("test switch")?;
        change.switch(to, HistoryAction::Deploy, BadPolicy::Refuse, &note())?;
        Ok(())
    }

    fn deploy(&self, image: &ImageId) -> u64 {
        let generation = self.stage(image, &StageOptions::default()).unwrap();
        self.switch(generation).unwrap();
        generation
    }

    fn rollback(&self, to: Option<u64>) -> Result<u64, DeployError> {
        let target = self.target();
        let change = target.change("test rollback")?;
        Ok(change.rollback(to, &note())?.to)
    }

    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.at(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn deployment_refs(&self) -> Vec<String> {
        let refs = self.repository.refs().unwrap().into_iter();
        refs.filter_map(|(name, _)| {
            let text = name.as_str().strip_prefix("deployments/")?;
            Some(text.split_once('/')?.1.to_owned())
        })
        .collect()
    }
}

/// Puts a layer without changes.
fn layer(transaction: &Transaction<'_>, version: &str) -> LayerId {
    let changeset = transaction.put_changeset(&Changeset::new()).unwrap();
    let layer = bare_layer(("app", version), (version.as_bytes(), 0, 1), changeset);
    transaction.put_layer(&layer).unwrap()
}

fn copied() -> StageOptions {
    StageOptions {
        kind: KindChoice::Copy,
        ..StageOptions::default()
    }
}
