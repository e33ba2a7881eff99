//! `layerset deploy`, and what it shares with `layerset update`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::note;
use crate::build;
use crate::cli::{CliError, Context, ui};
use crate::deploy::{
    Action, BadPolicy, Decisions, EtcReport, KindChoice, StageOptions, Staged, Switched, Target,
};
use crate::durable::LockMode;
use crate::id::ImageId;
use crate::path::RelPath;
use crate::store::Repository;

/// Puts an image on a target, and switches to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset deploy web --target /srv/web
  layerset deploy web --target /srv/web --dry-run     # what it would do to /etc
  layerset deploy b3:1f2e --target /srv/web --keep-file /etc/nginx/nginx.conf

The switch is one rename of /srv/web/layerset/current. Edits in /etc are merged; a
conflict is told before anything is switched. An earlier deployment stays, and `layerset
rollback` goes back to it.")]
pub struct Deploy {
    /// The image: a recipe's name, a ref, an id or an abbreviation of one
    image: String,
    #[command(flatten)]
    place: Place,
}

/// Where to deploy to, and how.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The target: any directory; it is made when absent
    #[arg(long, value_name = "DIR")]
    pub(super) target: PathBuf,
    /// In a conflict, keep this file of /etc as it is on the machine; may be given more than once
    #[arg(long, value_name = "PATH")]
    keep_file: Vec<String>,
    /// In a conflict, take this file of /etc from the image; may be given more than once
    #[arg(long, value_name = "PATH")]
    take_file: Vec<String>,
    /// Copy the files instead of mounting them from the repository
    #[arg(long)]
    copy: bool,
    /// Show what would be done to /etc, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Prepare the deployment, but do not switch to it
    #[arg(long, conflicts_with = "dry_run")]
    stage_only: bool,
    /// How many deployments to keep, pinned ones aside [default: what the recipe's policy says]
    #[arg(long, value_name = "COUNT")]
    keep: Option<u32>,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

impl Deploy {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let repository = context.open(LockMode::Shared, "layerset deploy")?;
        let image = repository.resolve_image(&self.image)?;
        self.place
            .deploy(context, &repository, &image, Action::Deploy, None)
    }
}

impl Place {
    fn options(&self) -> Result<StageOptions, CliError> {
        let paths = |texts: &[String]| {
            texts
                .iter()
                .map(|text| RelPath::from_text(text))
                .collect::<Result<_, _>>()
        };
        let bad = |error: crate::path::PathError| CliError::usage(error.to_string());
        let decisions = Decisions {
            keep: paths(&self.keep_file).map_err(bad)?,
            take: paths(&self.take_file).map_err(bad)?,
        };
        let kind = if self.copy {
            KindChoice::Copy
        } else {
            KindChoice::Auto
        };
        Ok(StageOptions { kind, decisions })
    }

    pub(super) fn deploy(
        &self,
        context: &Context,
        repository: &Repository,
        image: &ImageId,
        action: Action,
        built: Option<&build::BuildReport>,
    ) -> Result<(), CliError> {
        let options = self.options()?;
        if self.dry_run {
            return self.plan(context, repository, image, &options);
        }
        let started = Instant::now();
        let target = context.target_or_new(&self.target)?;
        let change = target.change("layerset deploy")?;
        refuse_bad_image(&target, image)?;
        if !self.stage_only && is_current(&target, image)? {
            return unchanged(context, &target, image, built);
        }
        context.ui.doing("staging the deployment");
        let staged = change.stage(repository, image, &options)?;
        if context.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(CliError::new("interrupted", 1));
        }
        let staged_in = started.elapsed().as_secs_f64();
        let switching = Instant::now();
        let switched = if self.stage_only {
            None
        } else {
            Some(change.switch(
                staged.generation,
                action,
                BadPolicy::Refuse,
                &note(&self.reason, "safe"),
            )?)
        };
        let switched_in = switching.elapsed().as_secs_f64();
        let keep = match self.keep {
            Some(keep) => keep,
            None => repository.read_image(image)?.keep,
        };
        let plan = target.plan_prune(usize::try_from(keep).unwrap_or(usize::MAX))?;
        if !plan.remove.is_empty() {
            change.prune(repository, &plan, &note("kept no longer", "safe"))?;
        }
        report(
            context,
            &Deployed {
                staged: &staged,
                switched,
                staged_in,
                switched_in,
                pruned: &plan.remove,
                built,
            },
        )
    }

    fn plan(
        &self,
        context: &Context,
        repository: &Repository,
        image: &ImageId,
        options: &StageOptions,
    ) -> Result<(), CliError> {
        let report = match context.target(&self.target) {
            Ok(target) => target.plan_etc(repository, image, &options.decisions)?,
            Err(_) => EtcReport::default(),
        };
        context.ui.print_json(
            &serde_json::json!({ "dry_run": true, "image": image, "etc": etc_json(&report) }),
        )?;
        let mut text = format!("would deploy {}\n", image.short());
        text.push_str(&etc_text(&report));
        context.ui.print(&text);
        Ok(())
    }
}

/// A set that was marked bad on this target is never chosen by itself again.
fn refuse_bad_image(target: &Target, image: &ImageId) -> Result<(), CliError> {
    let Some(reason) = target.bad_image(image) else {
        return Ok(());
    };
    let status = target.status()?;
    let mut deployments = status.deployments.iter();
    let deployment = deployments.find(|d| d.image.as_ref() == Some(image));
    let error = CliError::new(
        format!(
            "image {} is marked bad on this target: {reason}",
            image.short()
        ),
        crate::cli::error::REFUSED,
    );
    Err(error.with_hint(match deployment {
        Some(deployment) => format!(
            "`layerset rollback --to {}` uses it nevertheless",
            deployment.generation
        ),
        None => "publish or build one that is better".to_owned(),
    }))
}

fn is_current(target: &Target, image: &ImageId) -> Result<bool, CliError> {
    let status = target.status()?;
    let current = status
        .deployments
        .iter()
        .find(|d| Some(d.generation) == status.current);
    Ok(
        current
            .is_some_and(|d| d.image.as_ref() == Some(image) && d.mounted && d.damaged.is_none()),
    )
}

fn unchanged(
    context: &Context,
    target: &Target,
    image: &ImageId,
    built: Option<&build::BuildReport>,
) -> Result<(), CliError> {
    let current = target.current()?;
    context.ui.print_json(&serde_json::json!({
        "image": image, "generation": current, "switched": false, "build": built,
    }))?;
    let text = built.map_or(String::new(), |built| {
        crate::cli::build::describe(built, false)
    });
    context.ui.print(&format!(
        "{text}image {} is current already\n",
        image.short()
    ));
    Ok(())
}

struct Deployed<'a> {
    staged: &'a Staged,
    switched: Option<Switched>,
    staged_in: f64,
    switched_in: f64,
    pruned: &'a [u64],
    built: Option<&'a build::BuildReport>,
}

fn etc_json(report: &EtcReport) -> serde_json::Value {
    serde_json::json!({
        "merged": report.merged,
        "conflicts": report.conflicts.iter().map(|conflict| serde_json::json!({
            "path": conflict.path, "record": conflict.record, "line": conflict.line, "reason": conflict.reason,
        })).collect::<Vec<_>>(),
        "resolved": report.resolved.iter().map(|(path, _)| path).collect::<Vec<_>>(),
    })
}

fn etc_text(report: &EtcReport) -> String {
    let mut text = String::new();
    for path in &report.merged {
        text.push_str(&format!(
            "merged {path}: the machine's edits and the image's\n"
        ));
    }
    for conflict in &report.conflicts {
        let record = conflict
            .record
            .as_ref()
            .map_or(String::new(), |record| format!(" ({record})"));
        text.push_str(&format!(
            "conflict in {}{record}: {}\n",
            conflict.path, conflict.reason
        ));
    }
    for (path, _) in &report.resolved {
        text.push_str(&format!(
            "decided for {path}; all sides are kept in etc-conflicts/\n"
        ));
    }
    for path in &report.unused {
        text.push_str(&format!(
            "no conflict in {path}: the decision has no effect\n"
        ));
    }
    text
}

fn report(context: &Context, deployed: &Deployed<'_>) -> Result<(), CliError> {
    let staged = deployed.staged;
    context.ui.print_json(&serde_json::json!({
        "image": staged.image,
        "generation": staged.generation,
        "kind": staged.kind,
        "switched": deployed.switched.is_some(),
        "from": deployed.switched.as_ref().and_then(|switched| switched.from),
        "stage_seconds": deployed.staged_in,
        "switch_seconds": deployed.switched_in,
        "pruned": deployed.pruned,
        "etc": etc_json(&staged.etc),
        "build": deployed.built,
    }))?;
    let mut text = deployed.built.map_or(String::new(), |built| {
        crate::cli::build::describe(built, false)
    });
    text.push_str(&etc_text(&staged.etc));
    let how = serde_json::to_value(staged.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_default();
    text.push_str(&format!(
        "staged generation {} ({how}) in {}\n",
        staged.generation,
        ui::seconds(deployed.staged_in)
    ));
    match &deployed.switched {
        Some(switched) => {
            let from = switched
                .from
                .map_or("nothing".to_owned(), |from| format!("generation {from}"));
            let time = ui::seconds(deployed.switched_in);
            text.push_str(&format!(
                "switched from {from} to generation {} in {time}\n",
                switched.to
            ));
        }
        None => text.push_str(&format!(
            "`layerset rollback --to {}` switches to it\n",
            staged.generation
        )),
    }
    for generation in deployed.pruned {
        text.push_str(&format!(
            "removed generation {generation}, kept no longer\n"
        ));
    }
    context.ui.print(&text);
    Ok(())
}
