//! `layerset fsck`.

use clap::Args;

use super::{CliError, Context, error};
use crate::durable::LockMode;
use crate::store::{Damage, FsckOptions};

/// Verifies every byte of the repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset fsck
  layerset fsck --json | jq '.damaged[].name'

It ends with status 4 when something is damaged, and says what uses it.")]
pub(super) struct Fsck {}

impl Fsck {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset fsck")?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let progress = |done: usize, all: usize| {
            context
                .ui
                .doing(&format!("verifying objects  {done} of {all}"))
        };
        let report = repository.fsck(FsckOptions {
            threads,
            progress: &progress,
        })?;
        let word = |damage: Damage| match damage {
            Damage::Missing => "missing",
            Damage::Corrupt => "corrupt",
            Damage::Unreadable => "unreadable",
        };
        let damaged: Vec<_> = report
            .damaged
            .iter()
            .map(|thing| {
                let users: Vec<_> = thing
                    .users
                    .iter()
                    .map(|user| serde_json::json!({ "name": user.name, "path": user.path }))
                    .collect();
                serde_json::json!({
                    "what": thing.what, "name": thing.name, "damage": word(thing.damage), "used_by": users,
                })
            })
            .collect();
        context.ui.print_json(&serde_json::json!({
            "objects": report.objects, "manifests": report.manifests, "damaged": damaged,
        }))?;
        let mut text = String::new();
        for thing in &report.damaged {
            text.push_str(&format!(
                "{} {} is {}\n",
                thing.what,
                thing.name,
                word(thing.damage)
            ));
            for user in &thing.users {
                let path = user
                    .path
                    .as_ref()
                    .map_or(String::new(), |path| format!(" at {path}"));
                text.push_str(&format!("  used by {}{path}\n", user.name));
            }
        }
        text.push_str(&format!(
            "{} objects and {} manifests verified\n",
            report.objects, report.manifests
        ));
        context.ui.print(&text);
        if report.damaged.is_empty() {
            return Ok(());
        }
        let count = report.damaged.len();
        let things = if count == 1 { "thing is" } else { "things are" };
        Err(CliError::new(format!("{count} {things} damaged"), error::INTEGRITY).with_hint(
            "remove the damaged files, then run `layerset build RECIPE --rebuild LAYER` for the layers that hold them; deploys of what uses them are refused",
        ))
    }
}
