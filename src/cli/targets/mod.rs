//! Commands on targets: deploy, update, rollback, status, history, pin, mark-bad, mark-good,
//! activate, deactivate, run, health, settle-boot, agent, adopt-host.

mod adopt;
mod agent;
mod deploy;
mod health;
mod host;
mod live;
mod look;
mod mark;
mod mounts;
mod planned;
mod restart;
mod rollback;
mod run;
mod set_back;
mod update;

pub(super) use adopt::AdoptHost;
pub(super) use agent::Agent;
pub(super) use deploy::Deploy;
pub(super) use health::{Health, SettleBoot};
pub(super) use look::{History, Status};
pub(super) use mark::{MarkBad, MarkGood};
pub(super) use mounts::{Activate, Deactivate};
pub(super) use rollback::{Pin, Rollback};
pub(super) use run::Run;
pub(super) use set_back::current_image;
pub(super) use update::Update;

use std::path::Path;
use std::sync::Arc;

use super::{CliError, Context};
use crate::deploy::{Note, RecordedVerdict, Target, TargetLocation, TargetLockWait};
use crate::time::SystemClock;

impl Context {
    /// Says where the target at `root` is, and how to work with it.
    fn location(&self, root: &Path) -> Result<TargetLocation, CliError> {
        Ok(TargetLocation {
            machine: self.machine(root)?,
            root: root.to_owned(),
            disk: Arc::clone(&self.disk),
            clock: Arc::new(SystemClock),
            waiting: self.waiting(),
        })
    }

    /// Opens the target at `root`.
    pub(super) fn target(&self, root: &Path) -> Result<Target, CliError> {
        Ok(self.location(root)?.open()?)
    }

    fn waiting(&self) -> TargetLockWait {
        let (ui, remarks) = (self.ui.clone(), self.ui.clone());
        TargetLockWait {
            remark: Arc::new(move |text| remarks.remark(text)),
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
        ..Note::default()
    }
}
