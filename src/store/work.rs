//! Work directories below `tmp/`: owned by one process, and removed by the next one when their
//! owner died.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::{Repository, StoreError};
use crate::durable::{Disk, DurableError, remove_tree};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory below `tmp/` that vanishes with its owner; a lock file beside it says whether the
/// owner lives.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    /// The lock file, but for a directory that nobody clears away.
    lock: Option<(PathBuf, File)>,
    disk: Arc<dyn Disk>,
}

impl WorkDir {
    /// Makes an empty work directory below `tmp`.
    pub(super) fn create(tmp: &Path, disk: &Arc<dyn Disk>) -> Result<Self, StoreError> {
        loop {
            let name = format!(
                "{}-{}",
                std::process::id(),
                COUNTER.fetch_add(1, Ordering::Relaxed)
            );
            let (path, lock_path) = (tmp.join(&name), tmp.join(format!("{name}.lock")));
            if path.exists() {
                // Left by a dead process of the same number.
                continue;
            }
            let lock = open_lock(&lock_path)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
                || !is_named(&lock, &lock_path)
            {
                // A cleaner took it for a dead one's in between.
                continue;
            }
            disk.mkdir(&path, 0o700)?;
            return Ok(Self {
                path,
                lock: Some((lock_path, lock)),
                disk: Arc::clone(disk),
            });
        }
    }

    /// Makes an empty work directory where the system keeps temporary files, for work on a
    /// repository that cannot be written to.
    fn elsewhere(disk: &Arc<dyn Disk>) -> Result<Self, StoreError> {
        let tmp = std::env::temp_dir();
        loop {
            let name = format!(
                "layerset-{}-{}",
                std::process::id(),
                COUNTER.fetch_add(1, Ordering::Relaxed)
            );
            let path = tmp.join(name);
            // Whatever another user put there is left alone.
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => {
                    result.map_err(|error| StoreError::io("make directory", &path, error))?;
                    return Ok(Self {
                        path,
                        lock: None,
                        disk: Arc::clone(disk),
                    });
                }
            }
        }
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next transaction or by gc.
        let removed = remove_tree(self.disk.as_ref(), &self.path);
        if let (Ok(()), Some((path, _))) = (removed, &self.lock) {
            let _ = self.disk.remove(path);
        }
    }
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::Durable(DurableError::new("open lock", path, error)))
}

fn is_named(lock: &File, path: &Path) -> bool {
    match (lock.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}

impl Repository {
    /// Makes a work directory, after removing those whose owners died.
    pub fn work_dir(&self) -> Result<WorkDir, StoreError> {
        if self.is_only_read {
            return WorkDir::elsewhere(&self.disk);
        }
        self.require_writable()?;
        self.remove_dead_work()?;
        WorkDir::create(&self.root.join("tmp"), &self.disk)
    }

    /// Removes work directories whose owners died; returns how many.
    pub(super) fn remove_dead_work(&self) -> Result<usize, StoreError> {
        let tmp = self.root.join("tmp");
        let entries =
            std::fs::read_dir(&tmp).map_err(|error| StoreError::io("list", &tmp, error))?;
        let mut removed = 0;
        for entry in entries.filter_map(Result::ok) {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                continue;
            };
            let Some(owner) = name.strip_suffix(".lock") else {
                if !tmp.join(format!("{name}.lock")).exists() {
                    remove_tree(self.disk.as_ref(), &entry.path())?;
                    removed += 1;
                }
                continue;
            };
            let Ok(lock) = OpenOptions::new().write(true).open(entry.path()) else {
                continue;
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove_tree(self.disk.as_ref(), &tmp.join(owner))?;
                self.disk.remove(&entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
