//! `layerset health` and `layerset settle-boot`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::agent::{self, CheckedHealth, check_health, problem_of};
use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{BootReport, BootVerdict, MACHINE_ROOT, RunNetwork, Target};
use crate::durable::LockMode;

/// What tells units of this start of the machine that it is settled.
pub(super) const SETTLED: &str = "/run/layerset/settled";

/// Runs the health checks of the layers of a target's current image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset health                       # of the machine that runs
  layerset health --target /srv/web
  layerset health --json | jq '.checks[] | select(.problem)'

Exit status 3 says that a check failed. A check is asked again until its time is over.")]
pub(in crate::cli) struct Health {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
}

impl Health {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        let checks = look(context, &target)?;
        let healthy = checks.iter().all(|check| check.problem.is_none());
        context
            .ui
            .print_json(&serde_json::json!({ "healthy": healthy, "checks": checks }))?;
        context.ui.print(&describe(&checks));
        if !healthy {
            ui::answer_with(error::REFUSED);
        }
        Ok(())
    }
}

/// Runs the checks of what is current.
fn look(context: &Context, target: &Target) -> Result<Vec<CheckedHealth>, CliError> {
    let Some(current) = target.current()? else {
        return Err(crate::deploy::DeployError::NothingDeployed.into());
    };
    let repository = context.look("layerset health", LockMode::Shared)?;
    let image = target.image_of(current)?;
    context.ui.doing("checking health");
    Ok(check_health(&repository, &image, &|text| {
        shell(target, text)
    })?)
}

/// Makes the command of a check; one that cannot be made fails its check.
pub(super) fn shell(target: &Target, text: &str) -> Command {
    command(target, text).unwrap_or_else(|_| Command::new("false"))
}

/// Makes the command of a check: on a machine as it is, on a directory target inside of it.
fn command(target: &Target, text: &str) -> Result<Command, CliError> {
    let words = ["/bin/sh", "-c", text].map(std::ffi::OsString::from);
    if target.machine().is_some() {
        let mut command = agent::system("/bin/sh");
        command.args(&words[1..]);
        return Ok(command);
    }
    let mut command = Command::new("bwrap");
    command.args(target.run_arguments(&words, RunNetwork::Shared)?);
    Ok(command)
}

pub(super) fn describe(checks: &[CheckedHealth]) -> String {
    if checks.is_empty() {
        return "no layer of the image has a health check\n".to_owned();
    }
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|found| {
            vec![
                found.layer.clone(),
                found.check.clone(),
                match &found.problem {
                    None => "passed".to_owned(),
                    Some(problem) => format!("failed: {problem}"),
                },
                ui::seconds(found.seconds),
            ]
        })
        .collect();
    ui::table(&["layer", "check", "result", "time"], &rows)
}

/// Says whether this start of the machine was good, and acts upon it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset settle-boot                                     # layerset-boot.service does it
  layerset settle-boot --failed 'it never came up' --no-restart

What was to prove itself is marked good when all health checks pass. Otherwise its image is marked
bad, and the machine restarts with what was good. What proved itself earlier stays.")]
pub(in crate::cli) struct SettleBoot {
    /// Do not look: it failed, for this reason
    #[arg(long, value_name = "TEXT")]
    failed: Option<String>,
    /// Leave the restart to somebody else
    #[arg(long)]
    no_restart: bool,
    /// Settle nothing: the machine goes down, and what starts next gets what was edited in /etc since it
    /// was staged
    #[arg(long, conflicts_with_all = ["failed", "no_restart"])]
    before_restart: bool,
}

impl SettleBoot {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(Path::new(MACHINE_ROOT))?;
        if self.before_restart {
            return renew_etc(context, &target);
        }
        let problem = match &self.failed {
            Some(reason) => Some(reason.clone()),
            None => problem_of(&look(context, &target)?),
        };
        let change = target.change("layerset settle-boot")?;
        let report = change.settle_boot(problem.as_deref())?;
        drop(change);
        context.ui.print_json(&report)?;
        context
            .ui
            .print(&describe_boot(&report, problem.as_deref()));
        // A unit that watches the time looks for it.
        let settled = std::fs::write(SETTLED, "");
        settled.map_err(|error| CliError::io("cannot write /run/layerset/settled", error))?;
        if report.verdict == BootVerdict::Failed && !self.no_restart {
            restart()?;
        }
        if report.verdict != BootVerdict::Good {
            ui::answer_with(error::REFUSED);
        }
        Ok(())
    }
}

/// Merges `/etc` once more for what starts next.
fn renew_etc(context: &Context, target: &Target) -> Result<(), CliError> {
    let repository = context.look("layerset settle-boot", LockMode::Shared)?;
    let change = target.change("layerset settle-boot")?;
    let renewed = change.renew_next_etc(&repository)?;
    context
        .ui
        .print_json(&serde_json::json!({ "merged_for": renewed }))?;
    if let Some(to) = renewed {
        context
            .ui
            .print(&format!("merged /etc again for generation {to}\n"));
    }
    Ok(())
}

fn describe_boot(report: &BootReport, problem: Option<&str>) -> String {
    let running = report.running;
    let problem = problem.unwrap_or_default();
    match report.verdict {
        BootVerdict::Good => format!("generation {running} is good\n"),
        BootVerdict::Unwell => format!(
            "generation {running} is not well: {problem}; it proved itself earlier, or there is nothing else to \
             start, so that it stays\n"
        ),
        BootVerdict::Failed => {
            let next = report
                .next
                .deployment
                .map_or("nothing".to_owned(), |next| format!("generation {next}"));
            format!(
                "generation {running} failed, and is marked bad: {problem}; {next} starts next\n"
            )
        }
    }
}

/// Restarts the machine.
fn restart() -> Result<(), CliError> {
    start_anew("reboot")
}

/// Starts the machine anew, by this command of systemd's.
pub(super) fn start_anew(command: &str) -> Result<(), CliError> {
    let status = Command::new("systemctl")
        .arg(command)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| CliError::io("cannot run 'systemctl'", error))?;
    if status.success() {
        return Ok(());
    }
    Err(CliError::new(
        format!("'systemctl {command}' failed with {status}"),
        error::FAILED,
    )
    .with_hint("restart the machine by hand"))
}
