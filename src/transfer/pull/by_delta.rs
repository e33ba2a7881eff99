//! What deltas give: one for each layer or image that has one, all fetched at once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::deltas::{Arriving, Root};
use super::super::fetch::{Blame, Fetcher, Ranges, Watch, whole};
use super::super::{Progress, Quiet, TransferError};
use super::quicker::{Indexes, quicker};
use super::{How, Part, PullOptions, PullReport, Pulling};
use crate::causes::chain;
use crate::delta::{Delta, DeltaError, Limits};
use crate::format::release::{DeltaRef, Kind, Release};
use crate::id::{ObjectId, TreeId};
use crate::remote::RemoteError;
use crate::sha256::Sha256;
use crate::store::{Repository, Transaction};

/// Fetches a delta for each part that has one, all at once, and makes what they say; what cannot be made is fetched later.
pub(super) fn apply_deltas(
    pulling: &Pulling<'_>,
    parts: &mut [Part],
    report: &mut PullReport,
) -> Result<Vec<Later>, TransferError> {
    let Pulling {
        fetcher,
        repository,
        options,
        ..
    } = *pulling;
    let mut chosen = Vec::new();
    for (number, part) in parts.iter().enumerate().filter(|_| options.deltas) {
        let delta = smallest(repository, part, options.progress);
        chosen.extend(delta.map(|delta| (number, delta)));
    }
    let wanted = whole(chosen.iter().map(|(_, delta)| (delta.blob, delta.bytes)));
    repository.require_space(fetcher.missing_bytes(&wanted)?)?;
    let asked: Vec<usize> = chosen.iter().map(|(number, _)| *number).collect();
    report.bytes_fetched += fetch_deltas(fetcher, &mut chosen, options)?;
    for number in asked {
        parts[number].is_delta_lost = !chosen.iter().any(|(arrived, _)| *arrived == number);
    }
    fetcher.line.remember(&fetcher.incoming.join(super::RATE));
    let mut indexes = Indexes::of(parts);
    let mut later = Vec::new();
    for (number, delta) in chosen {
        let part = &mut parts[number];
        part.delta_bytes = delta.bytes;
        match apply_delta(pulling, part, &delta, &mut indexes, report) {
            Ok(rest) => {
                part.how = How::Delta;
                if !rest.is_empty() {
                    later.push(Later {
                        number,
                        delta,
                        rest,
                    });
                }
            }
            Err(TransferError::Delta(error)) if is_of_delta(&error) => {
                let reason = chain(&error);
                let name = &part.release.name;
                options.progress.remark(&format!(
                    "the delta of '{name}' is of no use, fetching in full: {reason}"
                ));
                part.is_delta_lost = true;
                // It is what was signed: kept, or the next try would fetch it again.
                (part.manifest, part.tree, part.corrections) = (None, None, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(later)
}

/// Returns the smallest delta that starts from what is here and can be read.
fn smallest(repository: &Repository, part: &Part, progress: &dyn Progress) -> Option<DeltaRef> {
    let is_here = |delta: &&DeltaRef| match part.release.kind {
        Kind::Layer => repository.has_layer(&delta.from.layer()),
        Kind::Image => repository.has_image(&delta.from.image()),
    };
    let mut deltas: Vec<&DeltaRef> = part.release.deltas.iter().filter(is_here).collect();
    deltas.sort_by_key(|delta| delta.bytes);
    for delta in deltas {
        match old_root(repository, part, delta) {
            Ok(_) => return Some(*delta),
            Err(error) => progress.remark(&format!(
                "a delta of '{}' is of no use, what it starts from cannot be read: {}",
                part.release.name,
                chain(&error)
            )),
        }
    }
    None
}

/// Reads what a delta starts from, as it was when the delta was made.
fn old_root(repository: &Repository, part: &Part, delta: &DeltaRef) -> Result<Root, TransferError> {
    let Release {
        kind, corrections, ..
    } = &part.release;
    Root::read(repository, *kind, &delta.from, corrections.is_some())
}

/// Objects of a delta that are made of others, which are fetched first.
pub(super) struct Later {
    number: usize,
    delta: DeltaRef,
    rest: BTreeSet<ObjectId>,
}

impl Later {
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectId> {
        self.rest.iter().copied()
    }
}

/// Makes what was left for later; what cannot be made is fetched.
pub(super) fn apply_rest(
    pulling: &Pulling<'_>,
    parts: &mut [Part],
    later: Vec<Later>,
) -> Result<(), TransferError> {
    let Pulling {
        fetcher,
        repository,
        transaction,
        options,
    } = *pulling;
    for Later {
        number,
        delta,
        rest,
    } in later
    {
        let part = &mut parts[number];
        let old = old_root(repository, part, &delta)?;
        let file = fetcher.spool(&delta.blob)?.whole(delta.bytes)?;
        let opened = Delta::open(&file, &old.manifest, &old.tree, &Limits::default());
        let made = opened.map_err(TransferError::from).and_then(|opened| {
            make(
                &opened,
                transaction,
                &|id| rest.contains(id),
                options.progress,
                options.cancel,
            )
        });
        let failed = match made {
            Err(TransferError::Delta(error)) if is_of_delta(&error) => {
                let reason = chain(&error);
                rest.iter().map(|id| (*id, reason.clone())).collect()
            }
            made => made?,
        };
        part.failed.extend(failed);
    }
    Ok(())
}

pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` while ranges arrive that are wanted afterwards; it is told whether it is alone, and can speak of its progress. What
/// does not arrive is asked for again in its turn, and that may fail.
fn fetch_beside<T>(
    fetcher: &Fetcher<'_>,
    ranges: &Ranges,
    report: &mut PullReport,
    work: impl FnOnce(bool) -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    if ranges.is_empty() {
        return work(true);
    }
    let wanted = StillWanted(AtomicBool::new(true));
    let (done, fetched) = std::thread::scope(|scope| {
        let ahead = scope.spawn(|| fetcher.fetch_watched("fetching", ranges, &wanted));
        let done = work(false);
        wanted.0.store(done.is_ok(), Ordering::Relaxed);
        (done, ahead.join())
    });
    report.bytes_fetched += fetched.ok().and_then(Result::ok).unwrap_or(0);
    done
}

/// Ends a fetch that nobody wants any more.
struct StillWanted(AtomicBool);

impl Watch for StillWanted {
    fn planned(&self, _: &[(Sha256, Range<u64>)]) {}

    fn arrived(&self, _: usize, _: u64) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the wanted objects of a delta, and returns those that could not be made.
fn make(
    delta: &Delta<'_>,
    transaction: &Transaction<'_>,
    wanted: &(dyn Fn(&ObjectId) -> bool + Sync),
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Vec<(ObjectId, String)>, TransferError> {
    let needed = delta.objects().filter(|(id, _)| wanted(id));
    let needed = needed.map(|(_, size)| size).sum();
    progress.phase("applying deltas", Some(needed));
    let arriving = Arriving(transaction);
    let applied = delta.apply(
        &arriving,
        &arriving,
        wanted,
        threads(),
        &|bytes| progress.advance(bytes),
        cancel,
    )?;
    let failed = applied.failed.into_iter();
    Ok(failed.filter(|(id, _)| wanted(id)).collect())
}

/// Fetches deltas, and leaves in the list those that arrived as they were signed; the others cost bytes and nothing else.
fn fetch_deltas(
    fetcher: &Fetcher<'_>,
    chosen: &mut Vec<(usize, DeltaRef)>,
    options: &PullOptions<'_>,
) -> Result<u64, TransferError> {
    let mut fetched = 0;
    let mut blame = Blame::default();
    let mut arrived = Vec::new();
    let mut wanted = std::mem::take(chosen);
    while !wanted.is_empty() {
        let blobs = wanted.iter().map(|(_, delta)| (delta.blob, delta.bytes));
        match fetcher.fetch("fetching deltas", &whole(blobs)) {
            Ok(bytes) => fetched += bytes,
            Err(error) if is_of_blob(&error) => {
                // One of them is at fault, and the others may be right.
                let mut sound = Vec::new();
                for (number, delta) in wanted {
                    match fetcher.fetch("fetching deltas", &whole([(delta.blob, delta.bytes)])) {
                        Ok(bytes) => {
                            fetched += bytes;
                            sound.push((number, delta));
                        }
                        Err(error) if is_of_blob(&error) => {
                            let remark = format!("{error}: fetching in full instead of that delta");
                            options.progress.remark(&remark);
                        }
                        Err(error) => return Err(error),
                    }
                }
                wanted = sound;
            }
            Err(error) => return Err(error),
        }
        let mut wrong = Vec::new();
        for (number, delta) in wanted {
            if fetcher.is_whole(&delta.blob, delta.bytes)? {
                arrived.push((number, delta));
            } else {
                fetcher.spool(&delta.blob)?.drop_range(0..delta.bytes)?;
                wrong.push((number, delta));
            }
        }
        wanted = wrong;
        let blobs = wanted.iter().map(|(_, delta)| delta.blob).collect();
        match blame.again(fetcher, &blobs, "it has another digest") {
            Err(error @ TransferError::Damaged { .. }) => {
                let remark = format!("{error}: fetching in full instead of that delta");
                options.progress.remark(&remark);
                break;
            }
            result => result?,
        }
    }
    *chosen = arrived;
    Ok(fetched)
}

/// Says whether a fault is that of one blob, which can be done without, and not of the way there.
fn is_of_blob(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::Remote(RemoteError::NoBlob { .. } | RemoteError::Protocol { .. })
    )
}

/// Says whether a fault is the delta's, which can be done without, and not this machine's.
fn is_of_delta(error: &DeltaError) -> bool {
    !matches!(error, DeltaError::Storage { .. })
}

/// Makes what a delta says, and returns the objects that have to wait for others.
fn apply_delta(
    pulling: &Pulling<'_>,
    part: &mut Part,
    delta: &DeltaRef,
    indexes: &mut Indexes,
    report: &mut PullReport,
) -> Result<BTreeSet<ObjectId>, TransferError> {
    let Pulling {
        fetcher,
        repository,
        transaction,
        options,
    } = *pulling;
    let old = old_root(repository, part, delta)?;
    let file = fetcher.spool(&delta.blob)?.whole(delta.bytes)?;
    let opened = Delta::open(&file, &old.manifest, &old.tree, &Limits::default())?;
    let (manifest, tree) = (opened.manifest()?, opened.tree()?);
    let wanted = part.release.corrections.map(|corrections| corrections.id);
    if blake3::hash(&manifest).as_bytes() != part.release.id.as_bytes()
        || TreeId::of(&tree) != wanted.unwrap_or(part.release.tree)
    {
        return Err(TransferError::Delta(DeltaError::Limit {
            reason: "it leads to something else".to_owned(),
        }));
    }
    let needed: u64 = opened.objects().map(|(_, size)| size).sum();
    repository.require_space(needed)?;
    let quicker = quicker(&opened, delta.bytes, indexes, fetcher, options, report)?;
    // What comes with other parts, later; and what is gone, which those who need it find out.
    let arriving = Arriving(transaction);
    let absent = |base: &ObjectId| crate::delta::Contents::open(&arriving, base).is_err();
    let rest = opened.made_of(&quicker.objects, &absent);
    let now = |id: &ObjectId| !quicker.objects.contains(id) && !rest.contains(id);
    let made = fetch_beside(fetcher, &quicker.ranges, report, |is_alone| {
        let progress = if is_alone { options.progress } else { &Quiet };
        make(&opened, transaction, &now, progress, options.cancel)
    });
    part.failed = made?.into_iter().collect();
    part.quicker = quicker;
    part.manifest = Some(manifest);
    match wanted {
        Some(_) => part.corrections = Some(tree),
        None => part.tree = Some(tree),
    }
    Ok(rest)
}
