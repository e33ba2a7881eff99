//! Composing with all that it needs: the index of facts, and a sandbox for the programs of the
//! image.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::{BuildError, BuildProgress, SandboxedGenerator};
use crate::compose::{Composition, Evidence, Member, MemberProblem, compose, derived, examine};
use crate::format::DerivedFile;
use crate::id::ObjectId;
use crate::store::{Index, Repository, Transaction};

/// Composes and examines sets of layers of one repository; threads may share it.
pub struct Composer<'a> {
    repository: &'a Repository,
    index: Index,
    cancel: &'a AtomicBool,
    progress: &'a dyn BuildProgress,
    /// Held while programs of an image run.
    turn: Mutex<()>,
}

impl<'a> Composer<'a> {
    /// Makes a composer; `cancel` stops what it runs.
    pub fn new(
        repository: &'a Repository,
        cancel: &'a AtomicBool,
        progress: &'a dyn BuildProgress,
    ) -> Self {
        Self {
            repository,
            index: repository.index(),
            cancel,
            progress,
            turn: Mutex::new(()),
        }
    }

    /// Returns the repository.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Composes layers. Progress is reported under `name`.
    pub fn compose(
        &self,
        name: &str,
        members: &[Member],
        transaction: &Transaction<'_>,
    ) -> Result<Composition, BuildError> {
        let tell = |what: &str| self.progress.step(name, what, None);
        let generate = SandboxedGenerator {
            repository: self.repository,
            cancel: self.cancel,
            turn: &self.turn,
            tell: &tell,
        };
        let composition = compose(members, transaction, &self.index, &generate);
        // An interrupt also stops the programs that run, and they report it as a failure.
        if self.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        Ok(composition?)
    }

    /// Looks for everything that is wrong with a composition.
    pub fn examine(
        &self,
        composition: &Composition,
        members: &[Member],
        transaction: &Transaction<'_>,
    ) -> Result<Vec<MemberProblem>, BuildError> {
        Ok(examine(composition, members, transaction, &self.index)?)
    }

    /// Computes what of the last of `members` was made of files of the others. `earlier` is what is
    /// known of earlier builds of it, `brought` what its definition brings as it is, where that is
    /// at hand.
    pub(super) fn evidence<'e>(
        &self,
        (composition, members): (&Composition, &[Member]),
        earlier: impl IntoIterator<Item = &'e Member>,
        brought: Option<&BTreeSet<ObjectId>>,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<DerivedFile>, BuildError> {
        let earlier = earlier.into_iter();
        Ok(derived(&Evidence {
            composition,
            members,
            earlier: earlier
                .map(|member| member.baseline.derived.as_slice())
                .collect(),
            brought,
            transaction,
            index: &self.index,
        })?)
    }
}
