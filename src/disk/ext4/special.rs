//! The inodes that no path leads to: the journal, and room for descriptors.

use std::io;

use super::checksum::Sums;
use super::geometry::{BLOCK, GROUP, Geometry};
use super::inode::{Inode, put32, types};
use super::mapping;
use super::model::FsOptions;
use super::stream::Stream;
use crate::disk::Medium;
use crate::time::Timestamp;

/// The inode that holds the spare blocks of descriptors.
pub(super) const RESIZE: u32 = 7;
/// The inode of the journal.
pub(super) const JOURNAL: u32 = 8;

/// Block numbers in an indirect block.
const PER_BLOCK: u64 = (BLOCK / 4) as u64;

/// Writes the blocks of the resize inode.
///
/// Its double-indirect block lists the spare blocks behind the first descriptors. Each of these
/// lists its copies in the other groups. To grow, the kernel takes them out of here.
pub(super) fn resize(
    geometry: &Geometry,
    epoch: i64,
    medium: &mut dyn Medium,
) -> io::Result<Inode> {
    let backups = geometry.backups();
    let first = 1 + geometry.descriptor_blocks;
    let mut double = vec![0; BLOCK];
    for spare in first..first + geometry.spare_descriptor_blocks {
        // Its place is the number of the descriptor block that it can become.
        put32(
            &mut double,
            ((spare - 1) % PER_BLOCK) as usize * 4,
            spare as u32,
        );
        if backups.is_empty() {
            continue;
        }
        let mut list = vec![0; BLOCK];
        for (place, group) in list.chunks_exact_mut(4).zip(&backups) {
            put32(place, 0, (spare + u64::from(*group) * GROUP) as u32);
        }
        medium.write_at(spare * BLOCK as u64, &list)?;
    }
    medium.write_at(geometry.resize_block() * BLOCK as u64, &double)?;
    let mut inode = Inode::new(types::FILE | 0o600, Timestamp::from_sec(epoch));
    // As large as its map could be.
    inode.size = (PER_BLOCK * PER_BLOCK + PER_BLOCK + 12) * BLOCK as u64;
    inode.blocks = 1 + geometry.spare_descriptor_blocks * (1 + backups.len() as u64);
    put32(&mut inode.map, 13 * 4, geometry.resize_block() as u32);
    Ok(inode)
}

/// Takes the blocks of the journal, and writes the first: an empty journal.
pub(super) fn journal(
    options: &FsOptions,
    blocks: u64,
    sums: Sums,
    stream: &mut Stream<'_>,
    medium: &mut dyn Medium,
) -> io::Result<Inode> {
    let runs = stream.skip(medium, blocks)?;
    let map = mapping::map(options.kind, &runs, sums.of_inode(JOURNAL), stream, medium)?;
    if let Some(first) = runs.as_slice().first() {
        let superblock = journal_superblock(&options.uuid, blocks as u32);
        medium.write_at(first.physical * BLOCK as u64, &superblock)?;
    }
    let mut inode = Inode::new(types::FILE | 0o600, Timestamp::from_sec(options.epoch));
    inode.size = blocks * BLOCK as u64;
    inode.flags = map.flags;
    inode.blocks = map.blocks;
    inode.map = map.root;
    Ok(inode)
}

/// Numbers of a journal are big-endian.
fn journal_superblock(uuid: &[u8; 16], blocks: u32) -> Vec<u8> {
    const MAGIC: u32 = 0xc03b_3998;
    const SUPERBLOCK_V2: u32 = 4;
    let mut out = vec![0; BLOCK];
    let mut put = |offset: usize, value: u32| {
        out[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    };
    put(0, MAGIC);
    put(4, SUPERBLOCK_V2);
    put(12, BLOCK as u32);
    put(16, blocks);
    put(20, 1); // the first block of the log
    put(24, 1); // the first transaction
    put(64, 1); // one filesystem uses it
    out[48..64].copy_from_slice(uuid);
    out
}
