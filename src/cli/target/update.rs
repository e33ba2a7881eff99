//! `layerset update`.

use std::path::PathBuf;

use clap::Args;

use super::deploy::Place;
use crate::build::{self, BuildOptions, LockOptions};
use crate::cli::{CliError, Context, host_architecture};
use crate::deploy::{Action, Target};
use crate::durable::LockMode;
use crate::recipe::Workspace;
use crate::time::SystemClock;

/// Rebuilds one component, and switches a target to the result.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset update nginx --target /srv/web                        # newest packages of nginx; the base stays
  layerset update hello --target /srv/web --recipe recipes/web.toml

A layer with packages is locked anew first (--locked leaves the lock as it is). Only this
layer is built.")]
pub struct Update {
    /// The layer
    layer: String,
    /// The recipe [default: recipes/NAME.toml, where NAME is that of the current image]
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Where the layers are [default: layers/ beside the recipe or beside its folder]
    #[arg(long, value_name = "DIR")]
    layers: Option<PathBuf>,
    /// Do not look for newer packages
    #[arg(long)]
    locked: bool,
    /// Use these package archives (an apt sources file) instead of the distribution's
    #[arg(long, value_name = "FILE", env = "LAYERSET_APT_SOURCES")]
    apt_sources: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Update {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let target = context.target(&self.place.target)?;
        let workspace = Workspace::open(
            &self.recipe(&target)?,
            self.layers.as_deref(),
            host_architecture(),
        )?;
        let Some(layer) = workspace.layer(&self.layer) else {
            let known = workspace.recipe().layers.join(", ");
            return Err(
                CliError::usage(format!("the recipe has no layer '{}'", self.layer))
                    .with_hint(format!("it has: {known}")),
            );
        };
        let repository = context.open(LockMode::Shared, "layerset update")?;
        let has_packages =
            layer.definition.bootstrap().is_some() || layer.definition.apt().is_some();
        if has_packages && !self.locked {
            let options = LockOptions {
                update: vec![self.layer.clone()],
                apt_sources: self.apt_sources.clone(),
                waiting: context.store_waiting(),
                progress: &context.ui,
            };
            build::lock(&workspace, &repository, &options)?;
        }
        let options = BuildOptions {
            apt_sources: self.apt_sources.clone(),
            rebuild: Vec::new(),
            only: Some(self.layer.clone()),
            clock: &SystemClock,
            cancel: &context.cancel,
            waiting: context.store_waiting(),
            progress: &context.ui,
        };
        let built = build::build(&workspace, &repository, &options)?;
        self.place.deploy(
            context,
            &repository,
            &built.image,
            Action::Update,
            Some(&built),
        )
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
