//! A deployment that is there already: the same image with the `/etc` that the new one would get.
//!
//! To make another one would only push out what a rollback could go to.

use super::change::Change;
use super::etc::{self, EtcPlan, EtcReport};
use super::history::History;
use super::preflight::check_objects;
use super::record::{DeploymentDir, DeploymentKind};
use super::stage::{KindChoice, StageOptions};
use super::{DeployError, Target, VarReport, moving};
use crate::id::ImageId;
use crate::store::Repository;
use crate::tree::Tree;

/// A deployment that serves as well as a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reusable {
    pub(super) generation: u64,
    pub(super) kind: DeploymentKind,
    pub(super) etc: EtcReport,
    pub(super) var: VarReport,
}

impl Change<'_> {
    /// Finds the newest deployment of an image whose `/etc` is what staging it now would give.
    ///
    /// Where staging would be refused, there is none, and staging says why.
    pub(super) fn find_reusable(
        &self,
        repository: &Repository,
        image: &ImageId,
        options: &StageOptions,
    ) -> Result<Option<Reusable>, DeployError> {
        // A deployment that was made carries out the decisions of then.
        if !options.decisions.of_var().take.is_empty() {
            return Ok(None);
        }
        let target = self.target;
        let current = target.current()?;
        let mut twins = target.twins(image);
        twins.retain(|twin| Some(twin.facts.generation) != current && is_kind(twin, options.kind));
        let (false, Some(current)) = (twins.is_empty(), current) else {
            return Ok(None);
        };
        let current = target.deployment(current)?;
        // Nor is anything taken that a rollback gave back.
        twins.retain(|twin| {
            let mut takes = twin.facts.var_takes.iter();
            takes.all(|taker| current.facts.var_takes.contains(taker))
        });
        let tree = repository.read_tree(&repository.read_image(image)?.tree)?;
        check_objects(repository, &tree)?;
        let plan = moving::plan(repository, &tree, Some(&current), &options.decisions)?;
        if !plan.report.conflicts.is_empty() {
            return Ok(None);
        }
        let used = History::load_unverified(&target.history_path())?.ever_current();
        for twin in twins.into_iter().rev() {
            let was_used = used.contains(&twin.facts.generation);
            if twin.image().is_ok()
                && target.is_startable(&twin)
                && (was_used || self.is_fresh(&twin, &current)?)
                && has_etc_of(&twin, &plan)?
            {
                self.secure(repository, &twin)?;
                return Ok(Some(Reusable {
                    generation: twin.facts.generation,
                    kind: twin.facts.kind,
                    etc: plan.report,
                    var: target.plan_var(repository, &tree, &options.decisions)?,
                }));
            }
        }
        Ok(None)
    }

    /// Makes sure of what staging gives a deployment last: a command that failed in between took the
    /// ref back, and its name may not be on the disk yet.
    fn secure(&self, repository: &Repository, twin: &DeploymentDir) -> Result<(), DeployError> {
        self.target.require_repository(repository.root())?;
        let name = self.ref_name(twin.facts.generation)?;
        let image = twin.facts.image.to_string();
        if repository.read_ref(&name)?.as_deref() != Some(image.as_str()) {
            repository.set_ref(&name, &image)?;
        }
        self.target.disk.sync_dir(&self.target.deployments_dir())?;
        Ok(())
    }

    /// Says whether a deployment that was never current is staged from the `/etc` as it is now.
    fn is_fresh(&self, twin: &DeploymentDir, current: &DeploymentDir) -> Result<bool, DeployError> {
        let Some(origin) = &twin.facts.etc_origin else {
            return Ok(!current.facts.has_etc);
        };
        Ok(origin.generation == current.facts.generation
            && self.target.is_unmoved(origin.generation, &origin.stamp)?)
    }
}

impl Target {
    /// Says whether a deployment can become current as it is: a machine needs an entry for it.
    fn is_startable(&self, deployment: &DeploymentDir) -> bool {
        let machine = self.machine.as_ref();
        machine.is_none_or(|machine| machine.has_entry(deployment.facts.generation))
    }
}

fn is_kind(twin: &DeploymentDir, choice: KindChoice) -> bool {
    choice == KindChoice::Auto || twin.facts.kind == DeploymentKind::Copy
}

/// Compares what lies in a deployment's `etc` with what a plan would write there. When it was
/// written makes no difference.
fn has_etc_of(twin: &DeploymentDir, plan: &EtcPlan<'_>) -> Result<bool, DeployError> {
    let Some(wanted) = &plan.tree else {
        return Ok(!twin.facts.has_etc);
    };
    if !twin.facts.has_etc {
        return Ok(false);
    }
    let (found, _) = etc::machine_tree(twin, &plan.image, &plan.contents)?;
    Ok(below_etc(wanted).eq(below_etc(&found)))
}

fn below_etc(tree: &Tree) -> impl Iterator<Item = (Vec<u8>, crate::tree::Inode)> {
    tree.subtree(b"etc").map(|(path, inode)| {
        let inode = crate::tree::Inode {
            mtime: Default::default(),
            hardlink: 0,
            ..inode.clone()
        };
        (path.as_bytes().to_vec(), inode)
    })
}
