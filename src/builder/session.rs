//! State of one build: what its steps share, and its layers so far.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::forced::ForcedRebuild;
use super::{BuildError, BuildOptions, Composer};
use crate::compose::Member;
use crate::id::LayerId;
use crate::recipe::{IdTable, Workspace};
use crate::store::{Repository, Untouched};

/// What all steps of one build share.
pub(super) struct BuildSession<'a> {
    /// The recipe.
    pub workspace: &'a Workspace,
    /// Where layers and images go.
    pub repository: &'a Repository,
    /// How to build.
    pub options: &'a BuildOptions<'a>,
    /// The ids table.
    pub ids: IdTable,
    /// The ids table when the command began.
    pub known_ids: &'a IdTable,
    /// Composes, for all threads.
    pub composer: &'a Composer<'a>,
    /// Layers to build even when they are known.
    pub forced: &'a BTreeMap<String, ForcedRebuild>,
    /// The contents that were found untouched so far.
    pub untouched: &'a Untouched,
    /// The layers that are built or kept so far.
    pub built: BTreeMap<String, LayerId>,
}

impl BuildSession<'_> {
    /// Fails once somebody asked to stop.
    pub(super) fn check_cancel(&self) -> Result<(), BuildError> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        Ok(())
    }

    /// Returns the built or kept layers with these names, in order.
    pub(super) fn members<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<Member>, BuildError> {
        let ids = names.into_iter().map(|name| self.built[name]);
        Ok(ids
            .map(|id| Member::read(self.repository, &id))
            .collect::<Result<_, _>>()?)
    }
}
