//! Files that people asked for: written beside their place, and renamed when they are whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::formats::DiskFormat;
use super::{DiskOutput, ExportError};

/// A file that is being written under another name; dropping it removes it.
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
        let fail = |verb, error| ExportError::io(verb, &beside, error);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fail("remove", error));
            }
            _ => {}
        }
        // What an image holds is for whoever may read its repository; the owner may open it later.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside)
            .map_err(|error| fail("make", error))?;
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

    /// Gives it its name: the commit point of an export.
    pub(super) fn place(mut self) -> Result<(), ExportError> {
        std::fs::rename(&self.beside, &self.path)
            .map_err(|error| ExportError::io("rename to", &self.path, error))?;
        self.is_placed = true;
        let dir = parent(&self.path);
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| ExportError::io("write", dir, error))
    }
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
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| ExportError::io("look at", path, error))?,
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        if replace.iter().any(|given| given == path) {
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

/// Refuses when the raw disk, which is written first in any case, does not fit where it goes.
///
/// How much a compressed output takes is known only when it is written.
pub(super) fn require_room(outputs: &[DiskOutput], used: u64) -> Result<(), ExportError> {
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
    if available >= used {
        return Ok(());
    }
    Err(ExportError::NoSpace {
        path: dir.to_owned(),
        needed: used,
        available,
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path) -> Result<PathBuf, ExportError> {
    let name = path.file_name().ok_or_else(|| ExportError::NotAFile {
        path: path.to_owned(),
        what: "no name of a file",
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".part");
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
        new.place().unwrap();
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
