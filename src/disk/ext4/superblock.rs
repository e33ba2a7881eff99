//! The superblock.

use super::checksum::crc32c;
use super::geometry::{GROUP, Geometry, INODE};
use super::group::Descriptors;
use super::hash::HALF_MD4;
use super::inode::{EXTRA, put16, put32};
use super::model::{FsOptions, Kind};
use super::special::JOURNAL;
use super::tree::LOST_FOUND;

/// Bytes of a superblock.
pub(super) const BYTES: usize = 1024;

mod feature {
    pub(super) const HAS_JOURNAL: u32 = 0x4;
    /// Attributes, a resize inode, and directories with an index.
    pub(super) const COMPATIBLE: u32 = 0x8 | 0x10 | 0x20;

    /// File types in directories.
    pub(super) const INCOMPATIBLE: u32 = 0x2;
    /// Extents, 64 bits, and metadata of groups anywhere.
    pub(super) const INCOMPATIBLE_EXT4: u32 = 0x40 | 0x80 | 0x200;

    /// Few copies of the superblock, and files beyond 2 GiB.
    pub(super) const READ_ONLY: u32 = 0x1 | 0x2;
    /// Files beyond 2 TiB, uncounted links of directories, large inodes, checksums of metadata.
    pub(super) const READ_ONLY_EXT4: u32 = 0x8 | 0x20 | 0x40 | 0x400;
}

/// What a superblock says that is not known before all content is written.
pub(super) struct Summary<'a> {
    pub(super) descriptors: &'a Descriptors,
    /// The map and the size of the journal's inode, where there is a journal.
    pub(super) journal: Option<([u8; 60], u64)>,
}

/// Makes the superblock, or its copy in a group.
pub(super) fn encode(
    options: &FsOptions,
    geometry: &Geometry,
    summary: &Summary<'_>,
    group: u32,
) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    let epoch = options.epoch.clamp(0, (1 << 40) - 1) as u64;
    put_sizes(&mut out, options, geometry, summary.descriptors);
    for offset in [48, 64, 264] {
        put32(&mut out, offset, epoch as u32); // written, checked, made
    }
    for offset in [628, 630, 631] {
        out[offset] = (epoch >> 32) as u8;
    }
    put16(&mut out, 54, u16::MAX); // no check after so many mounts
    put16(&mut out, 56, 0xef53);
    put16(&mut out, 58, 1); // clean
    put16(&mut out, 60, 1); // go on after an error
    put32(&mut out, 76, 1); // revision
    put32(&mut out, 84, LOST_FOUND);
    put16(&mut out, 88, INODE as u16);
    put16(&mut out, 90, group as u16);
    put_features(&mut out, options.kind, summary.journal.is_some());
    out[104..120].copy_from_slice(&options.uuid);
    out[120..120 + options.label.len()].copy_from_slice(options.label.as_bytes());
    out[236..252].copy_from_slice(&options.hash_seed);
    out[252] = HALF_MD4;
    put32(&mut out, 256, 0x4 | 0x8); // mounted with attributes of users, and with ACLs
    if let Some((map, size)) = &summary.journal {
        put32(&mut out, 224, JOURNAL);
        out[253] = 1; // the inode of the journal is copied here
        out[268..328].copy_from_slice(map);
        put32(&mut out, 328, (*size >> 32) as u32);
        put32(&mut out, 332, *size as u32);
    }
    put16(&mut out, 348, EXTRA as u16);
    put16(&mut out, 350, EXTRA as u16);
    put32(&mut out, 352, 1); // names are hashed as signed bytes
    if options.kind == Kind::Ext4 {
        put16(&mut out, 254, geometry.descriptor_bytes as u16);
        out[372] = 4; // 16 groups act as one
        out[373] = 1; // CRC-32C
        let sum = crc32c(!0, &out[..BYTES - 4]);
        put32(&mut out, BYTES - 4, sum);
    }
    out
}

fn put_sizes(out: &mut [u8], options: &FsOptions, geometry: &Geometry, free: &Descriptors) {
    let reserved = geometry.blocks * u64::from(options.reserved_percent) / 100;
    put32(out, 0, geometry.inodes() as u32);
    put32(out, 4, geometry.blocks as u32);
    put32(out, 8, reserved as u32);
    put32(out, 12, free.free_blocks as u32);
    put32(out, 16, free.free_inodes as u32);
    put32(out, 24, 2); // 4,096 bytes a block
    put32(out, 28, 2);
    put32(out, 32, GROUP as u32);
    put32(out, 36, GROUP as u32);
    put32(out, 40, geometry.inodes_per_group);
    put16(out, 206, geometry.spare_descriptor_blocks as u16);
}

fn put_features(out: &mut [u8], kind: Kind, has_journal: bool) {
    let journal = if has_journal { feature::HAS_JOURNAL } else { 0 };
    let (incompatible, read_only) = match kind {
        Kind::Ext4 => (feature::INCOMPATIBLE_EXT4, feature::READ_ONLY_EXT4),
        Kind::Ext2 | Kind::Ext3 => (0, 0),
    };
    put32(out, 92, feature::COMPATIBLE | journal);
    put32(out, 96, feature::INCOMPATIBLE | incompatible);
    put32(out, 100, feature::READ_ONLY | read_only);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_which_group_it_is_in_and_dates_have_forty_bits() {
        let mut options = FsOptions::new(Kind::Ext4, 1 << 30);
        options.epoch = (3 << 32) + 5;
        let geometry = Geometry::new(&options, 1 << 18, 0).unwrap();
        let descriptors = Descriptors {
            bytes: Vec::new(),
            free_blocks: 0,
            free_inodes: 0,
        };
        let summary = Summary {
            descriptors: &descriptors,
            journal: None,
        };
        let [first, copy] = [0, 3].map(|group| encode(&options, &geometry, &summary, group));
        assert_eq!((first[90], copy[90]), (0, 3));
        assert_ne!(first[1020..], copy[1020..]);
        assert_eq!(
            (first[264..268].to_vec(), first[630]),
            (vec![5, 0, 0, 0], 3)
        );
        assert_eq!(first[92] & 4, 0, "a journal that is not there");
    }
}
