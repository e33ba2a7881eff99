//! Mounting deployments again after a reboot, and unmounting them.

use super::change::Change;
use super::{DeployError, mounts};

/// What activation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivationReport {
    /// Deployments that were mounted now.
    pub mounted: Vec<u64>,
    /// Deployments that were mounted already.
    pub already: Vec<u64>,
    /// Deployments other than the current one that could not be mounted, and why.
    pub failed: Vec<(u64, String)>,
}

impl Change<'_> {
    /// Mounts the current, the previous and the pinned deployments again, as after a reboot.
    ///
    /// Only the current one must come up; what is wrong with another is reported.
    pub fn activate(&self) -> Result<ActivationReport, DeployError> {
        let target = self.target;
        let mut done = ActivationReport::default();
        let current = target.current()?;
        if let Some(current) = current {
            let deployment = target.deployment(current)?;
            let list = if self.bring_up(&deployment)? {
                &mut done.mounted
            } else {
                &mut done.already
            };
            list.push(current);
        }
        let previous = target.previous()?;
        for generation in target.generations()? {
            if Some(generation) == current {
                continue;
            }
            let mounted = target.deployment(generation).and_then(|deployment| {
                let wanted = Some(generation) == previous || deployment.is_pinned();
                wanted.then(|| target.mount(&deployment)).transpose()
            });
            match mounted {
                Ok(None) => {}
                Ok(Some(true)) => done.mounted.push(generation),
                Ok(Some(false)) => done.already.push(generation),
                Err(error) => done.failed.push((generation, error.to_string())),
            }
        }
        target.disarm_others(current);
        Ok(done)
    }

    /// Unmounts all deployments; says how many mounts that were. What still runs from them keeps
    /// its files.
    pub fn deactivate(&self) -> Result<usize, DeployError> {
        mounts::unmount_below(&self.target.deployments_dir())
    }
}
