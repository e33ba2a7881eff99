//! Files that people asked for: written beside their place, and renamed when they are whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags};

use super::formats::DiskFormat;
use super::{DiskOutput, ExportError};

/// What hides the name of an output until it is whole.
const SUFFIX: &str = ".part";
/// The longest name that filesystems take, in bytes.
const LONGEST_NAME: usize = 255;

/// A file that is being written under another name; dropping it removes it.
///
/// It is locked as long as it is written, so that a second export to the same name sees it. What a
/// killed export left is not locked, and makes room.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    is_placed: bool,
}

impl NewFile {
    /// Begins a file whose final name is `path`, and removes what a killed export left beside it.
    pub(super) fn create(path: &Path) -> Result<Self, ExportError> {
        let beside = beside(path)?;
        remove_leftover(&beside, path)?;
        // What an image holds is for whoever may read its repository; the owner may open it later.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => busy(path),
                _ => ExportError::io("make", &beside, error),
            })?;
        if is_locked_by_another(&file) {
            // It is theirs: they took it for what a killed export left.
            return Err(busy(path));
        }
        Ok(Self {
            path: path.to_owned(),
            beside,
            file,
            is_placed: false,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns the name that it has until it is whole.
    pub(super) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Waits until its bytes are durable.
    pub(super) fn sync(&self) -> Result<(), ExportError> {
        let synced = self.file.sync_all();
        synced.map_err(|error| ExportError::io("write", &self.path, error))
    }

    /// Gives it its name: the commit point of an export. What got this name since it was looked at
    /// stays, unless it is one that may be replaced.
    pub(super) fn place(mut self, replace: &[PathBuf]) -> Result<(), ExportError> {
        if !may_replace(&self.path, replace) && std::fs::symlink_metadata(&self.path).is_ok() {
            return Err(ExportError::Exists {
                path: self.path.clone(),
            });
        }
        std::fs::rename(&self.beside, &self.path)
            .map_err(|error| ExportError::io("rename to", &self.path, error))?;
        self.is_placed = true;
        let dir = parent(&self.path);
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| ExportError::io("write", dir, error))
    }
}

fn busy(path: &Path) -> ExportError {
    ExportError::Busy {
        path: path.to_owned(),
    }
}

/// Locks a file that nobody else has locked. Where a filesystem knows no locks, nobody has.
fn is_locked_by_another(file: &File) -> bool {
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Removes what a killed export to `path` left at `beside`; what another one is writing is an error.
fn remove_leftover(beside: &Path, path: &Path) -> Result<(), ExportError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    // What cannot be opened is no file of ours that is being written.
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(beside)
        .ok();
    if let Some(file) = &open {
        // Between the two calls, the file may have got its final name, or been removed.
        if is_locked_by_another(file) || !is_at(file, beside) {
            return Err(busy(path));
        }
    }
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ExportError::io("remove", beside, error))
        }
        _ => Ok(()),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(theirs)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_placed {
            // What cannot be removed now is removed by the next export to this name.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

/// Refuses a place that cannot be written, or that holds something which nobody gave up.
pub(super) fn check_place(path: &Path, replace: &[PathBuf]) -> Result<(), ExportError> {
    beside(path)?;
    let dir = parent(path);
    if !dir.is_dir() {
        return Err(ExportError::NoDirectory {
            path: path.to_owned(),
        });
    }
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| ExportError::io("write in", dir, error.into()))?;
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| ExportError::io("look at", path, error))?,
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        if may_replace(path, replace) {
            return Ok(());
        }
        return Err(ExportError::Exists {
            path: path.to_owned(),
        });
    }
    let what = if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "no regular file"
    };
    Err(ExportError::NotAFile {
        path: path.to_owned(),
        what,
    })
}

/// Refuses when the raw disk, which is written first in any case, does not fit where it goes. Its
/// holes take nothing, so `exact` counts the rest where there is less room than its whole size.
///
/// The other formats look for themselves, once they see the disk.
pub(super) fn require_room(
    outputs: &[DiskOutput],
    size: u64,
    exact: impl FnOnce() -> Result<u64, ExportError>,
) -> Result<(), ExportError> {
    let Some(first) = outputs
        .iter()
        .min_by_key(|output| output.format != DiskFormat::Raw)
    else {
        return Ok(());
    };
    let dir = parent(&first.path);
    let available = crate::durable::available_bytes(dir);
    let available =
        available.map_err(|error| ExportError::io("measure the free space of", dir, error))?;
    if available >= size {
        return Ok(());
    }
    let needed = exact()?;
    if available >= needed {
        return Ok(());
    }
    Err(ExportError::NoSpace {
        path: dir.to_owned(),
        needed,
        available,
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn may_replace(path: &Path, replace: &[PathBuf]) -> bool {
    replace.iter().any(|given| is_same(given, path))
}

/// Says whether two paths name one file, which need not be there.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        Some((
            parent(path).canonicalize().ok()?,
            path.file_name()?.to_owned(),
        ))
    };
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

/// Removes what killed exports to `path` left beside it under the names that an export may use.
pub(super) fn remove_leftovers(path: &Path) -> Result<(), ExportError> {
    for added in ["raw", "mkfs"] {
        remove_leftover(&beside(&path.with_added_extension(added))?, path)?;
    }
    Ok(())
}

fn beside(path: &Path) -> Result<PathBuf, ExportError> {
    let name = path.file_name().ok_or_else(|| ExportError::NotAFile {
        path: path.to_owned(),
        what: "no name of a file",
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    if name.len() + hidden.len() + SUFFIX.len() > LONGEST_NAME {
        let digest = blake3::hash(name.as_bytes());
        hidden.push(&digest.to_hex()[..32]);
    } else {
        hidden.push(name);
    }
    hidden.push(SUFFIX);
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_half_stands_under_the_final_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.raw");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        std::fs::write(dir.path().join(".web.raw.part"), "of a killed export").unwrap();
        let new = NewFile::create(&path).unwrap();
        assert!(!path.exists() && names() == 1);
        drop(new);
        assert_eq!(names(), 0);
        let new = NewFile::create(&path).unwrap();
        new.place(&[]).unwrap();
        assert!(path.exists() && names() == 1);
    }

    #[test]
    fn a_place_that_is_taken_is_refused_by_what_stands_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.raw");
        check_place(&path, &[]).unwrap();
        std::fs::write(&path, "old").unwrap();
        let refusal = |path: &Path| check_place(path, &[]).unwrap_err().to_string();
        assert!(refusal(&path).contains("exists already"));
        check_place(&path, std::slice::from_ref(&path)).unwrap();
        assert!(refusal(dir.path()).contains("a directory"));
        assert!(refusal(Path::new("/dev/null")).contains("a device"));
        assert!(refusal(&dir.path().join("no/web.raw")).contains("no directory"));
        std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
        assert!(refusal(&dir.path().join("link")).contains("symbolic link"));
        assert!(refusal(Path::new("/")).contains("no name"));
    }
}
