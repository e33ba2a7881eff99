//! The place of a target: what it takes to open one, or to make it where there is none yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DeployError, Machine, Target, TargetLockWait};
use crate::durable::Disk;
use crate::time::Clock;

/// Where a target is, or is to be, and what it works with.
#[derive(Clone)]
pub struct TargetLocation {
    /// The target's root.
    pub root: PathBuf,
    /// What changes it.
    pub disk: Arc<dyn Disk>,
    /// When it is.
    pub clock: Arc<dyn Clock>,
    /// How changes wait for another command.
    pub waiting: TargetLockWait,
    /// The machine that runs from it, where this is its own disk.
    pub machine: Option<Arc<Machine>>,
}

impl std::fmt::Debug for TargetLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TargetLocation({})", self.root.display())
    }
}

impl TargetLocation {
    /// Opens the target.
    pub fn open(&self) -> Result<Target, DeployError> {
        let (disk, clock) = (Arc::clone(&self.disk), Arc::clone(&self.clock));
        let target = Target::open(&self.root, disk, clock)?;
        Ok(self.equip(target))
    }

    fn equip(&self, target: Target) -> Target {
        target
            .with_waiting(self.waiting.clone())
            .with_machine(self.machine.clone())
    }

    /// Opens the target, or makes one that takes its objects from `repository`.
    pub fn open_or_init(&self, repository: &Path) -> Result<Target, DeployError> {
        let (disk, clock) = (Arc::clone(&self.disk), Arc::clone(&self.clock));
        let target = Target::open_or_init(&self.root, repository, disk, clock)?;
        Ok(self.equip(target))
    }
}
