//! Microsoft's old format, fixed ("Virtual Hard Disk Image Format Specification", Microsoft 2006):
//! the disk as it is, and a footer of 512 bytes. It is the only one that Azure takes.

use super::error::require_room;
use super::fixed::{Image, put_disk};
use super::{FormatError, FormatOptions, Output, Source};

const FOOTER: usize = 512;

/// 2000-01-01, where the format's time starts, in seconds since 1970.
const YEAR_2000: i64 = 946_684_800;

/// Readers trust the size of a footer, and not its geometry, when this made it: QEMU's mark for
/// `force_size=on`. Of an unknown maker QEMU takes the geometry, which rounds the size.
const CREATOR: &[u8; 4] = b"qem2";

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let size = source.size();
    let image = Image::new(output);
    require_room(image.file, image.path, source.data_bytes(65536)? + 512)?;
    put_disk(source, options, &image)?;
    image.put(size, &footer(size, options))?;
    image.finish(size + FOOTER as u64)
}

fn footer(size: u64, options: &FormatOptions<'_>) -> Vec<u8> {
    let mut bytes = b"conectix".to_vec();
    // The reserved feature bit that is always set, and version 1.0.
    bytes.extend(2u32.to_be_bytes());
    bytes.extend(0x0001_0000u32.to_be_bytes());
    // A fixed disk has no further header.
    bytes.extend(u64::MAX.to_be_bytes());
    let since = (options.epoch - YEAR_2000).clamp(0, u32::MAX.into());
    bytes.extend((since as u32).to_be_bytes());
    bytes.extend(CREATOR);
    // The creator's version, and its host: Windows, as there is no number for others.
    bytes.extend(0x0005_0003u32.to_be_bytes());
    bytes.extend(b"Wi2k");
    // Its size when it was made, and now.
    bytes.extend(size.to_be_bytes());
    bytes.extend(size.to_be_bytes());
    let (cylinders, heads, sectors) = geometry(size / 512);
    bytes.extend(cylinders.to_be_bytes());
    bytes.extend([heads, sectors]);
    // A fixed disk.
    bytes.extend(2u32.to_be_bytes());
    let checksum_at = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(options.seed.uuid("vhd"));
    // No saved state, and reserved.
    bytes.resize(FOOTER, 0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[checksum_at..checksum_at + 4].copy_from_slice(&(!sum).to_be_bytes());
    bytes
}

/// Returns cylinders, heads and sectors, as the appendix of the specification computes them.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let total = sectors.min(65535 * 16 * 255);
    if total >= 65535 * 16 * 63 {
        return ((total / 255 / 16) as u16, 16, 255);
    }
    let mut per_track = 17;
    let mut tracks = total / per_track;
    let mut heads = tracks.div_ceil(1024).max(4);
    if tracks >= heads * 1024 || heads > 16 {
        per_track = 31;
        heads = 16;
        tracks = total / per_track;
    }
    if tracks >= heads * 1024 {
        per_track = 63;
        heads = 16;
        tracks = total / per_track;
    }
    ((tracks / heads) as u16, heads as u8, per_track as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_that_of_the_specification() {
        assert_eq!(geometry(2048), (30, 4, 17));
        assert_eq!(geometry(204_800), (1003, 12, 17));
        // 1 GiB, whose tracks are too many for 17 sectors, and 100 GiB.
        assert_eq!(geometry(1 << 21), (2080, 16, 63));
        assert_eq!(geometry(200 << 20), (51400, 16, 255));
        assert_eq!(geometry(65535 * 16 * 255 + 9), (65535, 16, 255));
    }
}
