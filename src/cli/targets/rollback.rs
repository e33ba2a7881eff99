//! `layerset rollback` and `layerset pin`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::agent::ConfigArgs;
use super::live::When;
use super::set_back::SetBack;
use super::{deploy, live, note, planned, restart};
use crate::causes::chain;
use crate::cli::{CliError, Context, ui};
use crate::deploy::{
    Change, Exchange, RecordedVerdict, SwitchClass, SwitchPace, SwitchReport, SwitchWay, Target,
};
use crate::durable::LockMode;

/// Switches a target back to an earlier deployment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset rollback --target /srv/web
  layerset rollback --target /srv/web --to 3
  layerset rollback --target /srv/web --layer hello           # one layer as it was before
  layerset rollback --target /srv/web --layer hello --to 1.2  # as it was in this version

Nothing is copied and nothing is fetched; the repository is not needed. With --layer, a new set is
composed of layers that are there, checked as by a build, and switched to.")]
pub(in crate::cli) struct Rollback {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// Set only this layer back; the others stay as they are
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The generation to switch to, or the version of --layer [default: the previous one]
    #[arg(long, value_name = "GENERATION|VERSION")]
    to: Option<String>,
    /// Mark the deployment that is left as bad, so that it is never chosen automatically again
    #[arg(long)]
    mark_bad: bool,
    /// Restart the services that run something else after the switch: those of units that
    /// `layerset run --print-unit` wrote for this target
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    config: ConfigArgs,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

impl Rollback {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        if let Some(time) = self.when.at() {
            return self.when.schedule(context, time);
        }
        if let Some(layer) = &self.layer {
            let set_back = SetBack {
                root: &self.target,
                layer,
                to: self.to.as_deref(),
                reason: &self.reason,
                mark_bad: self.mark_bad,
                when: &self.when,
                config: &self.config,
                restart: self.restart,
            };
            return set_back.run(context);
        }
        let to = self.generation()?;
        let target = context.target(&self.target)?;
        let change = target.change("layerset rollback")?;
        let started = Instant::now();
        let mut switched = change.rollback(to, &note(&self.reason, RecordedVerdict::Unchecked))?;
        let way = way_back(context, &target, &switched);
        let exchange = self.go_live(context, &change, &mut switched, way.as_ref())?;
        let seconds = started.elapsed().as_secs_f64();
        if let (true, Some(from)) = (
            self.mark_bad && switched.from != Some(switched.to),
            switched.from,
        ) {
            let reason = if self.reason.is_empty() {
                "rolled back by hand"
            } else {
                &self.reason
            };
            change.mark_bad(from, &note(reason, RecordedVerdict::Unchecked))?;
        }
        drop(change);
        let live = match (&exchange, switched.from) {
            (Some(_), Some(from)) => {
                let moved = (from, switched.to);
                Some(live::complete(context, &self.target, &self.config, moved)?)
            }
            _ => None,
        };
        let held = target.held().unwrap_or_default();
        let follows = !matches!(target.subscription(), Ok(None));
        let moved = switched.from.filter(|from| *from != switched.to);
        let services =
            moved.and_then(|from| restart::services(context, &target, from, switched.to));
        let mut document = serde_json::json!({
            "from": switched.from, "to": switched.to, "at_restart": switched.at_restart, "switch_seconds": seconds, "held": held,
            "services": services,
        });
        if let Some(way) = &way {
            document["way"] = serde_json::json!(way);
        }
        if let Some(exchange) = &exchange {
            document["exchange"] = serde_json::json!(exchange);
        }
        deploy::add_live(&mut document, live.as_ref())?;
        context.ui.print_json(&document)?;
        let from = switched
            .from
            .map_or("nothing".to_owned(), |from| format!("generation {from}"));
        if switched.from == Some(switched.to) {
            context
                .ui
                .print(&format!("generation {} is already current\n", switched.to));
        } else if switched.at_restart {
            context
                .ui
                .print(&deploy::at_restart(switched.to, way.as_ref()));
        } else {
            context.ui.print(&format!(
                "switched from {from} to generation {} in {}\n",
                switched.to,
                ui::seconds(seconds)
            ));
            if follows && !held.is_empty() && !self.mark_bad {
                context.ui.print(
                    "the release that was left is held until there is a newer one; \
                     `layerset update --again` takes it\n",
                );
            }
        }
        if let (Some(exchange), Some(live)) = (&exchange, &live) {
            context.ui.print(&live::describe_exchange(exchange));
            context.ui.print(&live::describe(live, switched.to));
            return live::go_back_by_start(live);
        }
        context
            .ui
            .print(&planned::restarts(services.as_deref().unwrap_or_default()));
        if switched.at_restart {
            let root = &self.target;
            return self
                .when
                .start_anew(context, root, way.as_ref(), switched.to);
        }
        if !self.restart || switched.from == Some(switched.to) {
            return Ok(());
        }
        if services.is_none() {
            context.ui.remark(
                "which services run something else cannot be said without the repository: all are restarted",
            );
        }
        let units = services.as_ref().map(|services| {
            let units = services.iter().map(|service| service.unit.as_str());
            units.collect::<Vec<_>>()
        });
        restart::restart(context, &self.target, units.as_deref())
    }
}

/// Says how a machine comes to what it was switched to; a rollback needs no repository, and without one
/// it is by reboot.
fn way_back(context: &Context, target: &Target, switched: &SwitchReport) -> Option<SwitchWay> {
    if !switched.at_restart {
        return None;
    }
    let repository = context.look("layerset rollback", LockMode::Shared).ok()?;
    target
        .way_to_generation(&repository, switched.to)
        .ok()
        .flatten()
}

impl Rollback {
    /// Puts the trees beneath what runs, where that is the way, and says why not where that fails.
    fn go_live(
        &self,
        context: &Context,
        change: &Change<'_>,
        switched: &mut SwitchReport,
        way: Option<&SwitchWay>,
    ) -> Result<Option<Exchange>, CliError> {
        let is_live = way.is_some_and(|way| way.class == SwitchClass::Live);
        if !is_live || self.when.pace() != SwitchPace::Live {
            return Ok(None);
        }
        let repository = context.look("layerset rollback", LockMode::Shared)?;
        match change.go_live(&repository, switched.to) {
            Ok(exchange) => {
                switched.at_restart = false;
                Ok(Some(exchange))
            }
            Err(error) => {
                let reason = chain(&error);
                context
                    .ui
                    .remark(&format!("the switch is not live: {reason}"));
                Ok(None)
            }
        }
    }

    fn generation(&self) -> Result<Option<u64>, CliError> {
        let Some(to) = &self.to else { return Ok(None) };
        let number = to.parse().map_err(|_| {
            CliError::usage(format!("'{to}' is no generation"))
                .with_hint("`layerset status` lists them; a version needs --layer")
        })?;
        Ok(Some(number))
    }
}

/// Keeps a deployment, whatever the policy says, or stops keeping it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset pin 3 --target /srv/web
  layerset pin 3 --target /srv/web --remove")]
pub(in crate::cli) struct Pin {
    /// The deployment
    generation: u64,
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// Take the pin back
    #[arg(long)]
    remove: bool,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

impl Pin {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        let change = target.change("layerset pin")?;
        let note = note(&self.reason, RecordedVerdict::Unchecked);
        if self.remove {
            change.unpin(self.generation, &note)?;
        } else {
            change.pin(self.generation, &note)?;
        }
        context.ui.print_json(
            &serde_json::json!({ "generation": self.generation, "pinned": !self.remove }),
        )?;
        let word = if self.remove {
            "no longer pinned"
        } else {
            "pinned"
        };
        context
            .ui
            .print(&format!("generation {} is {word}\n", self.generation));
        Ok(())
    }
}
