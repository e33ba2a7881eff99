//! Where the bytes of a disk go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// A disk, a partition or a volume that is being written.
///
/// Every byte that nobody writes is zero. Writers do not write long runs of zeros, so that the file
/// behind stays sparse.
pub trait Medium {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Writes at `offset` bytes from the start; a write beyond the end is an error.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A new file as a disk, sparse where nothing is written.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    size: u64,
}

impl FileMedium {
    /// Takes an empty file, and gives it its size.
    pub fn new(file: File, size: u64) -> io::Result<Self> {
        file.set_len(size)?;
        Ok(Self { file, size })
    }

    /// Returns the file.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Medium for FileMedium {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        require_inside(self.size, offset, bytes.len())?;
        self.file.write_all_at(bytes, offset)
    }
}

/// A disk that is not kept: it only counts what a sparse file of it would take.
#[derive(Debug)]
pub struct Tally {
    size: u64,
    /// Blocks that hold something, as runs from the first one to the one behind the last.
    runs: BTreeMap<u64, u64>,
}

impl Tally {
    /// What filesystems keep at least of a file, in bytes.
    const BLOCK: u64 = 4096;

    /// Makes a disk of `size` bytes on which nothing is written.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            runs: BTreeMap::new(),
        }
    }

    /// Returns the bytes of all blocks that were written.
    pub fn bytes(&self) -> u64 {
        let blocks: u64 = self.runs.iter().map(|(first, end)| end - first).sum();
        blocks * Self::BLOCK
    }
}

impl Medium for Tally {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        require_inside(self.size, offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut first = offset / Self::BLOCK;
        let mut end = (offset + bytes.len() as u64).div_ceil(Self::BLOCK);
        // All runs that touch the new one become one with it.
        while let Some((start, stop)) = self.runs.range(..=end).next_back() {
            let (start, stop) = (*start, *stop);
            if stop < first {
                break;
            }
            self.runs.remove(&start);
            (first, end) = (first.min(start), end.max(stop));
        }
        self.runs.insert(first, end);
        Ok(())
    }
}

/// A part of a disk as a disk of its own: a partition, or an extent of a volume.
pub struct Window<'a> {
    medium: &'a mut dyn Medium,
    start: u64,
    size: u64,
}

impl<'a> Window<'a> {
    /// Takes `size` bytes of `medium` from `start`.
    pub fn new(medium: &'a mut dyn Medium, start: u64, size: u64) -> io::Result<Self> {
        let inside = start
            .checked_add(size)
            .is_some_and(|end| end <= medium.size());
        if !inside {
            return Err(beyond(medium.size(), start, size));
        }
        Ok(Self {
            medium,
            start,
            size,
        })
    }
}

impl Medium for Window<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        require_inside(self.size, offset, bytes.len())?;
        self.medium.write_at(self.start + offset, bytes)
    }
}

fn require_inside(size: u64, offset: u64, length: usize) -> io::Result<()> {
    let length = length as u64;
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(beyond(size, offset, length)),
    }
}

fn beyond(size: u64, offset: u64, length: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{length} bytes at {offset} do not fit {size} bytes"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_tally_counts_each_block_once() {
        let mut tally = Tally::new(1 << 20);
        for (offset, length) in [(0, 1), (4095, 2), (20_480, 4096), (12_288, 1), (0, 0)] {
            tally.write_at(offset, &vec![1; length]).unwrap();
        }
        assert_eq!(tally.bytes(), 4 * 4096);
        tally.write_at(8192, &[0; 12_288]).unwrap();
        tally.write_at(4096, &[0; 4096]).unwrap();
        assert_eq!((tally.bytes(), tally.runs.len()), (6 * 4096, 1));
        assert!(tally.write_at((1 << 20) - 1, &[0; 2]).is_err());
    }

    #[test]
    fn a_window_writes_into_its_part_and_nowhere_else() {
        let mut disk = FileMedium::new(tempfile::tempfile().unwrap(), 16).unwrap();
        let mut window = Window::new(&mut disk, 4, 8).unwrap();
        window.write_at(6, b"ab").unwrap();
        for (offset, bytes) in [(7, &b"ab"[..]), (9, b"a"), (u64::MAX, b"a")] {
            assert!(window.write_at(offset, bytes).is_err());
        }
        assert!(Window::new(&mut disk, 12, 5).is_err());
        let mut bytes = Vec::new();
        let mut file = disk.into_file();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0\0\0\0\0\0\0\0\0\0ab\0\0\0\0");
    }
}
