//! What the repository has already: read once, before anything is decided.

use std::collections::BTreeSet;

use super::super::deltas::DeltaBase;
use super::super::{Catalogue, TransferError, TransferProgress};
use super::PullOptions;
use super::plan::{Holdings, PlannedPart, PullPlan, Route};
use crate::causes::chain;
use crate::format::release::{DeltaRef, Release, ReleaseId, ReleaseKind};
use crate::store::{RefName, Repository};

/// Decides how the release arrives that `name` will point at, or that is to be whole again. Reads
/// documents and the repository, and changes neither.
pub(super) fn plan(
    repository: &Repository,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: Option<&RefName>,
    options: &PullOptions<'_>,
) -> Result<PullPlan, TransferError> {
    let releases = with_layers(catalogue, release)?;
    // What a ref points at was complete when the ref was written.
    let pointed = name.map(|name| repository.read_ref(name)).transpose()?;
    let is_settled = pointed.flatten() == Some(release.id.to_string());
    let mut holdings = Holdings {
        present: present(repository, &releases, is_settled),
        bases: BTreeSet::new(),
    };
    if options.deltas {
        holdings.bases = bases(repository, &releases);
    }
    let plan = PullPlan::new(releases, &holdings);
    Ok(with_readable_bases(repository, plan, options.progress))
}

/// Finds the releases of the layers of a release; it comes last itself.
fn with_layers(
    catalogue: &dyn Catalogue,
    release: &Release,
) -> Result<Vec<Release>, TransferError> {
    let mut all = Vec::new();
    for layer in &release.layers {
        let id = ReleaseId::from(layer.id);
        all.push(catalogue.release(ReleaseKind::Layer, &layer.name, &id)?);
    }
    all.push(release.clone());
    Ok(all)
}

fn present(repository: &Repository, releases: &[Release], is_settled: bool) -> BTreeSet<ReleaseId> {
    let has_manifest = |release: &&Release| match release.kind {
        ReleaseKind::Layer => repository.has_layer(&release.id.layer()),
        ReleaseKind::Image => repository.read_image(&release.id.image()).is_ok(),
    };
    let named = releases.iter().filter(has_manifest);
    let whole = named.filter(|release| is_settled || is_whole(repository, release));
    whole.map(|release| release.id).collect()
}

/// Says whether a layer or an image whose manifest is here is complete. It may not be: a loss of
/// power can end a pull, and files can be damaged later.
fn is_whole(repository: &Repository, release: &Release) -> bool {
    match release.kind {
        ReleaseKind::Layer => repository.is_layer_whole(&release.id.layer()),
        ReleaseKind::Image => repository.is_image_whole(&release.id.image()),
    }
}

fn bases(repository: &Repository, releases: &[Release]) -> BTreeSet<ReleaseId> {
    let each = releases.iter().flat_map(|release| {
        let is_here = |delta: &&DeltaRef| match release.kind {
            ReleaseKind::Layer => repository.has_layer(&delta.from.layer()),
            ReleaseKind::Image => repository.has_image(&delta.from.image()),
        };
        release.deltas.iter().filter(is_here)
    });
    each.map(|delta| delta.from).collect()
}

/// Takes back the deltas whose bases cannot be read. A manifest that is here does not prove that
/// what it names is here too.
fn with_readable_bases(
    repository: &Repository,
    mut plan: PullPlan,
    progress: &dyn TransferProgress,
) -> PullPlan {
    for number in 0..plan.parts().len() {
        while let Some(part) = plan.parts().get(number)
            && let Route::Delta(by_delta) = &part.route
        {
            let Err(error) = read_base(repository, part, &by_delta.delta) else {
                break;
            };
            progress.remark(&format!(
                "a delta of '{}' cannot be used, because its base cannot be read: {}",
                part.release.name,
                chain(&error)
            ));
            plan = plan.without_base(number);
        }
    }
    plan
}

/// Reads what a delta starts from, as it was when the delta was made.
pub(super) fn read_base(
    repository: &Repository,
    part: &PlannedPart,
    delta: &DeltaRef,
) -> Result<DeltaBase, TransferError> {
    let Release {
        kind, corrections, ..
    } = &part.release;
    DeltaBase::read(repository, *kind, &delta.from, corrections.is_some())
}
