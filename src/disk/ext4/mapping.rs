//! From the blocks of a file to those of the disk: extents, or indirect blocks.

use std::io;

use super::checksum::Sums;
use super::geometry::BLOCK;
use super::inode::EXTENTS;
use super::model::Kind;
use super::stream::{Runs, Stream};
use super::{extent, indirect};
use crate::disk::Medium;

/// How an inode finds its blocks.
pub(super) struct Map {
    /// What stands in the inode.
    pub(super) root: [u8; 60],
    /// The flags that go with it.
    pub(super) flags: u32,
    /// All blocks of the file, with those that hold the map.
    pub(super) blocks: u64,
}

/// Returns the most blocks that a file of `blocks` blocks takes with its map, wherever they lie, when
/// at least `holes` of them are holes.
pub(super) fn most_blocks(kind: Kind, blocks: u64, holes: u64) -> u64 {
    let data = blocks.saturating_sub(holes);
    let map = match kind {
        Kind::Ext4 => extent::most_blocks(data, data.min(holes)),
        Kind::Ext2 | Kind::Ext3 => indirect::most_blocks(blocks),
    };
    data + map
}

/// Returns the largest size of a file, in bytes.
pub(super) fn largest_file(kind: Kind) -> u64 {
    let blocks = match kind {
        Kind::Ext4 => u64::from(u32::MAX),
        Kind::Ext2 | Kind::Ext3 => indirect::LARGEST,
    };
    blocks * BLOCK as u64
}

/// Maps `runs`, and appends to `stream` what does not fit the inode.
pub(super) fn map(
    kind: Kind,
    runs: &Runs,
    sums: Sums,
    stream: &mut Stream<'_>,
    medium: &mut dyn Medium,
) -> io::Result<Map> {
    let mut extra = 0;
    let mut append = |block: &[u8]| {
        extra += 1;
        stream.append(medium, block)
    };
    let (root, flags) = match kind {
        Kind::Ext4 => (extent::map(runs.as_slice(), sums, &mut append)?, EXTENTS),
        Kind::Ext2 | Kind::Ext3 => (indirect::map(runs.as_slice(), &mut append)?, 0),
    };
    Ok(Map {
        root,
        flags,
        blocks: runs.blocks() + extra,
    })
}
