//! VirtualBox's format, dynamic (`VDICore.h` in VirtualBox's sources, `block/vdi.c` in QEMU's).
//!
//! A header of 512 bytes, a map with one number for each block of 1 MiB, and the blocks that are not
//! zero. Numbers are little-endian.

use super::error::require_room;
use super::fixed::{Image, put_blocks};
use super::guid::stored;
use super::{FormatError, FormatOptions, Output, Source};

const BLOCK: u64 = 1 << 20;
const HEADER: u64 = 512;

/// A block that was never written.
const ABSENT: u32 = u32::MAX;

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let blocks = source.size().div_ceil(BLOCK);
    let data_at = (HEADER + blocks * 4).next_multiple_of(BLOCK);
    let image = Image::new(output);
    require_room(image.file, image.path, data_at + source.data_bytes(BLOCK)?)?;
    let mut map = vec![ABSENT; blocks as usize];
    let used = put_blocks(source, options, &image, BLOCK, data_at, |index, number| {
        // The sizes that are taken have fewer blocks than a number holds.
        map[index as usize] = number as u32;
    })?;
    let map: Vec<u8> = map.iter().flat_map(|n| n.to_le_bytes()).collect();
    let header = header(source.size(), data_at, used, options);
    image.put(HEADER, &map)?;
    image.put(0, &header)?;
    image.finish(data_at + used * BLOCK)
}

fn header(size: u64, data_at: u64, used: u64, options: &FormatOptions<'_>) -> Vec<u8> {
    let mut bytes = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
    bytes.resize(64, 0);
    let mut put = |numbers: &[u32]| bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    // The signature, version 1.1, the size of the header from here on, and a dynamic image without
    // flags.
    put(&[0xbeda_107f, 0x0001_0001, 400, 1, 0]);
    bytes.resize(84 + 256, 0);
    let mut put = |numbers: &[u32]| bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    // Where map and data are; no geometry, as it is derived from the size; sectors; unused.
    put(&[HEADER as u32, data_at as u32, 0, 0, 0, 512, 0]);
    bytes.extend(size.to_le_bytes());
    let blocks = size.div_ceil(BLOCK) as u32;
    let mut put = |numbers: &[u32]| bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    put(&[BLOCK as u32, 0, blocks, used as u32]);
    bytes.extend(stored(options.seed.uuid("vdi image")));
    bytes.extend(stored(options.seed.uuid("vdi state")));
    // No parent.
    bytes.resize(HEADER as usize, 0);
    bytes
}
