//! Commands on targets: deploy, update, rollback, status, history, pin, activate, deactivate.

mod deploy;
mod look;
mod mounts;
mod rollback;
mod update;

pub use deploy::Deploy;
pub use look::{History, Status};
pub use mounts::{Activate, Deactivate};
pub use rollback::{Pin, Rollback};
pub use update::Update;

use std::path::Path;
use std::sync::Arc;

use super::error::{INTEGRITY, INTERRUPTED, REFUSED};
use super::{CliError, Context};
use crate::deploy::{DeployError, Note, RecordedVerdict, Target, TargetLocation, TargetLockWait};
use crate::time::SystemClock;

impl Context {
    /// Says where the target at `root` is, and how to work with it.
    fn location(&self, root: &Path) -> TargetLocation {
        TargetLocation {
            root: root.to_owned(),
            disk: Arc::clone(&self.disk),
            clock: Arc::new(SystemClock),
            waiting: self.waiting(),
        }
    }

    /// Opens the target at `root`.
    pub(super) fn target(&self, root: &Path) -> Result<Target, CliError> {
        Ok(self.location(root).open()?)
    }

    fn waiting(&self) -> TargetLockWait {
        let ui = self.ui.clone();
        TargetLockWait {
            patience: self.patience,
            tell: Arc::new(move |holder| ui.remark(&format!("waiting for {holder}"))),
        }
    }
}

/// What the history says about who asked: the user behind sudo, where there is one.
fn note(reason: &str, verdict: RecordedVerdict) -> Note {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let uid = rustix::process::getuid().as_raw();
    let who = user.filter(|user| !user.is_empty()).unwrap_or_else(|| {
        if uid == 0 {
            "root".into()
        } else {
            format!("#{uid}")
        }
    });
    Note {
        who,
        verdict,
        reason: reason.to_owned(),
    }
}

impl From<DeployError> for CliError {
    fn from(error: DeployError) -> Self {
        let hint = error.hint();
        match error {
            DeployError::Store(error) => error.into(),
            DeployError::Trust(error) => (*error).into(),
            DeployError::Interrupted => Self::new("interrupted", INTERRUPTED),
            error => {
                let exit = match &error {
                    DeployError::Conflicts(_)
                    | DeployError::Renumbered(_)
                    | DeployError::Bad { .. }
                    | DeployError::BadImage { .. }
                    | DeployError::EtcEdited { .. }
                    | DeployError::EtcElsewhere { .. } => REFUSED,
                    DeployError::Objects(_)
                    | DeployError::Damaged { .. }
                    | DeployError::Metadata { .. } => INTEGRITY,
                    _ => 1,
                };
                let mut shown = Self::from_error(&error, exit);
                if let DeployError::Conflicts(conflicts) = &error {
                    shown.causes.extend(conflicts.iter().map(|conflict| {
                        let record = conflict
                            .record
                            .as_ref()
                            .map_or(String::new(), |record| format!(" ({record})"));
                        format!("{}{record}: {}", conflict.path, conflict.reason)
                    }));
                }
                shown.hint = hint;
                shown
            }
        }
    }
}
