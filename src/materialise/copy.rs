//! Copies the contents of one file into another, in the way that costs least.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::io::Errno;

use crate::materialise::hash::BUFFER;

/// Copies `size` bytes inside the kernel, or through a buffer where two file systems cannot do
/// that.
pub(super) fn copy(source: &mut File, target: &mut File, size: u64) -> io::Result<()> {
    let mut rest = size;
    while rest > 0 {
        let chunk = usize::try_from(rest.min(1 << 30)).unwrap_or(1 << 30);
        match rustix::fs::copy_file_range(&*source, None, &*target, None, chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => rest -= count as u64,
            Err(Errno::INTR) => {}
            // Two file systems, or one that cannot: both positions are where the copy stopped.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_buffered(source, target, rest);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_buffered(source: &mut File, target: &mut File, size: u64) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut rest = size;
        while rest > 0 {
            let count = source.read(buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            target.write_all(&buffer[..count])?;
            rest = rest.saturating_sub(count as u64);
        }
        Ok(())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn contents_arrive_whole_and_a_short_source_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for size in [1, 300_000, 3_000_000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
            std::fs::write(&from, &bytes).unwrap();
            for way in [copy, copy_buffered] {
                let run = |size| way(&mut File::open(&from)?, &mut File::create(&to)?, size);
                run(size).unwrap();
                assert!(std::fs::read(&to).unwrap() == bytes, "{size}");
                let error = run(size + 1).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{size}");
            }
        }
    }
}
