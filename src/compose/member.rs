//! One layer of a set, with its changes at hand.

use crate::check::CHECKS_VERSION;
use crate::format::{Baseline, ImageLayer, Layer};
use crate::id::LayerId;
use crate::store::{Repository, StoreError};
use crate::tree::Changeset;

/// A layer as a member of an ordered set.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id; `None` while it is being built.
    pub id: Option<LayerId>,
    /// Its facts.
    pub layer: Layer,
    /// Its changes.
    pub changeset: Changeset,
    /// What the checks found when it was built. They may be of another version: see
    /// [`Member::is_known`].
    pub baseline: Baseline,
}

impl Member {
    /// Reads a layer, its changes and its baseline.
    pub fn read(repository: &Repository, id: &LayerId) -> Result<Self, StoreError> {
        let layer = repository.read_layer(id)?;
        let changeset = repository.read_changeset(&layer.changeset)?;
        // A damaged baseline is ignored here; fsck names it.
        let beside = repository.read_baseline(id).ok().flatten();
        let embedded = Some(layer.baseline.clone());
        let mut all = [beside, embedded].into_iter().flatten();
        let is_current = |baseline: &Baseline| baseline.checks == CHECKS_VERSION;
        let baseline = all.clone().find(is_current).or_else(|| all.next());
        Ok(Self {
            id: Some(*id),
            layer,
            changeset,
            baseline: baseline.unwrap_or_default(),
        })
    }

    /// Says whether its baseline is of today's checks. Checks of another version looked at other
    /// things or gave them other names, so their baseline is never used.
    pub fn is_known(&self) -> bool {
        self.baseline.checks == CHECKS_VERSION
    }

    /// Says whether it stands on other layers in `members` than those that it was built on.
    pub fn is_moved(&self, members: &[Self]) -> bool {
        let today = |name: &str| members.iter().find(|member| member.layer.name == name);
        let on = &self.layer.build.on;
        on.iter()
            .any(|on| today(&on.name).is_none_or(|member| member.id != Some(on.id)))
    }

    /// Returns the layer as images and baselines name it; `None` while it is being built.
    pub fn named(&self) -> Option<ImageLayer> {
        self.id.map(|id| self.layer.named(id))
    }

    /// Says whether it was built on the layer called `name`.
    pub fn stands_on(&self, name: &str) -> bool {
        self.layer.build.on.iter().any(|on| on.name == name)
    }
}
