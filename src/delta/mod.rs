//! Deltas: one file that leads from one layer or image to another.
//!
//! [`encode`] describes each object that the receiver lacks by what it has: parts of other objects
//! as they are, and fresh data that is compressed against them; it looks into compressed files
//! where [`crate::codec`] can make them again. [`Delta::open`] reads such a file, and
//! [`Delta::apply`] makes the objects. The format is in [`crate::format::delta`].
//!
//! Nothing that a delta makes is trusted: whoever takes it ([`DeltaSink`]) checks digests. An
//! object that cannot be made is reported, and the others are made all the same: what is missing
//! can be had in full.

mod apply;
mod archive;
mod cost;
mod cpio;
mod encode;
mod extents;
mod frames;
mod names;
mod object_maker;
mod open;
mod order;
mod parallel;
mod plan;
mod run;
mod sketch;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, Write};

pub use apply::ApplyReport;
pub use cost::RecompressionCost;
pub use encode::{EncodeMethod, EncodedDelta, MethodStats, encode};
pub use open::{Delta, DeltaLimits};

use crate::format::FormatError;
use crate::format::release::ReleaseId;
use crate::id::ObjectId;
use crate::path::RelPath;

/// Gives the bytes of objects.
pub trait ObjectReader: Sync {
    /// Opens an object, at its first byte.
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>>;
}

/// What can be read from any place.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Reads a delta from any place, by several threads.
pub trait ReadAt: Sync {
    /// Returns the size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

impl ReadAt for std::fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Takes objects as they are made.
pub trait DeltaSink: Sync {
    /// Calls `fill` once to have the object written, and stores it if it has the size and the
    /// digest that it should have; nothing is visible before. Objects that were stored must be
    /// among the [`ObjectReader`] when this returns.
    fn put(&self, id: &ObjectId, size: u64, fill: &mut Fill<'_>) -> Result<(), PutError>;
}

/// Writes an object.
pub type Fill<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// Why an object was not stored.
// Most fields say by their names what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It could not be made, or is not what it should be; others may be.
    #[error("{0}")]
    Content(String),
    /// It cannot be stored here, and neither can others.
    #[error("cannot store an object")]
    Storage(#[source] io::Error),
}

/// An object, and the paths that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaItem {
    /// Its id.
    pub id: ObjectId,
    /// Size in bytes.
    pub size: u64,
    /// Its paths; the first is taken where one is needed.
    pub paths: Vec<RelPath>,
}

/// What to encode as a delta.
pub struct DeltaRequest<'a> {
    /// What the receiver has.
    pub from: ReleaseId,
    /// What it gets.
    pub to: ReleaseId,
    /// The manifests, old and new.
    pub manifests: [&'a [u8]; 2],
    /// The trees or changesets, old and new.
    pub trees: [&'a [u8]; 2],
    /// Objects that the receiver has.
    pub old: &'a [DeltaItem],
    /// Objects that it has or gets otherwise, before this delta is applied.
    pub also: &'a [DeltaItem],
    /// Objects that it lacks; each once, and none of those above.
    pub new: &'a [DeltaItem],
    /// What an object costs without a delta, in bytes.
    pub full_cost: &'a (dyn Fn(&ObjectId) -> u64 + Sync),
}

/// How a delta is made.
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions {
    /// Threads that work at the same time; each takes up to about 200 MB.
    pub threads: usize,
    /// The zstd level of frames.
    pub level: i32,
    /// The most memory that a receiver takes to make compressed files again, in bytes.
    pub memory: u64,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            threads: 2,
            level: 19,
            memory: 60 << 20,
        }
    }
}

/// What can go wrong with a delta as a whole.
// Most fields say by their names what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The bytes are not a delta, or a delta of something else.
    #[error("the delta cannot be read")]
    Format(#[from] FormatError),
    /// It is larger than this machine accepts.
    #[error("the delta is refused: {reason}")]
    Limit {
        /// Which bound it exceeds.
        reason: String,
    },
    /// A frame is damaged, or made for something else.
    #[error("the {what} of the delta cannot be unpacked")]
    Damaged {
        /// `index`, `manifest` or `tree`.
        what: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// The delta itself, or an object to be encoded, cannot be read or written.
    #[error("cannot {verb} {what}")]
    Io {
        verb: &'static str,
        what: String,
        source: io::Error,
    },
    /// The receiving side failed.
    #[error("cannot store the object {id}")]
    Storage { id: ObjectId, source: io::Error },
    /// An interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}

fn io_error(verb: &'static str, what: &str, source: io::Error) -> DeltaError {
    DeltaError::Io {
        verb,
        what: what.to_owned(),
        source,
    }
}
