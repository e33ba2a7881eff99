//! A disk that takes no more after a sync that failed.
//!
//! The kernel reports a failed write only once, to the next sync, and may drop the data. A second
//! sync then reports success although the data is lost (PostgreSQL's fsync bug of 2018). So a
//! handle whose sync failed once must not commit again: only what is read from the disk anew is
//! known to be there.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{APPEND, Disk, DurableError, Reserve};

/// Passes everything on until a sync fails, and refuses every change from then on; one for each
/// open repository or target.
#[derive(Debug)]
pub struct LatchingDisk {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    has_failed: AtomicBool,
    reserve: Option<Reserve>,
}

impl LatchingDisk {
    /// Guards what is below `root`, which errors name.
    pub fn new(root: &Path, disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            has_failed: AtomicBool::new(false),
            reserve: None,
        }
    }

    /// Takes from a reserve what there is no room for.
    #[must_use]
    pub fn with_reserve(self, reserve: Reserve) -> Self {
        Self {
            reserve: Some(reserve),
            ..self
        }
    }

    /// Returns the disk behind this one, unless a sync failed.
    ///
    /// Removals are refused as well: garbage collection and the removal of a ref rest on what was
    /// made durable before.
    fn unharmed(&self) -> Result<&dyn Disk, DurableError> {
        if self.has_failed.load(Ordering::SeqCst) {
            return Err(DurableError::Latched {
                path: self.root.clone(),
            });
        }
        Ok(self.disk.as_ref())
    }

    /// Does something that makes earlier writes durable; whatever it fails with, what became of
    /// them is unknown.
    fn sync(
        &self,
        sync: impl FnOnce(&dyn Disk) -> Result<(), DurableError>,
    ) -> Result<(), DurableError> {
        let result = sync(self.unharmed()?);
        // What had no room to be appended was not written, so nothing of it is lost.
        let was_tried = !matches!(result, Err(DurableError::Full { verb: APPEND, .. }));
        if result.is_err() && was_tried {
            self.has_failed.store(true, Ordering::SeqCst);
        }
        result
    }
}

impl Disk for LatchingDisk {
    fn mkdir(&self, path: &Path, mode: u32) -> Result<(), DurableError> {
        self.unharmed()?.mkdir(path, mode)
    }

    fn write(
        &self,
        path: &Path,
        mode: u32,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        self.unharmed()?.write(path, mode, fill)
    }

    fn sync_file(&self, path: &Path) -> Result<(), DurableError> {
        self.sync(|disk| disk.sync_file(path))
    }

    fn symlink(&self, target: &Path, path: &Path) -> Result<(), DurableError> {
        self.unharmed()?.symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.unharmed()?.rename(from, to)
    }

    fn exchange(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.unharmed()?.exchange(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), DurableError> {
        self.unharmed()?.remove(path)
    }

    fn remove_in(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DurableError> {
        self.unharmed()?.remove_in(dir, path)
    }

    fn rename_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.unharmed()?.rename_in(from_dir, from, to_dir, to)
    }

    fn exchange_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.unharmed()?.exchange_in(from_dir, from, to_dir, to)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        self.sync(|disk| disk.append(path, bytes))
    }

    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError> {
        self.sync(|disk| disk.sync_fs(dir))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError> {
        self.sync(|disk| disk.sync_dir(dir))
    }

    fn require_unharmed(&self) -> Result<(), DurableError> {
        self.unharmed()?.require_unharmed()
    }

    fn reserve(&self) -> Option<&Reserve> {
        self.reserve.as_ref()
    }
}
