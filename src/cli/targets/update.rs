//! `layerset update`.

use std::path::PathBuf;

use clap::Args;

use super::deploy::{DeployArgs, print};
use super::planned;
use crate::agent::{self, LayerOutlook, News};
use crate::builder::{self, BuildOptions, LockOptions};
use crate::check::verdict;
use crate::cli::debs::packages;
use crate::cli::follow::{FollowArgs, channel_name};
use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, error, host_architecture, ui};
use crate::deploy::{self, HistoryAction, RecordedVerdict, Target, update_units};
use crate::durable::LockMode;
use crate::recipe::Workspace;
use crate::time::{Clock as _, Date, SystemClock};

/// Updates a target from its channel, or with one layer rebuilt here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset update --target /srv/web                     # the newest of the channel that it follows
  layerset update --target /srv/web --channel web/beta  # and follow another from now on
  layerset update nginx --target /srv/web               # newest packages of nginx; the base stays
  layerset update hello --target /srv/web --recipe recipes/web.toml
  layerset update --target /srv/web --check             # is there something? Status 0: yes, 5: no
  layerset update --target /srv/web --dry-run           # packages, CVEs, services, /etc, bytes

Without a layer, the release of the target's channel is pulled and switched to, unless it was
marked bad on the target. With a layer, its packages are locked anew first (--locked leaves the
lock as it is), and only this layer is built.")]
pub(in crate::cli) struct Update {
    /// The layer to rebuild [default: none; the target's channel is followed]
    #[arg(conflicts_with_all = ["channel", "remote", "from", "ahead", "no_deltas", "least_bytes"])]
    layer: Option<String>,
    /// The recipe [default: recipes/NAME.toml, where NAME is that of the current image]
    #[arg(long, value_name = "FILE", requires = "layer")]
    recipe: Option<PathBuf>,
    /// Where the layers are [default: layers/ beside the recipe or beside its folder]
    #[arg(long, value_name = "DIR", requires = "layer")]
    layers: Option<PathBuf>,
    /// Do not look for newer packages
    #[arg(long, requires = "layer")]
    locked: bool,
    /// Use these package archives (an apt sources file) instead of the distribution's
    #[arg(long, value_name = "FILE", env = "LAYERSET_APT_SOURCES")]
    apt_sources: Option<PathBuf>,
    /// Say whether there is something to update to, and change nothing: status 0 says yes, 5 no
    #[arg(long, conflicts_with_all = ["dry_run", "stage_only", "restart"])]
    check: bool,
    /// Print systemd units that update the target from its channel every hour, and do nothing
    #[arg(long, conflicts_with_all = ["layer", "check", "dry_run"])]
    print_timer: bool,
    #[command(flatten)]
    deploy: DeployArgs,
    /// Follow this channel from now on: NAME/CHANNEL [default: the one that the target follows]
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
}

impl Update {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let target = context.target(&self.deploy.target)?;
        if self.print_timer {
            let program = std::env::current_exe()
                .map_err(|error| CliError::io("cannot find this program", error))?;
            let units = update_units(target.root(), target.repository(), &program);
            context.ui.print_bytes(units.as_bytes());
            return Ok(());
        }
        match &self.layer {
            Some(layer) => self.rebuild(context, &target, layer),
            None => self.follow(context),
        }
    }

    fn follow(&self, context: &Context) -> Result<(), CliError> {
        let channel = self.channel.as_deref().map(channel_name).transpose()?;
        let verdict = RecordedVerdict::Unchecked;
        let options = self
            .deploy
            .options(context, HistoryAction::Update, verdict)?;
        let location = context.location(&self.deploy.target)?;
        let repository = context.open(LockMode::Shared, "layerset update")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let following = self.follow.options(context, &pull)?;
        if self.check {
            let again = self.deploy.takes_again();
            let news = agent::news(&location, &repository, channel, &following, again)?;
            return answer_channel(context, &news);
        }
        let report = agent::update(&location, &repository, channel, &following, &options)?;
        drop(repository);
        self.deploy.finish(context, &report)
    }

    /// Says what rebuilding a layer would bring.
    fn look_ahead(
        &self,
        context: &Context,
        target: &Target,
        workspace: &Workspace,
        locking: Option<&LockOptions<'_>>,
    ) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset update")?;
        let today = Date::of_sec(SystemClock.now_sec()).unwrap_or(Date::LAST);
        let found = agent::outlook(target, workspace, &repository, locking, today)?;
        let mut document =
            serde_json::to_value(&found).map_err(|error| CliError::bug(error.to_string()))?;
        document["dry_run"] = true.into();
        document["update"] = found.is_news().into();
        context.ui.print_json(&document)?;
        if !found.is_news() {
            context
                .ui
                .print("nothing new: the image is already current\n");
            if self.check {
                ui::answer_with(error::NOTHING_NEW);
            }
            return Ok(());
        }
        context.ui.print(&describe_outlook(&found));
        Ok(())
    }

    fn rebuild(&self, context: &Context, target: &Target, name: &str) -> Result<(), CliError> {
        let workspace = Workspace::open(
            &self.recipe(target)?,
            self.layers.as_deref(),
            host_architecture(),
        )?;
        let Some(layer) = workspace.layer(name) else {
            let known = workspace.recipe().layers.join(", ");
            return Err(CliError::usage(format!("the recipe has no layer '{name}'"))
                .with_hint(format!("it has: {known}")));
        };
        let has_packages =
            layer.definition.bootstrap().is_some() || layer.definition.apt().is_some();
        let packages = packages(context, self.apt_sources.clone())?;
        let locking = (has_packages && !self.locked).then(|| LockOptions {
            update: vec![name.to_owned()],
            packages: packages.clone(),
            like: None,
            waiting: context.store_waiting(),
            progress: &context.ui,
        });
        if self.check || self.deploy.is_dry_run() {
            return self.look_ahead(context, target, &workspace, locking.as_ref());
        }
        let repository = context.open(LockMode::Shared, "layerset update")?;
        if let Some(options) = &locking {
            builder::lock(std::slice::from_ref(&workspace), &repository, options)?;
        }
        let options = BuildOptions {
            packages,
            rebuild: Vec::new(),
            only: Some(name.to_owned()),
            clock: &SystemClock,
            cancel: &context.cancel,
            waiting: context.store_waiting(),
            progress: &context.ui,
        };
        let built = builder::build(&workspace, &repository, &options)?;
        let verdict = verdict(&built.findings).into();
        let options = self
            .deploy
            .options(context, HistoryAction::Update, verdict)?;
        let location = context.location(&self.deploy.target)?;
        let report = deploy::deploy(&location, &repository, &built.image, &options)?;
        drop(repository);
        let live = self.deploy.complete(context, &report)?;
        print(context, &report, Some(&built), live.as_ref())?;
        self.deploy.restart(context, &report, live.as_ref())
    }

    fn recipe(&self, target: &Target) -> Result<PathBuf, CliError> {
        if let Some(recipe) = &self.recipe {
            return Ok(recipe.clone());
        }
        let status = target.status()?;
        let current = status
            .deployments
            .iter()
            .find(|d| Some(d.generation) == status.current);
        let name = current.and_then(|d| d.name.clone());
        let path = name.map(|name| PathBuf::from(format!("recipes/{name}.toml")));
        path.filter(|path| path.exists()).ok_or_else(|| {
            CliError::usage("the recipe of the current image is not in recipes/ here")
                .with_hint("name it with --recipe")
        })
    }
}

/// Says whether a channel has something for a target.
fn answer_channel(context: &Context, news: &News) -> Result<(), CliError> {
    match news {
        News::Release(forecast) => {
            let mut document =
                serde_json::to_value(forecast).map_err(|error| CliError::bug(error.to_string()))?;
            document["update"] = true.into();
            context.ui.print_json(&document)?;
            context.ui.print(&format!(
                "there is release {} of {}, {}: {} to fetch\n",
                forecast.release.serial,
                forecast.channel,
                forecast.release.version,
                ui::size(forecast.forecast.bytes)
            ));
        }
        News::Nothing { channel, why } => {
            context.ui.print_json(&serde_json::json!({
                "update": false, "channel": channel.to_string(), "reason": why,
            }))?;
            context.ui.print(&format!("nothing new: {why}\n"));
            ui::answer_with(error::NOTHING_NEW);
        }
    }
    Ok(())
}

fn describe_outlook(found: &LayerOutlook) -> String {
    let mut text = planned::package_table(&found.packages);
    if found.package_bytes > 0 {
        let size = ui::size(found.package_bytes);
        text.push_str(&format!("{} packages, {size}\n", found.packages.len()));
    }
    let rows: Vec<Vec<String>> = found
        .layers
        .iter()
        .map(|layer| vec![layer.name.clone(), layer.reason.clone()])
        .collect();
    if !rows.is_empty() {
        text.push_str(&ui::table(&["to build", "because"], &rows));
    }
    text.push_str(&planned::restarts(&found.services));
    if found.layers.is_empty() && found.packages.is_empty() {
        text.push_str("the image that is built is not the one that is current\n");
    }
    text.push_str(
        "what is merged in /etc and conflicts there, and what stays in /var that the image has otherwise, is known only once the layers are built: \
         `layerset build`, then `layerset deploy --dry-run`, says it before the switch; nothing was changed\n",
    );
    text
}
