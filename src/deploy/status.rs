//! What a target looks like from outside: read without a lock and without the repository.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::damage::{DamageSearch, is_forbidden};
use super::record::{DeploymentDir, DeploymentKind, JoinMethod};
use super::{ChainBreak, DeployError, History, Target};
use crate::format::{Image, ImageLayer};
use crate::id::ImageId;

/// What a deployment is to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentState {
    /// What is in use.
    Current,
    /// What a rollback would choose.
    Previous,
    /// Newer than the current one, and never used.
    Staged,
    /// Kept for a rollback by number.
    Kept,
}

/// How a deployment came onto its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentOrigin {
    /// When, in seconds since 1970.
    pub when: i64,
    /// Who asked for it.
    pub who: String,
    /// Why: the release that it is from, or what was given.
    pub reason: String,
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentStatus {
    /// Its number.
    pub generation: u64,
    /// What it is to the target.
    pub state: DeploymentState,
    /// Whether it must never be pruned.
    pub pinned: bool,
    /// Why it is marked bad, if it is.
    pub bad: Option<String>,
    /// The image; `None` when the deployment is damaged.
    pub image: Option<ImageId>,
    /// The recipe's name.
    pub name: Option<String>,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The size of the image's files, in bytes.
    pub bytes: Option<u64>,
    /// What the history says of how it came here; absent where the history does not know it.
    pub origin: Option<DeploymentOrigin>,
    /// When it was staged, in seconds since 1970.
    pub created: Option<i64>,
    /// How its tree is on disk.
    pub kind: Option<DeploymentKind>,
    /// Why it is a copy, when it was meant to be mounted.
    pub kind_reason: Option<String>,
    /// How `etc` and `var` come into its root.
    pub join: Option<JoinMethod>,
    /// Whether everything of it is mounted.
    pub mounted: bool,
    /// What is wrong with its files, or with what it is mounted over, if anything.
    pub damaged: Option<String>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetStatus {
    /// Where it is.
    pub root: PathBuf,
    /// Its id.
    pub id: String,
    /// Where its objects are.
    pub repository: PathBuf,
    /// The channel that it follows, if it follows one.
    pub channel: Option<super::Subscription>,
    /// The current deployment.
    pub current: Option<u64>,
    /// What was current when somebody removed the pointer; the next change makes it current again.
    pub lost_current: Option<u64>,
    /// What the machine starts next, on its own disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<super::Next>,
    /// What a rollback would choose.
    pub previous: Option<u64>,
    /// All deployments, oldest first.
    pub deployments: Vec<DeploymentStatus>,
    /// The images that rollbacks left, and that the target does not take from its channel.
    pub held: BTreeSet<ImageId>,
    /// Where the history stops being believable, if it does.
    pub history_broken: Option<ChainBreak>,
}

impl Target {
    /// Returns the id of a deployment's image.
    pub fn image_id_of(&self, generation: u64) -> Result<ImageId, DeployError> {
        Ok(self.deployment(generation)?.facts.image)
    }

    /// Returns the manifest of a deployment's image, of which each deployment has a copy.
    pub fn image_of(&self, generation: u64) -> Result<Image, DeployError> {
        self.deployment(generation)?.image()
    }

    /// Looks at the target.
    pub fn status(&self) -> Result<TargetStatus, DeployError> {
        let (current, previous) = (self.current()?, self.previous()?);
        let history = self.history()?;
        let used = history.ever_current();
        let mut deployments = Vec::new();
        let mut search = DamageSearch::of(self);
        for generation in self.generations()? {
            let state = if current == Some(generation) {
                DeploymentState::Current
            } else if previous == Some(generation) {
                DeploymentState::Previous
            } else if !used.contains(&generation) && current.is_none_or(|n| n < generation) {
                DeploymentState::Staged
            } else {
                DeploymentState::Kept
            };
            let mut status = self.look_at(generation, state, &mut search);
            status.origin = history.origin(generation);
            deployments.push(status);
        }
        Ok(TargetStatus {
            root: self.root.clone(),
            id: self.identity.id.clone(),
            repository: self.identity.repository.clone(),
            channel: self.subscription()?,
            current,
            lost_current: self.lost_current()?,
            next: match &self.machine {
                Some(machine) => Some(machine.next()?),
                None => None,
            },
            previous,
            deployments,
            held: self.held()?,
            history_broken: history.broken,
        })
    }

    fn look_at(
        &self,
        generation: u64,
        state: DeploymentState,
        search: &mut DamageSearch,
    ) -> DeploymentStatus {
        let mut status = DeploymentStatus {
            generation,
            state,
            pinned: false,
            bad: None,
            image: None,
            name: None,
            layers: Vec::new(),
            bytes: None,
            origin: None,
            created: None,
            kind: None,
            kind_reason: None,
            join: None,
            mounted: false,
            damaged: None,
        };
        let deployment = match self.deployment(generation) {
            Ok(deployment) => deployment,
            Err(error) => {
                status.damaged = (!is_forbidden(&error)).then(|| error.to_string());
                return status;
            }
        };
        self.describe(&deployment, &mut status);
        status.damaged = search.damage_of(&deployment);
        status
    }

    fn describe(&self, deployment: &DeploymentDir, status: &mut DeploymentStatus) {
        status.pinned = deployment.is_pinned();
        status.bad = self.bad(deployment);
        status.image = Some(deployment.facts.image);
        status.created = Some(deployment.facts.created);
        status.kind = Some(deployment.facts.kind);
        status.kind_reason.clone_from(&deployment.facts.kind_reason);
        status.join = Some(deployment.facts.join);
        status.mounted = self.is_mounted(deployment).unwrap_or(false);
        if let Ok(image) = deployment.image() {
            status.name = Some(image.name);
            status.layers = image.layers;
            status.bytes = Some(image.bytes);
        }
    }
}

impl History {
    /// Returns the record by which a deployment first became current, or was staged.
    fn origin(&self, generation: u64) -> Option<DeploymentOrigin> {
        let is_it = |record: &&super::HistoryRecord| {
            record.to == Some(generation) || record.about == Some(generation)
        };
        let record = self.records.iter().find(is_it)?;
        Some(DeploymentOrigin {
            when: record.when,
            who: record.who.clone(),
            reason: record.reason.clone(),
        })
    }
}
