//! Bitmaps and descriptors of groups.

use std::io;
use std::ops::Range;

use super::checksum::{Sums, crc32c};
use super::geometry::{BLOCK, GROUP, Geometry};
use super::inode::{put16, put32};
use crate::disk::Medium;

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
const TABLE_ZEROED: u16 = 4;

/// What is in use.
pub(super) struct Usage {
    /// The blocks with data, but for metadata of groups among them.
    pub(super) blocks: [Range<u64>; 2],
    /// All inodes up to this one are in use.
    pub(super) last_inode: u32,
    /// The directories among the inodes of each group.
    pub(super) directories: Vec<u32>,
}

/// The descriptors of all groups, and what they sum up to.
pub(super) struct Descriptors {
    pub(super) bytes: Vec<u8>,
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u64,
}

/// Writes the bitmaps of all groups, and returns the descriptors.
///
/// Where there are checksums, a group without data has no bitmaps: its flags say so.
pub(super) fn write(
    geometry: &Geometry,
    usage: &Usage,
    sums: Sums,
    medium: &mut dyn Medium,
) -> io::Result<Descriptors> {
    let mut all = Descriptors {
        bytes: vec![0; geometry.descriptor_blocks as usize * BLOCK],
        free_blocks: 0,
        free_inodes: 0,
    };
    for group in 0..geometry.groups {
        let bytes = geometry.descriptor_bytes;
        let out = &mut all.bytes[group as usize * bytes..][..bytes];
        put32(out, 0, geometry.block_bitmap(group) as u32);
        put32(out, 4, geometry.inode_bitmap(group) as u32);
        put32(out, 8, geometry.table(group) as u32);
        let mut flags = if sums.exist() { TABLE_ZEROED } else { 0 };
        let blocks = Bits::of_blocks(geometry, usage, group);
        let free_blocks = geometry.blocks_in(group) - blocks.used;
        put16(out, 12, free_blocks as u16);
        let is_plain = group > 0 && group + 1 < geometry.groups;
        let has_data = usage
            .blocks
            .iter()
            .any(|range| overlaps(geometry, range, group));
        if sums.exist() && is_plain && !has_data {
            flags |= BLOCK_UNINIT;
        } else {
            let sum = sums.of(&blocks.bytes).unwrap_or(0);
            put_sum(out, 24, 56, sum);
            medium.write_at(geometry.block_bitmap(group) * BLOCK as u64, &blocks.bytes)?;
        }
        let inodes = Bits::of_inodes(geometry, usage, group);
        let free_inodes = geometry.inodes_per_group - inodes.used as u32;
        put16(out, 14, free_inodes as u16);
        put16(out, 16, usage.directories[group as usize] as u16);
        if sums.exist() && inodes.used == 0 {
            flags |= INODE_UNINIT;
        } else {
            let described = &inodes.bytes[..geometry.inodes_per_group as usize / 8];
            put_sum(out, 26, 58, sums.of(described).unwrap_or(0));
            medium.write_at(geometry.inode_bitmap(group) * BLOCK as u64, &inodes.bytes)?;
        }
        if sums.exist() {
            put16(out, 28, free_inodes as u16); // the end of the table, never used
        }
        put16(out, 18, flags);
        if let Some(start) = sums.of(&group.to_le_bytes()) {
            let sum = crc32c(start, out);
            put16(out, 30, sum as u16);
        }
        all.free_blocks += free_blocks;
        all.free_inodes += u64::from(free_inodes);
    }
    Ok(all)
}

/// Writes both halves of a checksum; short descriptors have no checksums at all.
fn put_sum(out: &mut [u8], low: usize, high: usize, sum: u32) {
    put16(out, low, sum as u16);
    if out.len() > high {
        put16(out, high, (sum >> 16) as u16);
    }
}

fn overlaps(geometry: &Geometry, range: &Range<u64>, group: u32) -> bool {
    let start = geometry.first_data(group);
    let end = geometry.first_block(group) + geometry.blocks_in(group);
    range.start.max(start) < range.end.min(end)
}

/// One block of bits, all set beyond what the group has.
struct Bits {
    bytes: Vec<u8>,
    /// Bits that are set for what the group has.
    used: u64,
}

impl Bits {
    fn of_blocks(geometry: &Geometry, usage: &Usage, group: u32) -> Self {
        let first = geometry.first_block(group);
        let count = geometry.blocks_in(group);
        let mut bits = Self::new();
        bits.set(0..geometry.first_data(group) - first);
        for range in &usage.blocks {
            let start = range.start.clamp(first, first + count) - first;
            let end = range.end.clamp(first, first + count) - first;
            bits.set(start..end);
        }
        bits.finish(count)
    }

    fn of_inodes(geometry: &Geometry, usage: &Usage, group: u32) -> Self {
        let count = geometry.inodes_per_group;
        let used = usage.last_inode.saturating_sub(group * count).min(count);
        let mut bits = Self::new();
        bits.set(0..u64::from(used));
        bits.finish(u64::from(count))
    }

    fn new() -> Self {
        Self {
            bytes: vec![0; BLOCK],
            used: 0,
        }
    }

    /// Counts what is set, and sets all bits from `count` on.
    fn finish(mut self, count: u64) -> Self {
        self.used = self
            .bytes
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum();
        self.set(count..GROUP);
        self
    }

    fn set(&mut self, range: Range<u64>) {
        let (mut bit, end) = (range.start as usize, range.end as usize);
        while bit < end {
            if bit.is_multiple_of(8) && bit + 8 <= end {
                self.bytes[bit / 8] = 0xff;
                bit += 8;
            } else {
                self.bytes[bit / 8] |= 1 << (bit % 8);
                bit += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_group_are_set_and_not_counted() {
        let mut bits = Bits::new();
        bits.set(0..3);
        bits.set(6..19);
        let bits = bits.finish(100);
        assert_eq!(bits.used, 16);
        assert_eq!(bits.bytes[..4], [0b1100_0111, 0xff, 0b111, 0]);
        assert_eq!(bits.bytes[12..14], [0b1111_0000, 0xff]);
    }
}
