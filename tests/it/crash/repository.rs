//! Commits and garbage collection of a repository.

use std::path::Path;
use std::sync::Arc;

use layerset::durable::{Disk, LockMode, RealDisk};
use layerset::format::{Image, parse_tree};
use layerset::id::{ImageId, ObjectId};
use layerset::store::{FsckOptions, RefName, Repository, RepositoryOptions, StoreError};

use super::disk::{Fault, FaultyDisk};
use crate::support::PATIENCE;

fn open(root: &Path, disk: Arc<dyn Disk>, mode: LockMode) -> Repository {
    let options = RepositoryOptions {
        mode,
        patience: PATIENCE,
        ..RepositoryOptions::default()
    };
    Repository::open(root, disk, options).unwrap()
}

/// Commits an image of two files, one of which all versions share.
fn commit(repository: &Repository, version: u32) -> Result<ImageId, StoreError> {
    let transaction = repository.begin()?;
    let shared = transaction.put_object(b"shared")?;
    let own = transaction.put_object(format!("version {version}").as_bytes())?;
    let text = format!(
        "/ dir 0755 root root 0.0 -\n/own file 0644 root root 0.0 {own} 9\n/shared file 0644 root root 0.0 {shared} 6\n"
    );
    let tree = parse_tree(&text).unwrap();
    let image = Image {
        format: 1,
        name: "web".to_owned(),
        architecture: "amd64".to_owned(),
        layers: Vec::new(),
        tree: transaction.put_tree(&tree)?,
        bytes: tree.bytes(),
        entries: tree.len() as u64,
        keep: 3,
        waivers: Vec::new(),
    };
    let id = transaction.put_image(&image)?;
    transaction.commit(&RefName::image("web")?, &id.to_string())?;
    Ok(id)
}

fn current(repository: &Repository) -> Option<ImageId> {
    let id = repository
        .read_ref(&RefName::image("web").unwrap())
        .unwrap();
    id.map(|id| id.parse().unwrap())
}

fn assert_clean(repository: &Repository, context: &str) {
    let report = repository
        .fsck(FsckOptions {
            threads: 1,
            progress: &|_, _| {},
        })
        .unwrap();
    assert_eq!(report.damaged, [], "{context}");
}

/// After `gc`, only what the ref needs is there.
fn assert_no_strays(root: &Path, context: &str) {
    {
        let repository = open(root, Arc::new(RealDisk), LockMode::Exclusive);
        let plan = repository.plan_gc().unwrap();
        repository.apply_gc(&plan).unwrap();
        assert_eq!(repository.plan_gc().unwrap().files, [], "{context}");
        assert_clean(&repository, context);
    }
    let left: Vec<_> = std::fs::read_dir(root.join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{context}: {left:?}");
    let beside: Vec<_> = walk(root)
        .into_iter()
        .filter(|path| path.contains("/."))
        .collect();
    assert!(beside.is_empty(), "{context}: {beside:?}");
}

/// Lists every path below `dir`, relative to it.
fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(dir).unwrap().display().to_string();
        if path.is_dir() {
            found.extend(walk(&path).iter().map(|below| format!("/{name}{below}")));
        }
        found.push(format!("/{name}"));
    }
    found
}

/// A repository whose image is version 1.
fn prepared(dir: &Path) -> (std::path::PathBuf, ImageId) {
    let root = dir.join("repo");
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(dir, None));
    Repository::init(&root, Arc::clone(&disk)).unwrap();
    let id = commit(&open(&root, disk, LockMode::Shared), 1).unwrap();
    (root, id)
}

/// Runs `work` once for every call it makes and every fault, each time on a fresh copy of what `prepare` makes.
fn enumerate(
    name: &str,
    prepare: impl Fn(&Path) -> (std::path::PathBuf, ImageId),
    mode: LockMode,
    work: impl Fn(&Repository) -> Result<(), StoreError>,
    check: impl Fn(&Path, ImageId, bool, &str),
) {
    let count = {
        let dir = tempfile::tempdir().unwrap();
        let (root, _) = prepare(&dir.path().join("d").tap_mkdir());
        let disk = Arc::new(FaultyDisk::new(&dir.path().join("d"), None));
        work(&open(&root, disk.clone(), mode)).unwrap();
        disk.calls()
    };
    assert!(count > 3, "{name} makes only {count} calls");
    for fault in Fault::ALL {
        for at in 0..count {
            let dir = tempfile::tempdir().unwrap();
            let base = dir.path().join("d").tap_mkdir();
            let (root, old) = prepare(&base);
            let disk = Arc::new(FaultyDisk::new(&base, Some((at, fault))));
            let result = work(&open(&root, disk.clone(), mode));
            assert!(disk.struck(), "{name}: call {at} was not reached");
            disk.power_cut();
            let context = format!("{name}, {fault:?} at call {at}: {}", disk.log()[at]);
            check(&root, old, result.is_ok(), &context);
        }
    }
}

trait TapMkdir {
    fn tap_mkdir(self) -> Self;
}

impl TapMkdir for std::path::PathBuf {
    fn tap_mkdir(self) -> Self {
        std::fs::create_dir_all(&self).unwrap();
        self
    }
}

#[test]
fn every_call_of_a_commit_may_stop_fail_or_lose_data() {
    enumerate(
        "commit",
        prepared,
        LockMode::Shared,
        |repository| commit(repository, 2).map(drop),
        |root, old, succeeded, context| {
            let new = {
                let repository = open(root, Arc::new(RealDisk), LockMode::Shared);
                assert_clean(&repository, context);
                let now = current(&repository).unwrap();
                assert!(
                    !succeeded || now != old,
                    "{context}: it said that it had succeeded"
                );
                let new = commit(&repository, 2).unwrap();
                assert!(now == old || now == new, "{context}");
                assert_eq!(current(&repository), Some(new), "{context}");
                new
            };
            assert_ne!(new, old);
            assert_no_strays(root, context);
            let repository = open(root, Arc::new(RealDisk), LockMode::Shared);
            assert_eq!(current(&repository), Some(new), "{context}");
            let tree = repository
                .read_tree(&repository.read_image(&new).unwrap().tree)
                .unwrap();
            for (_, inode) in tree.iter() {
                if let Some(object) = inode.object() {
                    repository.verify_object(&object).unwrap();
                }
            }
        },
    );
}

/// Says whether a call of the log makes something durable.
pub(super) fn is_sync(call: &str) -> bool {
    call.starts_with("sync_") || call.starts_with("append ")
}

#[test]
fn after_a_failed_sync_a_repository_takes_nothing_until_it_is_opened_again() {
    let calls = {
        let dir = tempfile::tempdir().unwrap();
        let (root, _) = prepared(dir.path());
        let disk = Arc::new(FaultyDisk::new(dir.path(), None));
        let repository = open(&root, disk.clone(), LockMode::Shared);
        let _begun = (repository.begin().unwrap(), repository.begin().unwrap());
        commit(&repository, 2).unwrap();
        disk.log()
    };
    let syncs: Vec<usize> = (0..calls.len()).filter(|at| is_sync(&calls[*at])).collect();
    assert!(syncs.len() >= 4, "{calls:?}");
    for at in syncs {
        let context = format!("call {at}: {}", calls[at]);
        let dir = tempfile::tempdir().unwrap();
        let (root, old) = prepared(dir.path());
        let disk = Arc::new(FaultyDisk::new(dir.path(), Some((at, Fault::Fail))));
        let repository = open(&root, disk.clone(), LockMode::Shared);
        let (begun_before, empty) = (repository.begin().unwrap(), repository.begin().unwrap());
        let other = RefName::image("other").unwrap();
        commit(&repository, 2).unwrap_err();
        assert!(is_sync(&disk.log()[at]), "{context}");
        let after = (current(&repository), disk.calls());

        let refused = |result: Result<(), StoreError>| {
            let text = result.unwrap_err().to_string();
            assert!(
                text.contains("start the command again"),
                "{context}: {text}"
            );
        };
        refused(commit(&repository, 2).map(drop));
        refused(repository.set_ref(&other, &old.to_string()));
        refused(repository.remove_ref(&RefName::image("web").unwrap()));
        refused(repository.remove_ref(&other));
        refused(begun_before.put_object(b"version 3").map(drop));
        refused(empty.store().map(drop));
        assert_eq!((current(&repository), disk.calls()), after, "{context}");
        drop(begun_before);
        drop(repository);

        let repository = open(&root, disk, LockMode::Shared);
        let new = commit(&repository, 2).unwrap();
        assert_eq!(current(&repository), Some(new), "{context}");
        drop(repository);
        assert_no_strays(&root, &context);
    }
}

#[test]
fn every_call_of_gc_may_stop_fail_or_lose_data() {
    let with_garbage = |dir: &Path| {
        let (root, _) = prepared(dir);
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(dir, None));
        let kept = commit(&open(&root, disk, LockMode::Shared), 2).unwrap();
        (root, kept)
    };
    enumerate(
        "gc",
        with_garbage,
        LockMode::Exclusive,
        |repository| repository.apply_gc(&repository.plan_gc()?).map(drop),
        |root, kept, _, context| {
            {
                let repository = open(root, Arc::new(RealDisk), LockMode::Shared);
                assert_clean(&repository, context);
                assert_eq!(current(&repository), Some(kept), "{context}");
            }
            assert_no_strays(root, context);
            let repository = open(root, Arc::new(RealDisk), LockMode::Shared);
            assert!(
                !repository.has_object(&ObjectId::of(b"version 1")),
                "{context}"
            );
            assert!(
                repository.has_object(&ObjectId::of(b"version 2")),
                "{context}"
            );
        },
    );
}

#[test]
fn every_call_of_init_may_stop_fail_or_lose_data() {
    let count = {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("d").tap_mkdir();
        let disk = Arc::new(FaultyDisk::new(&base, None));
        Repository::init(&base.join("repo"), disk.clone()).unwrap();
        disk.calls()
    };
    for fault in Fault::ALL {
        // The 256 object directories are alike: the first and the last few stand for them.
        for at in (0..count).filter(|at| !(20..count - 12).contains(at)) {
            let dir = tempfile::tempdir().unwrap();
            let base = dir.path().join("d").tap_mkdir();
            let root = base.join("repo");
            let disk = Arc::new(FaultyDisk::new(&base, Some((at, fault))));
            let result = Repository::init(&root, disk.clone());
            disk.power_cut();
            let context = format!("init, {fault:?} at call {at}: {}", disk.log()[at]);
            assert!(result.is_err() || fault == Fault::Fail, "{context}");
            Repository::init(&root, Arc::new(RealDisk))
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            commit(&open(&root, Arc::new(RealDisk), LockMode::Shared), 1).unwrap();
            assert_no_strays(&root, &context);
        }
    }
}
