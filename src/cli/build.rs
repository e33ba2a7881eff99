//! `layerset build`.

use std::path::PathBuf;

use clap::Args;

use super::debs::packages;
use super::{CliError, Context, error, host_architecture, ui};
use crate::builder::{self, BuildOptions, BuildReport, LayerAction};
use crate::durable::LockMode;
use crate::recipe::Workspace;
use crate::store::Repository;
use crate::time::SystemClock;

/// Builds what changed of a recipe's layers, and composes its image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset build recipes/web.toml
  layerset build recipes/web.toml --explain
  layerset build recipes/web.toml --verify-reproducible

Builds install exactly what the lock says, offline. A layer whose inputs did not change is kept.")]
pub(super) struct Build {
    #[command(flatten)]
    pub(super) workspace: WorkspaceArgs,
    /// Say for every layer why it was kept or built
    #[arg(long)]
    explain: bool,
    /// Build this layer even when nothing of it changed; may be given more than once
    #[arg(long, value_name = "LAYER")]
    rebuild: Vec<String>,
    /// Build every layer a second time in a scratch repository, and print the paths that differ
    #[arg(long)]
    verify_reproducible: bool,
}

/// Where a build finds what it builds.
#[derive(Debug, Args)]
pub(super) struct WorkspaceArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// Where the layers are [default: layers/ beside the recipe or beside its folder]
    #[arg(long, value_name = "DIR")]
    pub layers: Option<PathBuf>,
    /// Use these package archives (an apt sources file) instead of the distribution's
    #[arg(long, value_name = "FILE", env = "LAYERSET_APT_SOURCES")]
    pub apt_sources: Option<PathBuf>,
}

impl Build {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let workspace = Workspace::open(
            &self.workspace.recipe,
            self.workspace.layers.as_deref(),
            host_architecture(),
        )?;
        let repository = context.open(LockMode::Shared, "layerset build")?;
        if let Some(unknown) = self
            .rebuild
            .iter()
            .find(|name| workspace.layer(name).is_none())
        {
            let known = workspace.recipe().layers.join(", ");
            return Err(
                CliError::usage(format!("the recipe has no layer '{unknown}'"))
                    .with_hint(format!("it has: {known}")),
            );
        }
        let options = BuildOptions {
            rebuild: self.rebuild.clone(),
            ..options(context, &self.workspace)?
        };
        let report = builder::build(&workspace, &repository, &options)?;
        if self.verify_reproducible {
            return self.verify(context, &workspace, &repository, &report);
        }
        context.ui.print_json(&report)?;
        context.ui.print(&describe(&report, self.explain));
        Ok(())
    }

    fn verify(
        &self,
        context: &Context,
        workspace: &Workspace,
        repository: &Repository,
        report: &BuildReport,
    ) -> Result<(), CliError> {
        context
            .ui
            .remark("building every layer again in a scratch repository");
        let options = options(context, &self.workspace)?;
        let found = builder::verify_reproducible(workspace, repository, report, &options)?;
        let differing = found.differing;
        context.ui.print_json(&serde_json::json!({
            "build": report, "unreproducible": differing, "not_compared": found.not_compared,
        }))?;
        for layer in &found.not_compared {
            context.ui.remark(&format!(
                "{layer} was kept from other lower layers: --rebuild {layer} makes it comparable"
            ));
        }
        if differing.is_empty() {
            let count = report.layers.len() - found.not_compared.len();
            context
                .ui
                .print(&format!("{count} layers came out the same twice\n"));
            return Ok(());
        }
        let mut text = String::new();
        for layer in &differing {
            text.push_str(&format!(
                "{} differs in {} paths:\n",
                layer.layer,
                layer.paths.len()
            ));
            layer
                .paths
                .iter()
                .for_each(|(path, how)| text.push_str(&format!("  {path}: {how}\n")));
        }
        context.ui.print(&text);
        let count = differing.len();
        Err(CliError::new(format!("{count} of {} layers are not reproducible", report.layers.len()), error::REFUSED)
            .with_hint("remove what is random or depends on the time in a script, or declare it under [secrets] or [state]"))
    }
}

pub(super) fn options<'a>(
    context: &'a Context,
    workspace: &WorkspaceArgs,
) -> Result<BuildOptions<'a>, CliError> {
    Ok(BuildOptions {
        packages: packages(context, workspace.apt_sources.clone())?,
        rebuild: Vec::new(),
        only: None,
        clock: &SystemClock,
        cancel: &context.cancel,
        waiting: context.store_waiting(),
        progress: &context.ui,
    })
}

/// Describes a build for people.
pub(super) fn describe(report: &BuildReport, explain: bool) -> String {
    let rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| {
            let action = if layer.action == LayerAction::Built {
                "built"
            } else {
                "kept"
            };
            let mut row = vec![
                layer.name.clone(),
                layer.version.clone(),
                layer.id.short(),
                action.to_owned(),
                ui::seconds(layer.seconds),
                ui::size(layer.bytes_written),
            ];
            if explain || layer.action == LayerAction::Built {
                row.push(layer.reason.clone());
            } else {
                row.push(String::new());
            }
            row
        })
        .collect();
    let mut text = ui::table(
        &[
            "layer", "version", "id", "action", "time", "written", "reason",
        ],
        &rows,
    );
    for layer in &report.layers {
        for note in &layer.notes {
            text.push_str(&format!("note: [{}] {note}\n", layer.name));
        }
    }
    for finding in &report.findings {
        let word = if finding.waived.is_some() {
            "waived"
        } else {
            "note"
        };
        let (place, reason) = (finding.place(), &finding.reason);
        text.push_str(&format!("{word}: [{place}] {reason}\n"));
    }
    for id in &report.new_ids {
        text.push_str(&format!("note: layers/ids.toml gained {id}; commit it\n"));
    }
    let change = if report.changed {
        "new image"
    } else {
        "unchanged image"
    };
    text.push_str(&format!(
        "{change} {} {} in {}\n",
        report.recipe,
        report.image.short(),
        ui::seconds(report.seconds)
    ));
    text
}
