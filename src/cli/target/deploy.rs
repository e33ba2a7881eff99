//! `layerset deploy`, and what it shares with `layerset update`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::note;
use crate::build;
use crate::cli::follow::{Follow, Followed, Pulled, channel_name};
use crate::cli::{CliError, Context, ui};
use crate::deploy::{
    Action, BadPolicy, Change, Decisions, EtcReport, KindChoice, RecordedVerdict, StageOptions,
    Staged, Subscription, Switched, Target,
};
use crate::durable::LockMode;
use crate::format::release::{ChannelName, Kind, Release};
use crate::id::ImageId;
use crate::path::RelPath;
use crate::store::Repository;

/// Puts an image on a target, and switches to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset deploy web --target /srv/web
  layerset deploy web --target /srv/web --dry-run     # what it would do to /etc
  layerset deploy b3:1f2e --target /srv/web --keep-file /etc/nginx/nginx.conf
  layerset deploy --channel web/stable --target /srv/web   # and follow it

The switch is one rename of /srv/web/layerset/current. Edits in /etc are merged; a
conflict is told before anything is switched. An earlier deployment stays, and `layerset
rollback` goes back to it.")]
pub struct Deploy {
    /// The image: a recipe's name, a ref, an id or an abbreviation of one
    #[arg(required_unless_present = "channel", conflicts_with_all = ["channel", "remote", "from", "ahead", "no_deltas", "least_bytes"])]
    image: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Pull what this channel has for this machine, and follow the channel: NAME/CHANNEL
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    #[command(flatten)]
    follow: Follow,
}

/// What is to be deployed, and where it came from.
pub(super) struct Wanted<'a> {
    pub(super) image: ImageId,
    pub(super) action: Action,
    pub(super) built: Option<&'a build::BuildReport>,
    pub(super) pulled: Option<&'a Pulled>,
}

impl Wanted<'_> {
    fn text(&self) -> String {
        let built = self
            .built
            .map(|built| crate::cli::build::describe(built, false));
        let pulled = self.pulled.map(Pulled::text);
        built.or(pulled).unwrap_or_default()
    }

    fn pull_json(&self) -> Result<Option<serde_json::Value>, CliError> {
        self.pulled.map(Pulled::json).transpose()
    }

    /// Lets the target follow the channel, now that it has what the channel has.
    fn settle(&self, change: &Change<'_>) -> Result<(), CliError> {
        if let Some(pulled) = self.pulled {
            let (remote, serial) = (&pulled.remote, pulled.release.serial);
            change.subscribe(&Subscription::new(remote, &pulled.channel, serial))?;
            pulled.remember()?;
        }
        Ok(())
    }
}

/// Where to deploy to, and how.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The target: any directory; it is made when absent
    #[arg(long, value_name = "DIR")]
    pub(super) target: PathBuf,
    /// In a conflict, keep this file of /etc as it is on the machine; may be given more than once
    #[arg(long, value_name = "PATH")]
    keep_file: Vec<String>,
    /// In a conflict, take this file of /etc from the image; may be given more than once
    #[arg(long, value_name = "PATH")]
    take_file: Vec<String>,
    /// Copy the files instead of mounting them from the repository
    #[arg(long)]
    copy: bool,
    /// Show what would be done to /etc, and change nothing on the target
    #[arg(long)]
    dry_run: bool,
    /// Prepare the deployment, but do not switch to it
    #[arg(long, conflicts_with = "dry_run")]
    stage_only: bool,
    /// How many deployments to keep, pinned ones aside [default: what the recipe's policy says]
    #[arg(long, value_name = "COUNT")]
    keep: Option<u32>,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

impl Deploy {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        if let Some(channel) = &self.channel {
            let channel = channel_name(channel)?;
            return self
                .place
                .deploy_channel(context, &self.follow, &channel, Action::Deploy);
        }
        let repository = context.open(LockMode::Shared, "layerset deploy")?;
        let image = repository.resolve_image(self.image.as_deref().unwrap_or_default())?;
        let wanted = Wanted {
            image,
            action: Action::Deploy,
            built: None,
            pulled: None,
        };
        self.place.deploy(context, &repository, &wanted)
    }
}

impl Place {
    fn options(&self) -> Result<StageOptions, CliError> {
        let paths = |texts: &[String]| {
            texts
                .iter()
                .map(|text| RelPath::from_text(text))
                .collect::<Result<_, _>>()
        };
        let bad = |error: crate::path::PathError| CliError::usage(error.to_string());
        let decisions = Decisions {
            keep: paths(&self.keep_file).map_err(bad)?,
            take: paths(&self.take_file).map_err(bad)?,
        };
        let kind = if self.copy {
            KindChoice::Copy
        } else {
            KindChoice::Auto
        };
        Ok(StageOptions { kind, decisions })
    }

    pub(super) fn deploy(
        &self,
        context: &Context,
        repository: &Repository,
        wanted: &Wanted<'_>,
    ) -> Result<(), CliError> {
        let image = &wanted.image;
        let options = self.options()?;
        if self.dry_run {
            return self.plan(context, repository, image, &options);
        }
        let started = Instant::now();
        let target = context.target_or_new(&self.target)?;
        let change = target.change("layerset deploy")?;
        refuse_bad_image(&target, image)?;
        if !self.stage_only && is_current(&target, image)? {
            wanted.settle(&change)?;
            return unchanged(context, &target, wanted);
        }
        context.ui.doing("staging the deployment");
        let staged = change.stage(repository, image, &options)?;
        if context.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(CliError::new("interrupted", 1));
        }
        let staged_in = started.elapsed().as_secs_f64();
        let switching = Instant::now();
        let switched = if self.stage_only {
            None
        } else {
            Some(change.switch(
                staged.generation,
                wanted.action,
                BadPolicy::Refuse,
                &note(&self.reason(wanted), RecordedVerdict::Unchecked),
            )?)
        };
        let switched_in = switching.elapsed().as_secs_f64();
        if switched.is_some() {
            wanted.settle(&change)?;
        }
        let keep = match self.keep {
            Some(keep) => keep,
            None => repository.read_image(image)?.keep,
        };
        let plan = target.plan_prune(usize::try_from(keep).unwrap_or(usize::MAX))?;
        if !plan.remove.is_empty() {
            change.prune(
                repository,
                &plan,
                &note("kept no longer", RecordedVerdict::Unchecked),
            )?;
        }
        report(
            context,
            &Deployed {
                staged: &staged,
                switched,
                staged_in,
                switched_in,
                pruned: &plan.remove,
                wanted,
            },
        )
    }

    /// Pulls what a channel has for this machine, and deploys it.
    pub(super) fn deploy_channel(
        &self,
        context: &Context,
        follow: &Follow,
        channel: &ChannelName,
        action: Action,
    ) -> Result<(), CliError> {
        if channel.kind != Kind::Image {
            return Err(
                CliError::usage(format!("'{channel}' is the channel of a layer"))
                    .with_hint("a target takes images; `layerset pull` brings layers"),
            );
        }
        let repository = context.open(LockMode::Shared, "layerset deploy")?;
        // A new target has marked nothing.
        let target = context.target(&self.target).ok();
        let refuse = |release: &Release| {
            let reason = target.as_ref()?.bad_image(&release.id.image())?;
            let serial = release.serial;
            Some(format!(
                "release {serial} of '{channel}' is marked bad on this target: {reason}"
            ))
        };
        match follow.pull(context, &repository, channel, &refuse)? {
            Followed::Pulled(pulled) => {
                let wanted = Wanted {
                    image: pulled.release.id.image(),
                    action,
                    built: None,
                    pulled: Some(&pulled),
                };
                self.deploy(context, &repository, &wanted)
            }
            Followed::Nothing(why) => {
                let channel = channel.to_string();
                context.ui.print_json(
                    &serde_json::json!({ "channel": channel, "switched": false, "reason": why }),
                )?;
                context.ui.print(&format!("nothing to deploy: {why}\n"));
                Ok(())
            }
        }
    }

    fn reason(&self, wanted: &Wanted<'_>) -> String {
        match wanted.pulled {
            Some(pulled) if self.reason.is_empty() => format!(
                "release {} of {} on {}",
                pulled.release.serial, pulled.channel, pulled.remote
            ),
            _ => self.reason.clone(),
        }
    }

    fn plan(
        &self,
        context: &Context,
        repository: &Repository,
        image: &ImageId,
        options: &StageOptions,
    ) -> Result<(), CliError> {
        let report = match context.target(&self.target) {
            Ok(target) => target.plan_etc(repository, image, &options.decisions)?,
            Err(_) => EtcReport::default(),
        };
        context.ui.print_json(
            &serde_json::json!({ "dry_run": true, "image": image, "etc": etc_json(&report) }),
        )?;
        let mut text = format!("would deploy {}\n", image.short());
        text.push_str(&etc_text(&report));
        context.ui.print(&text);
        Ok(())
    }
}

/// A set that was marked bad on this target is never chosen by itself again.
fn refuse_bad_image(target: &Target, image: &ImageId) -> Result<(), CliError> {
    let Some(reason) = target.bad_image(image) else {
        return Ok(());
    };
    let status = target.status()?;
    let mut deployments = status.deployments.iter();
    let deployment = deployments.find(|d| d.image.as_ref() == Some(image));
    let error = CliError::new(
        format!(
            "image {} is marked bad on this target: {reason}",
            image.short()
        ),
        crate::cli::error::REFUSED,
    );
    Err(error.with_hint(match deployment {
        Some(deployment) => format!(
            "`layerset rollback --to {}` uses it nevertheless",
            deployment.generation
        ),
        None => "publish or build one that is better".to_owned(),
    }))
}

fn is_current(target: &Target, image: &ImageId) -> Result<bool, CliError> {
    let status = target.status()?;
    let current = status
        .deployments
        .iter()
        .find(|d| Some(d.generation) == status.current);
    Ok(
        current
            .is_some_and(|d| d.image.as_ref() == Some(image) && d.mounted && d.damaged.is_none()),
    )
}

fn unchanged(context: &Context, target: &Target, wanted: &Wanted<'_>) -> Result<(), CliError> {
    let current = target.current()?;
    context.ui.print_json(&serde_json::json!({
        "image": wanted.image, "generation": current, "switched": false, "build": wanted.built,
        "pull": wanted.pull_json()?,
    }))?;
    context.ui.print(&format!(
        "{}image {} is current already\n",
        wanted.text(),
        wanted.image.short()
    ));
    Ok(())
}

struct Deployed<'a> {
    staged: &'a Staged,
    switched: Option<Switched>,
    staged_in: f64,
    switched_in: f64,
    pruned: &'a [u64],
    wanted: &'a Wanted<'a>,
}

fn etc_json(report: &EtcReport) -> serde_json::Value {
    serde_json::json!({
        "merged": report.merged,
        "conflicts": report.conflicts.iter().map(|conflict| serde_json::json!({
            "path": conflict.path, "record": conflict.record, "line": conflict.line, "reason": conflict.reason,
        })).collect::<Vec<_>>(),
        "resolved": report.resolved.iter().map(|(path, _)| path).collect::<Vec<_>>(),
    })
}

fn etc_text(report: &EtcReport) -> String {
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

fn report(context: &Context, deployed: &Deployed<'_>) -> Result<(), CliError> {
    let staged = deployed.staged;
    context.ui.print_json(&serde_json::json!({
        "image": staged.image,
        "generation": staged.generation,
        "kind": staged.kind,
        "switched": deployed.switched.is_some(),
        "from": deployed.switched.as_ref().and_then(|switched| switched.from),
        "stage_seconds": deployed.staged_in,
        "switch_seconds": deployed.switched_in,
        "pruned": deployed.pruned,
        "etc": etc_json(&staged.etc),
        "build": deployed.wanted.built,
        "pull": deployed.wanted.pull_json()?,
    }))?;
    let mut text = deployed.wanted.text();
    text.push_str(&etc_text(&staged.etc));
    let how = serde_json::to_value(staged.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_default();
    text.push_str(&format!(
        "staged generation {} ({how}) in {}\n",
        staged.generation,
        ui::seconds(deployed.staged_in)
    ));
    match &deployed.switched {
        Some(switched) => {
            let from = switched
                .from
                .map_or("nothing".to_owned(), |from| format!("generation {from}"));
            let time = ui::seconds(deployed.switched_in);
            text.push_str(&format!(
                "switched from {from} to generation {} in {time}\n",
                switched.to
            ));
        }
        None => text.push_str(&format!(
            "`layerset rollback --to {}` switches to it\n",
            staged.generation
        )),
    }
    for generation in deployed.pruned {
        text.push_str(&format!(
            "removed generation {generation}, kept no longer\n"
        ));
    }
    context.ui.print(&text);
    Ok(())
}
