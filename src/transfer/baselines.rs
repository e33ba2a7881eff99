//! Baselines on their way: signed in the release of their layer, kept beside it where they arrive.

use super::TransferError;
use crate::format::Baseline;
use crate::format::release::{Release, ReleaseId, ReleaseKind};
use crate::store::{Repository, Transaction};

/// Returns what is signed with a layer: the baseline that lies beside it. One that its manifest
/// holds travels with that.
pub(super) fn to_publish(
    repository: &Repository,
    kind: ReleaseKind,
    id: &ReleaseId,
) -> Result<Option<Baseline>, TransferError> {
    Ok(match kind {
        ReleaseKind::Layer => repository.read_baseline(&id.layer())?,
        ReleaseKind::Image => None,
    })
}

/// Returns the baseline that a release goes on with: the published one, unless later checks made
/// the other.
pub(super) fn later(published: Option<&Baseline>, ours: Option<Baseline>) -> Option<Baseline> {
    let version = published.map_or(0, |published| published.checks);
    ours.filter(|ours| ours.checks > version)
        .or_else(|| published.cloned())
}

/// Takes over the baselines of signed releases of layers, those of layers that were here before
/// among them; one that is here and no older stays.
pub(super) fn take_over<'r>(
    repository: &Repository,
    releases: impl Iterator<Item = &'r Release>,
    transaction: &Transaction<'_>,
) -> Result<(), TransferError> {
    for layer in releases.filter(|release| release.kind == ReleaseKind::Layer) {
        let Some(baseline) = &layer.baseline else {
            continue;
        };
        if let Some(reason) = baseline.problem() {
            return Err(TransferError::Inconsistent {
                what: "release",
                name: format!("layers/{}", layer.name),
                reason: format!("of its baseline, {reason}"),
            });
        }
        let id = layer.id.layer();
        // One that is damaged here is no better than none.
        let ours = repository.read_baseline(&id).ok().flatten();
        if ours.is_none_or(|ours| ours.checks < baseline.checks) {
            transaction.put_baseline(&id, baseline)?;
        }
    }
    Ok(())
}
