//! Blocks that are taken one after another, and written in large pieces.

use std::io;

use super::geometry::{BLOCK, Geometry};
use crate::disk::Medium;

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Blocks of a file that follow one another, both in the file and on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block in the file.
    pub(super) logical: u64,
    /// The first block on the disk.
    pub(super) physical: u64,
    /// How many there are.
    pub(super) length: u64,
}

/// Where the blocks of a file are, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    pub(super) fn add(&mut self, run: Run) {
        match self.0.last_mut() {
            Some(last)
                if last.logical + last.length == run.logical
                    && last.physical + last.length == run.physical =>
            {
                last.length += run.length;
            }
            _ => self.0.push(run),
        }
    }

    pub(super) fn as_slice(&self) -> &[Run] {
        &self.0
    }

    /// Returns how many blocks there are.
    pub(super) fn blocks(&self) -> u64 {
        self.0.iter().map(|run| run.length).sum()
    }
}

/// A place on the disk from which blocks are taken in order, around the metadata of groups.
pub(super) struct Stream<'a> {
    geometry: &'a Geometry,
    buffer: Box<[u8]>,
    /// The block on the disk to which the start of the buffer goes.
    start: u64,
    /// Bytes of the buffer that are taken, in whole blocks.
    filled: usize,
}

impl<'a> Stream<'a> {
    /// Starts at `block`.
    pub(super) fn new(geometry: &'a Geometry, block: u64) -> Self {
        Self {
            geometry,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: block,
            filled: 0,
        }
    }

    /// Returns the block that is taken next, but for metadata in between.
    pub(super) fn next(&self) -> u64 {
        self.start + (self.filled / BLOCK) as u64
    }

    /// Returns room for at least one block, whose place on the disk is certain.
    ///
    /// What is put there counts only when [`Stream::take`] takes it. That fails at the end of the
    /// disk, where there is room as well: a content of zeros fits a full disk.
    pub(super) fn room(&mut self, medium: &mut dyn Medium) -> io::Result<&mut [u8]> {
        let (mut next, mut run) = self.geometry.free_run(self.next());
        if next != self.next() || run == 0 || self.filled == BUFFER {
            self.flush(medium)?;
            (next, run) = self.geometry.free_run(self.start);
            self.start = next;
        }
        let most = (BUFFER - self.filled) / BLOCK;
        let blocks = match usize::try_from(run) {
            Ok(run @ 1..) => run.min(most),
            _ => most,
        };
        Ok(&mut self.buffer[self.filled..self.filled + blocks * BLOCK])
    }

    fn expect_block(&self) -> io::Result<()> {
        if self.next() < self.geometry.blocks {
            return Ok(());
        }
        Err(io::Error::other(
            "the plan promised more blocks than there are",
        ))
    }

    /// Takes the first `bytes` of the room as the blocks of a file from `logical` on.
    ///
    /// What is left of the last block becomes zero. Blocks of zeros stay holes.
    pub(super) fn take(&mut self, bytes: usize, logical: u64, runs: &mut Runs) -> io::Result<()> {
        let whole = bytes.next_multiple_of(BLOCK);
        self.buffer[self.filled + bytes..self.filled + whole].fill(0);
        let from = self.filled;
        for (index, offset) in (from..from + whole).step_by(BLOCK).enumerate() {
            if self.buffer[offset..offset + BLOCK] == ZEROS {
                continue;
            }
            self.expect_block()?;
            if offset != self.filled {
                self.buffer.copy_within(offset..offset + BLOCK, self.filled);
            }
            runs.add(Run {
                logical: logical + index as u64,
                physical: self.next(),
                length: 1,
            });
            self.filled += BLOCK;
        }
        Ok(())
    }

    /// Returns the block on the disk that [`Stream::append`] is going to take.
    pub(super) fn place(&mut self, medium: &mut dyn Medium) -> io::Result<u64> {
        self.room(medium)?;
        Ok(self.next())
    }

    /// Appends one block and returns its place.
    pub(super) fn append(&mut self, medium: &mut dyn Medium, block: &[u8]) -> io::Result<u64> {
        self.room(medium)?[..BLOCK].copy_from_slice(block);
        self.expect_block()?;
        let place = self.next();
        self.filled += BLOCK;
        Ok(place)
    }

    /// Takes `blocks` blocks that stay zero.
    pub(super) fn skip(&mut self, medium: &mut dyn Medium, blocks: u64) -> io::Result<Runs> {
        self.flush(medium)?;
        let mut runs = Runs::default();
        let mut logical = 0;
        while logical < blocks {
            self.room(medium)?;
            self.expect_block()?;
            let (physical, run) = self.geometry.free_run(self.start);
            let length = run.min(blocks - logical);
            runs.add(Run {
                logical,
                physical,
                length,
            });
            logical += length;
            self.start = physical + length;
        }
        Ok(runs)
    }

    /// Writes what is collected.
    pub(super) fn flush(&mut self, medium: &mut dyn Medium) -> io::Result<()> {
        if self.filled > 0 {
            let offset = self.start * BLOCK as u64;
            medium.write_at(offset, &self.buffer[..self.filled])?;
            self.start = self.next();
            self.filled = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::ext4::geometry::GROUP;
    use crate::disk::ext4::testing::Memory;
    use crate::disk::ext4::{FsOptions, Kind};

    #[test]
    fn zeros_take_no_block_and_data_closes_up() {
        let options = FsOptions::new(Kind::Ext4, 8 << 20);
        let geometry = Geometry::new(&options, 2048, 0).unwrap();
        let mut medium = Memory(vec![0; 8 << 20]);
        let mut stream = Stream::new(&geometry, 1000);
        let mut runs = Runs::default();
        let room = stream.room(&mut medium).unwrap();
        room.fill(0xee); // what an earlier content left behind
        room[..3 * BLOCK].fill(0);
        room[0] = 1;
        room[2 * BLOCK] = 2;
        stream.take(2 * BLOCK + 1, 10, &mut runs).unwrap();
        stream.flush(&mut medium).unwrap();
        let run = |logical, physical| Run {
            logical,
            physical,
            length: 1,
        };
        assert_eq!(runs.as_slice(), [run(10, 1000), run(12, 1001)]);
        assert_eq!(stream.next(), 1002);
        let written = &medium.0[1000 * BLOCK..1003 * BLOCK];
        assert_eq!((written[0], written[BLOCK]), (1, 2));
        assert_eq!(written.iter().filter(|byte| **byte != 0).count(), 2);
    }

    #[test]
    fn blocks_go_around_the_metadata_of_a_group_and_end_with_the_disk() {
        let size = (GROUP as usize + 4096) * BLOCK;
        let options = FsOptions::new(Kind::Ext4, size as u64);
        let geometry = Geometry::new(&options, (size / BLOCK) as u64, 0).unwrap();
        let mut medium = Memory(vec![0; size]);
        let mut stream = Stream::new(&geometry, GROUP - 2);
        let places: Vec<u64> = (0..4)
            .map(|_| stream.append(&mut medium, &[1; BLOCK]).unwrap())
            .collect();
        let next = geometry.first_data(1);
        assert_eq!(places, [GROUP - 2, GROUP - 1, next, next + 1]);
        let left = geometry.blocks - next - 2;
        assert_eq!(stream.skip(&mut medium, left).unwrap().blocks(), left);
        assert!(stream.append(&mut medium, &[1; BLOCK]).is_err());
        // Zeros need no block, so they are welcome even here.
        let room = stream.room(&mut medium).unwrap();
        room[..BLOCK].fill(0);
        assert!(stream.take(BLOCK, 0, &mut Runs::default()).is_ok());
    }
}
