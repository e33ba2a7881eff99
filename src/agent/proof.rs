//! The proof of a switch: the health checks of what is current now, and the way back where they fail.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::health::{CheckedHealth, check_health, check_reachable};
use super::{AgentConfig, AgentError};
use crate::deploy::{HistoryAction, Note, RecordedCheck, RecordedVerdict, SwitchReport, Target};
use crate::format::Image;
use crate::store::Repository;

/// What the agent asks of the system that runs.
pub trait Host: Sync {
    /// Restarts services of the target that run, by their names in the image; all of them where none
    /// are named. Returns the units that were.
    fn restart_services(&self, services: Option<&[String]>) -> Result<Vec<String>, AgentError>;

    /// Restarts the machine.
    fn restart_machine(&self) -> Result<(), AgentError>;

    /// Starts all services anew in the root that was laid for that; the kernel stays.
    fn soft_reboot(&self) -> Result<(), AgentError> {
        self.restart_machine()
    }

    /// Returns where this process sees a file of the system.
    fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(path)
    }

    /// Makes the shell command of a health check: on a machine as it is, on a directory target inside
    /// of it.
    fn shell(&self, command: &str) -> Command;

    /// Returns the unit of this system that runs a unit of the image.
    fn unit(&self, unit: &str) -> Option<String>;
}

/// What became of a switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// What was looked at.
    pub checks: Vec<CheckedHealth>,
    /// What is wrong; none where all passed.
    pub problem: Option<String>,
    /// The switch back, where there was something to go back to.
    pub returned: Option<SwitchReport>,
}

/// Runs the health checks of an image on the system that runs it, those of the machine among them.
pub fn look(
    repository: &Repository,
    image: &Image,
    config: &AgentConfig,
    host: &dyn Host,
) -> Result<Vec<CheckedHealth>, AgentError> {
    let checks =
        check_health(repository, image, host).map_err(crate::transfer::TransferError::from)?;
    let reachable = check_reachable(&config.reachable, config.patience, host);
    Ok([checks, reachable].concat())
}

/// Says what is wrong, in one line.
pub fn problem_of(checks: &[CheckedHealth]) -> Option<String> {
    let failed: Vec<String> = checks
        .iter()
        .filter_map(|found| {
            let problem = found.problem.as_ref()?;
            let whose = match found.layer.as_str() {
                "" => String::new(),
                layer => format!(" ({layer})"),
            };
            Some(format!("{}{whose}: {problem}", found.check))
        })
        .collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}

/// Returns what the history keeps of checks.
pub fn recorded(checks: &[CheckedHealth]) -> Vec<RecordedCheck> {
    let one = |found: &CheckedHealth| RecordedCheck {
        layer: found.layer.clone(),
        check: found.check.clone(),
        problem: found.problem.clone(),
        millis: Duration::try_from_secs_f64(found.seconds).map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        }),
    };
    checks.iter().map(one).collect()
}

/// Looks whether what was switched to is well. Otherwise what was current before is again, its
/// services run again, and the image is marked bad with the reason.
///
/// The target must not be held by a [`crate::deploy::Change`]: checks take long.
pub fn prove(
    target: &Target,
    repository: &Repository,
    switched: SwitchReport,
    config: &AgentConfig,
    host: &dyn Host,
) -> Result<Proof, AgentError> {
    let image = target.image_of(switched.to)?;
    let checks = look(repository, &image, config, host)?;
    let note = |reason: &str| Note {
        who: "layerset".to_owned(),
        verdict: RecordedVerdict::Unchecked,
        reason: reason.to_owned(),
        checks: recorded(&checks),
    };
    let Some(problem) = problem_of(&checks) else {
        if !checks.is_empty() {
            let change = target.change("layerset health")?;
            change.record_health(switched.to, &note(""))?;
        }
        return Ok(Proof {
            checks,
            problem: None,
            returned: None,
        });
    };
    let change = target.change("layerset health")?;
    // Somebody may have switched meanwhile: then it is theirs.
    let is_current = target.current()? == Some(switched.to);
    let back = switched
        .from
        .filter(|from| is_current && *from != switched.to);
    let Some(from) = back else {
        if is_current {
            change.mark_bad(switched.to, &note(&problem))?;
        }
        return Ok(Proof {
            checks,
            problem: Some(problem),
            returned: None,
        });
    };
    let why = Note {
        checks: Vec::new(),
        ..note(&problem)
    };
    let returned = change.rollback(Some(from), &why)?;
    change.mark_bad(switched.to, &note(&problem))?;
    drop(change);
    let also: Vec<String> = Vec::new();
    let services = target
        .restarts_between(repository, switched.to, from, &also)
        .ok()
        .map(|services| {
            services
                .into_iter()
                .map(|service| service.unit)
                .collect::<Vec<_>>()
        });
    host.restart_services(services.as_deref())?;
    Ok(Proof {
        checks,
        problem: Some(problem),
        returned: Some(returned),
    })
}

/// What the history calls a switch by the agent.
pub(super) const ACTION: HistoryAction = HistoryAction::Update;
