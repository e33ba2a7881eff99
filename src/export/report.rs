//! What became of an export.

use std::path::PathBuf;

use serde::Serialize;

use super::SizeReport;
use crate::id::ImageId;

/// A disk, and the files that were made of it. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiskReport {
    /// The image.
    pub image: ImageId,
    /// The version of its kernel.
    pub kernel: String,
    /// The size of the disk as a machine sees it.
    pub virtual_bytes: u64,
    /// What of it holds something.
    pub used_bytes: u64,
    /// Its partitions.
    pub partitions: Vec<PartReport>,
    /// The files; none when nothing was written.
    pub outputs: Vec<OutputReport>,
    /// Rules of profiles that are broken, and that are no reason to refuse.
    pub remarks: Vec<String>,
    /// Where the bytes come from, where that was asked for.
    pub sizes: Option<SizeReport>,
    /// How long it took.
    pub seconds: f64,
    /// Whether nothing was written, as asked.
    #[serde(rename = "dry_run")]
    pub is_dry_run: bool,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// Its name in the description.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// Its size.
    pub bytes: u64,
    /// What its filesystem holds, with the filesystem's own data; none where it has no filesystem.
    pub used: Option<u64>,
}

/// A file that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputReport {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: &'static str,
    /// Its size; that of a raw disk with its holes.
    pub bytes: u64,
}
