//! Images whose data is stored as it is, in blocks.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::error::{Share, explain_write};
use super::pipeline::for_each_unit;
use super::source::is_zero;
use super::{FormatError, FormatOptions, Output, Source};

/// Zeros of this many bytes inside a block become a hole of the file.
const HOLE: usize = 65536;

/// A file that is written here and there.
pub(super) struct Image<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
}

impl<'a> Image<'a> {
    pub(super) fn new(output: &'a Output<'_>) -> Self {
        Self {
            file: &*output.file,
            path: output.path,
        }
    }

    /// Writes at `offset`, but for zeros, where the file keeps its hole.
    pub(super) fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        for (number, part) in (0..).zip(bytes.chunks(HOLE)) {
            if !is_zero(part) {
                let at = offset + number * HOLE as u64;
                let put = self.file.write_all_at(part, at);
                put.map_err(|error| explain_write((self.file, self.path), 0, Share::ALL, error))?;
            }
        }
        Ok(())
    }

    /// Gives the file its size, and returns it.
    pub(super) fn finish(&self, length: u64) -> Result<u64, FormatError> {
        self.file
            .set_len(length)
            .map_err(|error| FormatError::write(self.path, error))?;
        Ok(length)
    }
}

/// Writes the blocks that are not zero one after another from `data_at` on, and tells `placed` the
/// number that each has in the disk and in the file; returns how many there are.
pub(super) fn put_blocks(
    source: &Source<'_>,
    options: &FormatOptions<'_>,
    image: &Image<'_>,
    block: u64,
    data_at: u64,
    mut placed: impl FnMut(u64, u64),
) -> Result<u64, FormatError> {
    let mut used = 0;
    let make = || |bytes: &[u8]| Ok(bytes.to_vec());
    for_each_unit(source, options, block, make, |unit, _| {
        image.put(data_at + used * block, &unit.made)?;
        placed(unit.index, used);
        used += 1;
        Ok(())
    })?;
    Ok(used)
}

/// Writes the disk as it is, sparse.
pub(super) fn put_disk(
    source: &Source<'_>,
    options: &FormatOptions<'_>,
    image: &Image<'_>,
) -> Result<(), FormatError> {
    let block = HOLE as u64;
    let make = || |bytes: &[u8]| Ok(bytes.to_vec());
    for_each_unit(source, options, block, make, |mut unit, _| {
        let at = unit.index * block;
        // The last one is padded.
        unit.made.truncate((source.size() - at).min(block) as usize);
        image.put(at, &unit.made)
    })
}
