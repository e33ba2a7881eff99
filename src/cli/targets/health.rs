//! `layerset health` and `layerset settle-boot`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::agent::ConfigArgs;
use super::host::SystemHost;
use super::restart;
use crate::agent::{
    self, AgentConfig, CheckedHealth, Event, EventKind, fill, is_own_return, problem_of, recorded,
    tell,
};
use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{BootReport, BootVerdict, MACHINE_ROOT, SwitchReport, Target};
use crate::durable::LockMode;
use crate::time::{Clock as _, SystemClock};

/// What tells units of this start of the machine that it is settled.
pub(super) const SETTLED: &str = "/run/layerset/settled";

/// Runs the health checks of the layers of a target's current image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset health                       # of the machine that runs
  layerset health --target /srv/web
  layerset health --target /srv/web --json | jq '.checks[] | select(.problem)'

Exit status 3 says that a check failed. A check is asked again until its time is over.")]
pub(in crate::cli) struct Health {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Health {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        let checks = look(context, &target, &self.config.read()?)?;
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
fn look(
    context: &Context,
    target: &Target,
    config: &AgentConfig,
) -> Result<Vec<CheckedHealth>, CliError> {
    let Some(current) = target.current()? else {
        return Err(crate::deploy::DeployError::NothingDeployed.into());
    };
    let repository = context.look("layerset health", LockMode::Shared)?;
    let image = target.image_of(current)?;
    context.ui.doing("checking health");
    let host = SystemHost { context, target };
    Ok(agent::look(&repository, &image, config, &host)?)
}

/// Runs the health checks of what was switched to, and says so; where they fail, what ran before runs
/// again.
pub(super) fn prove(
    context: &Context,
    root: &Path,
    config: &ConfigArgs,
    switched: SwitchReport,
) -> Result<(), CliError> {
    let target = context.target(root)?;
    let repository = context.look("layerset health", LockMode::Shared)?;
    context.ui.doing("checking health");
    let target = &target;
    let host = SystemHost { context, target };
    let proof = agent::prove(target, &repository, switched, &config.read()?, &host)?;
    let Some(problem) = &proof.problem else {
        let count = proof.checks.len();
        if count > 0 {
            let noun = if count == 1 { "check" } else { "checks" };
            context.ui.print(&format!("{count} health {noun} passed\n"));
        }
        return Ok(());
    };
    let to = switched.to;
    let text = match proof.returned {
        Some(back) => format!(
            "generation {to} was not well, and is marked bad: {problem}; generation {} is current again",
            back.to
        ),
        None => format!("generation {to} is not well: {problem}; there is nothing to go back to"),
    };
    Err(CliError::new(text, error::REFUSED).with_hint(
        "`layerset history` keeps what was wrong; `layerset mark-good` takes the mark back",
    ))
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
    #[command(flatten)]
    config: ConfigArgs,
}

impl SettleBoot {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(Path::new(MACHINE_ROOT))?;
        if self.before_restart {
            return renew_etc(context, &target);
        }
        // A file that says nonsense must not keep a good system from being blessed.
        let config = self.config.read_or_default(context);
        let known = target.history()?.records.len();
        let (problem, checks) = match &self.failed {
            Some(reason) => (Some(reason.clone()), Vec::new()),
            None => {
                let checks = look(context, &target, &config)?;
                (problem_of(&checks), checks)
            }
        };
        let change = target.change("layerset settle-boot")?;
        let report = change.settle_boot(problem.as_deref(), &recorded(&checks))?;
        drop(change);
        for remark in self.tell(&config, &target, &report, problem.as_deref(), known)? {
            context.ui.remark(&remark);
        }
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

    /// Tells the world what became of this start, where it is news; `known` is how long the history
    /// was before.
    fn tell(
        &self,
        config: &AgentConfig,
        target: &Target,
        report: &BootReport,
        problem: Option<&str>,
        known: usize,
    ) -> Result<Vec<String>, CliError> {
        let running = report.running;
        let history = target.history()?;
        let new = history.records.get(known..).unwrap_or_default();
        let (kind, message) = match report.verdict {
            BootVerdict::Failed => {
                let problem = problem.unwrap_or_default();
                (
                    EventKind::Failed,
                    format!("generation {running} failed: {problem}"),
                )
            }
            _ => match new.iter().find(|record| record.action.is_switch()) {
                Some(record) if is_own_return(record) => (
                    EventKind::Returned,
                    format!("generation {running} runs again: {}", record.reason),
                ),
                Some(_) if problem.is_none() => (
                    EventKind::Switched,
                    format!("generation {running} runs, and is well"),
                ),
                _ => return Ok(Vec::new()),
            },
        };
        let mut event = Event::new(kind, target.root(), SystemClock.now_sec(), message);
        event.generation = Some(running);
        event.image = target.image_id_of(running).ok();
        event.from = new.iter().find_map(|record| record.from);
        fill(&mut event, target);
        Ok(tell(config, &event))
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
pub(super) fn restart() -> Result<(), CliError> {
    start_anew("reboot")
}

/// Starts the machine anew, by this command of systemd's.
pub(super) fn start_anew(command: &str) -> Result<(), CliError> {
    restart::start_anew(command).map_err(|problem| {
        CliError::new(problem, error::FAILED).with_hint("restart the machine by hand")
    })
}
