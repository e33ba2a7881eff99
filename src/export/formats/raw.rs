//! The bytes of the disk, sparse, or compressed by gzip.

use super::error::require_room;
use super::fixed::{Image, put_disk};
use super::gzip::{Part, write_gzip as pack};
use super::{FormatError, FormatOptions, Output, Source};

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let image = Image::new(output);
    require_room(image.file, image.path, source.data_bytes(65536)?)?;
    put_disk(source, options, &image)?;
    image.finish(source.size())
}

pub(super) fn write_gzip(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    pack(source, output, options, &[Part::Disk(0..source.size())])
}
