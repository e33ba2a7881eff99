//! What arrived: ranges of blobs on disk, so that nothing is fetched twice, whatever ends the
//! program.
//!
//! `cache/incoming/<blob>/<start>` holds the bytes of a blob from `start` on, as many as arrived.
//! Nothing here is trusted or durable: contents are checked when they are unpacked, and a range
//! that turns out damaged is dropped and fetched again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::TransferError;
use crate::sha256::Sha256;

/// The ranges of one blob that arrived.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// Names the spool of a blob below `incoming`; it is made when something arrives.
    pub(super) fn of(incoming: &Path, blob: &Sha256) -> Self {
        let dir = incoming.join(blob.to_string());
        Self { dir }
    }

    fn make_dir(&self) -> Result<(), TransferError> {
        fs::create_dir_all(&self.dir)
            .map_err(|error| TransferError::io("make directory", &self.dir, error))
    }

    /// Returns the parts by start, with their lengths in bytes.
    fn parts(&self) -> Result<BTreeMap<u64, u64>, TransferError> {
        let fail = |error| TransferError::io("list", &self.dir, error);
        let mut parts = BTreeMap::new();
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(parts),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let start = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(start) = start {
                parts.insert(start, entry.metadata().map_err(fail)?.len());
            }
        }
        Ok(parts)
    }

    /// Returns what of `range` did not arrive yet, in order.
    pub(super) fn missing(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, TransferError> {
        let parts = self.parts()?.into_iter();
        let arrived = parts.map(|(start, length)| start..start.saturating_add(length));
        Ok(without(range, arrived))
    }

    /// Opens the part that takes what arrives from `start` on; what it held is kept only when it
    /// ends there.
    pub(super) fn part(&self, start: u64) -> Result<Part, TransferError> {
        self.make_dir()?;
        // What ends exactly here goes on.
        let before = self
            .parts()?
            .into_iter()
            .find(|(first, length)| *length > 0 && first.saturating_add(*length) == start);
        let path = self
            .dir
            .join(before.map_or(start, |(first, _)| first).to_string());
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| TransferError::io("write", &path, error))?;
        Ok(Part { file, path })
    }

    /// Makes the file that takes a whole blob, anew; it counts once it is finished.
    pub(super) fn whole_part(&self) -> Result<Part, TransferError> {
        self.make_dir()?;
        let path = self.dir.join("whole.part");
        let file = File::create(&path);
        let file = file.map_err(|error| TransferError::io("write", &path, error))?;
        Ok(Part { file, path })
    }

    /// Makes a whole blob count, beside the parts that are here.
    pub(super) fn finish_whole(&self, whole: Part) -> Result<(), TransferError> {
        let first = self.dir.join("0");
        fs::rename(&whole.path, &first).map_err(|error| TransferError::io("write", &first, error))
    }

    /// Forgets a range; what arrived around it stays.
    pub(super) fn drop_range(&self, range: Range<u64>) -> Result<(), TransferError> {
        for (start, length) in self.parts()? {
            let end = start.saturating_add(length);
            if start >= range.end || end <= range.start {
                continue;
            }
            let path = self.dir.join(start.to_string());
            let fail = |error| TransferError::io("write", &path, error);
            if end > range.end {
                let mut rest = File::open(&path).map_err(fail)?;
                rest.seek(SeekFrom::Start(range.end - start))
                    .map_err(fail)?;
                let behind = self.dir.join(range.end.to_string());
                let behind = OpenOptions::new().write(true).create_new(true).open(behind);
                match behind {
                    Ok(mut behind) => drop(io::copy(&mut rest, &mut behind).map_err(fail)?),
                    // Another part begins there.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(fail(error)),
                }
            }
            if start < range.start {
                let file = OpenOptions::new().write(true).open(&path).map_err(fail)?;
                file.set_len(range.start - start).map_err(fail)?;
            } else {
                fs::remove_file(&path).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Reads `range`, all of which arrived.
    pub(super) fn reader(&self, range: Range<u64>) -> Result<RangeReader, TransferError> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        for (start, length) in self.parts()? {
            let end = start.saturating_add(length).min(range.end);
            if end <= at || start > at {
                continue;
            }
            pieces.push((self.dir.join(start.to_string()), at - start, end - at));
            at = end;
        }
        pieces.reverse();
        Ok(RangeReader {
            pieces,
            current: None,
        })
    }

    /// Joins what arrived of a blob of `bytes` bytes into one file.
    pub(super) fn whole(&self, bytes: u64) -> Result<File, TransferError> {
        let first = self.dir.join("0");
        let fail = |error| TransferError::io("read", &first, error);
        if self.parts()?.get(&0) == Some(&bytes) {
            return File::open(&first).map_err(fail);
        }
        self.make_dir()?;
        let path = self.dir.join("whole.new");
        let fail = |error| TransferError::io("write", &path, error);
        let mut file = File::create(&path).map_err(fail)?;
        io::copy(&mut self.reader(0..bytes)?, &mut file).map_err(fail)?;
        // Renamed before the others go: a kill in between leaves everything.
        fs::rename(&path, &first).map_err(fail)?;
        for start in self.parts()?.into_keys().filter(|start| *start > 0) {
            let part = self.dir.join(start.to_string());
            fs::remove_file(&part).map_err(fail)?;
        }
        File::open(&first).map_err(fail)
    }
}

/// Returns what of `range` is in none of `others`, which come by their starts; in order.
pub(super) fn without(
    range: Range<u64>,
    others: impl IntoIterator<Item = Range<u64>>,
) -> Vec<Range<u64>> {
    let mut rest = Vec::new();
    let mut at = range.start;
    for other in others {
        if other.end <= at || other.start >= range.end {
            continue;
        }
        if other.start > at {
            rest.push(at..other.start);
        }
        at = at.max(other.end);
    }
    if at < range.end {
        rest.push(at..range.end);
    }
    rest
}

/// The end of a spool that grows.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Appends bytes that arrived.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a range across the parts that hold it.
#[derive(Debug)]
pub(super) struct RangeReader {
    /// Path, offset and length, the last one first.
    pieces: Vec<(PathBuf, u64, u64)>,
    current: Option<io::Take<File>>,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                let count = current.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
            let Some((path, offset, length)) = self.pieces.pop() else {
                return Ok(0);
            };
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            self.current = Some(file.take(length));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spool(dir: &Path, parts: &[Range<u64>]) -> Spool {
        let spool = Spool::of(dir, &Sha256::from_bytes([1; 32]));
        for part in parts {
            let bytes: Vec<u8> = part.clone().map(|byte| byte as u8).collect();
            spool.part(part.start).unwrap().write(&bytes).unwrap();
        }
        spool
    }

    fn read(spool: &Spool, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut reader = spool.reader(range).unwrap();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_dropped_is_cut_out_of_what_arrived() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(dir.path(), &[0..100, 120..200]);
        spool.drop_range(30..40).unwrap();
        spool.drop_range(90..130).unwrap();
        spool.drop_range(190..500).unwrap();
        let missing = spool.missing(0..200).unwrap();
        assert_eq!(missing, [30..40, 90..130, 190..200]);
        assert_eq!(read(&spool, 40..90), (40..90).collect::<Vec<u8>>());
        assert_eq!(read(&spool, 130..190), (130..190).collect::<Vec<u8>>());
        spool
            .part(30)
            .unwrap()
            .write(&(30..40).collect::<Vec<u8>>())
            .unwrap();
        assert_eq!(read(&spool, 0..90), (0..90).collect::<Vec<u8>>());
    }

    #[test]
    fn what_a_kill_leaves_of_joining_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(dir.path(), &[0..50, 60..100]);
        spool
            .part(50)
            .unwrap()
            .write(&(50..60).collect::<Vec<u8>>())
            .unwrap();
        let whole = spool.whole(100).unwrap();
        assert_eq!(whole.metadata().unwrap().len(), 100);
        // As if it had ended before the other parts were removed.
        std::fs::write(
            dir.path()
                .join(Sha256::from_bytes([1; 32]).to_string())
                .join("60"),
            [0; 40],
        )
        .unwrap();
        assert_eq!(spool.missing(0..100).unwrap(), []);
        assert_eq!(read(&spool, 0..100), (0..100).collect::<Vec<u8>>());
        assert_eq!(spool.whole(100).unwrap().metadata().unwrap().len(), 100);
    }
}
