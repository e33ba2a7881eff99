//! `layerset fsck`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{self, RepairHints};
use super::follow::{OriginArgs, THREADS};
use super::meter::Meter;
use super::{CliError, Context};
use crate::agent::{RepairOptions, RepairReport, repair, verify};
use crate::builder::Composer;
use crate::durable::LockMode;
use crate::store::{Damage, FsckOptions, FsckReport, Repository};
use crate::transfer::PullOptions;

/// Verifies every byte of the repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset fsck
  layerset fsck --repair                              # from the remotes of the trust policy
  layerset fsck --repair --from /media/usb/bundle     # from a bundle, or another remote
  layerset fsck --repair --from /mnt/var/lib/layerset # from the repository of another machine
  layerset fsck --json | jq '.damaged[].name'

It ends with status 4 when something is damaged, and says what uses it. --repair brings back by its
digest what a remote, a target or another repository has, composes trees of images again, and names
the command that helps with the rest. Nothing that is whole is touched.")]
pub(super) struct Fsck {
    /// Bring back what is damaged or missing
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    origin: OriginArgs,
}

fn word(damage: Damage) -> &'static str {
    match damage {
        Damage::Missing => "missing",
        Damage::Corrupt => "corrupt",
        Damage::Unreadable => "unreadable",
    }
}

impl Fsck {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let mut report = RepairReport::default();
        if self.repair && Repository::repair_config(&context.repo, context.disk.as_ref())? {
            context
                .ui
                .remark("config.toml was damaged: it is written anew");
        }
        let repository = context.open(LockMode::Shared, "layerset fsck")?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let progress = |done: usize, all: usize| {
            context
                .ui
                .doing(&format!("verifying objects  {done} of {all}"))
        };
        let options = FsckOptions {
            threads,
            progress: &progress,
        };
        let open = |root: &Path| context.target(root).ok();
        report.left = verify(&repository, &open, options)?;
        if self.repair && !report.left.damaged.is_empty() {
            report = self.repair(context, &repository, report.left, options)?;
        }
        let hints = RepairHints::of(&repository, &report, &context.repo);
        let hints = if self.repair {
            hints.texts()
        } else {
            Vec::new()
        };
        context.ui.print_json(&json(&report, &hints))?;
        context.ui.print(&describe(&report));
        let count = report.left.damaged.len();
        if count == 0 {
            return Ok(());
        }
        let things = if count == 1 {
            "1 thing is damaged".to_owned()
        } else {
            format!("{count} things are damaged")
        };
        let hint = match hints.is_empty() {
            true => "`layerset fsck --repair` brings back what it can, and says what helps with the rest; deploys of what uses them are refused".to_owned(),
            false => hints.join("\n"),
        };
        Err(CliError::new(things, error::INTEGRITY).with_hint(hint))
    }

    fn repair(
        &self,
        context: &Context,
        repository: &Repository,
        found: FsckReport,
        fsck: FsckOptions<'_>,
    ) -> Result<RepairReport, CliError> {
        let from = self.origin.from().map(PathBuf::from);
        let other =
            from.filter(|dir| dir.join("config.toml").exists() && dir.join("objects").is_dir());
        let origins = match other {
            Some(_) => None,
            None => Some(self.origin.origins(context)?),
        };
        let has_policy = origins
            .as_ref()
            .is_some_and(|origins| origins.policy.exists() || self.origin.from().is_some());
        let meter = Meter::new(&context.ui);
        let pull = PullOptions {
            threads: THREADS,
            deltas: false,
            gap: None,
            recompress: None,
            recompose: true,
            cancel: &context.cancel,
            progress: &meter,
            waiting: context.store_waiting(),
        };
        let composer = Composer::new(repository, &context.cancel, &context.ui);
        let options = RepairOptions {
            origins: origins.as_ref().filter(|_| has_policy),
            other: other.as_deref(),
            open: &|root| context.target(root).ok(),
            composer: &composer,
            pull: &pull,
            fsck,
        };
        let report = repair(repository, found, &options)?;
        for remark in &report.remarks {
            context.ui.remark(remark);
        }
        Ok(report)
    }
}

fn json(report: &RepairReport, hints: &[String]) -> serde_json::Value {
    let damaged: Vec<_> = report
        .left
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
    serde_json::json!({
        "objects": report.left.objects, "manifests": report.left.manifests, "damaged": damaged,
        "repaired": report.repaired, "remarks": report.remarks, "commands": hints,
    })
}

fn describe(report: &RepairReport) -> String {
    let mut text = String::new();
    for thing in &report.repaired {
        text.push_str(&format!(
            "{} {} is whole again: {}\n",
            thing.what, thing.name, thing.how
        ));
    }
    for thing in &report.left.damaged {
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
        report.left.objects, report.left.manifests
    ));
    text
}
