//! A large file of which only a little is read: a parser asks for each missing range, until
//! it has everything.

use std::cell::RefCell;
use std::ops::Range;

use object::ReadRef;

/// What is read at the least, in bytes.
const WINDOW_BYTES: u64 = 64 << 10;

/// A file that needs more than this, or more windows than that, is read whole: nothing gets larger
/// than the file and this.
const MAX_BYTES: u64 = 16 << 20;
const MAX_WINDOWS: usize = 128;

/// Parts of a file of known length.
#[derive(Debug)]
pub struct Windows {
    len: u64,
    /// Reads start and end at multiples of this.
    step: u64,
    /// Bytes by where they start; they may overlap.
    windows: Vec<(u64, Vec<u8>)>,
    missed: RefCell<Option<Range<u64>>>,
}

impl Windows {
    /// Starts with nothing of a file of `len` bytes.
    pub fn new(len: u64) -> Self {
        Self::of_steps(len, WINDOW_BYTES)
    }

    /// Starts with nothing, and asks for multiples of `step` bytes.
    pub(super) fn of_steps(len: u64, step: u64) -> Self {
        Self {
            len,
            step,
            windows: Vec::new(),
            missed: RefCell::default(),
        }
    }

    /// Takes what the last look missed first: whatever that look found is worth nothing until this
    /// is filled.
    pub fn missed(&self) -> Option<Range<u64>> {
        let missed = self.missed.take()?;
        let end = missed.end.next_multiple_of(self.step).min(self.len);
        let window = missed.start / self.step * self.step..end;
        let held: u64 = self
            .windows
            .iter()
            .map(|(_, bytes)| bytes.len() as u64)
            .sum();
        let is_little = held.saturating_add(window.end - window.start) <= MAX_BYTES;
        Some(match is_little && self.windows.len() < MAX_WINDOWS {
            true => window,
            false => 0..self.len,
        })
    }

    /// Adds the bytes from `start` on.
    pub fn fill(&mut self, start: u64, bytes: Vec<u8>) {
        if bytes.len() as u64 == self.len {
            self.windows.clear();
        }
        self.windows.push((start, bytes));
    }

    /// Returns what is there from `start` on, at least one byte.
    fn from(&self, start: u64) -> impl Iterator<Item = &[u8]> {
        self.windows.iter().filter_map(move |(first, bytes)| {
            let skipped = usize::try_from(start.checked_sub(*first)?).ok()?;
            bytes.get(skipped..).filter(|rest| !rest.is_empty())
        })
    }

    fn miss(&self, range: Range<u64>) {
        self.missed.borrow_mut().get_or_insert(range);
    }
}

impl<'a> ReadRef<'a> for &'a Windows {
    fn len(self) -> Result<u64, ()> {
        Ok(self.len)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        let end = offset.checked_add(size).filter(|end| *end <= self.len);
        let (end, length) = (end.ok_or(())?, usize::try_from(size).map_err(|_| ())?);
        if length == 0 {
            return Ok(&[]);
        }
        let found = self.from(offset).find_map(|rest| rest.get(..length));
        found.ok_or_else(|| self.miss(offset..end))
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        if range.start >= range.end || range.end > self.len {
            return Err(());
        }
        let most = usize::try_from(range.end - range.start).map_err(|_| ())?;
        let mut longest = 0;
        for rest in self.from(range.start) {
            let rest = rest.get(..most).unwrap_or(rest);
            if let Some(end) = rest.iter().position(|byte| *byte == delimiter) {
                return Ok(&rest[..end]);
            }
            longest = longest.max(rest.len());
        }
        if longest < most {
            // A window further than what is there, in one piece with it.
            self.miss(range.start..range.end.min(range.start + longest as u64 + 1));
        }
        Err(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn look<T>(bytes: &[u8], look: impl Fn(&Windows) -> T) -> (T, Vec<Range<u64>>) {
        let mut windows = Windows::new(bytes.len() as u64);
        let mut read = Vec::new();
        loop {
            let found = look(&windows);
            let Some(range) = windows.missed() else {
                return (found, read);
            };
            let part = bytes[range.start as usize..range.end as usize].to_vec();
            windows.fill(range.start, part);
            read.push(range);
        }
    }

    #[test]
    fn only_what_is_looked_at_is_read() {
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n / 1000) as u8 | 1).collect();
        let (found, read) = look(&bytes, |windows| {
            let one = windows.read_bytes_at(10, 4).map(<[u8]>::to_vec);
            let two = windows.read_bytes_at(500_000, 100_000).map(<[u8]>::to_vec);
            (one, two)
        });
        assert_eq!(found.0.unwrap(), bytes[10..14]);
        assert_eq!(found.1.unwrap(), bytes[500_000..600_000]);
        assert_eq!(read, [0..65_536, 458_752..655_360]);
    }

    #[test]
    fn a_text_is_found_across_windows_and_its_end_is_the_end_of_the_range() {
        let mut bytes = vec![b'x'; 300_000];
        bytes[200_000] = 0;
        let (found, read) = look(&bytes, |windows| {
            let text = windows.read_bytes_at_until(60_000..300_000, 0);
            text.map(<[u8]>::len)
        });
        assert_eq!(found, Ok(140_000));
        assert_eq!(read.last().unwrap(), &(0..262_144));
        let short = look(&bytes, |windows| {
            windows.read_bytes_at_until(10..1000, 0).is_err()
        });
        assert!(short.0);
        let past = look(&bytes, |windows| windows.read_bytes_at(299_999, 2).is_err());
        assert_eq!(past, (true, Vec::new()));
    }

    #[test]
    fn a_file_of_which_much_is_needed_is_read_once_and_whole() {
        let bytes = vec![7; 40 << 20];
        let (found, read) = look(&bytes, |windows| {
            let each =
                (0..20u64).map(|n| windows.read_bytes_at(n << 20, 20 << 20).map(<[u8]>::len));
            each.collect::<Result<Vec<usize>, ()>>()
        });
        assert_eq!(found.unwrap(), vec![20 << 20; 20]);
        assert_eq!((read.len(), &read[0]), (1, &(0..40 << 20)));
    }
}
