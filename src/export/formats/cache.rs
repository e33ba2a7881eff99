//! Clusters that were compressed before, so that the next export compresses only what changed.
//!
//! A folder of segments. A segment is two files: `<name>.data` holds compressed clusters one after
//! another, `<name>.index` says which, and ends with a digest of itself. The index has its name
//! last, and then the segment counts. Everything here may be deleted at any time, and damage costs
//! time only: the digest of what is read is checked, and what fails that is compressed again.
//!
//! A cluster is found by the digest of its contents and of how it was to be compressed. So what
//! comes out of here is what compressing gives.

mod segment;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use segment::{Entry, NewSegment, Segment};

/// Names a cluster and how it is compressed.
pub(super) type Key = [u8; 32];

/// What is known of a cluster.
pub(super) enum Cached {
    /// It does not get smaller.
    Plain,
    Packed(Vec<u8>),
}

/// More segments than this are joined, so that opening stays fast.
const MOST_SEGMENTS: usize = 32;

/// As many unused segments are left when segments are joined.
const LEFT_SEGMENTS: usize = 8;

/// What a process that died left is removed after this.
const ABANDONED: Duration = Duration::from_secs(86_400);

/// Compressed clusters in a folder.
#[derive(Debug)]
pub struct ClusterCache {
    dir: PathBuf,
    limit: u64,
    segments: Vec<Segment>,
    places: HashMap<Key, Place>,
    /// `None` once it could not be written.
    fresh: Mutex<Option<NewSegment>>,
    found: AtomicU64,
    missed: AtomicU64,
    is_damaged: AtomicBool,
}

#[derive(Debug)]
struct Place {
    segment: usize,
    entry: Entry,
    is_used: AtomicBool,
}

/// How much a cache helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUse {
    /// Clusters that were found.
    pub found: u64,
    /// Clusters that were not.
    pub missed: u64,
}

impl ClusterCache {
    /// How many bytes a cache keeps unless something else is said.
    pub const DEFAULT_LIMIT: u64 = 2 << 30;

    /// Opens the cache in `dir`, which is made when something is saved, with about `limit` bytes at
    /// most. What is damaged is as good as absent.
    pub fn open(dir: &Path, limit: u64) -> Self {
        let mut segments: Vec<Segment> = Vec::new();
        let mut places = HashMap::new();
        for path in indexes(dir) {
            let Some((segment, entries)) = Segment::open(&path) else {
                continue;
            };
            for (key, entry) in entries {
                let place = Place {
                    segment: segments.len(),
                    entry,
                    is_used: AtomicBool::new(false),
                };
                places.insert(key, place);
            }
            segments.push(segment);
        }
        Self {
            dir: dir.to_owned(),
            limit,
            segments,
            places,
            fresh: Mutex::new(NewSegment::create(dir).ok()),
            found: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            is_damaged: AtomicBool::new(false),
        }
    }

    /// Returns what is known of a cluster.
    pub(super) fn get(&self, key: &Key) -> Option<Cached> {
        let found = self.places.get(key).and_then(|place| {
            let cached = self.segments[place.segment].read(&place.entry);
            match cached {
                Some(_) => place.is_used.store(true, Ordering::Relaxed),
                None => self.is_damaged.store(true, Ordering::Relaxed),
            }
            cached
        });
        let counter = match found {
            Some(_) => &self.found,
            None => &self.missed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Remembers a cluster. That there is no room for it, or no leave to write, is no fault.
    pub(super) fn put(&self, key: Key, packed: Option<&[u8]>) {
        // A thread that panicked may have left a half-written segment.
        let Ok(mut fresh) = self.fresh.lock() else {
            return;
        };
        let Some(segment) = fresh.as_mut() else {
            return;
        };
        if segment.bytes() < self.limit && segment.add(key, packed).is_err() {
            *fresh = None;
        }
    }

    /// Keeps what is new, and drops what is too much. A cache that cannot be written is no fault.
    pub fn save(self) -> CacheUse {
        let usage = CacheUse {
            found: self.found.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
        };
        let Self {
            dir,
            limit,
            segments,
            places,
            fresh,
            is_damaged,
            ..
        } = self;
        let fresh = fresh.into_inner().ok().flatten();
        let is_used = |place: &&Place| place.is_used.load(Ordering::Relaxed);
        if let Some(fresh) = fresh {
            let held: u64 = segments.iter().map(Segment::bytes).sum();
            // Damage is not found again once its segment is gone.
            let is_to_be_joined = held + fresh.bytes() > limit
                || segments.len() >= MOST_SEGMENTS
                || is_damaged.into_inner();
            if is_to_be_joined {
                join(fresh, &segments, &places, limit);
            } else if fresh.commit().is_ok() {
                for place in places.values().filter(is_used) {
                    segments[place.segment].note_use();
                }
                segments.iter().for_each(Segment::touch_if_used);
            }
        }
        remove_abandoned(&dir);
        usage
    }
}

/// Copies what was used into the new segment, and removes the segments that it came from.
fn join(mut fresh: NewSegment, segments: &[Segment], places: &HashMap<Key, Place>, limit: u64) {
    for (key, place) in places {
        let segment = &segments[place.segment];
        let cached = segment.read(&place.entry);
        if cached.is_none() {
            segment.note_use();
        }
        if !place.is_used.load(Ordering::Relaxed) {
            continue;
        }
        segment.note_use();
        let packed = match &cached {
            Some(Cached::Packed(packed)) => Some(packed.as_slice()),
            Some(Cached::Plain) => None,
            None => continue,
        };
        if fresh.bytes() >= limit || fresh.add(*key, packed).is_err() {
            break;
        }
    }
    if let Ok(bytes) = fresh.commit() {
        drop_segments(segments, limit.saturating_sub(bytes));
    }
}

/// Removes the segments that were used, whose clusters were copied, and the oldest others until
/// `room` bytes are enough.
fn drop_segments(segments: &[Segment], room: u64) {
    let (used, mut others): (Vec<_>, Vec<_>) =
        segments.iter().partition(|segment| segment.is_used());
    used.into_iter().for_each(Segment::remove);
    others.sort_by_key(|segment| std::cmp::Reverse(segment.modified()));
    let mut bytes = 0;
    for (number, segment) in others.into_iter().enumerate() {
        bytes += segment.bytes();
        if number >= LEFT_SEGMENTS || bytes > room {
            segment.remove();
        }
    }
}

/// Returns the indexes in `dir`, sorted.
fn indexes(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "index"))
        .collect();
    paths.sort();
    paths
}

/// Removes what no index names and nobody is still writing.
fn remove_abandoned(dir: &Path) {
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = file.path();
        let is_named = match path.extension().and_then(|end| end.to_str()) {
            Some("data") => path.with_extension("index").exists(),
            Some("index") => path.with_extension("data").exists(),
            Some("new") => false,
            // Nothing of ours.
            _ => true,
        };
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if !is_named && age.is_ok_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    fn packed(cache: &ClusterCache, number: u32) -> Option<Vec<u8>> {
        cache.get(&key(number)).map(|cached| match cached {
            Cached::Plain => Vec::new(),
            Cached::Packed(packed) => packed,
        })
    }

    fn fill(dir: &Path, limit: u64, numbers: std::ops::Range<u32>) {
        let cache = ClusterCache::open(dir, limit);
        for number in numbers {
            if packed(&cache, number).is_none() {
                cache.put(key(number), Some(&[number as u8; 100]));
            }
        }
        cache.save();
    }

    #[test]
    fn what_was_saved_is_found_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("made/later");
        fs::create_dir(dir.path().join("made")).unwrap();
        fill(&at, 1 << 20, 0..10);
        let cache = ClusterCache::open(&at, 1 << 20);
        cache.put(key(77), None);
        assert_eq!(packed(&cache, 3), Some(vec![3; 100]));
        assert_eq!(packed(&cache, 10), None);
        let usage = cache.save();
        assert_eq!((usage.found, usage.missed), (1, 1));
        let cache = ClusterCache::open(&at, 1 << 20);
        assert_eq!(packed(&cache, 77), Some(Vec::new()));
        assert_eq!(packed(&cache, 9), Some(vec![9; 100]));
    }

    #[test]
    fn damage_of_every_file_costs_clusters_only() {
        for damage in ["cut", "flip", "delete"] {
            for end in ["data", "index"] {
                let dir = tempfile::tempdir().unwrap();
                fill(dir.path(), 1 << 20, 0..10);
                let index = indexes(dir.path()).pop().unwrap();
                let path = index.with_extension(end);
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                match damage {
                    "cut" => fs::write(&path, &bytes[..middle]).unwrap(),
                    "flip" => fs::write(&path, &bytes).unwrap(),
                    _ => fs::remove_file(&path).unwrap(),
                }
                let cache = ClusterCache::open(dir.path(), 1 << 20);
                let found: Vec<_> = (0..10).filter_map(|n| packed(&cache, n)).collect();
                // A flipped byte of the data costs the one cluster that it is in.
                let expect = if (damage, end) == ("flip", "data") {
                    9
                } else {
                    0
                };
                assert_eq!(found.len(), expect, "{damage} {end}");
                for packed in found {
                    assert!(packed.iter().all(|byte| *byte == packed[0]));
                }
                drop(cache);
                fill(dir.path(), 1 << 20, 0..10);
                let cache = ClusterCache::open(dir.path(), 1 << 20);
                assert!((0..10).all(|n| packed(&cache, n).is_some()));
            }
        }
    }

    #[test]
    fn the_size_stays_bounded_and_what_was_used_last_stays() {
        let dir = tempfile::tempdir().unwrap();
        for step in 0..100 {
            fill(dir.path(), 5000, step..step + 20);
        }
        let bytes = |dir: &Path| -> u64 {
            let files = fs::read_dir(dir).unwrap().flatten();
            files.map(|file| file.metadata().unwrap().len()).sum()
        };
        assert!(bytes(dir.path()) < 20_000, "{}", bytes(dir.path()));
        assert!(indexes(dir.path()).len() <= MOST_SEGMENTS);
        let cache = ClusterCache::open(dir.path(), 5000);
        assert!((100..119).all(|n| packed(&cache, n).is_some()));
        assert_eq!(packed(&cache, 0), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let cache = ClusterCache::open(&file, 1 << 20);
        cache.put(key(1), None);
        assert_eq!(packed(&cache, 1), None);
        cache.save();
    }
}
