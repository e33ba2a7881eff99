//! What a pull would cost: the same plan, added up instead of carried out. Nothing changes.
//!
//! Deltas have their sizes in what is signed. What arrives in full is known by the indexes of its
//! packs, its manifests and its trees, which are small: they are fetched into a directory of their
//! own that vanishes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::super::fetch::{Fetcher, Ranges, cut, merge, whole};
use super::super::inventory::{ObjectEntry, ObjectMap};
use super::super::pack::index_range;
use super::super::spool::without;
use super::super::unpack::{Packs, object_of};
use super::super::{Catalogue, TransferError};
use super::contents::fetch_roots;
use super::decoded::{decode_all, objects_of};
use super::plan::{PlannedPart, PullPlan, Route, is_made_of_layers, roots_in_packs};
use super::{Delivery, PullOptions, survey};
use crate::format::pack::Digest;
use crate::format::release::{PackRef, Release, ReleaseId, ReleaseKind};
use crate::remote::Remote;
use crate::sha256::Sha256;
use crate::store::{RefName, Repository};

/// What a pull would fetch, as far as that is known before a delta is opened: objects that deltas
/// bring for other parts as well are counted with those, and files that are quicker to fetch than
/// to make are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PullForecast {
    /// What the release consists of, layers first.
    pub parts: Vec<ForecastPart>,
    /// Bytes to be fetched, the head aside; what arrived for a pull that broke off is not among
    /// them.
    pub bytes: u64,
    /// Requests, that of the head aside.
    pub requests: u64,
}

/// How a layer or an image would arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForecastPart {
    /// Layer or image.
    pub kind: ReleaseKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub id: ReleaseId,
    /// How it would arrive.
    pub how: Delivery,
    /// Bytes to be fetched for it; what it shares with parts above it in the list counts there.
    pub bytes: u64,
}

/// Says what [`super::pull`] with the same arguments would fetch. Changes neither the repository
/// nor its cache.
pub fn forecast(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: &RefName,
    options: &PullOptions<'_>,
) -> Result<PullForecast, TransferError> {
    let plan = survey::plan(repository, catalogue, release, Some(name), options)?;
    let scratch = Scratch::make()?;
    let fetcher = options.fetcher(remote, &scratch.0);
    let mut packs = Packs::default();
    let objects = objects_in_full(repository, &fetcher, &plan, &mut packs, options)?;
    let wanted = |number: usize| -> BTreeSet<Digest> {
        let objects = objects.get(&number).into_iter().flatten();
        let lacking = objects.filter(|(id, content)| !repository.is_untouched(id, content.size));
        lacking.map(|(id, _)| *id.as_bytes()).collect()
    };
    // Only what is missing from the cache counts, not what was fetched to find that out.
    let arrived = options.fetcher(remote, &repository.root().join("cache/incoming"));
    let mut bill = Bill {
        arrived: &arrived,
        packs: &packs,
        gap: options.gap_on(&fetcher.link),
        deltas: Ranges::new(),
        indexes: Ranges::new(),
        roots: BTreeSet::new(),
        objects: BTreeSet::new(),
    };
    let mut parts = Vec::new();
    let mut before = Cost::default();
    for (number, part) in plan.parts().iter().enumerate() {
        match &part.route {
            Route::Present => {}
            Route::Delta(by_delta) => bill
                .deltas
                .extend(whole([(by_delta.delta.blob, by_delta.delta.bytes)])),
            Route::Packs(_) => bill.add_in_full(&part.release, wanted(number)),
        }
        let after = bill.cost()?;
        parts.push(describe(part, after.bytes.saturating_sub(before.bytes)));
        before = after;
    }
    Ok(PullForecast {
        parts,
        bytes: before.bytes,
        requests: before.requests,
    })
}

fn describe(part: &PlannedPart, bytes: u64) -> ForecastPart {
    let PlannedPart { release, route } = part;
    ForecastPart {
        kind: release.kind,
        name: release.name.clone(),
        version: release.version.clone(),
        id: release.id,
        how: route.how(),
        bytes,
    }
}

/// Finds out of which objects the parts consist that arrive in full, by number of the part.
fn objects_in_full(
    repository: &Repository,
    fetcher: &Fetcher<'_>,
    plan: &PullPlan,
    packs: &mut Packs,
    options: &PullOptions<'_>,
) -> Result<BTreeMap<usize, ObjectMap>, TransferError> {
    let mut roots = fetch_roots(fetcher, plan, packs, options)?;
    // The tree of an image is made of its layers: of those that deltas lead to, nothing is known
    // yet.
    let has_deltas = plan.deltas().next().is_some();
    let unknown = |release: &Release| has_deltas && is_made_of_layers(release);
    roots.retain(|number, _| !unknown(&plan.parts()[*number].release));
    let mut objects = objects_of(&decode_all(repository, plan, roots)?)?;
    for (number, release) in plan.in_full().filter(|(_, release)| unknown(release)) {
        let roots = roots_in_packs(release).map(|(digest, _)| digest);
        let held = packs.held_by(&release.packs);
        let held = held.filter(|content| !roots.contains(&content.digest));
        let each = held.map(|content| {
            let size = content.size;
            (
                object_of(content),
                ObjectEntry {
                    size,
                    paths: Vec::new(),
                },
            )
        });
        objects.insert(number, each.collect());
    }
    Ok(objects)
}

/// What is to be fetched, in the phases of a pull: ranges of different phases are not joined.
struct Bill<'a> {
    arrived: &'a Fetcher<'a>,
    packs: &'a Packs,
    gap: u64,
    deltas: Ranges,
    indexes: Ranges,
    roots: BTreeSet<Digest>,
    objects: BTreeSet<Digest>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    bytes: u64,
    requests: u64,
}

impl Bill<'_> {
    fn add_in_full(&mut self, release: &Release, objects: BTreeSet<Digest>) {
        for (blob, range) in release.packs.iter().filter_map(index_of) {
            self.indexes.insert(blob, vec![range]);
        }
        self.roots
            .extend(roots_in_packs(release).map(|(digest, _)| digest));
        self.objects.extend(objects);
    }

    fn cost(&self) -> Result<Cost, TransferError> {
        let of = |wanted| self.packs.ranges(&self.packs.plan(wanted).0, self.gap);
        let (roots, objects) = (of(&self.roots), of(&self.objects));
        let mut cost = Cost::default();
        // What a phase fetches between two ranges that it joined is there in the next one.
        let mut fetched = Ranges::new();
        for phase in [&self.deltas, &self.indexes, &roots, &objects] {
            for (blob, ranges) in phase {
                let before = fetched.entry(*blob).or_default();
                for range in ranges {
                    for missing in self.arrived.spool(blob).missing(range.clone())? {
                        for request in without(missing, before.clone()).into_iter().flat_map(cut) {
                            cost.bytes += request.end - request.start;
                            cost.requests += 1;
                        }
                    }
                }
                before.extend_from_slice(ranges);
                *before = merge(std::mem::take(before), 0);
            }
        }
        Ok(cost)
    }
}

fn index_of(pack: &PackRef) -> Option<(Sha256, std::ops::Range<u64>)> {
    Some((pack.blob, index_range(pack)?))
}

/// A directory that vanishes, outside of the repository: a forecast writes nothing there, which may
/// be on a read-only medium.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn make() -> Result<Self, TransferError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let parent = std::env::temp_dir();
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("layerset-{}-{number}", std::process::id()));
            // A name that exists belongs to somebody else.
            match make_private(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(TransferError::io("make directory", &path, error)),
            }
        }
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
