//! Where the groups of a filesystem are, and what lies in each of them.

use super::error::Ext4Error;
use super::model::{FsOptions, Journal, Kind};

/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;
/// Bytes of an inode.
pub(super) const INODE: usize = 256;
/// Blocks of a group, which is what one block of bits can describe.
pub(super) const GROUP: u64 = 32_768;
/// The fewest blocks for data in a whole group, beside 2,048 blocks of descriptors and as many of
/// inodes.
pub(super) const SHORTEST_RUN: u64 = GROUP - 3 - 2048 - 2048;
/// Inodes in one block of a table.
pub(super) const INODES_PER_BLOCK: u32 = (BLOCK / INODE) as u32;

/// Where everything is but data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Blocks of the filesystem.
    pub(super) blocks: u64,
    /// Groups, the last of which may be shorter.
    pub(super) groups: u32,
    /// Inodes of each group.
    pub(super) inodes_per_group: u32,
    /// Bytes of a group descriptor.
    pub(super) descriptor_bytes: usize,
    /// Blocks of descriptors.
    pub(super) descriptor_blocks: u64,
    /// Blocks that are kept free behind the descriptors, so that the filesystem can grow.
    pub(super) spare_descriptor_blocks: u64,
    /// Blocks of the journal.
    pub(super) journal_blocks: u64,
}

/// Fewer blocks than this for data are no reason to have one more group.
const SMALLEST_LAST_GROUP: u64 = 50;

impl Geometry {
    /// Lays out `blocks` blocks for at least `inodes` inodes.
    pub(super) fn new(options: &FsOptions, blocks: u64, inodes: u64) -> Result<Self, Ext4Error> {
        if blocks > u64::from(u32::MAX) {
            let size = blocks.saturating_mul(BLOCK as u64);
            return Err(Ext4Error::TooLarge { size });
        }
        let groups = blocks.div_ceil(GROUP).max(1);
        let descriptor_bytes = match options.kind {
            Kind::Ext4 => 64,
            Kind::Ext2 | Kind::Ext3 => 32,
        };
        let per_block = (BLOCK / descriptor_bytes) as u64;
        let descriptor_blocks = groups.div_ceil(per_block);
        let area = largest(blocks).div_ceil(GROUP * per_block).max(8);
        let mut geometry = Self {
            blocks,
            groups: groups as u32,
            inodes_per_group: inodes_per_group(options, blocks, groups, inodes),
            descriptor_bytes,
            descriptor_blocks,
            spare_descriptor_blocks: area.saturating_sub(descriptor_blocks).min(1024),
            journal_blocks: journal_blocks(options, blocks),
        };
        geometry.drop_small_last_group();
        Ok(geometry)
    }

    fn drop_small_last_group(&mut self) {
        let last = self.groups - 1;
        if last > 0 && self.first_data(last) + SMALLEST_LAST_GROUP > self.blocks {
            self.groups = last;
            self.blocks = self.first_block(last);
        }
    }

    /// Returns how many inodes there are.
    pub(super) fn inodes(&self) -> u64 {
        u64::from(self.groups) * u64::from(self.inodes_per_group)
    }

    /// Returns how many blocks there are for data.
    pub(super) fn room(&self) -> u64 {
        let all: u64 = (0..self.groups).map(|group| self.room_in(group)).sum();
        all.saturating_sub(1) // the block of the resize inode
    }

    fn room_in(&self, group: u32) -> u64 {
        let end = self.first_block(group) + self.blocks_in(group);
        end.saturating_sub(self.first_data(group))
    }

    /// Returns the first block of a group.
    pub(super) fn first_block(&self, group: u32) -> u64 {
        u64::from(group) * GROUP
    }

    /// Returns how many blocks a group has.
    pub(super) fn blocks_in(&self, group: u32) -> u64 {
        (self.blocks - self.first_block(group)).min(GROUP)
    }

    /// Says whether a group has a copy of the superblock and the descriptors.
    pub(super) fn has_superblock(&self, group: u32) -> bool {
        let power_of = |base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        group <= 1 || power_of(3) || power_of(5) || power_of(7)
    }

    /// Returns the groups, but the first, that have a copy of the superblock.
    pub(super) fn backups(&self) -> Vec<u32> {
        (1..self.groups)
            .filter(|group| self.has_superblock(*group))
            .collect()
    }

    /// Returns the block of a group's block bitmap. That of its inodes and its table follow.
    pub(super) fn block_bitmap(&self, group: u32) -> u64 {
        let before = if self.has_superblock(group) {
            1 + self.descriptor_blocks + self.spare_descriptor_blocks
        } else {
            0
        };
        self.first_block(group) + before
    }

    /// Returns the block of a group's inode bitmap.
    pub(super) fn inode_bitmap(&self, group: u32) -> u64 {
        self.block_bitmap(group) + 1
    }

    /// Returns the first block of a group's inodes.
    pub(super) fn table(&self, group: u32) -> u64 {
        self.block_bitmap(group) + 2
    }

    /// Returns how many blocks the inodes of a group take.
    pub(super) fn table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// Returns the first block of a group that can hold data.
    pub(super) fn first_data(&self, group: u32) -> u64 {
        self.table(group) + self.table_blocks()
    }

    /// Returns the block that lists the spare blocks of descriptors for the resize inode.
    pub(super) fn resize_block(&self) -> u64 {
        self.first_data(0)
    }

    /// Returns the first block of data.
    pub(super) fn data_start(&self) -> u64 {
        self.resize_block() + 1
    }

    /// Returns the first block at or after `block` that can hold data, and how many follow it
    /// without a gap; none at the end.
    pub(super) fn free_run(&self, block: u64) -> (u64, u64) {
        let group = (block / GROUP) as u32;
        if group >= self.groups {
            return (block, 0);
        }
        let start = block.max(self.first_data(group));
        let end = self.first_block(group) + self.blocks_in(group);
        (start, end.saturating_sub(start))
    }

    /// Returns the block that follows `count` blocks for data from `block` on.
    pub(super) fn after(&self, mut block: u64, mut count: u64) -> u64 {
        while count > 0 {
            let (start, run) = self.free_run(block);
            if start >= self.blocks {
                return self.blocks;
            }
            block = start + run.min(count);
            count -= run.min(count);
        }
        block
    }
}

/// Returns up to how many blocks the filesystem can grow: to 2 TiB, or 16 times its size where that
/// is more; 1,024 times below 256 MiB. There are few steps, so that a somewhat larger filesystem has
/// the same layout.
fn largest(blocks: u64) -> u64 {
    const SMALL: u64 = 1 << 16;
    const TWO_TIB: u64 = 1 << 29;
    if blocks < SMALL {
        return (blocks * 1024).next_power_of_two();
    }
    (blocks * 16).next_power_of_two().clamp(TWO_TIB, 1 << 32)
}

fn inodes_per_group(options: &FsOptions, blocks: u64, groups: u64, inodes: u64) -> u32 {
    const MOST: u64 = 8 * BLOCK as u64;
    let bytes = blocks.min(GROUP) * BLOCK as u64;
    let usual = (bytes / options.bytes_per_inode)
        .next_power_of_two()
        .clamp(u64::from(INODES_PER_BLOCK), MOST);
    // Steps again, so that a few inodes more do not move all blocks.
    let needed = inodes.div_ceil(groups);
    let step = (needed.next_power_of_two() / 16).max(u64::from(INODES_PER_BLOCK));
    usual.max(needed.next_multiple_of(step)).min(MOST) as u32
}

/// Returns the length of the journal in blocks: what `mke2fs` takes, or what is asked for.
fn journal_blocks(options: &FsOptions, blocks: u64) -> u64 {
    match (options.kind, options.journal) {
        (Kind::Ext2, _) | (_, Journal::None) => 0,
        (_, Journal::Bytes(bytes)) => bytes.div_ceil(BLOCK as u64),
        (_, Journal::Auto) => match blocks {
            0..2048 => 0,
            2048..32_768 => 1024,
            32_768..262_144 => 4096,
            262_144..524_288 => 8192,
            524_288..4_194_304 => 16_384,
            4_194_304..8_388_608 => 32_768,
            8_388_608..16_777_216 => 65_536,
            16_777_216..33_554_432 => 131_072,
            _ => 262_144,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn geometry(bytes: u64, inodes: u64) -> Geometry {
        let options = FsOptions::new(Kind::Ext4, bytes);
        Geometry::new(&options, bytes / BLOCK as u64, inodes).unwrap()
    }

    #[test]
    fn copies_of_the_superblock_are_in_powers_of_three_five_and_seven() {
        let geometry = geometry(8 << 30, 0);
        assert_eq!(geometry.groups, 64);
        assert_eq!(geometry.backups(), [1, 3, 5, 7, 9, 25, 27, 49]);
    }

    #[test]
    fn a_larger_filesystem_has_its_data_in_the_same_place() {
        let places = |bytes| {
            let geometry = geometry(bytes, 5000);
            (geometry.data_start(), geometry.first_data(1))
        };
        for size in [300, 600, 1100, 2100, 10_000, 100_000] {
            assert_eq!(places(size << 20), places(256 << 20), "{size}");
        }
    }

    #[test]
    fn a_group_that_holds_nothing_but_metadata_is_left_out() {
        let whole = geometry(256 << 20, 0);
        assert_eq!(whole.groups, 2);
        let metadata = 2 + whole.table_blocks();
        let with = |blocks: u64| geometry((2 * GROUP + blocks) * BLOCK as u64, 0);
        assert_eq!(with(metadata + 49).blocks, 2 * GROUP);
        assert_eq!(with(metadata + 50).blocks, 2 * GROUP + metadata + 50);
    }

    #[test]
    fn inodes_follow_the_size_or_the_need() {
        assert_eq!(geometry(1 << 30, 0).inodes(), 65_536);
        assert!(geometry(1 << 30, 200_000).inodes() >= 200_000);
        assert_eq!(geometry(1 << 30, 200_000), geometry(1 << 30, 200_100));
        assert_eq!(geometry(8 << 20, 0).inodes(), 512);
    }
}
