//! What deltas give: one for each layer or image that has one, all fetched at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::deltas::ArrivingObjects;
use super::super::fetch::{DamagedSenders, FetchObserver, Fetcher, Ranges, whole};
use super::super::{NoProgress, TransferError, TransferProgress};
use super::decoded::Roots;
use super::direct::{DirectFetches, Indexes, direct_fetches};
use super::plan::{DeltaSplit, PlannedPart, PullPlan, tree_in_packs};
use super::survey::read_base;
use super::{Pulling, RATE, threads};
use crate::causes::chain;
use crate::delta::{Delta, DeltaError, DeltaLimits};
use crate::format::release::DeltaRef;
use crate::id::ObjectId;
use crate::remote::RemoteError;
use crate::sha256::Sha256;
use crate::store::Transaction;

/// Fetches the deltas of the plan, all at once, and makes what they say. Returns what changed of
/// the plan, and the manifests and trees that were made, by number of the part.
pub(super) fn apply_deltas(
    pulling: &Pulling<'_>,
    plan: PullPlan,
) -> Result<(PullPlan, BTreeMap<usize, Roots>), TransferError> {
    let Pulling {
        fetcher,
        repository,
        options,
        ..
    } = *pulling;
    repository.require_space(fetcher.missing_bytes(&blobs_of(&plan))?)?;
    let mut plan = fetch_deltas(fetcher, plan, options.progress)?;
    fetcher.link.remember(&fetcher.incoming.join(RATE));
    let mut indexes = Indexes::of(&plan);
    let mut roots = BTreeMap::new();
    for (number, delta) in arrived(&plan) {
        let part = &plan.parts()[number];
        match apply_delta(pulling, part, &delta, &mut indexes) {
            Ok(applied) => {
                roots.insert(number, applied.roots);
                plan = plan.with_split(number, applied.split);
                plan = plan.with_failed(number, applied.failed);
            }
            // It is what was signed. It is kept, or the next try would fetch it again.
            Err(TransferError::Delta(error)) if is_of_delta(&error) => {
                options.progress.remark(&format!(
                    "the delta of '{}' cannot be used, fetching in full: {}",
                    part.release.name,
                    chain(&error)
                ));
                plan = plan.without_delta(number, delta.bytes);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((plan, roots))
}

/// Makes what was left for later; what cannot be made is fetched.
pub(super) fn apply_rest(
    pulling: &Pulling<'_>,
    mut plan: PullPlan,
) -> Result<PullPlan, TransferError> {
    let Pulling {
        fetcher,
        repository,
        transaction,
        options,
    } = *pulling;
    let waiting = plan.deltas().filter(|(_, delta)| !delta.later.is_empty());
    let waiting: Vec<_> = waiting
        .map(|(number, by_delta)| (number, by_delta.delta, by_delta.later.clone()))
        .collect();
    for (number, delta, rest) in waiting {
        let old = read_base(repository, &plan.parts()[number], &delta)?;
        let file = fetcher.spool(&delta.blob).whole(delta.bytes)?;
        let opened = Delta::open(&file, &old.manifest, &old.tree, &DeltaLimits::default());
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
        plan = plan.with_rest_made(number, failed);
    }
    Ok(plan)
}

/// Returns the blobs of the deltas of a plan.
fn blobs_of(plan: &PullPlan) -> Ranges {
    let deltas = plan.deltas().map(|(_, by_delta)| by_delta.delta);
    whole(deltas.map(|delta| (delta.blob, delta.bytes)))
}

fn arrived(plan: &PullPlan) -> Vec<(usize, DeltaRef)> {
    let deltas = plan.deltas();
    deltas
        .map(|(number, by_delta)| (number, by_delta.delta))
        .collect()
}

/// Fetches deltas. Those that do not arrive as they were signed cost bytes and nothing else: what
/// they lead to comes in full.
fn fetch_deltas(
    fetcher: &Fetcher<'_>,
    mut plan: PullPlan,
    progress: &dyn TransferProgress,
) -> Result<PullPlan, TransferError> {
    let mut blame = DamagedSenders::default();
    let mut waiting = arrived(&plan);
    while !waiting.is_empty() {
        for (number, error) in fetch_all(fetcher, &mut waiting)? {
            progress.remark(&format!("{error}: fetching in full instead of that delta"));
            plan = plan.without_delta(number, 0);
        }
        waiting = drop_wrong(fetcher, waiting)?;
        let blobs = waiting.iter().map(|(_, delta)| delta.blob).collect();
        match blame.again(fetcher, &blobs, "it has another digest") {
            Err(error @ TransferError::Damaged { .. }) => {
                progress.remark(&format!("{error}: fetching in full instead of that delta"));
                for (number, _) in waiting.drain(..) {
                    plan = plan.without_delta(number, 0);
                }
            }
            result => result?,
        }
    }
    Ok(plan)
}

/// Fetches deltas, and takes those off the list that cannot be had.
fn fetch_all(
    fetcher: &Fetcher<'_>,
    wanted: &mut Vec<(usize, DeltaRef)>,
) -> Result<Vec<(usize, TransferError)>, TransferError> {
    let blobs = wanted.iter().map(|(_, delta)| (delta.blob, delta.bytes));
    match fetcher.fetch("fetching deltas", &whole(blobs)) {
        Err(error) if is_of_blob(&error) => {}
        result => return result.map(|()| Vec::new()),
    }
    // One of them is at fault; the others may be fine.
    let mut failed = Vec::new();
    for (number, delta) in std::mem::take(wanted) {
        match fetcher.fetch("fetching deltas", &whole([(delta.blob, delta.bytes)])) {
            Ok(()) => wanted.push((number, delta)),
            Err(error) if is_of_blob(&error) => failed.push((number, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(failed)
}

/// Forgets what arrived of deltas that have another digest, and returns those.
fn drop_wrong(
    fetcher: &Fetcher<'_>,
    arrived: Vec<(usize, DeltaRef)>,
) -> Result<Vec<(usize, DeltaRef)>, TransferError> {
    let mut wrong = Vec::new();
    for (number, delta) in arrived {
        if !fetcher.is_whole(&delta.blob, delta.bytes)? {
            fetcher.spool(&delta.blob).drop_range(0..delta.bytes)?;
            wrong.push((number, delta));
        }
    }
    Ok(wrong)
}

/// Says whether one blob is at fault, which a pull can do without, and not the connection.
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

/// What a delta gave.
struct AppliedDelta {
    roots: Roots,
    split: DeltaSplit,
    failed: Vec<(ObjectId, String)>,
}

/// Makes what a delta says, but for what is quicker to fetch, which it fetches meanwhile, and what
/// has to wait for others.
fn apply_delta(
    pulling: &Pulling<'_>,
    part: &PlannedPart,
    delta: &DeltaRef,
    indexes: &mut Indexes,
) -> Result<AppliedDelta, TransferError> {
    let Pulling {
        fetcher,
        repository,
        transaction,
        options,
    } = *pulling;
    let old = read_base(repository, part, delta)?;
    let file = fetcher.spool(&delta.blob).whole(delta.bytes)?;
    let opened = Delta::open(&file, &old.manifest, &old.tree, &DeltaLimits::default())?;
    let roots = roots_of(&opened, part)?;
    let needed: u64 = opened.objects().map(|(_, size)| size).sum();
    repository.require_space(needed)?;
    let DirectFetches {
        objects,
        gap,
        ranges,
    } = direct_fetches(&opened, delta.bytes, indexes, fetcher, options)?;
    // Bases that arrive with other parts, later, and bases that are gone; whoever needs those finds
    // out.
    let arriving = ArrivingObjects(transaction);
    let absent = |base: &ObjectId| crate::delta::ObjectReader::open(&arriving, base).is_err();
    let later = opened.made_of(&objects, &absent);
    let now = |id: &ObjectId| !objects.contains(id) && !later.contains(id);
    let failed = fetch_beside(fetcher, &ranges, |is_alone| {
        let progress = if is_alone {
            options.progress
        } else {
            &NoProgress
        };
        make(&opened, transaction, &now, progress, options.cancel)
    })?;
    Ok(AppliedDelta {
        roots,
        split: DeltaSplit {
            quicker: objects,
            gap,
            later,
        },
        failed,
    })
}

/// Makes the manifest and the tree that a delta leads to, and refuses others than those that were
/// signed.
fn roots_of(delta: &Delta<'_>, part: &PlannedPart) -> Result<Roots, TransferError> {
    let roots = Roots {
        manifest: delta.manifest()?,
        tree: delta.tree()?,
    };
    let is_signed = blake3::hash(&roots.manifest).as_bytes() == part.release.id.as_bytes()
        && *blake3::hash(&roots.tree).as_bytes() == tree_in_packs(&part.release).0;
    match is_signed {
        true => Ok(roots),
        false => Err(TransferError::Delta(DeltaError::Limit {
            reason: "it does not lead to what was signed".to_owned(),
        })),
    }
}

/// Makes the wanted objects of a delta, and returns those that could not be made.
fn make(
    delta: &Delta<'_>,
    transaction: &Transaction<'_>,
    wanted: &(dyn Fn(&ObjectId) -> bool + Sync),
    progress: &dyn TransferProgress,
    cancel: &AtomicBool,
) -> Result<Vec<(ObjectId, String)>, TransferError> {
    let needed = delta.objects().filter(|(id, _)| wanted(id));
    let needed = needed.map(|(_, size)| size).sum();
    progress.phase("applying deltas", Some(needed));
    let arriving = ArrivingObjects(transaction);
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

/// Does `work` while ranges arrive that are wanted afterwards. `work` is told whether it is alone
/// and may report progress. What does not arrive is asked for again later; a failure counts then.
fn fetch_beside<T>(
    fetcher: &Fetcher<'_>,
    ranges: &Ranges,
    work: impl FnOnce(bool) -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    if ranges.is_empty() {
        return work(true);
    }
    let wanted = FetchSwitch(AtomicBool::new(true));
    std::thread::scope(|scope| {
        let ahead = scope.spawn(|| fetcher.fetch_watched("fetching", ranges, &wanted));
        let done = work(false);
        wanted.0.store(done.is_ok(), Ordering::Relaxed);
        let _ = ahead.join();
        done
    })
}

/// Ends a fetch that nobody wants any more.
struct FetchSwitch(AtomicBool);

impl FetchObserver for FetchSwitch {
    fn planned(&self, _: &[(Sha256, Range<u64>)]) {}

    fn arrived(&self, _: usize, _: u64) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
