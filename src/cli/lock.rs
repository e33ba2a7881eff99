//! `layerset lock`.

use std::path::PathBuf;

use clap::Args;

use super::debs::packages;
use super::{CliError, Context, host_architecture, ui};
use crate::builder::{self, LockOptions, LockReport};
use crate::durable::LockMode;
use crate::recipe::Workspace;

/// Resolves the packages of recipes to exact files, and writes their locks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset lock recipes/web.toml                  # all layers to what the archives have today
  layerset lock recipes/web.toml --update nginx   # only nginx; what lies below is held
  layerset lock recipes/*.toml                    # layers that recipes share get the same packages
  layerset lock recipes/new.toml --like recipes/web.toml  # the base that web.lock has already

Signatures of the archives are verified by apt. The package files are fetched, so that
builds need no network.")]
pub(super) struct Lock {
    /// The recipe, or several
    #[arg(required = true, value_name = "RECIPE")]
    recipes: Vec<PathBuf>,
    /// Move only this layer's packages; may be given more than once
    #[arg(long, value_name = "LAYER")]
    update: Vec<String>,
    /// Take the packages of layers that are the same from this recipe's lock
    #[arg(long, value_name = "RECIPE")]
    like: Option<PathBuf>,
    /// Where the layers are [default: layers/ beside the recipe or beside its folder]
    #[arg(long, value_name = "DIR")]
    layers: Option<PathBuf>,
    /// Use these package archives (an apt sources file) instead of those of the base
    #[arg(long, value_name = "FILE", env = "LAYERSET_APT_SOURCES")]
    apt_sources: Option<PathBuf>,
}

impl Lock {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let open =
            |recipe: &PathBuf| Workspace::open(recipe, self.layers.as_deref(), host_architecture());
        let workspaces: Vec<Workspace> = self.recipes.iter().map(open).collect::<Result<_, _>>()?;
        let like = self.like.as_ref().map(open).transpose()?;
        let is_somewhere = |name: &String| workspaces.iter().any(|w| w.layer(name).is_some());
        if let Some(unknown) = self.update.iter().find(|name| !is_somewhere(name)) {
            let recipes = workspaces.iter().map(|w| w.recipe().layers.join(", "));
            let known: Vec<String> = recipes.collect();
            return Err(no_layer(unknown, &known.join("; ")));
        }
        let repository = context.open(LockMode::Shared, "layerset lock")?;
        let options = LockOptions {
            update: self.update.clone(),
            packages: packages(context, self.apt_sources.clone())?,
            like: like.as_ref(),
            waiting: context.store_waiting(),
            progress: &context.ui,
        };
        let reports = builder::lock(&workspaces, &repository, &options)?;
        match reports.as_slice() {
            [report] => context.ui.print_json(report)?,
            _ => context
                .ui
                .print_json(&serde_json::json!({ "locks": reports }))?,
        }
        let text: String = reports.iter().map(describe).collect();
        context.ui.print(&text);
        Ok(())
    }
}

fn no_layer(unknown: &str, known: &str) -> CliError {
    CliError::usage(format!("the recipe has no layer '{unknown}'"))
        .with_hint(format!("it has: {known}"))
}

/// Describes a lock for people.
fn describe(report: &LockReport) -> String {
    let mut text = String::new();
    let rows: Vec<Vec<String>> = report
        .changes
        .iter()
        .map(|change| {
            let version =
                |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                change.layer.clone(),
                change.package.clone(),
                version(&change.before),
                version(&change.after),
            ]
        })
        .collect();
    if !rows.is_empty() && rows.len() <= 40 {
        text = ui::table(&["layer", "package", "before", "now"], &rows);
    }
    text.push_str(&format!(
        "{}: {} packages, {} moved\n",
        report.path.display(),
        report.packages,
        report.changes.len()
    ));
    text
}
