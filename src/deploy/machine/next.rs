//! `next.json`: what a switch is to be called once the machine has started with its deployment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::deploy::{DeployError, HistoryAction, Note, RecordedVerdict, Target, canonical};
use crate::durable::{Disk, replace_file, retire_file};

/// The version of the file that this program reads and writes.
const FORMAT: u32 = 1;

/// A switch that a restart completes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::deploy) struct Pending {
    format: u32,
    /// The deployment that is to run.
    pub(super) generation: u64,
    /// The one that was left for it.
    pub(super) from: u64,
    action: HistoryAction,
    who: String,
    reason: String,
    verdict: RecordedVerdict,
}

impl Pending {
    pub(super) fn new(generation: u64, from: u64, action: HistoryAction, note: &Note) -> Self {
        Self {
            format: FORMAT,
            generation,
            from,
            action,
            who: note.who.clone(),
            reason: note.reason.clone(),
            verdict: note.verdict,
        }
    }

    /// Returns how the history calls it.
    pub(super) fn record(&self) -> (HistoryAction, Note) {
        let note = Note {
            who: self.who.clone(),
            verdict: self.verdict,
            reason: self.reason.clone(),
            ..Note::default()
        };
        (self.action, note)
    }

    fn path(target: &Target) -> PathBuf {
        target.dir.join("next.json")
    }

    /// Reads what is pending; what cannot be read is no switch that anybody waits for.
    pub(super) fn load(target: &Target) -> Option<Self> {
        let bytes = std::fs::read(Self::path(target)).ok()?;
        let found: Self = serde_json::from_slice(&bytes).ok()?;
        (found.format == FORMAT).then_some(found)
    }

    pub(super) fn save(&self, target: &Target, disk: &dyn Disk) -> Result<(), DeployError> {
        let path = Self::path(target);
        let bytes = canonical(&path, "switch that is pending", self)?;
        Ok(replace_file(disk, &path, 0o644, &bytes)?)
    }

    pub(super) fn clear(target: &Target, disk: &dyn Disk) -> Result<(), DeployError> {
        let path = Self::path(target);
        if path.exists() {
            retire_file(disk, &path)?;
        }
        Ok(())
    }
}
