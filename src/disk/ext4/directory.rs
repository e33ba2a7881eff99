//! Directories as blocks.

use std::io;

use super::checksum::Sums;
use super::geometry::BLOCK;
use super::inode::{put16, put32};

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    /// The inode it leads to.
    pub(super) inode: u32,
    /// What that is, as directories say it.
    pub(super) file_type: u8,
}

impl<'a> Name<'a> {
    /// Returns the bytes that the name takes in a directory.
    pub(super) fn bytes(&self) -> usize {
        (8 + self.name.len()).next_multiple_of(4)
    }

    /// Makes the name of a directory.
    pub(super) fn directory(name: &'a [u8], inode: u32) -> Self {
        Self {
            name,
            inode,
            file_type: 2,
        }
    }
}

/// Bytes at the end of a block that hold its checksum.
const TAIL: usize = 12;

/// Returns how many bytes of a block hold names.
pub(super) fn room(sums: Sums) -> usize {
    if sums.exist() { BLOCK - TAIL } else { BLOCK }
}

/// Makes a block of names; the last one takes the rest of it. `sums` are those of the directory.
pub(super) fn block<'a>(names: impl Iterator<Item = Name<'a>>, sums: Sums) -> Vec<u8> {
    let mut out = vec![0; BLOCK];
    let room = room(sums);
    let mut at = 0;
    let mut last = 0;
    for name in names {
        put_name(&mut out[at..], name, name.bytes());
        last = at;
        at += name.bytes();
    }
    put16(&mut out, last + 4, (room - last) as u16);
    if let Some(sum) = sums.of(&out[..room]) {
        put16(&mut out, room + 4, TAIL as u16);
        out[room + 7] = 0xde;
        put32(&mut out, room + 8, sum);
    }
    out
}

/// Writes a name that takes `bytes` of the block.
pub(super) fn put_name(out: &mut [u8], name: Name<'_>, bytes: usize) {
    put32(out, 0, name.inode);
    put16(out, 4, bytes as u16);
    out[6] = name.name.len() as u8;
    out[7] = name.file_type;
    out[8..8 + name.name.len()].copy_from_slice(name.name);
}

/// Says whether `.`, `..` and `names` fit one block.
pub(super) fn fits_one_block<'a>(names: impl Iterator<Item = Name<'a>>, sums: Sums) -> bool {
    let bytes: usize = names.map(|name| name.bytes()).sum();
    24 + bytes <= room(sums)
}

/// Makes a directory of one block with names, and of `empty` blocks without.
pub(super) fn flat(
    own: u32,
    parent: u32,
    names: &[Name<'_>],
    empty: u64,
    sums: Sums,
    append: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let dots = [Name::directory(b".", own), Name::directory(b"..", parent)];
    append(&block(dots.into_iter().chain(names.iter().copied()), sums))?;
    for _ in 0..empty {
        append(&block(std::iter::empty(), sums))?;
    }
    Ok(())
}
