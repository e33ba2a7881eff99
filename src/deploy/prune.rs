//! Removing old deployments: a plan first, then each by a rename that takes it out of sight.

use std::collections::{BTreeMap, BTreeSet};

use super::change::Change;
use super::history::{History, HistoryAction, Note};
use super::{DeployError, Target};
use crate::id::ImageId;
use crate::store::Repository;

/// Which deployments pruning would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct PrunePlan {
    /// Their numbers, oldest first.
    pub remove: Vec<u64>,
}

impl Target {
    /// Finds the deployments in excess of `keep`: first those of an image that a newer deployment
    /// has as well, then the oldest.
    ///
    /// The current one, the previous one, the newest good one of another image, pinned ones and the
    /// newest staged one stay.
    pub fn plan_prune(&self, keep: usize) -> Result<PrunePlan, DeployError> {
        let generations = self.generations()?;
        let (current, previous) = (self.current()?, self.previous()?);
        let used = History::load_unverified(&self.history_path())?.ever_current();
        let staged = generations
            .iter()
            .rev()
            .find(|n| !used.contains(n) && current.is_none_or(|current| **n > current));
        let image = |n: &u64| self.deployment(*n).ok().map(|found| found.facts.image);
        let images: BTreeMap<u64, ImageId> = generations
            .iter()
            .filter_map(|n| Some((*n, image(n)?)))
            .collect();
        let good = self.last_good(current, &used, &images);
        // What the machine starts next, and what its loader takes where that fails.
        let next = match &self.machine {
            Some(machine) => machine.next()?.deployment,
            None => None,
        };
        let needed = [current, previous, staged.copied(), good, next];
        // After a live switch, programs may still have earlier trees before them.
        let in_use = self.machine.as_ref().map(|machine| machine.in_use());
        let in_use = in_use.unwrap_or_default();
        let free: Vec<u64> = generations
            .iter()
            .copied()
            .filter(|n| {
                !needed.contains(&Some(*n))
                    && !in_use.contains(n)
                    && !self.deployment_dir(*n).join("pinned").exists()
            })
            .collect();
        let has_newer_twin = |n: &u64| {
            images.get(n).is_some_and(|image| {
                let mut newer = images.range(n + 1..);
                newer.any(|(_, other)| other == image)
            })
        };
        let (twins, rest): (Vec<u64>, Vec<u64>) = free.into_iter().partition(has_newer_twin);
        let excess = generations.len().saturating_sub(keep);
        let mut remove: Vec<u64> = twins.into_iter().chain(rest).take(excess).collect();
        remove.sort_unstable();
        Ok(PrunePlan { remove })
    }

    /// Finds the newest deployment that was current and is not bad, of another image than the
    /// current one: twins of what fails are no way back.
    fn last_good(
        &self,
        current: Option<u64>,
        used: &BTreeSet<u64>,
        images: &BTreeMap<u64, ImageId>,
    ) -> Option<u64> {
        let now = current.and_then(|current| images.get(&current));
        let mut earlier = images.iter().rev();
        earlier
            .find(|(n, image)| {
                Some(*image) != now && used.contains(n) && self.bad_image(image).is_none()
            })
            .map(|(n, _)| *n)
    }
}

impl Change<'_> {
    /// Removes what the plan names. Stopping anywhere, a deployment is there whole or gone for
    /// good. What cannot be removed is told and stays; returns what went.
    ///
    /// Order: unmount, rename to `.old-<n>` (the commit point), delete, let go of the image. Images
    /// are let go of last: until then nothing that a mount may still read can be collected.
    pub fn prune(
        &self,
        repository: &Repository,
        plan: &PrunePlan,
        note: &Note,
    ) -> Result<Vec<u64>, DeployError> {
        let target = self.target;
        target.require_repository(repository.root())?;
        let mut removed = Vec::new();
        for generation in &plan.remove {
            if target.current()? == Some(*generation) {
                return Err(DeployError::IsCurrent {
                    generation: *generation,
                });
            }
            match self.remove_deployment(repository, *generation) {
                Ok(()) => removed.push(*generation),
                Err(error) => self.tolerate(
                    &format!("generation {generation} cannot be removed"),
                    Err(error),
                )?,
            }
        }
        self.release_strays(repository)?;
        if !removed.is_empty() {
            let numbers: Vec<String> = removed.iter().map(u64::to_string).collect();
            let current = target.current()?;
            let note = Note {
                reason: format!("removed {} {}", numbers.join(", "), note.reason)
                    .trim_end()
                    .to_owned(),
                ..note.clone()
            };
            self.record(HistoryAction::Prune, current, current, &note)?;
        }
        Ok(removed)
    }

    /// Removes one deployment, which is not current.
    pub(super) fn remove_deployment(
        &self,
        repository: &Repository,
        generation: u64,
    ) -> Result<(), DeployError> {
        let target = self.target;
        let deployments = target.deployments_dir();
        let dir = target.deployment_dir(generation);
        super::mounts::unmount_below(&dir)?;
        let old = deployments.join(format!(".old-{generation}"));
        target.disk.rename(&dir, &old)?;
        target.disk.sync_dir(&deployments)?;
        if let Some(machine) = &target.machine {
            machine.forget(target.disk.as_ref(), generation)?;
        }
        self.remove_leftover(&old)?;
        repository.remove_ref(&self.ref_name(generation)?)?;
        Ok(())
    }
}
