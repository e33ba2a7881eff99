//! What deltas give: one for each layer or image that has one, all fetched at once.

use super::super::TransferError;
use super::super::deltas::{Arriving, Root};
use super::super::fetch::{Blame, Fetcher, whole};
use super::{How, Part, PullOptions, PullReport};
use crate::delta::{Delta, DeltaError, Limits};
use crate::format::release::{DeltaRef, Kind};
use crate::id::TreeId;
use crate::remote::RemoteError;
use crate::store::{Repository, Transaction};

/// Fetches a delta for each part that has one, all at once, and makes what they say; what cannot be made is fetched later.
pub(super) fn apply_deltas(
    fetcher: &Fetcher<'_>,
    repository: &Repository,
    transaction: &Transaction<'_>,
    parts: &mut [Part],
    options: &PullOptions<'_>,
    report: &mut PullReport,
) -> Result<(), TransferError> {
    let mut chosen = Vec::new();
    for (number, part) in parts.iter().enumerate().filter(|_| options.deltas) {
        let is_here = |delta: &&DeltaRef| match part.release.kind {
            Kind::Layer => repository.has_layer(&delta.from.layer()),
            Kind::Image => repository.read_image(&delta.from.image()).is_ok(),
        };
        let deltas = part.release.deltas.iter().filter(is_here);
        if let Some(delta) = deltas.min_by_key(|delta| delta.bytes) {
            chosen.push((number, *delta));
        }
    }
    let wanted = whole(chosen.iter().map(|(_, delta)| (delta.blob, delta.bytes)));
    repository.require_space(fetcher.missing_bytes(&wanted)?)?;
    report.bytes_fetched += fetch_deltas(fetcher, &mut chosen, options)?;
    for (number, delta) in chosen {
        let part = &mut parts[number];
        part.delta_bytes = delta.bytes;
        match apply_delta(fetcher, repository, transaction, part, &delta, options) {
            Ok(()) => part.how = How::Delta,
            Err(TransferError::Delta(error)) => {
                let reason = chain(&error);
                let name = &part.release.name;
                options.progress.remark(&format!(
                    "the delta of '{name}' is of no use, fetching in full: {reason}"
                ));
                fetcher.spool(&delta.blob)?.drop_range(0..delta.bytes)?;
                (part.manifest, part.tree) = (None, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn apply_delta(
    fetcher: &Fetcher<'_>,
    repository: &Repository,
    transaction: &Transaction<'_>,
    part: &mut Part,
    delta: &DeltaRef,
    options: &PullOptions<'_>,
) -> Result<(), TransferError> {
    let old = Root::read(repository, part.release.kind, &delta.from)?;
    let file = fetcher.spool(&delta.blob)?.whole(delta.bytes)?;
    let opened = Delta::open(&file, &old.manifest, &old.tree, &Limits::default())?;
    let (manifest, tree) = (opened.manifest()?, opened.tree()?);
    if blake3::hash(&manifest).as_bytes() != part.release.id.as_bytes()
        || TreeId::of(&tree) != part.release.tree
    {
        return Err(TransferError::Delta(DeltaError::Limit {
            reason: "it leads to something else".to_owned(),
        }));
    }
    let needed: u64 = opened.objects().map(|(_, size)| size).sum();
    repository.require_space(needed)?;
    options.progress.phase("applying deltas", Some(needed));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let arriving = Arriving(transaction);
    let applied = opened.apply(
        &arriving,
        &arriving,
        &|_| true,
        threads,
        &|bytes| options.progress.advance(bytes),
        options.cancel,
    )?;
    part.failed = applied.failed.into_iter().collect();
    (part.manifest, part.tree) = (Some(manifest), Some(tree));
    Ok(())
}
