//! Private working directories and all-or-nothing small files.

use super::error::AptError;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Owns a directory that disappears with the value.
pub(super) struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes a new directory below `parent`; its name is unique among running processes.
    pub(super) fn new(parent: &Path, purpose: &str) -> Result<Self, AptError> {
        fs::create_dir_all(parent).map_err(AptError::io("create", parent))?;
        loop {
            let path = unique(parent, purpose);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a killed process that had our id: the counter moves on.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(AptError::io("create", &path)(e)),
            }
        }
    }

    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; what is left is cache and may be deleted by
        // anyone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a small file so that readers see the old content or the new, never a part.
///
/// It is not synced: everything written this way is a cache, and its readers check what they read.
pub(super) fn write_atomic(path: &Path, content: &[u8]) -> Result<(), AptError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(AptError::io("create", parent))?;
    let temporary = unique(parent, ".new");
    fs::write(&temporary, content).map_err(AptError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(AptError::io("rename to", path))
}

/// Writes a small file as [`write_atomic`] does, for its owner alone to read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), AptError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(AptError::io("create", parent))?;
    let temporary = unique(parent, ".new");
    let options = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary);
    let written = options.and_then(|mut file| file.write_all(content));
    written.map_err(AptError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(AptError::io("rename to", path))
}

fn unique(parent: &Path, purpose: &str) -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    parent.join(format!("{purpose}-{}-{number}", std::process::id()))
}
