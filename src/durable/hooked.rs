//! A disk for tests on which somebody else acts right after the first change: the races of a service
//! with root, without luck.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Mutex;

use super::{Disk, DurableError, RealDisk};

/// What somebody else does.
type Hook = Box<dyn FnOnce() + Send>;

/// The disk.
pub(crate) struct HookedDisk(Mutex<Option<Hook>>);

impl std::fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookedDisk")
    }
}

impl HookedDisk {
    /// Makes a disk that calls `hook` after the first removal or renaming.
    pub(crate) fn new(hook: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(hook))))
    }

    /// Says whether the hook was called.
    pub(crate) fn was_hooked(&self) -> bool {
        self.0.lock().is_ok_and(|hook| hook.is_none())
    }

    fn after<T>(&self, result: T) -> T {
        if let Some(hook) = self.0.lock().ok().and_then(|mut hook| hook.take()) {
            hook();
        }
        result
    }
}

impl Disk for HookedDisk {
    fn mkdir(&self, path: &Path, mode: u32) -> Result<(), DurableError> {
        RealDisk.mkdir(path, mode)
    }

    fn write(
        &self,
        path: &Path,
        mode: u32,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        RealDisk.write(path, mode, fill)
    }

    fn sync_file(&self, path: &Path) -> Result<(), DurableError> {
        RealDisk.sync_file(path)
    }

    fn symlink(&self, target: &Path, path: &Path) -> Result<(), DurableError> {
        RealDisk.symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.after(RealDisk.rename(from, to))
    }

    fn exchange(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.after(RealDisk.exchange(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), DurableError> {
        self.after(RealDisk.remove(path))
    }

    fn remove_in(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DurableError> {
        self.after(RealDisk.remove_in(dir, path))
    }

    fn rename_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.after(RealDisk.rename_in(from_dir, from, to_dir, to))
    }

    fn exchange_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.after(RealDisk.exchange_in(from_dir, from, to_dir, to))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        RealDisk.append(path, bytes)
    }

    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError> {
        RealDisk.sync_fs(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError> {
        RealDisk.sync_dir(dir)
    }
}
