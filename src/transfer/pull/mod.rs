//! Pulling: fetches what the repository lacks of a release, checks it, and makes it visible by
//! renaming a ref.
//!
//! ```text
//! survey    documents, repository    → PullPlan            decided before anything is fetched
//! by_delta  deltas                   → PullPlan, Roots     now, later, quicker to fetch, not at all
//! contents  packs                    → Roots, objects
//! decoded   Roots                    → layers and images, checked against what is signed
//! forecast  PullPlan, indexes        → what it would cost  and nothing changes
//! ```

mod by_delta;
mod contents;
mod decoded;
mod direct;
mod forecast;
mod plan;
mod preview;
mod survey;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

pub use self::forecast::{ForecastPart, PullForecast, forecast};
pub use self::plan::{
    ByDelta, DeltaSplit, Holdings, InFull, PlannedPart, PullPlan, Route, WantedObjects,
};
pub use self::preview::{ReleasePreview, WantedContents, preview};

use self::by_delta::{apply_deltas, apply_rest};
use self::contents::{fetch_objects, fetch_roots};
use self::decoded::{Decoded, decode_all, objects_of};
use super::baselines::take_over;
use super::fetch::Fetcher;
use super::link::LinkStats;
use super::unpack::Packs;
use super::{Catalogue, TransferError, TransferProgress};
use crate::format::Image;
use crate::format::release::{Release, ReleaseId, ReleaseKind};
use crate::remote::Remote;
use crate::store::{CommitReport, LockWait, RefName, Repository, Transaction};

/// The file that remembers the rate of the link, beside what arrived.
const RATE: &str = "rate";

/// How to pull.
pub struct PullOptions<'a> {
    /// How many requests at once.
    pub threads: usize,
    /// Whether deltas may be used.
    pub deltas: bool,
    /// The largest gap, in bytes, that is fetched to save a request; `None` for what arrives while
    /// an answer is on its way.
    pub gap: Option<u64>,
    /// Whether compressed files are made again where that takes longer than to fetch them; `None`
    /// lets the rate of the link decide.
    pub recompress: Option<bool>,
    /// Whether images are composed again from their layers, and compared with what was published.
    pub recompose: bool,
    /// Ends the work; what arrived stays for the next time.
    pub cancel: &'a AtomicBool,
    /// Hears how it goes.
    pub progress: &'a dyn TransferProgress,
    /// How to wait for another pull.
    pub waiting: LockWait<'a>,
}

impl PullOptions<'_> {
    fn gap_on(&self, link: &LinkStats) -> u64 {
        self.gap.unwrap_or_else(|| link.delay_bytes())
    }

    fn fetcher<'a>(&'a self, remote: &'a dyn Remote, incoming: &Path) -> Fetcher<'a> {
        Fetcher {
            remote,
            incoming: incoming.to_owned(),
            threads: self.threads,
            progress: self.progress,
            cancel: self.cancel,
            link: LinkStats::remembered(&incoming.join(RATE)),
            whole: Mutex::default(),
        }
    }
}

/// How a layer or an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It was there.
    Present,
    /// As the difference to an earlier release.
    Delta,
    /// From packs.
    Packs,
}

/// One layer or image of what was pulled.
#[derive(Debug, Clone, Serialize)]
pub struct PulledPart {
    /// Layer or image.
    pub kind: ReleaseKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub id: ReleaseId,
    /// How it came.
    pub how: Delivery,
    /// Bytes of its delta; 0 without one.
    pub delta_bytes: u64,
    /// Objects that were fetched in full because that was quicker than to compress them again.
    pub quicker_objects: u64,
    /// Objects that its delta could not make, which were fetched in full.
    pub fallback_objects: u64,
    /// Why, for the first of them.
    pub fallback_reason: Option<String>,
}

/// What a pull did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PullReport {
    /// What it consists of, layers first.
    pub parts: Vec<PulledPart>,
    /// Bytes that were fetched, the head aside.
    pub bytes_fetched: u64,
    /// Bytes among them that deltas should have saved, and did not.
    pub fallback_bytes: u64,
    /// Objects that the repository did not have.
    pub new_objects: u64,
    /// Bytes written to the repository.
    pub bytes_written: u64,
}

/// What all steps of a pull work with.
#[derive(Clone, Copy)]
struct Pulling<'p> {
    fetcher: &'p Fetcher<'p>,
    repository: &'p Repository,
    transaction: &'p Transaction<'p>,
    options: &'p PullOptions<'p>,
}

/// How many threads make objects.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pulls `release` with all that it needs into the repository, and points the ref `name` at it: the
/// commit point.
///
/// What is here already is not fetched. An image is accepted only when its layers compose to it.
pub fn pull(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: &RefName,
    options: &PullOptions<'_>,
) -> Result<PullReport, TransferError> {
    bring(repository, remote, catalogue, release, Some(name), options)
}

/// Brings back what the repository lacks of a release that it has, or had; no ref is moved.
///
/// What is damaged and was doubted before ([`Repository::doubt`]) counts as lacking.
pub fn restore(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    release: &Release,
    options: &PullOptions<'_>,
) -> Result<PullReport, TransferError> {
    bring(repository, remote, catalogue, release, None, options)
}

fn bring(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: Option<&RefName>,
    options: &PullOptions<'_>,
) -> Result<PullReport, TransferError> {
    let _turn = repository.work_lock("pull", "layerset pull", options.waiting)?;
    let incoming = repository.cache_dir("incoming")?;
    let fetcher = options.fetcher(remote, &incoming);
    let plan = survey::plan(repository, catalogue, release, name, options)?;
    require_room(repository, &plan)?;
    let (plan, brought) = apply(repository, &fetcher, plan, options)?;
    if let Some(name) = name {
        repository.set_ref(name, &release.id.to_string())?;
    }
    forget_incoming(&incoming, &plan);
    Ok(PullReport {
        parts: plan.into_report(),
        bytes_fetched: fetcher.link.bytes(),
        fallback_bytes: brought.fallback_bytes,
        new_objects: brought.committed.new_objects,
        bytes_written: brought.committed.bytes_written,
    })
}

/// What carrying out a plan brought.
struct ApplyOutcome {
    fallback_bytes: u64,
    committed: CommitReport,
}

/// Carries out a plan: everything of the release is in the repository afterwards. Returns the plan
/// as it turned out.
fn apply(
    repository: &Repository,
    fetcher: &Fetcher<'_>,
    plan: PullPlan,
    options: &PullOptions<'_>,
) -> Result<(PullPlan, ApplyOutcome), TransferError> {
    let transaction = repository.begin()?;
    let mut packs = Packs::default();
    let pulling = Pulling {
        fetcher,
        repository,
        transaction: &transaction,
        options,
    };
    let (mut plan, mut roots) = apply_deltas(&pulling, plan)?;
    roots.extend(fetch_roots(fetcher, &plan, &mut packs, options)?);
    let decoded = decode_all(repository, &plan, roots)?;
    let objects_of = objects_of(&decoded)?;
    let mut fallback_bytes = fetch_objects(&pulling, &plan, &objects_of, &mut packs)?;
    if !plan.later().is_empty() {
        plan = apply_rest(&pulling, plan)?;
        // What could not be made after all.
        fallback_bytes += fetch_objects(&pulling, &plan, &objects_of, &mut packs)?;
    }
    let committed = keep(
        repository,
        &plan,
        transaction,
        decoded.into_values(),
        options,
    )?;
    Ok((
        plan,
        ApplyOutcome {
            fallback_bytes,
            committed,
        },
    ))
}

/// Stores everything that arrived. Images come last, each after the check that its layers make it.
fn keep(
    repository: &Repository,
    plan: &PullPlan,
    transaction: Transaction<'_>,
    decoded: impl Iterator<Item = Decoded>,
    options: &PullOptions<'_>,
) -> Result<CommitReport, TransferError> {
    let mut images = Vec::new();
    for decoded in decoded {
        match decoded {
            Decoded::Layer(layer, changeset) => {
                transaction.put_changeset(&changeset)?;
                transaction.put_layer(&layer)?;
            }
            Decoded::Image(image, tree) => {
                transaction.put_tree(&tree)?;
                images.push(image);
            }
        }
    }
    let releases = plan.parts().iter().map(|part| &part.release);
    take_over(repository, releases, &transaction)?;
    options.progress.phase("writing", None);
    let committed = transaction.store()?;
    for image in &images {
        take_image(repository, image, options)?;
    }
    Ok(committed)
}

/// Checks that an image is what its layers make, then stores its manifest. An image whose manifest
/// is in the repository has passed that check, whatever ended an earlier pull.
fn take_image(
    repository: &Repository,
    image: &Image,
    options: &PullOptions<'_>,
) -> Result<(), TransferError> {
    if options.recompose {
        options.progress.phase("composing, to compare", None);
        super::verify::verify_composition(repository, image)?;
    }
    let transaction = repository.begin()?;
    transaction.put_image(image)?;
    transaction.store()?;
    Ok(())
}

/// Removes what arrived for a plan; what arrived for others stays for whoever goes on with it.
fn forget_incoming(incoming: &Path, plan: &PullPlan) {
    for (_, part) in plan.missing_parts() {
        let packs = part.release.packs.iter().map(|pack| pack.blob);
        let deltas = part.release.deltas.iter().map(|delta| delta.blob);
        for blob in packs.chain(deltas) {
            let _ = std::fs::remove_dir_all(incoming.join(blob.to_string()));
        }
    }
    let _ = std::fs::remove_file(incoming.join(RATE));
    let _ = std::fs::remove_dir(incoming);
}

/// Refuses a release that certainly does not fit, before anything is fetched, by what is signed
/// alone. What it shares with layers that are here is known later.
fn require_room(repository: &Repository, plan: &PullPlan) -> Result<(), TransferError> {
    if !repository.is_bare() {
        return Ok(());
    }
    // An estimate: packs and the rest of each block are left out, and what layers share is counted
    // twice.
    let needed = plan.missing_parts().fold(0u64, |sum, (_, part)| {
        sum.saturating_add(part.release.object_bytes)
            .saturating_add(part.release.tree_bytes)
    });
    Ok(repository.require_space(needed)?)
}
