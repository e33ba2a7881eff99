//! The tables of inodes, written in the order of their numbers.

use std::io;

use super::geometry::{BLOCK, Geometry, INODE, INODES_PER_BLOCK};
use crate::disk::Medium;

/// Bytes that are collected before they are written.
const BUFFER: usize = 256 << 10;

/// Collects inodes. Those of the first block come in any order, and are written last.
pub(super) struct InodeTable<'a> {
    geometry: &'a Geometry,
    first: Box<[u8]>,
    buffer: Vec<u8>,
    /// The number of the inode at the start of the buffer.
    start: u32,
}

impl<'a> InodeTable<'a> {
    pub(super) fn new(geometry: &'a Geometry) -> Self {
        Self {
            geometry,
            first: vec![0; BLOCK].into_boxed_slice(),
            buffer: Vec::with_capacity(BUFFER),
            start: INODES_PER_BLOCK + 1,
        }
    }

    /// Puts an inode: the next one, or one of the first sixteen.
    pub(super) fn put(
        &mut self,
        medium: &mut dyn Medium,
        number: u32,
        inode: &[u8; INODE],
    ) -> io::Result<()> {
        if number <= INODES_PER_BLOCK {
            let at = (number as usize - 1) * INODE;
            self.first[at..at + INODE].copy_from_slice(inode);
            return Ok(());
        }
        debug_assert_eq!(
            number as usize,
            self.start as usize + self.buffer.len() / INODE
        );
        self.buffer.extend_from_slice(inode);
        let per_group = self.geometry.inodes_per_group;
        if self.buffer.len() == BUFFER || number.is_multiple_of(per_group) {
            self.flush(medium)?;
        }
        Ok(())
    }

    fn flush(&mut self, medium: &mut dyn Medium) -> io::Result<()> {
        let per_group = self.geometry.inodes_per_group;
        let (group, index) = ((self.start - 1) / per_group, (self.start - 1) % per_group);
        let offset = self.geometry.table(group) * BLOCK as u64 + u64::from(index) * INODE as u64;
        medium.write_at(offset, &self.buffer)?;
        self.start += (self.buffer.len() / INODE) as u32;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is collected.
    pub(super) fn finish(mut self, medium: &mut dyn Medium) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.flush(medium)?;
        }
        medium.write_at(self.geometry.table(0) * BLOCK as u64, &self.first)
    }
}
