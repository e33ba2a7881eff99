//! Switching: another deployment becomes current; a rollback is the same switch to an earlier one.
//!
//! Three steps, in this order, each of which may be made again:
//!
//! 1. [`Change::bring_up`] makes the deployment usable beside the current one: mounts, and what it
//!    adds to `/var` or takes there.
//! 2. `Pointer::move_to` is the commit point: see [`super::pointer`].
//! 3. [`Change::record`] appends to the history. A command that dies before it leaves a pointer
//!    that the history does not name, and the next one completes the history.

use std::path::Path;

use serde::Serialize;

use super::change::Change;
use super::history::{History, HistoryAction, Note};
use super::record::DeploymentDir;
use super::{DeployError, Target};
use crate::materialise::SetuidPrograms;

/// What to do about a deployment that is marked bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadPolicy {
    /// It is refused.
    #[default]
    Refuse,
    /// It was asked for by its number.
    Allow,
}

/// What a switch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SwitchReport {
    /// The current deployment before.
    pub from: Option<u64>,
    /// The current deployment now; the same when there was nothing to do.
    pub to: u64,
    /// Whether it is current after a restart only: a machine runs what it was started with.
    pub at_restart: bool,
}

impl Target {
    /// Returns the deployment that a rollback would choose.
    pub fn previous(&self) -> Result<Option<u64>, DeployError> {
        let Some(current) = self.current()? else {
            return Ok(None);
        };
        let history = History::load_unverified(&self.history_path())?;
        let mut earlier = history.earlier(current).into_iter();
        Ok(earlier.find(|generation| {
            self.deployment(*generation)
                .is_ok_and(|deployment| self.bad(&deployment).is_none())
        }))
    }
}

impl Change<'_> {
    /// Makes a deployment current. The commit point is the move of the pointer.
    pub fn switch(
        &self,
        to: u64,
        action: HistoryAction,
        bad: BadPolicy,
        note: &Note,
    ) -> Result<SwitchReport, DeployError> {
        let target = self.target;
        let from = target.current()?;
        let deployment = target.deployment(to)?;
        if let (BadPolicy::Refuse, Some(reason)) = (bad, target.bad(&deployment)) {
            return Err(DeployError::Bad {
                generation: to,
                reason,
            });
        }
        if from != Some(to) {
            self.refuse_edited_etc(&deployment, from)?;
        }
        self.bring_up(&deployment)?;
        if let Some(machine) = &target.machine {
            if from != Some(to) {
                return self.prefer(machine, &deployment, action, note);
            }
            self.stay(machine)?;
        }
        let switched = SwitchReport {
            from,
            to,
            at_restart: false,
        };
        if from == Some(to) {
            return Ok(switched);
        }
        target.pointer().move_to(target.disk.as_ref(), to)?;
        target.disarm_others(Some(to));
        match self.record(action, from, Some(to), note) {
            Ok(()) => {
                let released = self.release(&deployment.facts.image);
                let lost = || "the release is held all the same".to_owned();
                self.unless_full(lost, released)?;
                Ok(switched)
            }
            Err(DeployError::Durable(source)) => Err(DeployError::Unrecorded {
                generation: to,
                source,
            }),
            Err(error) => Err(error),
        }
    }

    /// Goes back to the previous deployment, or to the one that is named.
    pub fn rollback(&self, to: Option<u64>, note: &Note) -> Result<SwitchReport, DeployError> {
        let (to, bad) = match to {
            Some(to) => (to, BadPolicy::Allow),
            None => {
                let previous = self.target.previous()?;
                (previous.ok_or(DeployError::NoPrevious)?, BadPolicy::Refuse)
            }
        };
        let history = History::load_unverified(&self.target.history_path())?;
        let action = if history.ever_current().contains(&to) {
            HistoryAction::Rollback
        } else {
            // Nothing is taken back: a deployment that was staged is used for the first time.
            HistoryAction::Deploy
        };
        let switched = self.switch(to, action, bad, note)?;
        if switched.from.is_some_and(|from| to < from) {
            self.hold_what_was_left(&switched)?;
        }
        Ok(switched)
    }

    /// Holds the image that a way back left. After the switch: what was never left need not be held.
    pub(super) fn hold_what_was_left(&self, switched: &SwitchReport) -> Result<(), DeployError> {
        let image = |generation| self.target.image_id_of(generation).ok();
        let (left, now) = (switched.from.and_then(image), image(switched.to));
        let Some(left) = left.filter(|left| now.is_some_and(|now| now != *left)) else {
            return Ok(());
        };
        let lost = || {
            "the release that was left could not be held: an update may take it again".to_owned()
        };
        let held = self.hold(left);
        self.unless_full(lost, held)
    }

    /// Makes a deployment usable where it lies, whether or not it is current; says whether anything
    /// had to be mounted.
    pub(super) fn bring_up(&self, deployment: &DeploymentDir) -> Result<bool, DeployError> {
        let changed = self.target.mount(deployment)?;
        self.target
            .set_setuid(deployment, SetuidPrograms::Honoured)?;
        let new = deployment.dir.join("var-new");
        super::var::settle(
            self.target.disk.as_ref(),
            &new,
            &self.target.var_dir(),
            &deployment.facts.var_units,
        )?;
        self.take_away(deployment.facts.generation, &new)?;
        self.settle_taken(deployment)?;
        Ok(changed)
    }

    /// Takes away what is left of `var-new`. What was settled once must not come again after somebody
    /// removed it from the shared state, so it goes out of sight first.
    fn take_away(&self, generation: u64, new: &Path) -> Result<(), DeployError> {
        if !new.exists() {
            return Ok(());
        }
        let old = self.target.deployments_dir();
        let old = old.join(format!(".old-var-{generation}"));
        match self.target.disk.rename(new, &old) {
            Ok(()) => self.remove_leftover(&old),
            Err(_) => self.remove_leftover(new),
        }
    }

    /// Refuses a deployment that was never current when the `/etc` it was made of has been edited
    /// since.
    fn refuse_edited_etc(
        &self,
        deployment: &DeploymentDir,
        from: Option<u64>,
    ) -> Result<(), DeployError> {
        let Some(origin) = &deployment.facts.etc_origin else {
            return Ok(());
        };
        let to = deployment.facts.generation;
        let history = History::load_unverified(&self.target.history_path())?;
        if history.ever_current().contains(&to) {
            return Ok(());
        }
        // Nothing is current, or the history lost what was: then a way back that somebody names
        // counts more than edits that may never have been hidden.
        match from {
            None => return Ok(()),
            Some(from) if to < from && self.target.history()?.broken.is_some() => return Ok(()),
            Some(_) => {}
        }
        // Switching to a deployment staged from another one would lose the edits of the current
        // one.
        if from != Some(origin.generation) {
            return Err(DeployError::EtcElsewhere {
                generation: to,
                from: origin.generation,
            });
        }
        let dir = self.target.deployment_dir(origin.generation).join("etc");
        let is_unmoved = self.target.is_unmoved(origin.generation, &origin.stamp)?;
        if is_unmoved || self.moved_as_before(to, &dir)? {
            return Ok(());
        }
        Err(DeployError::EtcEdited {
            generation: to,
            from: origin.generation,
        })
    }
}
