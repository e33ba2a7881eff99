//! The primitives on a real filesystem.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::exact::{make_dir, make_file};
use super::{Disk, DurableError};

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

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        let open = || OpenOptions::new().append(true).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_file(path, 0o644).and_then(|_| open())
            }
            file => file,
        };
        let mut file = file.map_err(|error| DurableError::new("open", path, error))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_data())
            .map_err(|error| DurableError::new("append to", path, error))
    }

    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError> {
        let file = File::open(dir).map_err(|error| DurableError::new("open", dir, error))?;
        rustix::fs::syncfs(&file)
            .map_err(|error| DurableError::new("sync the filesystem of", dir, error.into()))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError> {
        let file = File::open(dir).map_err(|error| DurableError::new("open", dir, error))?;
        file.sync_all()
            .map_err(|error| DurableError::new("sync", dir, error))
    }
}
