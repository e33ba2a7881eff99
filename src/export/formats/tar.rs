//! Headers of tar archives: ustar (POSIX.1-1988), and GNU's old form for sparse files (the manual of
//! GNU tar, "Basic Tar Format" and "Storing Sparse Files").

use std::ops::Range;

pub(super) const BLOCK: u64 = 512;

/// Archives are filled up to whole records of this many bytes.
const RECORD: u64 = 10240;

/// Ranges that a first header and a further one hold.
const FIRST_RANGES: usize = 4;
const MORE_RANGES: usize = 21;

/// Returns how many zeros end an archive of `length` bytes: two blocks at least.
pub(super) fn trailer(length: u64) -> u64 {
    (length + 2 * BLOCK).next_multiple_of(RECORD) - length
}

/// Returns the header of a plain file that belongs to root.
pub(super) fn ustar(name: &str, size: u64, mtime: i64) -> Vec<u8> {
    let mut header = common(name, size, mtime);
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    sealed(header)
}

/// Returns the headers of a sparse file of `size` bytes, of which `data` is stored.
pub(super) fn sparse(name: &str, size: u64, mtime: i64, data: &[Range<u64>]) -> Vec<u8> {
    let stored = data.iter().map(|range| range.end - range.start).sum();
    let mut header = common(name, stored, mtime);
    header[156] = b'S';
    header[257..265].copy_from_slice(b"ustar  \0");
    header[265..269].copy_from_slice(b"root");
    header[297..301].copy_from_slice(b"root");
    header[483..495].copy_from_slice(&number(size));
    let mut ranges: Vec<(u64, u64)> = data
        .iter()
        .map(|range| (range.start, range.end - range.start))
        .collect();
    // An empty range at the end stands for a hole there.
    if data.last().is_none_or(|last| last.end < size) {
        ranges.push((size, 0));
    }
    let (first, more) = ranges.split_at(ranges.len().min(FIRST_RANGES));
    put_ranges(&mut header[386..], first);
    header[482] = u8::from(!more.is_empty());
    let mut headers = sealed(header);
    let mut more = more.chunks(MORE_RANGES).peekable();
    while let Some(ranges) = more.next() {
        let mut block = vec![0; BLOCK as usize];
        put_ranges(&mut block, ranges);
        block[504] = u8::from(more.peek().is_some());
        headers.append(&mut block);
    }
    headers
}

fn put_ranges(at: &mut [u8], ranges: &[(u64, u64)]) {
    for (place, (offset, length)) in at.chunks_exact_mut(24).zip(ranges) {
        place[..12].copy_from_slice(&number(*offset));
        place[12..].copy_from_slice(&number(*length));
    }
}

fn common(name: &str, size: u64, mtime: i64) -> Vec<u8> {
    let mut header = vec![0; BLOCK as usize];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(&number(size));
    header[136..148].copy_from_slice(&number(mtime.max(0) as u64));
    header
}

/// Sets the sum of all bytes, its own counted as spaces.
fn sealed(mut header: Vec<u8>) -> Vec<u8> {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// Writes a number of 12 bytes: octal, or, from 8 GiB on, base 256 as GNU has it.
fn number(number: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if number < 1 << 33 {
        field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&number.to_be_bytes());
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_binary() {
        assert_eq!(&number((1 << 33) - 1), b"77777777777\0");
        assert_eq!(&number(1 << 33), b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
    }

    #[test]
    fn an_archive_ends_with_two_blocks_and_whole_records() {
        for length in [512, 10240 - 1024, 10240 - 512, 10240] {
            let zeros = trailer(length);
            assert!(zeros >= 1024 && (length + zeros).is_multiple_of(10240));
        }
    }
}
