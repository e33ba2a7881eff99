//! One segment of the cache: two files that belong together.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use super::{Cached, Key};
use crate::id::hex;

const MAGIC: &[u8] = b"layerset clusters 1\n";

/// A key, an offset, a length, and the first half of a digest.
const ENTRY: usize = 32 + 8 + 4 + 16;

/// Where a compressed cluster lies in a segment; no bytes mean that the cluster stays plain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    offset: u64,
    length: u32,
    check: [u8; 16],
}

fn check(bytes: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    check
}

/// A segment that counts.
#[derive(Debug)]
pub(super) struct Segment {
    index: PathBuf,
    data: File,
    bytes: u64,
    is_used: AtomicBool,
}

impl Segment {
    /// Opens a segment by its index, with what is in it; `None` for one that is not whole.
    pub(super) fn open(index: &Path) -> Option<(Self, Vec<(Key, Entry)>)> {
        let bytes = fs::read(index).ok()?;
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != digest {
            return None;
        }
        let (length, entries) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let data = File::open(index.with_extension("data")).ok()?;
        let is_whole = data.metadata().ok()?.len() == u64::from_le_bytes(*length);
        let entries = entries
            .chunks_exact(ENTRY)
            .map(decode)
            .collect::<Option<_>>();
        let segment = Self {
            index: index.to_owned(),
            data,
            bytes: u64::from_le_bytes(*length) + bytes.len() as u64,
            is_used: AtomicBool::new(false),
        };
        is_whole.then_some((segment, entries?))
    }

    /// Returns how many bytes its files have.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads a cluster; `None` if it is damaged.
    pub(super) fn read(&self, entry: &Entry) -> Option<Cached> {
        if entry.length == 0 {
            return Some(Cached::Plain);
        }
        let mut packed = vec![0; entry.length as usize];
        self.data.read_exact_at(&mut packed, entry.offset).ok()?;
        (check(&packed) == entry.check).then_some(Cached::Packed(packed))
    }

    pub(super) fn modified(&self) -> Option<SystemTime> {
        fs::metadata(&self.index).ok()?.modified().ok()
    }

    /// Notes that something in it was used, or that it is damaged.
    pub(super) fn note_use(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// Makes it the newest, if it was used.
    pub(super) fn touch_if_used(&self) {
        if self.is_used()
            && let Ok(file) = File::options().append(true).open(&self.index)
        {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    pub(super) fn remove(&self) {
        // The index first: without it the segment does not count.
        let _ = fs::remove_file(&self.index);
        let _ = fs::remove_file(self.index.with_extension("data"));
    }
}

fn decode(bytes: &[u8]) -> Option<(Key, Entry)> {
    let (key, rest) = bytes.split_first_chunk::<32>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let entry = Entry {
        offset: u64::from_le_bytes(*offset),
        length: u32::from_le_bytes(*length),
        check: rest.try_into().ok()?,
    };
    Some((*key, entry))
}

/// A segment that is being written; removed unless it is committed.
#[derive(Debug)]
pub(super) struct NewSegment {
    path: PathBuf,
    data: BufWriter<File>,
    length: u64,
    index: Vec<u8>,
}

/// Tells the segments of one process apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl NewSegment {
    /// Starts one in `dir`, which is made when absent.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}-{number}.new", std::process::id()));
        // One that a dead process of the same number left is overwritten.
        let data = File::create(&path)?;
        Ok(Self {
            path,
            data: BufWriter::with_capacity(1 << 18, data),
            length: 0,
            index: Vec::new(),
        })
    }

    /// Returns about how many bytes it has by now.
    pub(super) fn bytes(&self) -> u64 {
        self.length + self.index.len() as u64
    }

    /// Adds a cluster.
    pub(super) fn add(&mut self, key: Key, packed: Option<&[u8]>) -> io::Result<()> {
        let packed = packed.unwrap_or_default();
        self.data.write_all(packed)?;
        self.index.extend_from_slice(&key);
        self.index.extend_from_slice(&self.length.to_le_bytes());
        let length = packed.len() as u32;
        self.index.extend_from_slice(&length.to_le_bytes());
        self.index.extend_from_slice(&check(packed));
        self.length += packed.len() as u64;
        Ok(())
    }

    /// Makes it count; an empty one is dropped. Returns its size in bytes.
    pub(super) fn commit(mut self) -> io::Result<u64> {
        if self.index.is_empty() {
            return Ok(0);
        }
        self.data.flush()?;
        let mut index = MAGIC.to_vec();
        index.extend_from_slice(&self.length.to_le_bytes());
        index.append(&mut self.index);
        let digest = blake3::hash(&index);
        index.extend_from_slice(digest.as_bytes());
        let name = hex(&digest.as_bytes()[..16]);
        let data = self.path.with_file_name(format!("{name}.data"));
        fs::rename(&self.path, &data)?;
        // The scratch name is free again, so the index may have it until it is whole.
        fs::write(&self.path, &index)?;
        fs::rename(&self.path, data.with_extension("index"))?;
        Ok(self.length + index.len() as u64)
    }
}

impl Drop for NewSegment {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
