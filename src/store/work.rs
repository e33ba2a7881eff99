//! Work directories below `tmp/`: owned by one process, and removed by the next one when their
//! owner died.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
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
    lock_path: PathBuf,
    disk: Arc<dyn Disk>,
    _lock: File,
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
                lock_path,
                disk: Arc::clone(disk),
                _lock: lock,
            });
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
        if remove_tree(self.disk.as_ref(), &self.path).is_ok() {
            let _ = self.disk.remove(&self.lock_path);
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
