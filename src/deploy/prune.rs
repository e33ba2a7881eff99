//! Removing old deployments: a plan first, then each by a rename that takes it out of sight.

use super::change::Change;
use super::history::{History, HistoryAction, Note};
use super::{DeployError, Target};
use crate::store::Repository;

/// Which deployments pruning would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct PrunePlan {
    /// Their numbers, oldest first.
    pub remove: Vec<u64>,
}

impl Target {
    /// Finds the oldest deployments in excess of `keep`, except the current one, the previous one,
    /// pinned ones and the newest staged one.
    pub fn plan_prune(&self, keep: usize) -> Result<PrunePlan, DeployError> {
        let generations = self.generations()?;
        let (current, previous) = (self.current()?, self.previous()?);
        let used = History::load_unverified(&self.history_path())?.ever_current();
        let staged = generations
            .iter()
            .rev()
            .find(|n| !used.contains(n) && current.is_none_or(|current| **n > current));
        let mut excess = generations.len().saturating_sub(keep);
        let mut plan = PrunePlan::default();
        for generation in &generations {
            let is_needed = [current, previous, staged.copied()].contains(&Some(*generation))
                || self.deployment_dir(*generation).join("pinned").exists();
            if excess > 0 && !is_needed {
                plan.remove.push(*generation);
                excess -= 1;
            }
        }
        Ok(plan)
    }
}

impl Change<'_> {
    /// Removes what the plan names. Stopping anywhere, a deployment is there whole or gone for
    /// good.
    ///
    /// Order: unmount, rename to `.old-<n>` (the commit point), delete, let go of the image. Images
    /// are let go of last: until then nothing that a mount may still read can be collected.
    pub fn prune(
        &self,
        repository: &Repository,
        plan: &PrunePlan,
        note: &Note,
    ) -> Result<(), DeployError> {
        let target = self.target;
        target.require_repository(repository.root())?;
        let deployments = target.deployments_dir();
        for generation in &plan.remove {
            if target.current()? == Some(*generation) {
                return Err(DeployError::IsCurrent {
                    generation: *generation,
                });
            }
            let dir = target.deployment_dir(*generation);
            super::mounts::unmount_below(&dir)?;
            let old = deployments.join(format!(".old-{generation}"));
            target.disk.rename(&dir, &old)?;
            target.disk.sync_dir(&deployments)?;
            target.remove_dir(&old)?;
            repository.remove_ref(&self.ref_name(*generation)?)?;
        }
        self.release_strays(repository)?;
        if !plan.remove.is_empty() {
            let numbers: Vec<String> = plan.remove.iter().map(u64::to_string).collect();
            let current = target.current()?;
            let note = Note {
                reason: format!("removed {} {}", numbers.join(", "), note.reason)
                    .trim_end()
                    .to_owned(),
                ..note.clone()
            };
            self.record(HistoryAction::Prune, current, current, &note)?;
        }
        Ok(())
    }
}
