//! Hyper-V's format, dynamic ([MS-VHDX], version 1).
//!
//! Everything lies on whole MiB: headers and region tables in the first; the log, which is empty;
//! the metadata; the table of blocks; the blocks that are not zero. Numbers are little-endian.

use super::error::require_room;
use super::fixed::{Image, put_blocks};
use super::guid::{guid, stored};
use super::{FormatError, FormatOptions, Output, Source};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// Small blocks waste least; large disks have larger ones, so that the table stays small.
const SMALL_BLOCK: u64 = MIB;
const LARGE_BLOCK: u64 = 32 * MIB;
const LARGE_DISK: u64 = 1 << 40;

const LOGICAL_SECTOR: u32 = 512;
const PHYSICAL_SECTOR: u32 = 4096;

/// A block that is all there.
const PRESENT: u64 = 6;

const REGION_BLOCKS: [u8; 16] = guid("2DC27766-F623-4200-9D64-115E9BFD4A08");
const REGION_METADATA: [u8; 16] = guid("8B7CA206-4790-4B9A-B8FE-575F050F886E");
const FILE_PARAMETERS: [u8; 16] = guid("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
const DISK_SIZE: [u8; 16] = guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
const DISK_ID: [u8; 16] = guid("BECA12AB-B2E6-4523-93EF-C309E000C746");
const LOGICAL_SECTOR_SIZE: [u8; 16] = guid("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
const PHYSICAL_SECTOR_SIZE: [u8; 16] = guid("CDA348C7-445D-4471-9CC9-E9885251C556");

const LOG_AT: u64 = MIB;
const METADATA_AT: u64 = 2 * MIB;
const BLOCKS_AT: u64 = 3 * MIB;

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let size = source.size();
    let block = match size > LARGE_DISK {
        true => LARGE_BLOCK,
        false => SMALL_BLOCK,
    };
    // After so many blocks, the table has an entry for a bitmap, which only differencing disks use.
    let ratio = (1 << 23) * u64::from(LOGICAL_SECTOR) / block;
    let blocks = size.div_ceil(block);
    let entries = blocks + (blocks - 1) / ratio;
    let table_length = (entries * 8).next_multiple_of(MIB);
    let data_at = BLOCKS_AT + table_length;
    let image = Image::new(output);
    require_room(image.file, image.path, data_at + source.data_bytes(block)?)?;
    let mut table = vec![0; entries as usize];
    let used = put_blocks(source, options, &image, block, data_at, |index, number| {
        let at = data_at + number * block;
        // The place in MiB starts at bit 20, so that it is the place in bytes.
        table[(index + index / ratio) as usize] = at | PRESENT;
    })?;
    let table: Vec<u8> = table
        .iter()
        .flat_map(|entry: &u64| entry.to_le_bytes())
        .collect();
    image.put(BLOCKS_AT, &table)?;
    image.put(METADATA_AT, &metadata(size, block, options))?;
    let regions = regions(table_length);
    image.put(256 * KIB, &regions)?;
    image.put(192 * KIB, &regions)?;
    // The one with the larger number counts.
    image.put(64 * KIB, &header(1, options))?;
    image.put(128 * KIB, &header(2, options))?;
    image.put(0, &identifier())?;
    image.finish(data_at + used * block)
}

fn identifier() -> Vec<u8> {
    let mut bytes = b"vhdxfile".to_vec();
    bytes.extend("layerset".encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

fn header(number: u64, options: &FormatOptions<'_>) -> Vec<u8> {
    let mut bytes = b"head".to_vec();
    // Room for the checksum.
    bytes.extend([0; 4]);
    bytes.extend(number.to_le_bytes());
    bytes.extend(stored(options.seed.uuid("vhdx file")));
    bytes.extend(stored(options.seed.uuid("vhdx data")));
    // No log, which has version 0; version 1 of the format.
    bytes.extend([0; 16]);
    bytes.extend(0u16.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend((MIB as u32).to_le_bytes());
    bytes.extend(LOG_AT.to_le_bytes());
    bytes.resize((4 * KIB) as usize, 0);
    sealed(bytes)
}

fn regions(table_length: u64) -> Vec<u8> {
    let mut bytes = b"regi".to_vec();
    bytes.extend([0; 4]);
    bytes.extend(2u64.to_le_bytes());
    for (id, at, length) in [
        (REGION_BLOCKS, BLOCKS_AT, table_length),
        (REGION_METADATA, METADATA_AT, MIB),
    ] {
        bytes.extend(id);
        bytes.extend(at.to_le_bytes());
        bytes.extend((length as u32).to_le_bytes());
        // Required.
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.resize((64 * KIB) as usize, 0);
    sealed(bytes)
}

/// Returns the metadata: a table of 64 KiB, and the items behind it.
fn metadata(size: u64, block: u64, options: &FormatOptions<'_>) -> Vec<u8> {
    let parameters = [(block as u32).to_le_bytes(), [0; 4]].concat();
    // Whether it is of the disk, and not of the file; and that it is required.
    let (of_file, of_disk) = (4u32, 6u32);
    let items: [([u8; 16], Vec<u8>, u32); 5] = [
        (FILE_PARAMETERS, parameters, of_file),
        (DISK_SIZE, size.to_le_bytes().to_vec(), of_disk),
        (
            DISK_ID,
            stored(options.seed.uuid("vhdx disk")).to_vec(),
            of_disk,
        ),
        (
            LOGICAL_SECTOR_SIZE,
            LOGICAL_SECTOR.to_le_bytes().to_vec(),
            of_disk,
        ),
        (
            PHYSICAL_SECTOR_SIZE,
            PHYSICAL_SECTOR.to_le_bytes().to_vec(),
            of_disk,
        ),
    ];
    let mut table = b"metadata".to_vec();
    table.extend(0u16.to_le_bytes());
    table.extend((items.len() as u16).to_le_bytes());
    table.resize(32, 0);
    let mut data = Vec::new();
    for (id, item, flags) in items {
        table.extend(id);
        table.extend((64 * KIB as u32 + data.len() as u32).to_le_bytes());
        table.extend((item.len() as u32).to_le_bytes());
        table.extend(flags.to_le_bytes());
        table.extend([0; 4]);
        data.extend(item);
    }
    table.resize((64 * KIB) as usize, 0);
    table.extend(data);
    table
}

/// Sets the CRC-32C at byte 4.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Castagnoli's checksum (RFC 3720, appendix B.4), bit by bit: little is summed here.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
    let sum = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
