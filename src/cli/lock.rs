//! `layerset lock`.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Context, host_architecture, ui};
use crate::builder::{self, LockOptions};
use crate::durable::LockMode;
use crate::recipe::Workspace;

/// Resolves the packages of a recipe to exact files, and writes its lock.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset lock recipes/web.toml                  # all layers to what the archives have today
  layerset lock recipes/web.toml --update nginx   # only nginx; what lies below is held

Signatures of the archives are verified by apt. The package files are fetched, so that
builds need no network.")]
pub(super) struct Lock {
    /// The recipe
    recipe: PathBuf,
    /// Move only this layer's packages; may be given more than once
    #[arg(long, value_name = "LAYER")]
    update: Vec<String>,
    /// Where the layers are [default: layers/ beside the recipe or beside its folder]
    #[arg(long, value_name = "DIR")]
    layers: Option<PathBuf>,
    /// Use these package archives (an apt sources file) instead of the distribution's
    #[arg(long, value_name = "FILE", env = "LAYERSET_APT_SOURCES")]
    apt_sources: Option<PathBuf>,
}

impl Lock {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let workspace = Workspace::open(&self.recipe, self.layers.as_deref(), host_architecture())?;
        if let Some(unknown) = self
            .update
            .iter()
            .find(|name| workspace.layer(name).is_none())
        {
            let known = workspace.recipe().layers.join(", ");
            return Err(
                CliError::usage(format!("the recipe has no layer '{unknown}'"))
                    .with_hint(format!("it has: {known}")),
            );
        }
        let repository = context.open(LockMode::Shared, "layerset lock")?;
        let options = LockOptions {
            update: self.update.clone(),
            apt_sources: self.apt_sources.clone(),
            waiting: context.store_waiting(),
            progress: &context.ui,
        };
        let report = builder::lock(&workspace, &repository, &options)?;
        context.ui.print_json(&report)?;
        let mut text = String::new();
        if !report.changes.is_empty() {
            let rows: Vec<Vec<String>> = report
                .changes
                .iter()
                .map(|change| {
                    let version = |version: &Option<String>| {
                        version.clone().unwrap_or_else(|| "-".to_owned())
                    };
                    vec![
                        change.layer.clone(),
                        change.package.clone(),
                        version(&change.before),
                        version(&change.after),
                    ]
                })
                .collect();
            if rows.len() <= 40 {
                text = ui::table(&["layer", "package", "before", "now"], &rows);
            }
        }
        text.push_str(&format!(
            "{}: {} packages, {} moved\n",
            report.path.display(),
            report.packages,
            report.changes.len()
        ));
        context.ui.print(&text);
        Ok(())
    }
}
