//! One command's change of a target: it takes the lock, and clears up first.

use super::history::{self, History, HistoryAction, HistoryRecord, Note, RecordedVerdict};
use super::{DeployError, Target};
use crate::durable::{Lock, LockMode, replace_file};
use crate::id::ImageId;
use crate::store::{RefName, Repository};

/// A target that nobody else changes meanwhile; dropping it lets others in.
#[derive(Debug)]
#[must_use]
pub struct Change<'t> {
    pub(super) target: &'t Target,
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
        let change = Change {
            target: self,
            _lock: lock,
        };
        change.clear()?;
        change.recover()?;
        Ok(change)
    }
}

impl Change<'_> {
    /// Removes what a dead command left: nothing refers to it.
    fn clear(&self) -> Result<(), DeployError> {
        for name in self.target.names()? {
            if name.starts_with(".new-") || name.starts_with(".old-") {
                self.target
                    .remove_dir(&self.target.deployments_dir().join(name))?;
            }
        }
        Ok(())
    }

    /// Records a switch whose command died after the commit point.
    fn recover(&self) -> Result<(), DeployError> {
        let target = self.target;
        let path = target.history_path();
        let (known, torn) = history::tail(&path)?;
        if torn {
            history::mend(target.disk.as_ref(), &path)?;
        }
        let current = target.current()?;
        if let Some(current) = current.filter(|current| Some(*current) != known) {
            let note = Note {
                who: "layerset".to_owned(),
                verdict: RecordedVerdict::Unchecked,
                reason: "the command died after the switch, before it was recorded".to_owned(),
            };
            self.record(HistoryAction::Recovered, known, Some(current), &note)?;
        }
        Ok(())
    }

    /// Appends a record about the way from one deployment to another.
    pub(super) fn record(
        &self,
        action: HistoryAction,
        from: Option<u64>,
        to: Option<u64>,
        note: &Note,
    ) -> Result<(), DeployError> {
        let target = self.target;
        let deployment =
            |generation: Option<u64>| generation.and_then(|n| target.deployment(n).ok());
        let (old, new) = (deployment(from), deployment(to));
        let record = HistoryRecord {
            sequence: 0,
            parent: String::new(),
            when: target.clock.now_sec(),
            who: note.who.clone(),
            action,
            from,
            to,
            image: new.as_ref().map(|deployment| deployment.facts.image),
            layers: history::layer_changes(old.as_ref(), new.as_ref()),
            verdict: note.verdict,
            reason: note.reason.clone(),
            digest: String::new(),
        };
        history::append(target.disk.as_ref(), &target.history_path(), record)?;
        Ok(())
    }

    /// Returns a number that was never given to a deployment of this target.
    pub(super) fn next_generation(&self) -> Result<u64, DeployError> {
        let target = self.target;
        let used = target.generations()?.last().copied().unwrap_or(0);
        let records = History::load_unverified(&target.history_path())?.records;
        let recorded = records.iter().flat_map(|record| [record.from, record.to]);
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

    /// Keeps a deployment from ever being pruned.
    pub fn pin(&self, generation: u64) -> Result<(), DeployError> {
        self.flag(generation, "pinned", "")
    }

    /// Takes a pin back.
    pub fn unpin(&self, generation: u64) -> Result<(), DeployError> {
        self.unflag(generation, "pinned")
    }

    /// Marks a deployment as bad, and records that; from then on only its number chooses it.
    ///
    /// The target remembers the image apart from the deployment, which may be pruned: a machine
    /// that found an image bad never takes it again.
    pub fn mark_bad(&self, generation: u64, note: &Note) -> Result<(), DeployError> {
        let disk = self.target.disk.as_ref();
        let path = self
            .target
            .bad_image_path(&self.target.deployment(generation)?.facts.image);
        if let Some(dir) = path.parent() {
            disk.mkdir(dir, 0o755)?;
        }
        replace_file(disk, &path, 0o644, format!("{}\n", note.reason).as_bytes())?;
        self.flag(generation, "bad", &note.reason)?;
        let current = self.target.current()?;
        let note = Note {
            reason: format!("deployment {generation}: {}", note.reason),
            ..note.clone()
        };
        self.record(HistoryAction::Bad, current, current, &note)
    }

    /// Takes the mark back.
    pub fn clear_bad(&self, generation: u64) -> Result<(), DeployError> {
        let path = self
            .target
            .bad_image_path(&self.target.deployment(generation)?.facts.image);
        if path.exists() {
            self.target.disk.remove(&path)?;
        }
        self.unflag(generation, "bad")
    }

    fn flag(&self, generation: u64, name: &str, text: &str) -> Result<(), DeployError> {
        let deployment = self.target.deployment(generation)?;
        let bytes = format!("{text}\n");
        let disk = self.target.disk.as_ref();
        replace_file(disk, &deployment.dir.join(name), 0o644, bytes.as_bytes())?;
        Ok(())
    }

    fn unflag(&self, generation: u64, name: &str) -> Result<(), DeployError> {
        let deployment = self.target.deployment(generation)?;
        self.target.disk.remove(&deployment.dir.join(name))?;
        self.target.disk.sync_dir(&deployment.dir)?;
        Ok(())
    }
}

impl Target {
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
