//! Fetching ranges of blobs into the spool, several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::link::LinkStats;
use super::spool::Spool;
use super::{TransferError, TransferProgress};
use crate::remote::{Remote, RemoteError};
use crate::sha256::Sha256;
use sha2::Digest as _;

/// The most bytes that one request asks for, where several can run at once.
const REQUEST_BYTES: u64 = 16 << 20;

/// How often a blob is begun that can only be had as a whole.
const WHOLE_TRIES: usize = 3;

/// Fetches ranges of blobs.
pub(super) struct Fetcher<'a> {
    /// From where.
    pub remote: &'a dyn Remote,
    /// Where the spools are.
    pub incoming: PathBuf,
    /// How many requests at once.
    pub threads: usize,
    /// Hears what arrives.
    pub progress: &'a dyn TransferProgress,
    /// Ends the work.
    pub cancel: &'a AtomicBool,
    /// The delay and rate of the link, as far as they are known.
    pub link: LinkStats,
    /// Held by whoever fetches a blob as a whole.
    pub whole: Mutex<()>,
}

/// Watches a fetch while it goes on.
pub(super) trait FetchObserver: Sync {
    /// The requests that will be made, sorted by blob and start; everything else that is wanted is
    /// here already.
    fn planned(&self, requests: &[(Sha256, Range<u64>)]);

    /// A request, by number, arrived up to this offset of its blob. Returning false ends the fetch.
    fn arrived(&self, request: usize, upto: u64) -> bool;
}

/// Watches nothing.
impl FetchObserver for () {
    fn planned(&self, _: &[(Sha256, Range<u64>)]) {}

    fn arrived(&self, _: usize, _: u64) -> bool {
        true
    }
}

/// Ranges of blobs that are wanted.
pub(super) type Ranges = BTreeMap<Sha256, Vec<Range<u64>>>;

impl Fetcher<'_> {
    /// Returns the spool of a blob.
    pub(super) fn spool(&self, blob: &Sha256) -> Spool {
        Spool::of(&self.incoming, blob)
    }

    /// Returns what of `wanted` did not arrive yet, cut into requests.
    fn requests(&self, wanted: &Ranges) -> Result<Vec<(Sha256, Range<u64>)>, TransferError> {
        let mut requests = Vec::new();
        for (blob, ranges) in wanted {
            let spool = self.spool(blob);
            for range in ranges {
                for missing in spool.missing(range.clone())? {
                    requests.extend(cut(missing).map(|part| (*blob, part)));
                }
            }
        }
        Ok(requests)
    }

    /// Returns how many bytes of `wanted` did not arrive yet.
    pub(super) fn missing_bytes(&self, wanted: &Ranges) -> Result<u64, TransferError> {
        let requests = self.requests(wanted)?;
        Ok(requests.iter().map(|(_, part)| part.end - part.start).sum())
    }

    /// Fetches what of `wanted` did not arrive yet. What came before an error stays.
    pub(super) fn fetch(&self, what: &str, wanted: &Ranges) -> Result<(), TransferError> {
        self.fetch_watched(what, wanted, &())
    }

    /// Does the same, and tells `watch` what has arrived. When `watch` wants no more, the rest is
    /// left out.
    pub(super) fn fetch_watched(
        &self,
        what: &str,
        wanted: &Ranges,
        watch: &dyn FetchObserver,
    ) -> Result<(), TransferError> {
        let requests = self.requests(wanted)?;
        watch.planned(&requests);
        if requests.is_empty() {
            return Ok(());
        }
        let total = requests.iter().map(|(_, part)| part.end - part.start).sum();
        self.progress.phase(what, Some(total));
        let arrived = AtomicU64::new(0);
        let started = Instant::now();
        let queue = Mutex::new(requests.into_iter().enumerate());
        let failed: Mutex<Option<TransferError>> = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, (blob, range))) = next else {
                    break;
                };
                let mut upto = range.start;
                let result = self.request(&blob, range, &mut |bytes| {
                    upto += bytes;
                    arrived.fetch_add(bytes, Ordering::Relaxed);
                    let goes_on = watch.arrived(number, upto);
                    if !goes_on {
                        stop.store(true, Ordering::Relaxed);
                    }
                    goes_on
                });
                if let Err(error) = result {
                    stop.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(work);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => {
                self.link.arrived(arrived.into_inner(), started.elapsed());
                Ok(())
            }
        }
    }

    /// Says whether a blob whose `bytes` bytes all arrived has the digest that its name says.
    pub(super) fn is_whole(&self, blob: &Sha256, bytes: u64) -> Result<bool, TransferError> {
        let mut reader = self.spool(blob).reader(0..bytes)?;
        let mut hasher = sha2::Sha256::default();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = reader
                .read(&mut buffer)
                .map_err(|error| TransferError::io("read", &self.incoming, error))?;
            if count == 0 {
                return Ok(Sha256::from_bytes(hasher.finalize().into()) == *blob);
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Asks for a range, and tells `arrived` how many bytes came, again and again. If it returns
    /// false, the request ends.
    fn request(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        arrived: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), TransferError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(TransferError::Interrupted);
        }
        let (start, end) = (range.start, range.end);
        let mut part = self.spool(blob).part(start)?;
        let (mut broken, mut ended, mut came) = (None, false, 0);
        let mut asked = Some(Instant::now());
        let result = self.remote.read_blob(blob, range, &mut |bytes| {
            if let Some(asked) = asked.take() {
                self.link.first_byte(asked.elapsed());
            }
            if let Err(error) = part.write(bytes) {
                let kind = error.kind();
                broken = Some(error);
                return Err(kind.into());
            }
            self.link.count(bytes.len() as u64);
            self.progress.advance(bytes.len() as u64);
            came += bytes.len() as u64;
            ended = !arrived(bytes.len() as u64);
            if ended || self.cancel.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            Ok(())
        });
        if self.cancel.load(Ordering::Relaxed) {
            return Err(TransferError::Interrupted);
        }
        match broken {
            Some(error) => Err(TransferError::io("write", part.path(), error)),
            None if ended => Ok(()),
            None => match result {
                Err(RemoteError::WholeOnly { size, .. }) => {
                    self.keep_whole(blob, size)?;
                    arrived(end - start - came);
                    Ok(())
                }
                result => Ok(result.map_err(|error| of_blob(error, blob))?),
            },
        }
    }

    /// Fetches all of a blob from a remote that sends no ranges, once for all that is wanted of it.
    fn keep_whole(&self, blob: &Sha256, size: u64) -> Result<(), TransferError> {
        // Others who want a part of it wait, and find it here.
        let _alone = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let spool = self.spool(blob);
        if spool.missing(0..size)?.is_empty() {
            return Ok(());
        }
        for _ in 0..WHOLE_TRIES {
            let mut whole = spool.whole_part()?;
            // The size is what the remote says.
            let room = crate::durable::available_bytes(&self.incoming);
            if room.is_ok_and(|room| room < size) {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                return Err(TransferError::io(
                    "keep a whole blob in",
                    whole.path(),
                    full,
                ));
            }
            let mut broken = None;
            let result = self.remote.read_blob(blob, 0..size, &mut |bytes| {
                if let Err(error) = whole.write(bytes) {
                    let kind = error.kind();
                    broken = Some(error);
                    return Err(kind.into());
                }
                self.link.count(bytes.len() as u64);
                match self.cancel.load(Ordering::Relaxed) {
                    true => Err(std::io::ErrorKind::Interrupted.into()),
                    false => Ok(()),
                }
            });
            if self.cancel.load(Ordering::Relaxed) {
                return Err(TransferError::Interrupted);
            }
            if let Some(error) = broken {
                return Err(TransferError::io("write", whole.path(), error));
            }
            match result {
                // It broke off, and the rest cannot be asked for: from the start.
                Err(RemoteError::WholeOnly { .. }) => {}
                result => {
                    result.map_err(|error| of_blob(error, blob))?;
                    return spool.finish_whole(whole);
                }
            }
        }
        Err(of_blob(
            RemoteError::Unreachable {
                location: self.remote.location().to_owned(),
                reason: format!("it sends no ranges, and broke off {WHOLE_TRIES} times"),
            },
            blob,
        )
        .into())
    }
}

/// Says of which blob an answer was wrong.
fn of_blob(error: RemoteError, blob: &Sha256) -> RemoteError {
    match error {
        RemoteError::Protocol { location, reason } => RemoteError::Protocol {
            location,
            reason: format!("{reason}, of blob {blob}"),
        },
        other => other,
    }
}

/// The places that sent damaged bytes, while those are asked for again.
#[derive(Debug, Default)]
pub(super) struct DamagedSenders {
    places: Vec<String>,
    rounds: usize,
}

impl DamagedSenders {
    /// Makes the remote ask other places for `blobs`, which arrived damaged. An error once every
    /// place was asked.
    pub(super) fn again(
        &mut self,
        fetcher: &Fetcher<'_>,
        blobs: &BTreeSet<Sha256>,
        reason: &str,
    ) -> Result<(), TransferError> {
        for sender in blobs.iter().flat_map(|blob| fetcher.remote.distrust(blob)) {
            if !self.places.contains(&sender) {
                self.places.push(sender);
            }
        }
        let Some(blob) = blobs.first() else {
            return Ok(());
        };
        let damaged = TransferError::Damaged {
            from: self.names(),
            blob: *blob,
            reason: reason.to_owned(),
        };
        self.rounds += 1;
        // A single place gets a second chance, as the connection may be at fault; of several, each
        // gets one.
        if self.rounds > fetcher.remote.places() {
            return Err(damaged);
        }
        fetcher.progress.remark(&format!("{damaged}: asking again"));
        Ok(())
    }

    fn names(&self) -> String {
        let quoted: Vec<String> = self
            .places
            .iter()
            .map(|place| format!("'{place}'"))
            .collect();
        match quoted.is_empty() {
            true => "an earlier try".to_owned(),
            false => quoted.join(" and "),
        }
    }
}

/// Cuts a range into what one request asks for.
pub(super) fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let end = range.end.min(start.saturating_add(REQUEST_BYTES));
        let part = start..end;
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

/// Joins ranges that touch, overlap, or are at most `gap` bytes apart: another request would cost
/// more than those bytes.
pub(super) fn merge(mut ranges: Vec<Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// The wanted ranges of whole blobs.
pub(super) fn whole(blobs: impl IntoIterator<Item = (Sha256, u64)>) -> Ranges {
    let ranges = blobs
        .into_iter()
        .map(|(blob, bytes)| (blob, std::iter::once(0..bytes).collect()));
    ranges.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_strangers_are_not() {
        let ranges = vec![50..60, 0..10, 12..20, 5..9, 100..101];
        assert_eq!(merge(ranges.clone(), 2), [0..20, 50..60, 100..101]);
        assert_eq!(merge(ranges.clone(), 0), [0..10, 12..20, 50..60, 100..101]);
        assert_eq!(merge(ranges, u64::MAX).first(), Some(&(0..101)));
    }

    #[test]
    fn large_ranges_are_cut() {
        let parts: Vec<_> = cut(5..REQUEST_BYTES * 2 + 6).collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2], REQUEST_BYTES * 2 + 5..REQUEST_BYTES * 2 + 6);
        assert_eq!(cut(7..7).count(), 0);
    }

    /// Sends blobs only as a whole, and counts how often.
    struct Wholesale {
        bytes: Vec<u8>,
        sent: AtomicU64,
    }

    impl Remote for Wholesale {
        fn location(&self) -> &str {
            "wholesale"
        }

        fn read_head(&self, _: u64) -> Result<Option<crate::remote::Head>, RemoteError> {
            Ok(None)
        }

        fn blob_size(&self, _: &Sha256) -> Result<Option<u64>, RemoteError> {
            Ok(Some(self.bytes.len() as u64))
        }

        fn read_blob(
            &self,
            _: &Sha256,
            range: Range<u64>,
            sink: &mut crate::remote::BlobSink<'_>,
        ) -> Result<(), RemoteError> {
            let size = self.bytes.len() as u64;
            if range != (0..size) {
                let location = self.location().to_owned();
                return Err(RemoteError::WholeOnly { location, size });
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
            // Long enough for the others to come.
            std::thread::sleep(std::time::Duration::from_millis(100));
            sink(&self.bytes).unwrap();
            Ok(())
        }
    }

    #[test]
    fn who_wants_other_parts_of_a_whole_waits_for_it_and_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let remote = Wholesale {
            bytes: vec![7; 5000],
            sent: AtomicU64::new(0),
        };
        let blob = Sha256::from_bytes(sha2::Sha256::digest(&remote.bytes).into());
        let fetcher = Fetcher {
            remote: &remote,
            incoming: dir.path().to_owned(),
            threads: 4,
            progress: &crate::transfer::NoProgress,
            cancel: &AtomicBool::new(false),
            link: LinkStats::default(),
            whole: Mutex::default(),
        };
        let parts = [1000..1100, 2000..2100, 3000..3100, 4000..4100];
        let wanted = [(blob, parts.into_iter().collect())].into();
        fetcher.fetch("fetching", &wanted).unwrap();
        assert_eq!(remote.sent.load(Ordering::Relaxed), 1);
        assert!(fetcher.is_whole(&blob, 5000).unwrap());
    }
}
