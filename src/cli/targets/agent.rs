//! `layerset agent`.

use std::path::PathBuf;

use clap::Args;

use super::host::SystemHost;
use super::note;
use crate::agent::{AgentConfig, Round, RoundReport};
use crate::cli::follow::FollowArgs;
use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{
    Decisions, DeployMode, DeployOptions, HistoryAction, KindChoice, MACHINE_ROOT, RecordedVerdict,
    StageOptions, SwitchPace,
};
use crate::durable::LockMode;

/// Where the agent finds out what it is to do.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigArgs {
    /// What the agent does on this machine, see layerset-agent.toml(5)
    #[arg(
        long,
        value_name = "FILE",
        env = "LAYERSET_AGENT_CONFIG",
        default_value = "/etc/layerset/agent.toml"
    )]
    config: PathBuf,
}

impl ConfigArgs {
    pub(super) fn read(&self) -> Result<AgentConfig, CliError> {
        Ok(AgentConfig::read(&self.config)?)
    }

    /// Reads it where nonsense in it must not stop what is being done: that is told.
    pub(super) fn read_or_default(&self, context: &Context) -> AgentConfig {
        self.read().unwrap_or_else(|error| {
            context.ui.remark(&error.message);
            AgentConfig::default()
        })
    }
}

/// Follows the channel of a target: one round, for a timer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  systemctl enable --now layerset-agent.timer   # every quarter of an hour
  layerset agent                                # one round by hand
  layerset agent --now                          # and switch, whatever the windows say
  layerset agent --target /srv/web

A release is fetched, checked and staged as soon as it is there. It becomes current in the next
window of agent.toml; then services are restarted, or the machine, and the health checks run. What is
not well is left for what ran before, and marked bad. The journal, hooks, a webhook and a file for
Prometheus are told.")]
pub(in crate::cli) struct Agent {
    /// The target [default: that of agent.toml, else the machine that runs]
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Switch at once, whatever the windows and a battery say
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    follow: FollowArgs,
}

impl Agent {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let config = self.config.read()?;
        let root = match (&self.target, &config.target, &context.booted) {
            (Some(root), _, _) => root.clone(),
            (None, Some(root), _) => root.clone(),
            (None, None, Some(_)) => PathBuf::from(MACHINE_ROOT),
            (None, None, None) => {
                return Err(CliError::usage("there is no target")
                    .with_hint("name one by --target, or as 'target' in agent.toml"));
            }
        };
        let location = context.location(&root)?;
        let target = location.open()?;
        let repository = context.open(LockMode::Shared, "layerset agent")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let following = self.follow.options(context, &pull)?;
        let deploying = DeployOptions {
            action: HistoryAction::Update,
            stage: StageOptions {
                kind: KindChoice::Auto,
                decisions: Decisions::default(),
            },
            mode: DeployMode::Switch,
            pace: SwitchPace::Live,
            keep: None,
            note: note("", RecordedVerdict::Unchecked),
            release: None,
            again: false,
            cancel: &context.cancel,
            doing: &*context.doing,
        };
        let host = SystemHost {
            context,
            target: &target,
        };
        let round = Round {
            location: &location,
            repository: &repository,
            config: &config,
            following: &following,
            deploying: &deploying,
            host: &host,
            is_now: self.now,
        };
        let (result, remarks) = round.run();
        for remark in remarks {
            context.ui.remark(&remark);
        }
        let report = result?;
        context.ui.print_json(&report)?;
        context.ui.print(&describe(&report));
        if matches!(&report, RoundReport::Returned { .. })
            || matches!(&report, RoundReport::Switched { proof, .. } if proof.problem.is_some())
        {
            ui::answer_with(error::REFUSED);
        }
        Ok(())
    }
}

fn describe(report: &RoundReport) -> String {
    match report {
        RoundReport::Nothing { why } => format!("nothing new: {why}\n"),
        RoundReport::Inhibited { why } => format!("waiting: {why}\n"),
        RoundReport::Staged { generation, serial } => format!(
            "release {serial} is staged as generation {generation}, and waits for its window; `layerset agent --now` \
             switches to it\n"
        ),
        RoundReport::StartsNext {
            generation,
            restarts: true,
        } => format!("generation {generation} starts next; the machine restarts\n"),
        RoundReport::StartsNext { generation, .. } => {
            format!("generation {generation} starts next, when the window opens\n")
        }
        RoundReport::Switched { generation, proof } => match &proof.problem {
            None => format!(
                "generation {generation} is current; {} health checks passed\n",
                proof.checks.len()
            ),
            Some(problem) => format!(
                "generation {generation} is current and not well, and there is nothing to go back to: {problem}\n"
            ),
        },
        RoundReport::Returned { generation, proof } => {
            let problem = proof.problem.as_deref().unwrap_or_default();
            let back = proof.returned.map_or(String::new(), |back| {
                format!("; generation {} is current again", back.to)
            });
            format!("generation {generation} was not well, and is marked bad: {problem}{back}\n")
        }
    }
}
