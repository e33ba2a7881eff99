//! The only way to change a repository or a target: a few primitives on the filesystem, behind one
//! seam.
//!
//! Commit points are made of these calls, so tests put another [`Disk`] in their place that stops,
//! fails, or loses unsynced data at the Nth call (`tests/it/crash`). What is assumed of the
//! medium:
//!
//! 1. `rename` replaces its destination atomically: after a crash the name holds the old or the new
//!    file, whole names only.
//! 2. After `syncfs` returned, everything written before it on that filesystem, data and names,
//!    survives.
//! 3. Unsynced data and names may be lost in any combination, and an unsynced file may be found
//!    shorter than it was.
//! 4. `fsync` of a directory makes the names in it survive; `fdatasync` of an appended file its
//!    contents.
//! 5. `flock` is released when its holder dies.

mod exact;
mod holder;
#[cfg(test)]
pub(crate) mod hooked;
mod latch;
mod lock;
mod programs;
mod real;
mod remove;
mod reserve;

pub use exact::{make_dirs, make_exact};
pub use latch::LatchingDisk;
pub use lock::{Lock, LockMode};
pub use programs::{WritesProgram, spawn, spawn_with, write_program};
pub use real::RealDisk;
pub use remove::remove_tree;
pub use reserve::Reserve;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// Returns how many bytes those who are not root can still write where `path` is.
pub fn available_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A change of the filesystem that failed.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The device or the quota is full.
    #[error("cannot {verb} '{}': no space left", path.display())]
    Full {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {verb} '{}'", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Somebody else holds the lock and did not let go in time.
    #[error("'{}' is locked by {holder}", path.display())]
    Locked {
        path: PathBuf,
        /// Who holds it, as far as it says.
        holder: String,
    },
    /// An earlier sync through the same handle failed; see [`LatchingDisk`].
    #[error(
        "an earlier sync of '{}' failed, so recent writes may be lost: start the command again",
        path.display()
    )]
    Latched { path: PathBuf },
}

impl DurableError {
    /// Wraps the system's answer to `verb` on `path`.
    pub fn new(verb: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error)
        {
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
                Self::Full { verb, path, source }
            }
            _ => Self::Io { verb, path, source },
        }
    }

    /// Says whether there was no room.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// What fails when there is no room behind the end of a file.
const APPEND: &str = "append to";

/// The primitives. Nothing is durable before [`Disk::sync_fs`], [`Disk::sync_file`],
/// [`Disk::sync_dir`] or [`Disk::append`] returned.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes a directory with exactly this mode, the group of the process and no access list,
    /// whatever its surroundings; one that exists is left as it is.
    fn mkdir(&self, path: &Path, mode: u32) -> Result<(), DurableError>;

    /// Makes a new file, as exactly as a directory, and fills it; an existing one is an error.
    fn write(
        &self,
        path: &Path,
        mode: u32,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), DurableError>;

    /// Waits until the contents of a file are durable; its name is not yet.
    fn sync_file(&self, path: &Path) -> Result<(), DurableError>;

    /// Makes a symlink; an existing name is an error.
    fn symlink(&self, target: &Path, path: &Path) -> Result<(), DurableError>;

    /// Renames, and replaces what stands at `to`.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DurableError>;

    /// Lets two names change places; where there is nothing at `to`, or the filesystem cannot swap
    /// names, renames as [`Disk::rename`].
    fn exchange(&self, from: &Path, to: &Path) -> Result<(), DurableError>;

    /// Removes a file, a symlink or an empty directory; removing what is absent succeeds.
    fn remove(&self, path: &Path) -> Result<(), DurableError>;

    /// Removes what is called as the end of `path` in `dir`, which is open and should be what the rest
    /// of `path` leads to; as [`Disk::remove`] otherwise. Whoever may change the way there cannot
    /// lead the removal elsewhere.
    fn remove_in(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DurableError>;

    /// Renames from one open directory to another, by the ends of the paths as in
    /// [`Disk::remove_in`]. Replaces nothing: `false` says that there is something at `to`.
    fn rename_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError>;

    /// Lets the ends of two paths in two open directories change places, as in [`Disk::rename_in`].
    /// `false` says that one of them is not there.
    fn exchange_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError>;

    /// Appends to a file, which is made with mode 0644 when absent, and waits until the bytes are
    /// durable. Where there is no room for all of them, none stays.
    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError>;

    /// Waits until everything written to the filesystem that holds `dir` is durable.
    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError>;

    /// Waits until the names in `dir` are durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError>;

    /// Refuses once a sync failed, where that is remembered; for what would otherwise succeed
    /// because there is nothing to do.
    fn require_unharmed(&self) -> Result<(), DurableError> {
        Ok(())
    }

    /// What [`replace_file`] and [`replace_symlink`] take when there is no room, if anything is kept
    /// for that.
    fn reserve(&self) -> Option<&Reserve> {
        None
    }
}

/// Replaces the file `path` by `bytes` durably: a new file beside it, synced, renamed over it, the
/// directory synced.
///
/// The rename is the commit point; without room, the exchange with a spare file.
pub fn replace_file(
    disk: &dyn Disk,
    path: &Path,
    mode: u32,
    bytes: &[u8],
) -> Result<(), DurableError> {
    let beside = beside(path);
    disk.remove(&beside)?;
    match disk.write(&beside, mode, &mut |file| io::Write::write_all(file, bytes)) {
        Err(error) if error.is_no_room() => match disk.reserve() {
            Some(reserve) if reserve.replace_file(disk, path, mode, bytes)? => return Ok(()),
            _ => return Err(error),
        },
        result => result?,
    }
    disk.sync_file(&beside)?;
    disk.rename(&beside, path)?;
    disk.sync_dir(parent(path))
}

/// Points the symlink `path` at `target` durably; the rename, or exchange, is the commit point.
pub fn replace_symlink(disk: &dyn Disk, path: &Path, target: &Path) -> Result<(), DurableError> {
    let beside = beside(path);
    disk.remove(&beside)?;
    match disk.symlink(target, &beside) {
        Err(error) if error.is_no_room() => match disk.reserve() {
            Some(reserve) if reserve.replace_symlink(disk, path, target)? => return Ok(()),
            _ => return Err(error),
        },
        result => result?,
    }
    disk.rename(&beside, path)?;
    disk.sync_dir(parent(path))
}

/// Removes a small file durably. Where the reserve lacks one, it goes there: on a full disk, not every
/// filesystem makes a new one of what a removal frees.
pub fn retire_file(disk: &dyn Disk, path: &Path) -> Result<(), DurableError> {
    let slot = disk.reserve().and_then(Reserve::free_slot);
    match slot.filter(|_| path.symlink_metadata().is_ok_and(|found| found.is_file())) {
        Some(slot) => disk.rename(path, &slot)?,
        None => disk.remove(path)?,
    }
    disk.sync_dir(parent(path))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
