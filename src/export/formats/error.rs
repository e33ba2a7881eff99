//! What can go wrong when a disk image is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::DiskFormat;

/// A disk image that cannot be written.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The raw disk cannot be read.
    #[error("cannot read the disk that was assembled")]
    Read { source: io::Error },
    /// The image cannot be written.
    #[error("cannot write '{}'", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// There is too little room.
    #[error(
        "'{}' does not fit: {} {needed} bytes are needed, and {available} are free",
        path.display(),
        if *is_estimate { "about" } else { "exactly" }
    )]
    Full {
        path: PathBuf,
        needed: u64,
        available: u64,
        /// The need is not known exactly, because what is written is compressed.
        is_estimate: bool,
    },
    /// The format has no disks of this size.
    #[error("a disk of {size} bytes cannot be a {format}: {rule}")]
    Size {
        format: DiskFormat,
        size: u64,
        rule: &'static str,
    },
    /// The name of an appliance cannot be a file name in its archive.
    #[error(
        "'{name}' cannot name an appliance: use 1 to 80 letters, digits, dots, dashes and underscores, no dot first"
    )]
    Name { name: String },
    /// An interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}

impl FormatError {
    pub(super) fn read(source: io::Error) -> Self {
        Self::Read { source }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

/// Refuses when `needed` bytes do not fit where `file` is.
pub(super) fn require_room(file: &File, path: &Path, needed: u64) -> Result<(), FormatError> {
    let available = available(file).map_err(|error| FormatError::write(path, error))?;
    match needed <= available {
        true => Ok(()),
        false => Err(FormatError::Full {
            path: path.to_owned(),
            needed,
            available,
            is_estimate: false,
        }),
    }
}

/// How much of the work is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Bytes of data that were looked at.
    pub(super) done: u64,
    /// Bytes of data that there are.
    pub(super) total: u64,
}

impl Share {
    /// The share when nothing is left to do.
    pub(super) const ALL: Self = Self { done: 1, total: 1 };

    /// Returns the same share of `whole`.
    pub(super) fn of(self, whole: u64) -> u64 {
        scale(whole, self.done, self.total)
    }
}

fn scale(number: u64, by: u64, over: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(by) / u128::from(over.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Says what a failed write means, when `written` bytes were written for a share of the work.
pub(super) fn explain_write(
    (file, path): (&File, &Path),
    written: u64,
    share: Share,
    error: io::Error,
) -> FormatError {
    let is_full = matches!(
        error
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error),
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)
    );
    if !is_full {
        return FormatError::write(path, error);
    }
    // What the file has by now is room for it too.
    let held = file
        .metadata()
        .map_or(0, |metadata| metadata.blocks() * 512);
    let available = available(file).unwrap_or(0).saturating_add(held);
    FormatError::Full {
        path: path.to_owned(),
        // What was tried did not fit, whatever the estimate says.
        needed: scale(written, share.total, share.done).max(available.saturating_add(1)),
        available,
        is_estimate: true,
    }
}

fn available(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
