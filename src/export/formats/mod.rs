//! Disk images as files: what hypervisors and clouds take, made of a finished raw disk.
//!
//! Every writer is our own, and depends on nothing but the disk, the [`Seed`] and the options: the
//! same input gives the same bytes on every machine, however many threads work. Zeros are never
//! stored, where the format allows that.
//!
//! The caller gives an empty file under a temporary name, and renames it when all is well.

mod cache;
mod cluster;
mod codec;
mod disk_format;
mod error;
mod fixed;
mod gcp;
mod guid;
mod gzip;
mod ova;
mod ovf;
mod pipeline;
mod qcow2;
mod raw;
mod source;
mod tar;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

pub use cache::{CacheUse, ClusterCache};
pub use codec::Codec;
pub use disk_format::{DiskFormat, UnknownFormat};
pub use error::FormatError;
pub use ovf::{Appliance, Firmware, GuestOs, Hypervisor, ManifestDigest};
pub use source::Source;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::Seed;

/// Hears how many bytes of the disk are done, and how many there are.
pub type Progress<'a> = dyn Fn(u64, u64) + 'a;

/// Where a disk image goes: an empty file, and the name that messages call it by.
#[derive(Debug)]
pub struct Output<'a> {
    /// Open for reading and writing.
    pub file: &'a mut File,
    /// What it is called in messages.
    pub path: &'a Path,
}

/// How to write a disk image.
pub struct FormatOptions<'a> {
    /// The origin of every identifier.
    pub seed: Seed,
    /// The date of what has one, such as a VHD, in seconds since 1970: the image's, not today's.
    pub epoch: i64,
    /// How clusters of a qcow2 are compressed; `None` leaves them plain.
    pub qcow2: Option<Codec>,
    /// What an OVA says of the machine.
    pub appliance: &'a Appliance,
    /// How many threads compress.
    pub threads: usize,
    /// Clusters that were compressed before.
    pub cache: Option<&'a ClusterCache>,
    /// Hears how it goes.
    pub progress: &'a Progress<'a>,
    /// Ends the work with [`FormatError::Interrupted`].
    pub cancel: &'a AtomicBool,
}

impl FormatOptions<'_> {
    /// Returns the same for a part of the work that nobody hears of.
    fn silent(&self) -> Self {
        Self {
            progress: &|_, _| (),
            ..*self
        }
    }

    fn require_going_on(&self) -> Result<(), FormatError> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(FormatError::Interrupted),
            false => Ok(()),
        }
    }
}

/// Writes the disk of `source` as `format` into `output`; returns how many bytes the file has.
pub fn write(
    format: DiskFormat,
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    format.require_size(source.size())?;
    let writer = match format {
        DiskFormat::Raw => raw::write,
        DiskFormat::Qcow2 => qcow2::write,
        DiskFormat::Vmdk => vmdk::write,
        DiskFormat::Vhd => vhd::write,
        DiskFormat::Vhdx => vhdx::write,
        DiskFormat::Vdi => vdi::write,
        DiskFormat::Ova => ova::write,
        DiskFormat::Gcp => gcp::write,
        DiskFormat::RawGzip => raw::write_gzip,
    };
    writer(source, output, options)
}
