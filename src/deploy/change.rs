//! One command's change of a target: it takes the lock, and clears up first.

use std::cell::RefCell;
use std::path::Path;

use super::history::{self, History, HistoryAction, HistoryRecord, Note, RecordedVerdict};
use super::history_head::HistoryHead;
use super::moving::Moving;
use super::{DeployError, Target};
use crate::causes::chain;
use crate::durable::{DurableError, Lock, LockMode, replace_file, retire_file};
use crate::id::ImageId;
use crate::store::{RefName, Repository};

/// A target that nobody else changes meanwhile; dropping it lets others in.
#[derive(Debug)]
#[must_use]
pub struct Change<'t> {
    pub(super) target: &'t Target,
    pub(super) moving: RefCell<Moving>,
    _lock: Lock,
}

impl Target {
    /// Waits for the target, clears what a dead command left, and completes the history.
    ///
    /// `title` is what others read while they wait, e.g. `layerset deploy`.
    pub fn change(&self, title: &str) -> Result<Change<'_>, DeployError> {
        self.disk.require_unharmed()?;
        super::refuse_prepared(&self.dir)?;
        let lock = Lock::take(
            &self.dir.join("lock"),
            LockMode::Exclusive,
            title,
            self.waiting.patience,
            self.waiting.tell.as_ref(),
        )?;
        if let Some(machine) = &self.machine {
            machine.look_again();
        }
        let change = Change {
            target: self,
            moving: RefCell::default(),
            _lock: lock,
        };
        change.clear()?;
        // A history that cannot be written to is no reason to stay with a deployment that fails.
        let recovered = change.recover();
        change.tolerate("the history cannot be brought up to date", recovered)?;
        // What a switch that died took or gave back, before a plan looks at `/var`.
        if let Some(current) = self.current()?
            && let Ok(current) = self.deployment(current)
        {
            let settled = change.settle_taken(&current);
            change.tolerate("/var cannot be made as it was", settled)?;
        }
        self.keep_reserve();
        Ok(change)
    }
}

impl Change<'_> {
    /// Removes what a dead command left: nothing refers to it.
    fn clear(&self) -> Result<(), DeployError> {
        for name in self.target.names()? {
            if name.starts_with(".new-") || name.starts_with(".old-") {
                self.remove_leftover(&self.target.deployments_dir().join(name))?;
            }
        }
        Ok(())
    }

    /// Removes what nothing refers to. What cannot be removed, such as an immutable file that the
    /// admin left in an `/etc`, is told and stays: it must never stop a switch.
    pub(super) fn remove_leftover(&self, dir: &Path) -> Result<(), DeployError> {
        match self.target.remove_dir(dir) {
            Err(DeployError::Durable(error @ DurableError::Latched { .. })) => Err(error.into()),
            Err(error) => {
                (self.target.waiting.remark)(&format!(
                    "'{}' is left over: {}; nothing needs it, and `chattr -R -i -a` \
                     lets it go where files are immutable",
                    dir.display(),
                    chain(&error)
                ));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Makes history and pointer agree again: after a command that died in between, and after
    /// somebody removed one of them.
    fn recover(&self) -> Result<(), DeployError> {
        let target = self.target;
        let path = target.history_path();
        let (known, torn) = history::tail(&path)?;
        if torn {
            history::mend(target.disk.as_ref(), &path)?;
        }
        let current = target.current()?;
        let is_cut = self.recover_head(current)?;
        if let Some(machine) = &target.machine {
            return self.follow_machine(machine);
        }
        if is_cut {
            return Ok(());
        }
        if let (None, Some(last)) = (current, target.lost_current()?) {
            return self.recover_pointer(last);
        }
        if let Some(current) = current.filter(|current| Some(*current) != known) {
            let note = Note {
                who: "layerset".to_owned(),
                verdict: RecordedVerdict::Unchecked,
                reason: "the switch was made, and could not be recorded then".to_owned(),
                ..Note::default()
            };
            self.record(HistoryAction::Recovered, known, Some(current), &note)?;
        }
        Ok(())
    }

    /// Brings the head of the history up to date; says whether records are gone, which is then
    /// recorded itself, so that it stays told.
    fn recover_head(&self, current: Option<u64>) -> Result<bool, DeployError> {
        let target = self.target;
        let path = target.history_path();
        let bytes = history::read(&path)?;
        let (known, found) = (HistoryHead::load(&path)?, HistoryHead::of(&bytes));
        if known.as_ref() == Some(&found) || (known.is_none() && bytes.is_empty()) {
            return Ok(false);
        }
        let Some(missing) = known.and_then(|known| known.missing_in(&bytes)) else {
            found.save(target.disk.as_ref(), &path)?;
            return Ok(false);
        };
        (target.waiting.remark)(&format!("the history is not whole: {}", missing.reason));
        let note = Note {
            who: "layerset".to_owned(),
            verdict: RecordedVerdict::Unchecked,
            reason: format!("before this record, {}", missing.reason),
            ..Note::default()
        };
        self.record(HistoryAction::Lost, current, current, &note)?;
        Ok(true)
    }

    /// Makes current again what the history says was current when somebody removed the pointer:
    /// its `/etc` is the machine's, and the next deployment must be merged from it.
    fn recover_pointer(&self, last: u64) -> Result<(), DeployError> {
        let target = self.target;
        target.pointer().move_to(target.disk.as_ref(), last)?;
        (target.waiting.remark)(&format!(
            "'current' was gone; it points at generation {last} again, the last in the history"
        ));
        let note = Note {
            who: "layerset".to_owned(),
            verdict: RecordedVerdict::Unchecked,
            reason: "'current' was gone; this is what the history names last".to_owned(),
            ..Note::default()
        };
        self.record(HistoryAction::Recovered, None, Some(last), &note)
    }

    /// Appends a record about the way from one deployment to another; without room for it, that is
    /// told.
    pub(super) fn record(
        &self,
        action: HistoryAction,
        from: Option<u64>,
        to: Option<u64>,
        note: &Note,
    ) -> Result<(), DeployError> {
        self.record_about(action, (from, to), None, note)
    }

    /// Appends a record about one deployment, while what is current stays.
    pub(super) fn record_one(
        &self,
        action: HistoryAction,
        about: u64,
        note: &Note,
    ) -> Result<(), DeployError> {
        let current = self.target.current()?;
        self.record_about(action, (current, current), Some(about), note)
    }

    fn record_about(
        &self,
        action: HistoryAction,
        (from, to): (Option<u64>, Option<u64>),
        about: Option<u64>,
        note: &Note,
    ) -> Result<(), DeployError> {
        let target = self.target;
        let deployment =
            |generation: Option<u64>| generation.and_then(|n| target.deployment(n).ok());
        let (old, new) = (deployment(from), deployment(to));
        let subject = about.map_or_else(|| new.clone(), |about| deployment(Some(about)));
        let record = HistoryRecord {
            sequence: 0,
            parent: String::new(),
            when: target.clock.now_sec(),
            who: note.who.clone(),
            action,
            from,
            to,
            about,
            image: subject.as_ref().map(|deployment| deployment.facts.image),
            layers: history::layer_changes(old.as_ref(), new.as_ref()),
            verdict: note.verdict,
            reason: note.reason.clone(),
            checks: note.checks.clone(),
            digest: String::new(),
        };
        let written = history::append(target.disk.as_ref(), &target.history_path(), record);
        let lost = || format!("the history does not tell this {}", action.noun());
        self.unless_full(lost, written.map_err(DeployError::from))
    }

    /// Returns a number that was never given to a deployment of this target.
    pub(super) fn next_generation(&self) -> Result<u64, DeployError> {
        let target = self.target;
        let used = target.generations()?.last().copied().unwrap_or(0);
        // A leftover that could not be removed has its number still.
        let left = target.names()?.into_iter().filter_map(|name| {
            let number = name.strip_prefix(".new-").or(name.strip_prefix(".old-"))?;
            super::parse_generation(number)
        });
        let used = left.max().unwrap_or(0).max(used);
        let records = History::load_unverified(&target.history_path())?.records;
        let recorded = records
            .iter()
            .flat_map(|record| [record.from, record.to, record.about]);
        Ok(recorded.flatten().max().unwrap_or(0).max(used) + 1)
    }

    /// Removes the refs of deployments that are not there (any more).
    pub(super) fn release_strays(&self, repository: &Repository) -> Result<(), DeployError> {
        let prefix = format!("deployments/{}/", self.target.identity.id);
        let present = self.target.generations()?;
        for (name, _) in repository.refs()? {
            let Some(text) = name.as_str().strip_prefix(&prefix) else {
                continue;
            };
            let known = super::parse_generation(text).is_some_and(|n| present.contains(&n));
            if !known {
                repository.remove_ref(&name)?;
            }
        }
        Ok(())
    }

    pub(super) fn ref_name(&self, generation: u64) -> Result<RefName, DeployError> {
        Ok(RefName::deployment(&self.target.identity.id, generation)?)
    }

    /// Keeps a deployment from ever being pruned, and records that.
    pub fn pin(&self, generation: u64, note: &Note) -> Result<(), DeployError> {
        if self.target.deployment(generation)?.is_pinned() {
            return Ok(());
        }
        self.flag(generation, "pinned", "")?;
        self.record_one(HistoryAction::Pin, generation, note)
    }

    /// Takes a pin back, and records that.
    pub fn unpin(&self, generation: u64, note: &Note) -> Result<(), DeployError> {
        if !self.target.deployment(generation)?.is_pinned() {
            return Ok(());
        }
        self.unflag(generation, "pinned")?;
        self.record_one(HistoryAction::Unpin, generation, note)
    }

    pub(super) fn flag(&self, generation: u64, name: &str, text: &str) -> Result<(), DeployError> {
        let deployment = self.target.deployment(generation)?;
        let bytes = format!("{text}\n");
        let disk = self.target.disk.as_ref();
        replace_file(disk, &deployment.dir.join(name), 0o644, bytes.as_bytes())?;
        Ok(())
    }

    pub(super) fn unflag(&self, generation: u64, name: &str) -> Result<(), DeployError> {
        let deployment = self.target.deployment(generation)?;
        let path = deployment.dir.join(name);
        Ok(retire_file(self.target.disk.as_ref(), &path)?)
    }
}

impl Target {
    /// Returns what the history says is current while nothing is: somebody removed the pointer.
    pub(super) fn lost_current(&self) -> Result<Option<u64>, DeployError> {
        let (last, _) = history::tail(&self.history_path())?;
        Ok(match self.current()? {
            Some(_) => None,
            None => last.filter(|last| self.deployment(*last).is_ok()),
        })
    }

    /// Refuses to go on without the machine's `/etc`: nothing is current, and nothing says what
    /// was, though the target was in use.
    pub(super) fn refuse_unknown_origin(&self) -> Result<(), DeployError> {
        if self.current()?.is_some() {
            return Ok(());
        }
        let history = self.history()?;
        let was_used = history.broken.is_some() || !history.ever_current().is_empty();
        let newest = self.generations()?.last().copied();
        match newest.filter(|_| was_used) {
            None => Ok(()),
            Some(newest) => Err(DeployError::NothingCurrent { newest }),
        }
    }

    /// Finds the newest deployment of an image, if there is one.
    pub fn find(&self, image: &ImageId) -> Result<Option<u64>, DeployError> {
        for generation in self.generations()?.into_iter().rev() {
            if self
                .deployment(generation)
                .is_ok_and(|deployment| deployment.facts.image == *image)
            {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }
}
