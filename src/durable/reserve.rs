//! Room that is kept for the day on which there is none: small files with their blocks, links that may
//! be wanted, and blocks behind the end of a file that grows.
//!
//! Nothing is freed to be allocated again: whoever fills the disk would be quicker. A spare file is
//! overwritten where it is, and changes places with the file that it replaces, which is the spare one
//! from then on. So the reserve lasts however often it is used, on filesystems that overwrite in place
//! and swap names (ext4, XFS). Elsewhere it may help less, and never harms.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags};

use super::{Disk, DurableError, make_exact, parent};

/// How many files are kept: more than one command replaces, so that the next one finds some where
/// names cannot be swapped.
const FILES: usize = 8;

/// How many bytes each can take.
const FILE_BYTES: u64 = 8 << 10;

/// How many bytes are kept behind the end of a file that grows.
const GROWTH_BYTES: u64 = 64 << 10;

/// The reserve of one directory.
#[derive(Debug)]
pub struct Reserve {
    dir: PathBuf,
    was_used: AtomicBool,
}

impl Reserve {
    /// Names a reserve, which may not be there yet.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            was_used: AtomicBool::new(false),
        }
    }

    /// Says whether something was taken from it: the disk is full.
    pub fn was_used(&self) -> bool {
        self.was_used.load(Ordering::Relaxed)
    }

    /// Makes what is missing, as far as there is room: files, a link to each of `links`, and blocks
    /// behind the end of `growing`.
    pub fn refill(
        &self,
        disk: &dyn Disk,
        links: &BTreeSet<PathBuf>,
        growing: &Path,
    ) -> Result<(), DurableError> {
        // A file that is not there, or a filesystem without allocation, is no fault.
        let _ = allocate_behind(growing);
        if !self.dir.is_dir() {
            disk.mkdir(&self.dir, 0o700)?;
        }
        self.keep_links(disk, links)?;
        self.keep_files(disk)
    }

    fn keep_files(&self, disk: &dyn Disk) -> Result<(), DurableError> {
        for number in 0..FILES {
            let path = self.dir.join(number.to_string());
            match fs::symlink_metadata(&path) {
                Ok(found) if found.blocks() * 512 >= FILE_BYTES || !found.is_file() => {}
                // It came from a smaller file that was replaced; it has more blocks after this, or
                // the same.
                Ok(_) => overwrite(&path, &spare_bytes())
                    .map(drop)
                    .map_err(|error| DurableError::new("write", &path, error))?,
                Err(_) => disk.write(&path, 0o600, &mut |file| file.write_all(&spare_bytes()))?,
            }
        }
        Ok(())
    }

    /// Returns where a spare file is missing; none before the reserve is made.
    pub(super) fn free_slot(&self) -> Option<PathBuf> {
        let slots = (0..FILES).map(|number| self.dir.join(number.to_string()));
        let mut free = slots.filter(|path| fs::symlink_metadata(path).is_err());
        free.next().filter(|_| self.dir.is_dir())
    }

    fn keep_links(&self, disk: &dyn Disk, links: &BTreeSet<PathBuf>) -> Result<(), DurableError> {
        let mut there = BTreeSet::new();
        for (path, target) in self.links() {
            if !links.contains(&target) || !there.insert(target) {
                disk.remove(&path)?;
            }
        }
        let mut names = (0..).map(|number| self.dir.join(format!("link-{number}")));
        for target in links.difference(&there) {
            let free = names.find(|path| fs::symlink_metadata(path).is_err());
            if let Some(path) = free {
                disk.symlink(target, &path)?;
            }
        }
        Ok(())
    }

    /// Lists the links with their targets.
    fn links(&self) -> Vec<(PathBuf, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some((entry.path(), fs::read_link(entry.path()).ok()?)))
            .collect();
        found.sort();
        found
    }

    /// Does what [`super::replace_file`] does, without a new block or inode; says whether it could.
    pub(super) fn replace_file(
        &self,
        disk: &dyn Disk,
        path: &Path,
        mode: u32,
        bytes: &[u8],
    ) -> Result<bool, DurableError> {
        let spare = (0..FILES)
            .map(|number| self.dir.join(number.to_string()))
            .find(|spare| {
                let found = fs::symlink_metadata(spare);
                found.is_ok_and(|found| {
                    found.is_file() && found.blocks() * 512 >= (bytes.len() as u64).max(1)
                })
            });
        let Some(spare) = spare else {
            return Ok(false);
        };
        // Where the filesystem writes elsewhere than before, it has no room for this either.
        let filled = overwrite(&spare, bytes).and_then(|file| {
            file.set_len(bytes.len() as u64)?;
            make_exact(file.as_fd(), mode)
        });
        if filled.is_err() {
            return Ok(false);
        }
        disk.sync_file(&spare)?;
        self.put(disk, &spare, path)
    }

    /// Does what [`super::replace_symlink`] does, without a new inode; says whether it could.
    pub(super) fn replace_symlink(
        &self,
        disk: &dyn Disk,
        path: &Path,
        target: &Path,
    ) -> Result<bool, DurableError> {
        let spare = self.links().into_iter().find(|(_, found)| found == target);
        match spare {
            Some((spare, _)) => self.put(disk, &spare, path),
            None => Ok(false),
        }
    }

    fn put(&self, disk: &dyn Disk, spare: &Path, path: &Path) -> Result<bool, DurableError> {
        disk.exchange(spare, path)?;
        disk.sync_dir(parent(path))?;
        self.was_used.store(true, Ordering::Relaxed);
        Ok(true)
    }
}

/// Not zeros, which a filesystem might keep as a hole.
fn spare_bytes() -> Vec<u8> {
    vec![b'.'; usize::try_from(FILE_BYTES).unwrap_or(0)]
}

/// Writes over the first bytes of a file, which keeps its blocks.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Gives a file blocks behind its end, where it has few of them.
fn allocate_behind(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let found = file.metadata()?;
    if found.blocks() * 512 >= found.len() + GROWTH_BYTES / 2 {
        return Ok(());
    }
    rustix::fs::fallocate(
        &file,
        FallocateFlags::KEEP_SIZE,
        0,
        found.len() + GROWTH_BYTES,
    )?;
    Ok(())
}
