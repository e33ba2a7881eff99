//! `layerset update`.

use std::path::PathBuf;

use clap::Args;

use super::deploy::{DeployArgs, print, print_channel};
use crate::agent;
use crate::builder::{self, BuildOptions, LockOptions};
use crate::check::verdict;
use crate::cli::follow::{FollowArgs, channel_name};
use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, host_architecture};
use crate::deploy::{self, HistoryAction, RecordedVerdict, Target};
use crate::durable::LockMode;
use crate::recipe::Workspace;
use crate::time::SystemClock;

/// Updates a target from its channel, or with one layer rebuilt here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset update --target /srv/web                     # the newest of the channel that it follows
  layerset update --target /srv/web --channel web/beta  # and follow another from now on
  layerset update nginx --target /srv/web               # newest packages of nginx; the base stays
  layerset update hello --target /srv/web --recipe recipes/web.toml

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
        let location = context.location(&self.deploy.target);
        let repository = context.open(LockMode::Shared, "layerset update")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let following = self.follow.options(context, &pull)?;
        let report = agent::update(&location, &repository, channel, &following, &options)?;
        print_channel(context, &report)
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
        let repository = context.open(LockMode::Shared, "layerset update")?;
        let has_packages =
            layer.definition.bootstrap().is_some() || layer.definition.apt().is_some();
        if has_packages && !self.locked {
            let options = LockOptions {
                update: vec![name.to_owned()],
                apt_sources: self.apt_sources.clone(),
                waiting: context.store_waiting(),
                progress: &context.ui,
            };
            builder::lock(&workspace, &repository, &options)?;
        }
        let options = BuildOptions {
            apt_sources: self.apt_sources.clone(),
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
        let location = context.location(&self.deploy.target);
        let report = deploy::deploy(&location, &repository, &built.image, &options)?;
        print(context, &report, Some(&built))
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
