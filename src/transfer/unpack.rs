//! Contents from packs: which ranges to fetch, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::TransferError;
use super::arrivals::Arrivals;
use super::fetch::{DamagedSenders, Fetcher, Ranges, merge};
use super::pack::{FrameReader, index_range};
use crate::format::pack::{
    Digest, MAX_INDEX_BYTES, PACK_TAIL_BYTES, PackContent, PackIndex, decode_pack_index,
};
use crate::format::release::PackRef;
use crate::id::ObjectId;
use crate::sha256::Sha256;
use sha2::Digest as _;

/// The packs of some releases, with their indexes.
#[derive(Default)]
pub(super) struct Packs {
    packs: Vec<(PackRef, PackIndex, Vec<u64>)>,
    known: BTreeSet<Sha256>,
}

/// Takes one content, whose bytes `fill` writes; it checks digest and size, and says whether they
/// were right.
pub(super) type ContentSink<'a> = dyn Fn(&PackContent, &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> Result<(), TransferError>
    + Sync
    + 'a;

impl Packs {
    /// Fetches the indexes of packs that are not known yet.
    pub(super) fn learn(
        &mut self,
        fetcher: &Fetcher<'_>,
        packs: &[PackRef],
    ) -> Result<(), TransferError> {
        let mut wanted = Ranges::new();
        let mut new = Vec::new();
        for pack in packs {
            if !self.known.insert(pack.blob) {
                continue;
            }
            let range = index_range(pack).filter(|_| pack.index_bytes <= MAX_INDEX_BYTES);
            let range =
                range.ok_or_else(|| inconsistent(pack, "its sizes make no sense".to_owned()))?;
            wanted.entry(pack.blob).or_default().push(range.clone());
            new.push((*pack, range));
        }
        fetcher.fetch("fetching indexes", &wanted)?;
        for (pack, range) in new {
            let mut blame = DamagedSenders::default();
            let index = loop {
                let reason = match read_index(fetcher, &pack, range.clone())? {
                    Ok(index) => break index,
                    Err(reason) => reason,
                };
                fetcher.spool(&pack.blob).drop_range(range.clone())?;
                blame.again(fetcher, &BTreeSet::from([pack.blob]), &reason)?;
                let again = Ranges::from([(pack.blob, vec![range.clone()])]);
                fetcher.fetch("fetching an index again", &again)?;
            };
            let offsets = index.offsets();
            self.packs.push((pack, index, offsets));
        }
        Ok(())
    }

    /// Returns the packs that are worth being named by a new release, and takes what they hold out
    /// of `lacking`: a pack of which little is needed costs others more than it saves.
    pub(super) fn reuse(&self, lacking: &mut BTreeSet<Digest>) -> Vec<PackRef> {
        let mut used = Vec::new();
        for (pack, index, _) in &self.packs {
            let needed = |content: &&PackContent| lacking.contains(&content.digest);
            let held: u64 = index.contents.iter().map(|content| content.size).sum();
            let live: u64 = index.contents.iter().filter(needed).map(|c| c.size).sum();
            if live > 0 && live >= held / 4 {
                for content in &index.contents {
                    lacking.remove(&content.digest);
                }
                used.push(*pack);
            }
        }
        used
    }

    /// Plans how to get `wanted`: the frames, by pack. Contents that no pack holds are returned as
    /// the second part.
    ///
    /// Each content comes from the pack that has most of what is wanted: fewer ranges.
    pub(super) fn plan(&self, wanted: &BTreeSet<Digest>) -> (UnpackPlan, Vec<Digest>) {
        let count = |index: &PackIndex| {
            wanted
                .iter()
                .filter(|digest| index.get(digest).is_some())
                .count()
        };
        let mut order: Vec<(usize, usize)> = self
            .packs
            .iter()
            .enumerate()
            .map(|(number, (_, index, _))| (count(index), number))
            .collect();
        order.sort_by_key(|(count, number)| (std::cmp::Reverse(*count), *number));
        let mut plan = UnpackPlan::default();
        let mut lacking = Vec::new();
        for digest in wanted {
            let found = order.iter().find_map(|(_, number)| {
                let content = self.packs[*number].1.get(digest)?;
                Some((*number, *content))
            });
            match found {
                Some((number, content)) => {
                    let key = (number, content.frame);
                    plan.frames.entry(key).or_default().push(content);
                }
                None => lacking.push(*digest),
            }
        }
        for contents in plan.frames.values_mut() {
            // What is empty comes before what starts where it is: frames are read forward only.
            contents.sort_by_key(|content| (content.offset, content.size));
        }
        (plan, lacking)
    }

    /// Returns the ranges that a plan needs, those at most `gap` bytes apart joined.
    pub(super) fn ranges(&self, plan: &UnpackPlan, gap: u64) -> Ranges {
        let mut ranges = Ranges::new();
        for (number, frame) in plan.frames.keys() {
            let (pack, range) = self.frame_range(*number, *frame);
            ranges.entry(pack.blob).or_default().push(range);
        }
        for ranges in ranges.values_mut() {
            *ranges = merge(std::mem::take(ranges), gap);
        }
        ranges
    }

    /// Returns what packs hold, of those whose indexes are known.
    pub(super) fn held_by<'a>(
        &'a self,
        packs: &'a [PackRef],
    ) -> impl Iterator<Item = &'a PackContent> {
        let known = self.packs.iter();
        let named = known.filter(|(pack, ..)| packs.iter().any(|named| named.blob == pack.blob));
        named.flat_map(|(_, index, _)| &index.contents)
    }

    fn frame_range(&self, number: usize, frame: u32) -> (&PackRef, Range<u64>) {
        let (pack, _, offsets) = &self.packs[number];
        let at = frame as usize;
        (pack, offsets[at]..offsets[at + 1])
    }

    /// Fetches what a plan needs and gives every content to `take`; what arrives damaged is asked
    /// of others.
    pub(super) fn unpack(
        &self,
        fetcher: &Fetcher<'_>,
        what: &str,
        plan: &UnpackPlan,
        gap: u64,
        take: &ContentSink<'_>,
    ) -> Result<(), TransferError> {
        let mut damaged = self.fetch_frames(fetcher, what, plan, gap, take)?;
        let mut blame = DamagedSenders::default();
        while !damaged.frames.is_empty() {
            let mut blobs = BTreeSet::new();
            for (number, frame) in damaged.frames.keys() {
                let (pack, range) = self.frame_range(*number, *frame);
                fetcher.spool(&pack.blob).drop_range(range)?;
                blobs.insert(pack.blob);
            }
            blame.again(
                fetcher,
                &blobs,
                "contents have other digests than the release says",
            )?;
            damaged = self.fetch_frames(fetcher, "fetching again", &damaged, 0, take)?;
        }
        Ok(())
    }

    /// Fetches frames, unpacking each as soon as it is there, and returns those that are damaged.
    fn fetch_frames(
        &self,
        fetcher: &Fetcher<'_>,
        what: &str,
        plan: &UnpackPlan,
        gap: u64,
        take: &ContentSink<'_>,
    ) -> Result<UnpackPlan, TransferError> {
        let frames: Vec<_> = plan.frames.iter().collect();
        let pieces = frames.iter().map(|((number, frame), _)| {
            let (pack, range) = self.frame_range(*number, *frame);
            (pack.blob, range)
        });
        let arrivals = Arrivals::new(pieces.collect());
        let damaged = Mutex::new(UnpackPlan::default());
        let failed: Mutex<Option<TransferError>> = Mutex::new(None);
        let work = || {
            while let Some(at) = arrivals.next() {
                let (key, contents) = frames[at];
                let taken = match fetcher.cancel.load(Ordering::Relaxed) {
                    true => Err(TransferError::Interrupted),
                    false => self.take_frame(fetcher, *key, contents, take),
                };
                match taken {
                    Ok(true) => {}
                    Ok(false) => {
                        lock(&damaged).frames.insert(*key, contents.clone());
                    }
                    Err(error) => {
                        lock(&failed).get_or_insert(error);
                        arrivals.stop();
                    }
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let fetched = std::thread::scope(|scope| {
            for _ in 0..threads.min(frames.len()) {
                scope.spawn(work);
            }
            // Should the fetch panic, those who wait for it must not wait for ever.
            let _stopping = arrivals.stopping();
            let fetched = fetcher.fetch_watched(what, &self.ranges(plan, gap), &arrivals);
            match &fetched {
                Ok(_) => arrivals.close(),
                Err(_) => arrivals.stop(),
            }
            fetched
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => {
                fetched?;
                let damaged = damaged.into_inner();
                Ok(damaged.unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    /// Unpacks one frame; false where what arrived is not what it must be.
    fn take_frame(
        &self,
        fetcher: &Fetcher<'_>,
        (number, frame): (usize, u32),
        contents: &[PackContent],
        take: &ContentSink<'_>,
    ) -> Result<bool, TransferError> {
        let (pack, range) = self.frame_range(number, frame);
        let source = fetcher.spool(&pack.blob).reader(range)?;
        let Ok(mut reader) = FrameReader::new(io::BufReader::with_capacity(128 << 10, source))
        else {
            return Ok(false);
        };
        for content in contents {
            let mut torn = false;
            let taken = take(content, &mut |out| {
                let mut out = WatchedWriter { out, failed: false };
                let copied = reader.copy(content.offset, content.size, &mut out);
                // A reader that fails is the frame's fault, a writer that fails is not.
                torn = copied.is_err() && !out.failed;
                copied
            });
            match taken {
                Ok(()) => {}
                Err(_) if torn => return Ok(false),
                Err(TransferError::Store(crate::store::StoreError::Corrupt { .. })) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What to unpack: contents by number of the pack and of the frame.
#[derive(Debug, Clone, Default)]
pub(super) struct UnpackPlan {
    frames: BTreeMap<(usize, u32), Vec<PackContent>>,
}

struct WatchedWriter<'a> {
    out: &'a mut dyn Write,
    failed: bool,
}

impl Write for WatchedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).inspect_err(|_| self.failed = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().inspect_err(|_| self.failed = true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inconsistent(pack: &PackRef, reason: String) -> TransferError {
    TransferError::Inconsistent {
        what: "pack",
        name: pack.blob.to_string(),
        reason,
    }
}

/// Reads an index that arrived; the inner error says what is wrong with it.
fn read_index(
    fetcher: &Fetcher<'_>,
    pack: &PackRef,
    range: Range<u64>,
) -> Result<Result<PackIndex, String>, TransferError> {
    let fail = |error| TransferError::io("read", &fetcher.incoming, error);
    let mut bytes = Vec::new();
    let mut reader = fetcher.spool(&pack.blob).reader(range)?;
    io::Read::read_to_end(&mut reader, &mut bytes).map_err(fail)?;
    let digest = Sha256::from_bytes(sha2::Sha256::digest(&bytes).into());
    if digest != pack.index {
        return Ok(Err("its index has another digest".to_owned()));
    }
    let data = pack.bytes - pack.index_bytes - PACK_TAIL_BYTES;
    // Those who publish signed for these bytes: no mirror has better ones.
    let decoded = decode_pack_index(&bytes, data);
    decoded
        .map(Ok)
        .map_err(|error| inconsistent(pack, error.to_string()))
}

/// Returns the object that a content of a pack would be.
pub(super) fn object_of(content: &PackContent) -> ObjectId {
    ObjectId::from_digest(content.digest)
}
