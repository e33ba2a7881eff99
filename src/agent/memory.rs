//! What the agent remembers between two rounds: `agent.json` beside the deployments. It is for
//! reports alone, so one that is gone or cannot be read begins anew.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::deploy::Target;
use crate::durable::{Disk, DurableError, replace_file};

/// The version of the file that this program reads and writes.
const FORMAT: u32 = 1;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    format: u32,
    /// When the channel was last asked with success.
    pub(super) last_contact: Option<i64>,
    /// When what the channel has was last current.
    pub(super) last_success: Option<i64>,
    /// What the health checks said last.
    pub(super) healthy: Option<bool>,
    /// The release that is not current: its serial, and when it was published.
    pub(super) pending: Option<(u64, i64)>,
    /// The deployment that was told of as staged.
    pub(super) told_staged: Option<u64>,
    /// The problem that was told last: the same one is told once.
    pub(super) told_problem: Option<String>,
    /// Bytes fetched, all in all.
    pub(super) received_bytes: u64,
}

impl Memory {
    fn path(target: &Target) -> PathBuf {
        target.root().join("layerset/agent.json")
    }

    pub(super) fn load(target: &Target) -> Self {
        Self::read(&Self::path(target)).unwrap_or_default()
    }

    fn read(path: &Path) -> Option<Self> {
        let found: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (found.format == FORMAT).then_some(found)
    }

    pub(super) fn save(&mut self, target: &Target, disk: &dyn Disk) -> Result<(), DurableError> {
        self.format = FORMAT;
        let path = Self::path(target);
        let mut bytes = serde_json::to_vec(self)
            .map_err(|error| DurableError::new("encode", &path, error.into()))?;
        bytes.push(b'\n');
        replace_file(disk, &path, 0o644, &bytes)
    }
}
