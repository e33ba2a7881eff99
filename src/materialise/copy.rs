//! Copies the contents of one file into another, in the way that costs least. Holes stay holes.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::materialise::hash::BUFFER;

/// Copies the first `size` bytes of a file to a new one. Where the source has holes, lseek(2) says
/// where its data is, and the target gets holes too.
pub(super) fn copy(source: &mut File, target: &mut File, size: u64) -> io::Result<()> {
    if source.metadata()?.len() < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut at = 0;
    while let Some((start, end)) = next_data(source, at, size)? {
        source.seek(io::SeekFrom::Start(start))?;
        target.seek(io::SeekFrom::Start(start))?;
        copy_data(source, target, end - start)?;
        at = end;
    }
    target.set_len(size)
}

/// Returns the first piece of data from `at` on; all of the rest where a filesystem knows of no
/// holes.
fn next_data(source: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
        Ok(start) => start,
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno.into()),
    };
    if start >= size {
        return Ok(None);
    }
    let end = rustix::fs::seek(source, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(size))))
}

/// Copies `size` bytes inside the kernel, or through a buffer where two file systems cannot do
/// that.
fn copy_data(source: &mut File, target: &mut File, size: u64) -> io::Result<()> {
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
    fn holes_stay_holes() {
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};

        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let size = 64 << 20;
        for data in [
            &[][..],
            &[0],
            &[32 << 20],
            &[size - 5],
            &[0, 8 << 20, size - 5],
        ] {
            let mut source = File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&from)
                .unwrap();
            source.set_len(size).unwrap();
            for at in data {
                source.write_all_at(b"here.", *at).unwrap();
            }
            copy(&mut source, &mut File::create(&to).unwrap(), size).unwrap();
            let copied = File::open(&to).unwrap();
            let metadata = copied.metadata().unwrap();
            assert_eq!(metadata.len(), size);
            assert!(
                metadata.blocks() * 512 <= 4 << 20,
                "{data:?}: {} blocks",
                metadata.blocks()
            );
            assert!(
                std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap(),
                "{data:?}"
            );
        }
    }

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
