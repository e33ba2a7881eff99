//! `layerset gc`.

use clap::Args;

use super::{CliError, Context, ui};
use crate::durable::LockMode;

/// Removes what no image and no deployment needs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset gc --dry-run
  layerset gc

It waits until no other layerset command uses the repository.")]
pub(super) struct Gc {
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Gc {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Exclusive, "layerset gc")?;
        let plan = repository.plan_gc()?;
        if self.dry_run {
            let files: Vec<_> = plan
                .files
                .iter()
                .map(|(path, size)| serde_json::json!({ "path": path, "size": size }))
                .collect();
            context.ui.print_json(&serde_json::json!({
                "dry_run": true, "files": files, "bytes": plan.bytes(), "objects": plan.objects,
                "manifests": plan.manifests, "kept_objects": plan.kept_objects,
            }))?;
            let mut text: String = plan
                .files
                .iter()
                .map(|(path, size)| {
                    format!(
                        "{}  {}\n",
                        path.strip_prefix(&context.repo).unwrap_or(path).display(),
                        ui::size(*size)
                    )
                })
                .collect();
            text.push_str(&format!(
                "would remove {} objects and {} manifests, {}; {} objects stay\n",
                plan.objects,
                plan.manifests,
                ui::size(plan.bytes()),
                plan.kept_objects
            ));
            context.ui.print(&text);
            return Ok(());
        }
        let report = repository.apply_gc(&plan)?;
        context.ui.print_json(&serde_json::json!({
            "dry_run": false, "removed_files": report.files, "bytes": report.bytes, "work_dirs": report.work_dirs,
            "kept_objects": plan.kept_objects,
        }))?;
        context.ui.print(&format!(
            "removed {} objects and {} manifests, {}; {} objects stay\n",
            plan.objects,
            plan.manifests,
            ui::size(report.bytes),
            plan.kept_objects
        ));
        Ok(())
    }
}
