//! The finished raw disk: a sparse file that is only read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::FormatError;

/// A finished raw disk. Several writers may read one at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    file: &'a File,
    size: u64,
}

impl<'a> Source<'a> {
    /// Takes the first `size` bytes of `file`.
    pub fn new(file: &'a File, size: u64) -> Self {
        Self { file, size }
    }

    /// Returns the virtual size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns where the filesystem has data, in order, rounded outwards to `unit` bytes and cut at
    /// the end. What is not in there is zero; what is in there may be.
    pub(super) fn extents(&self, unit: u64) -> Result<Vec<Range<u64>>, FormatError> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while let Some(data) = self.next_data(at).map_err(FormatError::read)? {
            let start = data.start / unit * unit;
            let end = data.end.next_multiple_of(unit).min(self.size);
            match found.last_mut() {
                Some(last) if last.end >= start => last.end = end,
                _ => found.push(start..end),
            }
            at = end;
        }
        Ok(found)
    }

    /// Returns how many bytes [`Source::extents`] has at most.
    pub(super) fn data_bytes(&self, unit: u64) -> Result<u64, FormatError> {
        let extents = self.extents(unit)?;
        Ok(extents.iter().map(|extent| extent.end - extent.start).sum())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        if at >= self.size {
            return Ok(None);
        }
        let start = match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            // Nothing but a hole follows.
            Err(Errno::NXIO) => return Ok(None),
            // A filesystem that knows no holes.
            Err(Errno::INVAL) => return Ok(Some(at..self.size)),
            start => start?,
        };
        if start >= self.size {
            return Ok(None);
        }
        let end = rustix::fs::seek(self.file, SeekFrom::Hole(start))?;
        Ok(Some(start..end.min(self.size)))
    }

    /// Fills `buffer` from `offset` on; what lies beyond the end is zero.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        let inside = self.size.saturating_sub(offset).min(buffer.len() as u64);
        let (data, beyond) = buffer.split_at_mut(inside as usize);
        beyond.fill(0);
        self.file
            .read_exact_at(data, offset)
            .map_err(FormatError::read)
    }
}

/// Says whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Whole words, which the compiler turns into vectors.
    let (words, rest) = bytes.as_chunks::<64>();
    let is_zero = |word: &[u8; 64]| word.iter().fold(0, |sum, byte| sum | byte) == 0;
    words.iter().all(is_zero) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_skipped_and_the_end_is_padded() {
        let file = tempfile::tempfile().unwrap();
        file.set_len((1 << 20) + 512).unwrap();
        file.write_all_at(b"a", 300_000).unwrap();
        file.write_all_at(b"z", (1 << 20) + 511).unwrap();
        let source = Source::new(&file, (1 << 20) + 512);
        let extents = source.extents(65536).unwrap();
        for at in [300_000, (1 << 20) + 511] {
            assert!(extents.iter().any(|extent| extent.contains(&at)));
        }
        assert_eq!(extents.last().unwrap().end, (1 << 20) + 512);
        assert!(extents.iter().all(|extent| extent.start % 65536 == 0));
        let mut buffer = [1; 1024];
        source.read(1 << 20, &mut buffer).unwrap();
        assert_eq!((buffer[511], buffer[512], buffer[1023]), (b'z', 0, 0));
    }

    #[test]
    fn one_byte_anywhere_is_not_zero() {
        let mut bytes = [0; 200];
        assert!(is_zero(&bytes));
        for at in [0, 63, 64, 127, 128, 199] {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "{at}");
            bytes[at] = 0;
        }
    }
}
