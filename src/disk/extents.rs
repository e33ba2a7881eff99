//! A logical volume as a disk of its own.

use std::io;

use super::medium::Medium;
use super::plan::Run;

/// Runs of bytes of a disk as one disk: a logical volume that may lie in several places.
pub struct Extents<'a> {
    medium: &'a mut dyn Medium,
    runs: Vec<Run>,
    size: u64,
}

impl<'a> Extents<'a> {
    /// Takes `runs` of `medium` in their order; they must lie inside of it.
    pub fn new(medium: &'a mut dyn Medium, runs: Vec<Run>) -> io::Result<Self> {
        let limit = medium.size();
        let is_inside = |run: &Run| {
            run.start
                .checked_add(run.size)
                .is_some_and(|end| end <= limit)
        };
        if !runs.iter().all(is_inside) {
            let message =
                format!("a run of a volume lies outside of the {limit} bytes of its disk");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let size = runs.iter().map(|run| run.size).sum();
        Ok(Self { medium, runs, size })
    }
}

impl Medium for Extents<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            let message = format!("{length} bytes at {offset} do not fit {} bytes", self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (mut skip, mut left) = (offset, bytes);
        for run in &self.runs {
            if left.is_empty() {
                break;
            }
            if skip >= run.size {
                skip -= run.size;
                continue;
            }
            // What is left of a run is more than memory can hold only if it is more than `left`.
            let room = usize::try_from(run.size - skip).unwrap_or(usize::MAX);
            let (now, later) = left.split_at(room.min(left.len()));
            self.medium.write_at(run.start + skip, now)?;
            (skip, left) = (0, later);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::testing::Memory;

    #[test]
    fn writes_go_on_in_the_next_run() {
        let mut disk = Memory::new(16);
        let runs = vec![Run { start: 8, size: 4 }, Run { start: 2, size: 3 }];
        let mut volume = Extents::new(&mut disk, runs).unwrap();
        assert_eq!(volume.size(), 7);
        volume.write_at(2, b"abcd").unwrap();
        volume.write_at(6, b"e").unwrap();
        for (offset, bytes) in [(7, &b"x"[..]), (5, b"xyz"), (u64::MAX, b"x")] {
            assert!(volume.write_at(offset, bytes).is_err());
        }
        assert_eq!(disk.bytes(), b"\0\0cde\0\0\0\0\0ab\0\0\0\0");
        let outside = vec![Run { start: 15, size: 2 }];
        assert!(Extents::new(&mut disk, outside).is_err());
    }
}
