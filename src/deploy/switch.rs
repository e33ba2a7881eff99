//! Switching: another deployment becomes current; a rollback is the same switch to an earlier one.
//!
//! Three steps, in this order, each of which may be made again:
//!
//! 1. [`Change::bring_up`] makes the deployment usable beside the current one: mounts, and what it
//!    adds to `/var`.
//! 2. `Pointer::move_to` is the commit point: see [`super::pointer`].
//! 3. [`Change::record`] appends to the history. A command that dies before it leaves a pointer
//!    that the history does not name, and the next one completes the history.

use serde::Serialize;

use super::change::Change;
use super::history::{History, HistoryAction, Note};
use super::record::DeploymentDir;
use super::{DeployError, Target, stamp};
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
        if from == Some(to) {
            return Ok(SwitchReport { from, to });
        }
        target.pointer().move_to(target.disk.as_ref(), to)?;
        target.disarm_others(Some(to));
        match self.record(action, from, Some(to), note) {
            Ok(()) => {
                self.release(&deployment.facts.image)?;
                Ok(SwitchReport { from, to })
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
        let left = self.target.current()?.filter(|from| to < *from);
        let left = left.and_then(|from| self.target.deployment(from).ok());
        let switched = self.switch(to, action, bad, note)?;
        // After the switch: what was never left need not be held.
        if let Some(left) = left.filter(|left| {
            let now = self.target.deployment(to);
            now.is_ok_and(|now| now.facts.image != left.facts.image)
        }) {
            self.hold(left.facts.image)?;
        }
        Ok(switched)
    }

    /// Makes a deployment usable where it lies, whether or not it is current; says whether anything
    /// had to be mounted.
    pub(super) fn bring_up(&self, deployment: &DeploymentDir) -> Result<bool, DeployError> {
        let changed = self.target.mount(deployment)?;
        self.target
            .set_setuid(deployment, SetuidPrograms::Honoured)?;
        super::var::settle(
            self.target.disk.as_ref(),
            &deployment.dir.join("var-new"),
            &self.target.var_dir(),
            &deployment.facts.var_units,
        )?;
        Ok(changed)
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
        if stamp::stamp(&dir)? == origin.stamp {
            return Ok(());
        }
        Err(DeployError::EtcEdited {
            generation: to,
            from: origin.generation,
        })
    }
}
