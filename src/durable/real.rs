//! The primitives on a real filesystem.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use super::exact::{make_dir, make_file};
use super::{APPEND, Disk, DurableError};

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn mkdir(&self, path: &Path, mode: u32) -> Result<(), DurableError> {
        match make_dir(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result.map_err(|error| DurableError::new("make directory", path, error)),
        }
    }

    fn write(
        &self,
        path: &Path,
        mode: u32,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        let result = make_file(path, mode).and_then(|mut file| {
            // A half-filled file has no name once it failed, so that nothing has to be cleaned up
            // for it.
            fill(&mut file).inspect_err(|_| drop(fs::remove_file(path)))
        });
        result.map_err(|error| DurableError::new("write", path, error))
    }

    fn sync_file(&self, path: &Path) -> Result<(), DurableError> {
        let sync = File::open(path).and_then(|file| file.sync_data());
        sync.map_err(|error| DurableError::new("sync", path, error))
    }

    fn symlink(&self, target: &Path, path: &Path) -> Result<(), DurableError> {
        std::os::unix::fs::symlink(target, path)
            .map_err(|error| DurableError::new("make symlink", path, error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        fs::rename(from, to).map_err(|error| DurableError::new("rename to", to, error))
    }

    fn exchange(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => self.rename(from, to),
            result => result.map_err(|errno| DurableError::new("rename to", to, errno.into())),
        }
    }

    fn remove(&self, path: &Path) -> Result<(), DurableError> {
        let result = match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(path),
            result => result,
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| DurableError::new("remove", path, error)),
        }
    }

    fn remove_in(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DurableError> {
        let name = path.file_name().unwrap_or_default();
        let result = match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
            result => result,
        };
        match result {
            Err(Errno::NOENT) => Ok(()),
            result => result.map_err(|errno| DurableError::new("remove", path, errno.into())),
        }
    }

    fn rename_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        let old = from.file_name().unwrap_or_default();
        let new = to.file_name().unwrap_or_default();
        let flags = RenameFlags::NOREPLACE;
        let result = match rustix::fs::renameat_with(from_dir, old, to_dir, new, flags) {
            // Not every filesystem knows how to replace nothing.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(to_dir, new, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(Errno::EXIST),
                    Err(Errno::NOENT) => rustix::fs::renameat(from_dir, old, to_dir, new),
                    Err(errno) => Err(errno),
                }
            }
            result => result,
        };
        match result {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(DurableError::new("rename to", to, errno.into())),
        }
    }

    fn exchange_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        let old = from.file_name().unwrap_or_default();
        let new = to.file_name().unwrap_or_default();
        match rustix::fs::renameat_with(from_dir, old, to_dir, new, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(DurableError::new("rename to", to, errno.into())),
        }
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        let open = || OpenOptions::new().append(true).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_file(path, 0o644).and_then(|_| open())
            }
            file => file,
        };
        let mut file = file.map_err(|error| DurableError::new("open", path, error))?;
        let before = file.metadata().map(|found| found.len());
        file.write_all(bytes).map_err(|error| {
            // Half a line would have to be cut off by the next command, which needs room for that.
            if let Ok(before) = before {
                let _ = file.set_len(before);
            }
            DurableError::new(APPEND, path, error)
        })?;
        file.sync_data()
            .map_err(|error| DurableError::new("sync", path, error))
    }

    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError> {
        let file = File::open(dir).map_err(|error| DurableError::new("open", dir, error))?;
        rustix::fs::syncfs(&file)
            .map_err(|error| DurableError::new("sync the filesystem of", dir, error.into()))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError> {
        // Nothing but a directory: another thing may have come there, and a pipe would keep us.
        let flags = rustix::fs::OFlags::DIRECTORY.bits();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(flags).unwrap_or(0))
            .open(dir);
        let file = opened.map_err(|error| DurableError::new("open", dir, error))?;
        file.sync_all()
            .map_err(|error| DurableError::new("sync", dir, error))
    }
}
