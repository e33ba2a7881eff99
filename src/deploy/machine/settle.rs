//! The way of a deployment from next to good, or to bad.

use serde::Serialize;

use super::next::Pending;
use super::{Machine, Next};
use crate::boot::entry::TRIES;
use crate::deploy::change::Change;
use crate::deploy::history::{self, HistoryAction, Note};
use crate::deploy::record::DeploymentDir;
use crate::deploy::{DeployError, RecordedCheck, RecordedVerdict, SwitchReport};

/// What became of a start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootVerdict {
    /// What runs has proved itself.
    Good,
    /// It proved itself earlier, and is not well now.
    Unwell,
    /// It did not prove itself: another start brings back what was good.
    Failed,
}

/// The same, with what starts next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootReport {
    /// The deployment that runs.
    pub running: u64,
    /// What became of it.
    pub verdict: BootVerdict,
    /// What starts next.
    pub next: Next,
}

/// What the history says of what the machine does by itself.
fn by_itself(reason: String) -> Note {
    Note {
        who: "layerset".to_owned(),
        verdict: RecordedVerdict::Unchecked,
        reason,
        ..Note::default()
    }
}

/// The same, where health checks ran.
fn looked_at(reason: String, checks: &[RecordedCheck]) -> Note {
    Note {
        checks: checks.to_vec(),
        ..by_itself(reason)
    }
}

impl Change<'_> {
    /// Makes a deployment what the machine starts next. The commit point is what the boot loader of
    /// this machine reads last.
    pub(in crate::deploy) fn prefer(
        &self,
        machine: &Machine,
        deployment: &DeploymentDir,
        action: HistoryAction,
        note: &Note,
    ) -> Result<SwitchReport, DeployError> {
        let (target, from) = (self.target, machine.running());
        let (disk, to) = (target.disk.as_ref(), deployment.facts.generation);
        // Where that failed before, what is recorded now would hide what was not.
        self.follow_machine(machine)?;
        Pending::new(to, from, action, note).save(target, disk)?;
        machine.each(|loader| loader.prefer(disk, to, TRIES))?;
        self.record_one(HistoryAction::Stage, to, note)?;
        Ok(SwitchReport {
            from: Some(from),
            to,
            at_restart: true,
        })
    }

    /// Makes what runs what starts next, whatever was to.
    pub(in crate::deploy) fn stay(&self, machine: &Machine) -> Result<(), DeployError> {
        let (disk, running) = (self.target.disk.as_ref(), machine.running());
        let is_next = machine.next()?.deployment == Some(running);
        if !is_next {
            machine.each(|loader| loader.prefer(disk, running, TRIES))?;
            machine.each(|loader| loader.bless(disk, running))?;
        }
        Pending::clear(self.target, disk)
    }

    /// Brings pointer and history to what the machine was started with, and marks bad what did not
    /// come up.
    pub(in crate::deploy) fn follow_machine(&self, machine: &Machine) -> Result<(), DeployError> {
        let (target, running) = (self.target, machine.running());
        let disk = target.disk.as_ref();
        machine.tidy(disk, &target.generations()?)?;
        if target.pointer().read().ok().flatten() != Some(running) {
            target.pointer().move_to(disk, running)?;
        }
        let pending = Pending::load(target);
        let (known, _) = history::tail(&target.history_path())?;
        if known != Some(running) {
            let (action, note) = match &pending {
                Some(pending) if pending.generation == running => pending.record(),
                _ => self.why_back(known),
            };
            self.record(action, known, Some(running), &note)?;
        }
        let waits = pending.filter(|pending| pending.generation != running);
        let Some(Pending {
            generation: number, ..
        }) = waits
        else {
            return Ok(());
        };
        let look = machine.look()?;
        if look.entry(number).is_some_and(|entry| entry.failed) {
            if target
                .deployment(number)
                .is_ok_and(|d| target.bad(&d).is_none())
            {
                let reason = format!("it did not come up in {TRIES} starts");
                self.mark_bad(number, &by_itself(reason))?;
            }
        } else if look.next.deployment == Some(number) {
            return Ok(());
        }
        // What is left is a switch that a dead command never committed, or one that failed.
        machine.each(|loader| loader.give_up(disk, number))?;
        Pending::clear(target, disk)
    }

    /// Says why the machine runs something else than the history says, when nobody asked for it.
    fn why_back(&self, known: Option<u64>) -> (HistoryAction, Note) {
        let target = self.target;
        let left = known.and_then(|known| Some((known, target.deployment(known).ok()?)));
        let bad = left.and_then(|(known, left)| Some((known, target.bad(&left)?)));
        match bad {
            Some((known, reason)) => {
                let text = format!("generation {known} is bad: {reason}");
                (HistoryAction::Rollback, by_itself(text))
            }
            None => {
                let text = "the machine was started with it".to_owned();
                (HistoryAction::Recovered, by_itself(text))
            }
        }
    }

    /// Settles this start of the machine: `problem` says what is wrong with what runs, if anything, and
    /// `checks` what was looked at.
    ///
    /// What is being tried is blessed, or marked bad and given up, if there is something else to
    /// start. What proved itself earlier stays.
    pub fn settle_boot(
        &self,
        problem: Option<&str>,
        checks: &[RecordedCheck],
    ) -> Result<BootReport, DeployError> {
        let target = self.target;
        let Some(machine) = &target.machine else {
            return Err(DeployError::NoMachine);
        };
        let (disk, running) = (target.disk.as_ref(), machine.running());
        // Where that failed before, what is recorded now would hide what was not.
        self.follow_machine(machine)?;
        let look = machine.look()?;
        let is_trying = look
            .entry(running)
            .is_some_and(|entry| entry.tries.is_some())
            && Pending::load(target).is_some_and(|pending| pending.generation == running);
        let others = look.entries.iter().any(|entry| {
            let other = entry.deployment;
            let is_good = || {
                target
                    .deployment(other)
                    .is_ok_and(|d| target.bad(&d).is_none())
            };
            other != running && !entry.failed && is_good()
        });
        let verdict = match problem {
            None => {
                machine.each(|loader| loader.bless(disk, running))?;
                let pending = Pending::load(target);
                if pending.is_some_and(|pending| pending.generation == running) {
                    if !checks.is_empty() {
                        self.record_health(running, &looked_at(String::new(), checks))?;
                    }
                    Pending::clear(target, disk)?;
                }
                BootVerdict::Good
            }
            Some(problem) if is_trying && others => {
                self.mark_bad(running, &looked_at(problem.to_owned(), checks))?;
                machine.each(|loader| loader.give_up(disk, running))?;
                Pending::clear(target, disk)?;
                BootVerdict::Failed
            }
            Some(_) => BootVerdict::Unwell,
        };
        Ok(BootReport {
            running,
            verdict,
            next: machine.next()?,
        })
    }
}
