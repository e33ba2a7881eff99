//! `layerset deploy`, and what it shares with `layerset update`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::agent::ConfigArgs;
use super::live::When;
use super::{health, live, note, planned, restart};
use crate::agent::{self, ChannelReport, LiveReport};
use crate::builder::BuildReport;
use crate::cli::follow::{FollowArgs, channel_name, describe};
use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, ui};
use crate::deploy::{
    self, Decisions, DeployMode, DeployOptions, DeployReport, EtcReport, HistoryAction,
    KeptContent, KindChoice, NewDeployment, OwnCopy, RecordedVerdict, StageOptions, SwitchWay,
    VarReport,
};
use crate::durable::LockMode;
use crate::path::{PathError, RelPath, escape, unescape};

/// Puts an image on a target, and switches to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset deploy web --target /srv/web
  layerset deploy web --target /srv/web --dry-run     # what it would do to /etc
  layerset deploy b3:1f2e --target /srv/web --keep-file /etc/nginx/nginx.conf
  layerset deploy --channel web/stable --target /srv/web   # and follow it

The switch is one rename of /srv/web/layerset/current. Edits in /etc are merged, and conflicts
are reported before anything is switched. The earlier deployment stays: `layerset rollback`
goes back to it.")]
pub(in crate::cli) struct Deploy {
    /// The image: a recipe's name, a ref, an id or an abbreviation of one
    #[arg(required_unless_present = "channel", conflicts_with_all = ["channel", "remote", "from", "ahead", "no_deltas", "least_bytes"])]
    image: Option<String>,
    #[command(flatten)]
    deploy: DeployArgs,
    /// Pull what this channel has for this machine, and follow the channel: NAME/CHANNEL
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
}

/// Where to deploy to, and how.
#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// The target: any directory; it is made when absent
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    pub(super) target: PathBuf,
    /// In a conflict, keep this file of /etc as it is on the machine; or keep this path of /var
    /// without being told of it; may be given more than once
    #[arg(long, value_name = "PATH")]
    keep_file: Vec<String>,
    /// In a conflict, take this file of /etc from the image; or take this path of /var from it,
    /// with all below; may be given more than once
    #[arg(long, value_name = "PATH")]
    take_file: Vec<String>,
    /// Copy the files instead of mounting them from the repository
    #[arg(long)]
    copy: bool,
    /// Show packages, services to restart, and what becomes of /etc and /var, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Prepare the deployment, but do not switch to it
    #[arg(long, conflicts_with = "dry_run")]
    stage_only: bool,
    /// Take the channel's release even if a rollback left it on this target
    #[arg(long)]
    again: bool,
    /// How many deployments to keep, pinned ones aside [default: what the recipe's policy says]
    #[arg(long, value_name = "COUNT")]
    keep: Option<u32>,
    /// Restart the services that run something else after the switch: those of units that
    /// `layerset run --print-unit` wrote. Then run the health checks, and switch back where they fail
    #[arg(long, conflicts_with_all = ["dry_run", "stage_only"])]
    restart: bool,
    #[command(flatten)]
    pub(super) when: When,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Deploy {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let options =
            self.deploy
                .options(context, HistoryAction::Deploy, RecordedVerdict::Unchecked)?;
        let location = context.location(&self.deploy.target)?;
        let Some(channel) = &self.channel else {
            let repository = context.open(LockMode::Shared, "layerset deploy")?;
            let image = repository.resolve_image(self.image.as_deref().unwrap_or_default())?;
            let report = deploy::deploy(&location, &repository, &image, &options)?;
            drop(repository);
            let live = self.deploy.complete(context, &report)?;
            print(context, &report, None, live.as_ref())?;
            return self.deploy.restart(context, &report, live.as_ref());
        };
        let channel = channel_name(channel)?;
        let repository = context.open(LockMode::Shared, "layerset deploy")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let following = self.follow.options(context, &pull)?;
        let report = agent::deploy_channel(&location, &repository, &channel, &following, &options)?;
        drop(repository);
        self.deploy.finish(context, &report)
    }
}

impl DeployArgs {
    /// Says whether only a plan was asked for.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Says whether a release that a rollback left is taken.
    pub(super) fn takes_again(&self) -> bool {
        self.again
    }

    /// Completes a live switch of a machine.
    pub(super) fn complete(
        &self,
        context: &Context,
        report: &DeployReport,
    ) -> Result<Option<LiveReport>, CliError> {
        let DeployReport::Deployed(deployed) = report else {
            return Ok(None);
        };
        let moved = deployed
            .switched
            .and_then(|switched| Some((switched.from?, switched.to)));
        match (moved, &deployed.exchange) {
            (Some(moved), Some(_)) => {
                live::complete(context, &self.target, &self.config, moved).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Starts services or the machine anew after a switch, where that was asked for.
    pub(super) fn restart(
        &self,
        context: &Context,
        report: &DeployReport,
        live: Option<&LiveReport>,
    ) -> Result<(), CliError> {
        if let Some(live) = live {
            return live::go_back_by_start(live);
        }
        if let (Some(time), false) = (self.when.at(), self.dry_run || self.stage_only)
            && !matches!(report, DeployReport::Unchanged { .. })
        {
            return self.when.schedule(context, time);
        }
        match report {
            DeployReport::Deployed(deployed)
                if deployed
                    .switched
                    .is_some_and(|switched| switched.at_restart) =>
            {
                let (root, way) = (&self.target, deployed.way.as_ref());
                self.when
                    .start_anew(context, root, way, deployed.generation)
            }
            DeployReport::Deployed(deployed) if self.restart => {
                let Some(switched) = deployed.switched else {
                    return Ok(());
                };
                let units: Vec<&str> = deployed.services.iter().map(|s| s.unit.as_str()).collect();
                restart::restart(context, &self.target, Some(&units))?;
                health::prove(context, &self.target, &self.config, switched)
            }
            _ => Ok(()),
        }
    }

    /// Does all that follows, and prints it, for a target that follows a channel.
    pub(super) fn finish(&self, context: &Context, report: &ChannelReport) -> Result<(), CliError> {
        let ChannelReport::Deployed { deployed, .. } = report else {
            return print_channel(context, report, None);
        };
        let live = self.complete(context, deployed)?;
        print_channel(context, report, live.as_ref())?;
        self.restart(context, deployed, live.as_ref())
    }

    /// Says how to bring an image onto the target; `verdict` is what the checks said of it in the
    /// course of this command.
    pub(super) fn options<'a>(
        &self,
        context: &'a Context,
        action: HistoryAction,
        verdict: RecordedVerdict,
    ) -> Result<DeployOptions<'a>, CliError> {
        // What the checks after the switch need to know is not found out after it.
        if self.restart {
            self.config.read()?;
        }
        let paths = |texts: &[String]| {
            texts
                .iter()
                .map(|text| named_path(text))
                .collect::<Result<_, _>>()
        };
        let bad = |error: PathError| CliError::usage(error.to_string());
        let decisions = Decisions {
            keep: paths(&self.keep_file).map_err(bad)?,
            take: paths(&self.take_file).map_err(bad)?,
        };
        if let Some((keep, take)) = decisions.contradiction() {
            return Err(CliError::usage(format!(
                "'--keep-file {keep}' and '--take-file {take}' contradict each other: a decision is for all that is \
                 below its path"
            ))
            .with_hint("give one of them, or name the files below one by one"));
        }
        let kind = if self.copy {
            KindChoice::Copy
        } else {
            KindChoice::Auto
        };
        // What is to be switched to later is prepared now.
        let is_staged = self.stage_only || self.when.at().is_some();
        let mode = match (self.dry_run, is_staged) {
            (true, _) => DeployMode::Plan,
            (false, true) => DeployMode::Stage,
            (false, false) => DeployMode::Switch,
        };
        Ok(DeployOptions {
            action,
            stage: StageOptions { kind, decisions },
            mode,
            pace: self.when.pace(),
            keep: self.keep,
            note: note(&self.reason, verdict),
            release: None,
            again: self.again,
            cancel: &context.cancel,
            doing: &*context.doing,
        })
    }
}

/// Reads a path as somebody types it, or as it was printed: with blanks and other bytes escaped.
fn named_path(text: &str) -> Result<RelPath, PathError> {
    let path = text.strip_prefix('/').unwrap_or(text);
    // Units of systemd have such escapes in their names: there, nothing would have been escaped.
    match unescape(path).filter(|bytes| escape(bytes) == path) {
        Some(bytes) => RelPath::new(&bytes),
        None => RelPath::from_text(text),
    }
}

/// Prints what became of an image, and of the build that made it.
pub(super) fn print(
    context: &Context,
    report: &DeployReport,
    built: Option<&BuildReport>,
    live: Option<&LiveReport>,
) -> Result<(), CliError> {
    let mut document = to_json(report)?;
    add_live(&mut document, live)?;
    if !matches!(report, DeployReport::Planned { .. }) {
        document["build"] = to_json(&built)?;
        document["pull"] = Value::Null;
    }
    context.ui.print_json(&document)?;
    let made = match report {
        DeployReport::Planned { .. } => None,
        _ => built.map(|built| crate::cli::build::describe(built, false)),
    };
    context
        .ui
        .print(&(made.unwrap_or_default() + &text(report, live)));
    Ok(())
}

/// Prints what became of a target that follows a channel.
pub(super) fn print_channel(
    context: &Context,
    report: &ChannelReport,
    live: Option<&LiveReport>,
) -> Result<(), CliError> {
    let mut document = to_json(report)?;
    add_live(&mut document, live)?;
    let shown = match report {
        ChannelReport::Planned { planned, forecast } => planned::describe(planned, Some(forecast)),
        ChannelReport::Deployed { deployed, pulled } => {
            document["build"] = Value::Null;
            describe(pulled) + &text(deployed, live)
        }
        ChannelReport::Nothing { why, .. } => format!("nothing to deploy: {why}\n"),
    };
    context.ui.print_json(&document)?;
    context.ui.print(&shown);
    Ok(())
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Value, CliError> {
    serde_json::to_value(value).map_err(|error| CliError::bug(error.to_string()))
}

/// Adds what followed the exchange of a machine's trees.
pub(super) fn add_live(document: &mut Value, live: Option<&LiveReport>) -> Result<(), CliError> {
    if let Some(live) = live {
        document["live"] = to_json(live)?;
    }
    Ok(())
}

/// Describes for people what became of a target.
pub(super) fn text(report: &DeployReport, live: Option<&LiveReport>) -> String {
    match report {
        DeployReport::Planned { .. } => planned::describe(report, None),
        DeployReport::Unchanged { image, .. } => {
            format!("image {} is already current\n", image.short())
        }
        DeployReport::Deployed(deployed) => deployed_text(deployed, live),
    }
}

pub(super) fn etc_text(report: &EtcReport) -> String {
    let mut text = String::new();
    for path in &report.merged {
        text.push_str(&format!(
            "merged {path}: the machine's edits and the image's\n"
        ));
    }
    for conflict in &report.conflicts {
        let record = conflict
            .record
            .as_ref()
            .map_or(String::new(), |record| format!(" ({record})"));
        text.push_str(&format!(
            "conflict in {}{record}: {}\n",
            conflict.path, conflict.reason
        ));
    }
    for (path, _) in &report.resolved {
        text.push_str(&format!(
            "decided for {path}; all sides are kept in etc-conflicts/\n"
        ));
    }
    for path in &report.unused {
        text.push_str(&format!(
            "no conflict in {path}: the decision has no effect\n"
        ));
    }
    text
}

/// How many files of `/var` are listed for people; all are in the JSON document.
const LISTED: usize = 20;

/// Describes what becomes of factory content that the machine has already.
pub(super) fn var_text(report: &VarReport, is_plan: bool) -> String {
    let mut text = String::new();
    let open = || report.kept.iter().filter(|kept| !kept.decided);
    for kept in open().take(LISTED) {
        text.push_str(&kept_text(kept));
    }
    let more = open().count().saturating_sub(LISTED);
    if more > 0 {
        text.push_str(&format!(
            "and {more} more paths of /var; --json lists all, and --take-file takes directories too\n"
        ));
    }
    for path in &report.unused {
        text.push_str(&format!(
            "nothing to decide at {path}: the decision has no effect\n"
        ));
    }
    let verb = if is_plan { "would be" } else { "is" };
    for path in report.taken.iter().take(LISTED) {
        text.push_str(&format!(
            "{path} {verb} taken from the image; what was there {verb} kept in var-taken/, and a rollback gives it back\n"
        ));
    }
    let more = report.taken.len().saturating_sub(LISTED);
    if more > 0 {
        text.push_str(&format!("and {more} more paths of /var\n"));
    }
    text
}

fn kept_text(kept: &KeptContent) -> String {
    let path = &kept.path;
    let what = match (kept.own, kept.whole) {
        (OwnCopy::Elsewhere, _) => {
            return format!(
                "{path} stays as it is: a link or a file is in its way on this machine; the image's is in \
                 /usr/share/factory{path}\n"
            );
        }
        (OwnCopy::Edited, true) => " with what changed in it on this machine",
        (OwnCopy::Edited, false) => " as it was changed on this machine",
        (OwnCopy::Unedited, _) => " as an earlier image brought it",
    };
    let now = match (kept.gone, kept.whole) {
        (true, _) => "the image has none any more",
        (_, true) => "the image has another one, to be taken as a whole",
        (_, false) => "the image has another one now",
    };
    format!("{path} stays{what}; {now}: --take-file or --keep-file {path}\n")
}

/// Says that a machine runs something else after its next start.
pub(super) fn at_restart(generation: u64, way: Option<&SwitchWay>) -> String {
    let way = way.map_or(String::new(), |way| format!("; at once, it would be {way}"));
    format!("generation {generation} starts next: `systemctl reboot` switches to it{way}\n")
}

fn deployed_text(deployed: &NewDeployment, live: Option<&LiveReport>) -> String {
    let mut text = etc_text(&deployed.etc) + &var_text(&deployed.var, false);
    let how = serde_json::to_value(deployed.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_default();
    if deployed.reused {
        text.push_str(&format!(
            "generation {} has this image with this /etc already\n",
            deployed.generation
        ));
    } else {
        text.push_str(&format!(
            "staged generation {} ({how}) in {}\n",
            deployed.generation,
            ui::seconds(deployed.stage_seconds)
        ));
    }
    match &deployed.switched {
        Some(switched) if switched.at_restart => {
            if let Some(reason) = &deployed.not_live {
                text.push_str(&format!("the switch is not live: {reason}\n"));
            }
            text.push_str(&at_restart(switched.to, deployed.way.as_ref()));
        }
        Some(switched) => {
            let from = switched
                .from
                .map_or("nothing".to_owned(), |from| format!("generation {from}"));
            let time = ui::seconds(deployed.switch_seconds);
            text.push_str(&format!(
                "switched from {from} to generation {} in {time}\n",
                switched.to
            ));
            match (&deployed.exchange, live) {
                (Some(exchange), Some(live)) => {
                    text.push_str(&live::describe_exchange(exchange));
                    text.push_str(&live::describe(live, switched.to));
                }
                _ => text.push_str(&planned::restarts(&deployed.services)),
            }
        }
        None => text.push_str(&format!(
            "`layerset rollback --to {}` switches to it\n",
            deployed.generation
        )),
    }
    for generation in &deployed.pruned {
        text.push_str(&format!(
            "removed generation {generation}, beyond the number to keep\n"
        ));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_as_it_is_typed_or_as_it_was_printed() {
        for (text, expected) in [
            ("/var/www/a b", &b"var/www/a b"[..]),
            ("/var/www/a\\x20b", b"var/www/a b"),
            ("var/\\xff", b"var/\xff"),
            ("/etc/by\\x2dlabel", b"etc/by\\x2dlabel"),
            ("/var/50%\\", b"var/50%\\"),
        ] {
            let path = named_path(text).unwrap();
            assert_eq!(path.as_bytes(), expected, "{text}");
        }
        let odd = RelPath::new(b"var/a\xff \\n").unwrap();
        assert_eq!(named_path(&odd.to_string()).unwrap(), odd);
    }
}
