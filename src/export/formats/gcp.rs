//! What Google Compute Engine imports: one sparse member `disk.raw` in GNU's old tar format,
//! compressed by gzip ("tar --format=oldgnu -Sczf").

use std::ops::Range;

use super::gzip::{Part, write_gzip};
use super::pipeline::for_each_unit;
use super::tar::{sparse, trailer};
use super::{FormatError, FormatOptions, Output, Source};

/// The name that the import demands.
const MEMBER: &str = "disk.raw";

/// Zeros are left out in pieces of this many bytes, whatever the filesystem knows of holes.
const UNIT: u64 = 65536;

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let data = data(source, &options.silent())?;
    let headers = sparse(MEMBER, source.size(), options.epoch, &data);
    // The ranges are whole blocks, as the size is whole GiB.
    let stored: u64 = data.iter().map(|range| range.end - range.start).sum();
    let zeros = trailer(headers.len() as u64 + stored);
    let mut parts = vec![Part::Bytes(headers)];
    parts.extend(data.into_iter().map(Part::Disk));
    parts.push(Part::Bytes(vec![0; zeros as usize]));
    write_gzip(source, output, options, &parts)
}

/// Finds what is not zero.
fn data(source: &Source<'_>, options: &FormatOptions<'_>) -> Result<Vec<Range<u64>>, FormatError> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let make = || |_: &[u8]| Ok(());
    for_each_unit(source, options, UNIT, make, |unit, _| {
        let start = unit.index * UNIT;
        let end = (start + UNIT).min(source.size());
        match found.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => found.push(start..end),
        }
        Ok(())
    })?;
    Ok(found)
}
