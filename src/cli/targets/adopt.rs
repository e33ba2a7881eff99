//! `layerset adopt-host`.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::deploy::text;
use super::note;
use crate::agent::{
    self, AdoptionReport, ChannelReport, HostFacts, carry, compare, holds_files,
    preview_for_adoption,
};
use crate::cli::follow::{FollowArgs, channel_name, describe};
use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{
    Decisions, DeployMode, DeployOptions, HistoryAction, KindChoice, RecordedVerdict, StageOptions,
    SwitchPace, Target,
};
use crate::durable::{LockMode, replace_file};
use crate::format::release::ChannelName;
use crate::store::{Repository, RepositoryOptions};
use crate::transfer::ChannelPreview;

/// Makes an ordinary Debian the host of a target; without --apply, only says what that means.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset adopt-host web/stable                # what of this host the release brings as well
  layerset adopt-host web/stable --apply        # deploy it to /srv/web, with the edits of /etc

The report changes nothing. --apply makes the repository where there is none, deploys the release,
brings edited configuration files of packages that both have, and writes agent.toml where there is none.
It stops no service and moves no data: the last lines say how.")]
pub(in crate::cli) struct AdoptHost {
    /// The channel to follow from then on: NAME/CHANNEL
    channel: String,
    /// The target [default: /srv/NAME]
    #[arg(long, value_name = "DIR")]
    target: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Where the agent finds out what it is to do
    #[arg(
        long,
        value_name = "FILE",
        env = "LAYERSET_AGENT_CONFIG",
        default_value = "/etc/layerset/agent.toml"
    )]
    config: PathBuf,
    #[command(flatten)]
    follow: FollowArgs,
}

/// A directory that goes with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing of it is needed any more; what is left is in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl AdoptHost {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        if context.booted.is_some() {
            return Err(CliError::usage("this machine is made of layers already")
                .with_hint("`layerset update` takes what its channel has"));
        }
        let channel = channel_name(&self.channel)?;
        let target = match &self.target {
            Some(target) => target.clone(),
            None => Path::new("/srv").join(&channel.name),
        };
        context.ui.doing("looking at this host");
        let host = HostFacts::look()?;
        let preview = self.preview(context, &channel)?;
        let wanted = &preview.release.image.architecture;
        if *wanted != host.architecture {
            return Err(CliError::new(
                format!(
                    "the release is for {wanted}, and this host is {}",
                    host.architecture
                ),
                error::FAILED,
            )
            .with_hint("follow a channel for this architecture"));
        }
        let report = compare(&host, &preview.release, &holds_files);
        if !self.apply {
            context.ui.print_json(&json!({
                "system": host.system, "kernel": host.kernel, "architecture": host.architecture,
                "channel": channel.to_string(), "release": preview.forecast.release.serial,
                "bytes": preview.forecast.forecast.bytes, "target": target,
                "report": report, "applied": false,
            }))?;
            let head = format!(
                "{}, kernel {}, {}\nrelease {} of {channel}, {}: {} to fetch\n",
                host.system,
                host.kernel,
                host.architecture,
                preview.forecast.release.serial,
                preview.forecast.release.version,
                ui::size(preview.forecast.forecast.bytes)
            );
            context.ui.print(&(head + &describe_report(&report)));
            context.ui.print(&format!(
                "nothing was changed; --apply deploys it to {}\n",
                target.display()
            ));
            return Ok(());
        }
        self.apply(context, &channel, &target, &report)
    }

    /// Looks into the release by a repository that is thrown away.
    fn preview(
        &self,
        context: &Context,
        channel: &ChannelName,
    ) -> Result<ChannelPreview, CliError> {
        let dir = std::env::temp_dir().join(format!("layerset-adopt-{}", std::process::id()));
        // New, and nobody else's: others can write to the directory that it lies in.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| CliError::io(format!("cannot make '{}'", dir.display()), error))?;
        let scratch = Scratch(dir);
        Repository::init(&scratch.0.join("repo"), Arc::clone(&context.disk))?;
        let options = RepositoryOptions::default();
        let repository =
            Repository::open(&scratch.0.join("repo"), Arc::clone(&context.disk), options)?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let following = self.follow.options(context, &pull)?;
        match preview_for_adoption(&repository, channel, &following)? {
            Ok(preview) => Ok(preview),
            Err(why) => Err(CliError::new(why.to_string(), error::FAILED)),
        }
    }

    fn apply(
        &self,
        context: &Context,
        channel: &ChannelName,
        root: &Path,
        report: &AdoptionReport,
    ) -> Result<(), CliError> {
        if !context.repo.join("config.toml").exists() {
            Repository::init(&context.repo, Arc::clone(&context.disk))?;
        }
        let location = context.location(root)?;
        let repository = context.open(LockMode::Shared, "layerset adopt-host")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let following = self.follow.options(context, &pull)?;
        let deploying = DeployOptions {
            action: HistoryAction::Deploy,
            stage: StageOptions {
                kind: KindChoice::Auto,
                decisions: Decisions::default(),
            },
            mode: DeployMode::Switch,
            pace: SwitchPace::NextStart,
            keep: None,
            note: note("this host was adopted", RecordedVerdict::Unchecked),
            release: None,
            again: false,
            cancel: &context.cancel,
            doing: &*context.doing,
        };
        // What is there already has edits of its own.
        let is_new = matches!(
            location.open(),
            Err(crate::deploy::DeployError::Missing { .. })
        );
        let deployed =
            agent::deploy_channel(&location, &repository, channel, &following, &deploying)?;
        let target = location.open()?;
        let left = match is_new {
            true => carry(&target, context.disk.as_ref(), &report.edited)?,
            false => Vec::new(),
        };
        let wrote_config = self.configure(context, root)?;
        let left_over: Vec<_> = left
            .iter()
            .map(|(path, why)| json!({ "path": path, "reason": why }))
            .collect();
        context.ui.print_json(&json!({
            "channel": channel.to_string(), "target": root, "report": report, "applied": true,
            "carried": report.edited.len() - left.len(), "left": left_over,
            "deployed": deployed, "agent_config": wrote_config,
        }))?;
        let mut said = match &deployed {
            ChannelReport::Deployed { deployed, pulled } => {
                describe(pulled) + &text(deployed, None)
            }
            ChannelReport::Planned { .. } => String::new(),
            ChannelReport::Nothing { why, .. } => format!("nothing to deploy: {why}\n"),
        };
        if !is_new {
            said.push_str("the target was there before: its /etc has edits of its own, and nothing was brought\n");
        } else if !report.edited.is_empty() {
            said.push_str(&format!(
                "brought {} edited files of /etc\n",
                report.edited.len() - left.len()
            ));
        }
        for (path, why) in &left {
            said.push_str(&format!("{} stays behind: {why}\n", path.display()));
        }
        said.push_str(&what_is_left(&target, report));
        context.ui.print(&said);
        Ok(())
    }

    /// Writes agent.toml where there is none; says whether it did.
    fn configure(&self, context: &Context, root: &Path) -> Result<bool, CliError> {
        if self.config.exists() {
            return Ok(false);
        }
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let text = format!(
            "# What `layerset agent` does here; see layerset-agent.toml(5).\ntarget = {}\n",
            crate::recipe::quote(&root.to_string_lossy())
        );
        if let Some(dir) = self.config.parent() {
            crate::durable::make_dirs(dir, 0o755)
                .map_err(|error| CliError::io("cannot make the directory of agent.toml", error))?;
        }
        replace_file(context.disk.as_ref(), &self.config, 0o644, text.as_bytes())
            .map_err(|failed| CliError::from_error(&failed, error::FAILED))?;
        Ok(true)
    }
}

/// How many of a list are shown to people; all are in the JSON document.
const SHOWN: usize = 15;

fn describe_report(report: &AdoptionReport) -> String {
    let mut said = format!(
        "{} packages of this host are in the release as well\n",
        report.shared.len()
    );
    let paths = |paths: &[PathBuf]| -> Vec<String> {
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    };
    let lists = [
        (
            "services that run here, and that it brings",
            report.services.clone(),
        ),
        (
            "edited here; --apply brings them along",
            paths(&report.edited),
        ),
        ("data of its services on this host", paths(&report.state)),
        (
            "asked for here, and not in it: they stay on this host",
            report.only_here.clone(),
        ),
    ];
    for (what, items) in lists {
        if items.is_empty() {
            continue;
        }
        said.push_str(&format!("{what}:\n"));
        for item in items.iter().take(SHOWN) {
            said.push_str(&format!("  {item}\n"));
        }
        if items.len() > SHOWN {
            said.push_str(&format!(
                "  and {} more; --json lists all\n",
                items.len() - SHOWN
            ));
        }
    }
    said
}

/// Says what is left for whoever knows when services may stop.
fn what_is_left(target: &Target, report: &AdoptionReport) -> String {
    let root = target.root().display();
    let mut said = String::new();
    if !report.services.is_empty() {
        said.push_str("to move the services, one after another:\n");
    }
    for unit in &report.services {
        let name = unit.strip_suffix(".service").unwrap_or(unit);
        let own = format!("layerset-{name}.service");
        said.push_str(&format!(
            "  layerset run --target {root} --print-unit {unit} >/etc/systemd/system/{own}\n\
             \x20 systemctl daemon-reload && systemctl disable --now {unit}\n"
        ));
        for dir in &report.state {
            if dir.ends_with(name) {
                let (dir, state) = (dir.display(), format!("{root}/layerset/state"));
                said.push_str(&format!(
                    "  cp -a --no-target-directory {dir} {state}{dir}\n"
                ));
            }
        }
        said.push_str(&format!("  systemctl enable --now {own}\n"));
    }
    said.push_str(
        "to follow the channel from now on:\n  systemctl enable --now layerset-agent.timer\n",
    );
    said
}
