//! `layerset gc`.

use std::time::Duration;

use clap::Args;

use super::{CliError, Context, ui};
use crate::durable::LockMode;
use crate::store::GcPlan;

/// Removes what no image and no deployment needs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset gc --dry-run
  layerset gc
  layerset gc --cache                    # also what caches hold and nobody used for 30 days
  layerset gc --cache --older-than 7

It waits until no other layerset command uses the repository. --dry-run waits for nobody, and works
on a read-only repository: what other commands are making then counts as not needed.

Caches hold packages, lists of archives, prepared packs and parts of disks. All of it can be made or
fetched again, but for packages that have left their archive.")]
pub(super) struct Gc {
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Also remove from caches what was not used lately
    #[arg(long)]
    cache: bool,
    /// What is not lately, in days
    #[arg(long, value_name = "DAYS", default_value_t = 30, requires = "cache")]
    older_than: u32,
}

impl Gc {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = match self.dry_run {
            true => context.look("layerset gc", LockMode::Exclusive)?,
            false => context.open(LockMode::Exclusive, "layerset gc")?,
        };
        let mut plan = repository.plan_gc()?;
        let mut cached = 0;
        if self.cache {
            let age = Duration::from_secs(u64::from(self.older_than) * 86_400);
            cached = repository.plan_cache(age, &mut plan)?;
        }
        if self.dry_run {
            return self.forecast(context, &plan, cached);
        }
        let report = repository.apply_gc(&plan)?;
        context.ui.print_json(&serde_json::json!({
            "dry_run": false, "removed_files": report.files, "bytes": report.bytes, "work_dirs": report.work_dirs,
            "kept_objects": plan.kept_objects, "cached_files": cached,
        }))?;
        context.ui.print(&format!(
            "removed {}, {}; {} objects stay\n",
            contents(&plan, cached),
            ui::size(report.bytes),
            plan.kept_objects
        ));
        Ok(())
    }

    fn forecast(&self, context: &Context, plan: &GcPlan, cached: usize) -> Result<(), CliError> {
        let files: Vec<_> = plan
            .files
            .iter()
            .map(|(path, size)| serde_json::json!({ "path": path, "size": size }))
            .collect();
        context.ui.print_json(&serde_json::json!({
            "dry_run": true, "files": files, "bytes": plan.bytes(), "objects": plan.objects,
            "manifests": plan.manifests, "kept_objects": plan.kept_objects, "cached_files": cached,
        }))?;
        let mut text: String = plan
            .files
            .iter()
            .map(|(path, size)| {
                let path = path.strip_prefix(&context.repo).unwrap_or(path).display();
                format!("{path}  {}\n", ui::size(*size))
            })
            .collect();
        text.push_str(&format!(
            "would remove {}, {}; {} objects stay\n",
            contents(plan, cached),
            ui::size(plan.bytes()),
            plan.kept_objects
        ));
        context.ui.print(&text);
        Ok(())
    }
}

fn contents(plan: &GcPlan, cached: usize) -> String {
    let (objects, manifests) = (plan.objects, plan.manifests);
    match cached {
        0 => format!("{objects} objects and {manifests} manifests"),
        _ => format!("{objects} objects, {manifests} manifests and {cached} cached files"),
    }
}
