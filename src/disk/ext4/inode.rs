//! Inodes as bytes.

use super::checksum::Sums;
use super::geometry::{BLOCK, INODE};
use crate::time::Timestamp;

/// The flag of an inode whose blocks are mapped by extents.
pub(super) const EXTENTS: u32 = 0x0008_0000;
/// The flag of a directory that has an index.
pub(super) const INDEX: u32 = 0x0000_1000;

/// The file type bits of modes.
pub(super) mod types {
    pub(in crate::disk::ext4) const FIFO: u16 = 0o010_000;
    pub(in crate::disk::ext4) const CHAR: u16 = 0o020_000;
    pub(in crate::disk::ext4) const DIRECTORY: u16 = 0o040_000;
    pub(in crate::disk::ext4) const BLOCK: u16 = 0o060_000;
    pub(in crate::disk::ext4) const FILE: u16 = 0o100_000;
    pub(in crate::disk::ext4) const SYMLINK: u16 = 0o120_000;
    pub(in crate::disk::ext4) const SOCKET: u16 = 0o140_000;
}

/// Bytes of an inode behind its first 128 that are not attributes.
pub(super) const EXTRA: usize = 32;
/// Bytes of an inode for attributes.
pub(super) const IN_INODE: usize = INODE - 128 - EXTRA;

/// What an inode says. Its generation is 0.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) links: u32,
    /// All four times.
    pub(super) time: Timestamp,
    pub(super) flags: u32,
    /// All blocks that it owns, in units of the filesystem's.
    pub(super) blocks: u64,
    /// The root of its map, its device number or a short symbolic link.
    pub(super) map: [u8; 60],
    /// The block of its attributes; 0 without.
    pub(super) xattr_block: u64,
    /// The attributes in the inode itself; empty without.
    pub(super) xattrs: Vec<u8>,
}

impl Inode {
    /// Makes an empty inode of root's.
    pub(super) fn new(mode: u16, time: Timestamp) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            links: 1,
            time,
            flags: 0,
            blocks: 0,
            map: [0; 60],
            xattr_block: 0,
            xattrs: Vec::new(),
        }
    }

    /// Returns the bytes of the inode, where `number` is its own.
    pub(super) fn encode(&self, number: u32, sums: Sums) -> [u8; INODE] {
        let mut out = [0; INODE];
        let sectors = self.blocks * (BLOCK / 512) as u64;
        let (seconds, extra) = encode_time(self.time);
        put16(&mut out, 0, self.mode);
        put16(&mut out, 2, self.uid as u16);
        put32(&mut out, 4, self.size as u32);
        for offset in [8, 12, 16, 144] {
            put32(&mut out, offset, seconds);
        }
        for offset in [132, 136, 140, 148] {
            put32(&mut out, offset, extra);
        }
        put16(&mut out, 24, self.gid as u16);
        put16(&mut out, 26, self.links as u16);
        put32(&mut out, 28, sectors as u32);
        put32(&mut out, 32, self.flags);
        out[40..100].copy_from_slice(&self.map);
        put32(&mut out, 104, self.xattr_block as u32);
        put32(&mut out, 108, (self.size >> 32) as u32);
        put16(&mut out, 116, (sectors >> 32) as u16);
        put16(&mut out, 118, (self.xattr_block >> 32) as u16);
        put16(&mut out, 120, (self.uid >> 16) as u16);
        put16(&mut out, 122, (self.gid >> 16) as u16);
        put16(&mut out, 128, EXTRA as u16);
        out[128 + EXTRA..][..self.xattrs.len()].copy_from_slice(&self.xattrs);
        if let Some(sum) = sums.of_inode(number).of(&out) {
            put16(&mut out, 124, sum as u16);
            put16(&mut out, 130, (sum >> 16) as u16);
        }
        out
    }
}

/// Returns the low 32 bits of the seconds, and nanoseconds with two more bits of seconds.
fn encode_time(time: Timestamp) -> (u32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = i32::MAX as i64 + (3 << 32);
    let sec = time.sec.clamp(FIRST, LAST);
    let epochs = ((sec - FIRST) >> 32) as u32;
    (sec as u32, epochs | time.nsec.min(999_999_999) << 2)
}

/// Returns a device number as an inode holds it: the old form for 8 bits each, else the new one.
/// `None` when Linux has no such device.
pub(super) fn encode_device(device: u64) -> Option<[u8; 60]> {
    let major = device >> 8 & 0xfff | device >> 32 & 0xffff_f000;
    let minor = device & 0xff | device >> 12 & 0xffff_ff00;
    if major > 0xfff || minor > 0xf_ffff {
        return None;
    }
    let mut map = [0; 60];
    if major < 256 && minor < 256 {
        put32(&mut map, 0, (major << 8 | minor) as u32);
    } else {
        let new = minor & 0xff | major << 8 | (minor & !0xff) << 12;
        put32(&mut map, 4, new as u32);
    }
    Some(map)
}

/// Writes a little-endian number of 16 bits.
pub(super) fn put16(out: &mut [u8], offset: usize, value: u16) {
    out[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
}

/// Writes a little-endian number of 32 bits.
pub(super) fn put32(out: &mut [u8], offset: usize, value: u32) {
    out[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_epoch_and_nanoseconds() {
        let encode = |sec, nsec| encode_time(Timestamp { sec, nsec });
        assert_eq!(encode(5, 7), (5, 7 << 2));
        assert_eq!(encode(-1, 0), (u32::MAX, 0));
        assert_eq!(encode(1 << 31, 0), (1 << 31, 1));
        assert_eq!(encode((1 << 32) + 9, 0), (9, 1));
        assert_eq!(encode(i64::MAX, 0), (i32::MAX as u32, 3));
        assert_eq!(encode(i64::MIN, 0), (1 << 31, 0));
    }

    #[test]
    fn device_numbers_have_two_forms() {
        let device = |number| encode_device(number).unwrap();
        assert_eq!(device(0x0103)[..8], [3, 1, 0, 0, 0, 0, 0, 0]);
        // Major 259 and minor 65,792.
        assert_eq!(
            device(0x1011_0300)[..8],
            [0, 0, 0, 0, 0x00, 0x03, 0x11, 0x10]
        );
        assert_eq!(encode_device(1 << 44), None);
    }
}
