//! What a pull is going to do: decided from what is signed and what the repository has, before
//! anything is fetched.
//!
//! A [`PullPlan`] is a value, and so is everything that it is made of. What arrives may change it
//! (a delta that is damaged, a file that is quicker to fetch than to make); each such change is one
//! step that makes another plan of it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::inventory::ObjectMap;
use super::{Delivery, PulledPart};
use crate::format::pack::Digest;
use crate::format::release::{DeltaRef, PackRef, Release, ReleaseId, ReleaseKind};
use crate::id::ObjectId;

/// What the repository has of what a pull is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Releases that are here with all that they consist of.
    pub present: BTreeSet<ReleaseId>,
    /// Releases that deltas may start from.
    pub bases: BTreeSet<ReleaseId>,
}

/// How each layer and the image of a release arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PullPlan {
    parts: Vec<PlannedPart>,
}

/// A layer or an image, and how it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPart {
    /// What is signed of it.
    pub release: Release,
    /// How it arrives.
    pub route: Route,
}

/// How a layer or an image arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Not at all: it is here.
    Present,
    /// As the difference to a release that is here.
    Delta(ByDelta),
    /// In full: its manifest and tree, and of its objects those that are not here.
    Packs(InFull),
}

/// What a delta makes, and what is fetched although it could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByDelta {
    /// The delta: the smallest that starts from what is here.
    pub delta: DeltaRef,
    /// Larger deltas, smallest first, for the case that what this one starts from cannot be read.
    pub others: Vec<DeltaRef>,
    /// Objects that are fetched in full because that is quicker than to make them.
    pub quicker: BTreeSet<ObjectId>,
    /// The gap, in bytes, at which `quicker` was reckoned; `None` for the usual one.
    pub gap: Option<u64>,
    /// Objects that the delta makes of others which are fetched first.
    pub later: BTreeSet<ObjectId>,
    /// Objects that the delta cannot make, which are fetched in full, and why it cannot.
    pub failed: BTreeMap<ObjectId, String>,
}

impl ByDelta {
    fn new(mut deltas: Vec<DeltaRef>) -> Option<Self> {
        deltas.sort_by_key(|delta| delta.bytes);
        let mut deltas = deltas.into_iter();
        Some(Self {
            delta: deltas.next()?,
            others: deltas.collect(),
            quicker: BTreeSet::new(),
            gap: None,
            later: BTreeSet::new(),
            failed: BTreeMap::new(),
        })
    }
}

/// What is known of a part that arrives in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFull {
    /// The bytes that arrived of a delta which turned out to be of no use; `None` where no delta
    /// was tried.
    pub lost_delta: Option<u64>,
}

/// What opening a delta shows about its objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeltaSplit {
    /// See [`ByDelta::quicker`].
    pub quicker: BTreeSet<ObjectId>,
    /// See [`ByDelta::gap`].
    pub gap: Option<u64>,
    /// See [`ByDelta::later`].
    pub later: BTreeSet<ObjectId>,
}

/// Objects to fetch from packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedObjects {
    /// The objects.
    pub objects: ObjectMap,
    /// The packs that hold them.
    pub packs: Vec<PackRef>,
    /// Those among the objects that a delta should have made.
    pub fallback: BTreeSet<Digest>,
}

impl PullPlan {
    /// Decides how releases arrive, layers before the image that is made of them: what is here does
    /// not, what a delta leads to arrives by the smallest one, and everything else in full.
    pub fn new(releases: Vec<Release>, holdings: &Holdings) -> Self {
        let parts = releases.into_iter().map(|release| {
            let from_here = |delta: &&DeltaRef| holdings.bases.contains(&delta.from);
            let deltas = release.deltas.iter().filter(from_here).copied();
            let route = match holdings.present.contains(&release.id) {
                true => Route::Present,
                false => by_delta_or_in_full(deltas.collect()),
            };
            PlannedPart { release, route }
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// Returns the parts, layers before the image.
    pub fn parts(&self) -> &[PlannedPart] {
        &self.parts
    }

    /// Returns the parts that are not here, by number.
    pub fn missing_parts(&self) -> impl Iterator<Item = (usize, &PlannedPart)> {
        let all = self.parts.iter().enumerate();
        all.filter(|(_, part)| part.route != Route::Present)
    }

    /// Returns the deltas of the plan, by number of the part.
    pub fn deltas(&self) -> impl Iterator<Item = (usize, &ByDelta)> {
        let all = self.parts.iter().enumerate();
        all.filter_map(|(number, part)| match &part.route {
            Route::Delta(by_delta) => Some((number, by_delta)),
            Route::Present | Route::Packs(_) => None,
        })
    }

    /// Returns the parts that arrive in full, by number.
    pub fn in_full(&self) -> impl Iterator<Item = (usize, &Release)> {
        let all = self.parts.iter().enumerate();
        let in_full = all.filter(|(_, part)| matches!(part.route, Route::Packs(_)));
        in_full.map(|(number, part)| (number, &part.release))
    }

    /// Returns the objects that are made of others which are fetched first.
    pub fn later(&self) -> BTreeSet<ObjectId> {
        let each = self.deltas().flat_map(|(_, by_delta)| &by_delta.later);
        each.copied().collect()
    }

    /// Returns the bytes that are fetched for nothing rather than asked for apart: not more than
    /// what was reckoned with when objects were chosen because fetching them costs no more than a
    /// full download.
    pub fn gap(&self, usual: u64) -> u64 {
        let gaps = self.deltas().filter_map(|(_, by_delta)| by_delta.gap);
        gaps.fold(usual, u64::min)
    }

    /// What the delta of a part starts from cannot be read: the next larger one is taken, or
    /// everything in full.
    pub fn without_base(self, number: usize) -> Self {
        self.with_route(number, |route| match route {
            Route::Delta(by_delta) => by_delta_or_in_full(by_delta.others),
            route => route,
        })
    }

    /// The delta of a part is of no use, after so many bytes of it arrived: all of it comes in
    /// full. Another delta is not tried, which could be as bad: no update costs more than one delta
    /// and a full download.
    pub fn without_delta(self, number: usize, arrived: u64) -> Self {
        self.with_route(number, |route| match route {
            Route::Delta(_) => Route::Packs(InFull {
                lost_delta: Some(arrived),
            }),
            route => route,
        })
    }

    /// The delta of a part was opened, and what it makes now, later or not at all is known.
    pub fn with_split(self, number: usize, split: DeltaSplit) -> Self {
        self.with_delta(number, |by_delta| {
            by_delta.quicker = split.quicker;
            by_delta.gap = split.gap;
            by_delta.later = split.later;
        })
    }

    /// Objects that the delta of a part cannot make come in full.
    pub fn with_failed(self, number: usize, failed: Vec<(ObjectId, String)>) -> Self {
        self.with_delta(number, |by_delta| by_delta.failed.extend(failed))
    }

    /// What the delta of a part had left for later is made, but for what failed: nothing waits any
    /// more.
    pub fn with_rest_made(self, number: usize, failed: Vec<(ObjectId, String)>) -> Self {
        self.with_failed(number, failed)
            .with_delta(number, |by_delta| by_delta.later.clear())
    }

    fn with_route(mut self, number: usize, change: impl FnOnce(Route) -> Route) -> Self {
        if let Some(part) = self.parts.get_mut(number) {
            part.route = change(std::mem::replace(&mut part.route, Route::Present));
        }
        self
    }

    fn with_delta(self, number: usize, change: impl FnOnce(&mut ByDelta)) -> Self {
        self.with_route(number, |route| match route {
            Route::Delta(mut by_delta) => {
                change(&mut by_delta);
                Route::Delta(by_delta)
            }
            route => route,
        })
    }

    /// Returns what has to come from packs, given what the parts consist of, by number, and what is
    /// here: that which no delta makes, now or later.
    pub fn wanted(
        &self,
        objects_of: &BTreeMap<usize, ObjectMap>,
        is_here: &dyn Fn(&ObjectId, u64) -> bool,
    ) -> WantedObjects {
        let later = self.later();
        let mut wanted = WantedObjects::default();
        for (number, part) in self.missing_parts() {
            let had_delta = matches!(&part.route, Route::Packs(full) if full.lost_delta.is_some());
            let before = wanted.objects.len();
            for (id, content) in objects_of.get(&number).into_iter().flatten() {
                if later.contains(id) || is_here(id, content.size) {
                    continue;
                }
                if had_delta {
                    wanted.fallback.insert(*id.as_bytes());
                }
                wanted.objects.insert(*id, content.clone());
            }
            if wanted.objects.len() > before {
                wanted.packs.extend_from_slice(&part.release.packs);
            }
        }
        let failed = self
            .deltas()
            .flat_map(|(_, by_delta)| by_delta.failed.keys());
        let failed = failed.filter(|id| wanted.objects.contains_key(*id));
        wanted.fallback.extend(failed.map(|id| *id.as_bytes()));
        wanted
    }

    /// Reports how each part came, once the plan is carried out.
    pub(super) fn into_report(self) -> Vec<PulledPart> {
        let parts = self
            .parts
            .into_iter()
            .map(|PlannedPart { release, route }| {
                let mut fetched = PulledPart {
                    kind: release.kind,
                    name: release.name,
                    version: release.version,
                    id: release.id,
                    how: route.how(),
                    delta_bytes: 0,
                    quicker_objects: 0,
                    fallback_objects: 0,
                    fallback_reason: None,
                };
                match route {
                    Route::Present => {}
                    Route::Packs(in_full) => fetched.delta_bytes = in_full.lost_delta.unwrap_or(0),
                    Route::Delta(by_delta) => {
                        fetched.delta_bytes = by_delta.delta.bytes;
                        fetched.quicker_objects = by_delta.quicker.len() as u64;
                        fetched.fallback_objects = by_delta.failed.len() as u64;
                        fetched.fallback_reason = by_delta.failed.into_values().next();
                    }
                }
                fetched
            });
        parts.collect()
    }
}

impl Route {
    /// Returns the word for it.
    pub const fn how(&self) -> Delivery {
        match self {
            Self::Present => Delivery::Present,
            Self::Delta(_) => Delivery::Delta,
            Self::Packs(_) => Delivery::Packs,
        }
    }
}

fn by_delta_or_in_full(deltas: Vec<DeltaRef>) -> Route {
    match ByDelta::new(deltas) {
        Some(by_delta) => Route::Delta(by_delta),
        None => Route::Packs(InFull::default()),
    }
}

/// Returns what packs hold of a release's tree, itself or its corrections, with the size in bytes.
pub(super) fn tree_in_packs(release: &Release) -> (Digest, u64) {
    match &release.corrections {
        Some(corrections) => (*corrections.id.as_bytes(), corrections.bytes),
        None => (*release.tree.as_bytes(), release.tree_bytes),
    }
}

/// Returns what packs hold of a release beside its objects, with sizes in bytes.
pub(super) fn roots_in_packs(release: &Release) -> [(Digest, u64); 2] {
    let manifest = (*release.id.as_bytes(), release.manifest_bytes);
    [manifest, tree_in_packs(release)]
}

/// Says whether the tree of a release is made of those of its layers.
pub(super) fn is_made_of_layers(release: &Release) -> bool {
    release.kind == ReleaseKind::Image && release.corrections.is_some()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
