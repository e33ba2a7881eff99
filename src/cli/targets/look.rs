//! Commands that look at a target; they need neither its lock nor the repository.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{
    DeploymentState, DeploymentStatus, HistoryAction, HistoryRecord, LayerChange, Next, OldProgram,
    SwitchWay, TargetStatus,
};
use crate::durable::LockMode;
use crate::format::ImageLayer;
use crate::path::escape;
use crate::time::rfc3339;

/// Shows the deployments of a target.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset status --target /srv/web
  layerset status --target /srv/web --json | jq .current")]
pub(in crate::cli) struct Status {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// On a machine: list programs that still run files of earlier deployments
    #[arg(long)]
    running: bool,
}

impl Status {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        let status = target.status()?;
        // Without the repository, nothing is compared.
        let repository = match target.machine() {
            Some(_) => context.look("layerset status", LockMode::Shared).ok(),
            None => None,
        };
        let waits = |next: &Next| next.deployment.filter(|next| Some(*next) != status.current);
        let way = match (&repository, status.next.as_ref().and_then(waits)) {
            (Some(repository), Some(next)) => target.way_to_generation(repository, next)?,
            _ => None,
        };
        let old = match (self.running, &repository) {
            (true, Some(repository)) => Some(target.old_programs(repository)?),
            _ => None,
        };
        let mut document =
            serde_json::to_value(&status).map_err(|error| CliError::bug(error.to_string()))?;
        if let Some(way) = &way {
            document["way"] = serde_json::json!(way);
        }
        if let Some(old) = &old {
            document["old_programs"] = serde_json::json!(old);
        }
        context.ui.print_json(&document)?;
        if self.running {
            context.ui.print(&old_programs(&old.unwrap_or_default()));
            return Ok(());
        }
        let mut text = String::new();
        for deployment in &status.deployments {
            if let Some(reason) = &deployment.bad {
                text.push_str(&format!(
                    "generation {} is marked bad: {reason}\n",
                    deployment.generation
                ));
            }
            if let Some(reason) = &deployment.damaged {
                text.push_str(&format!(
                    "generation {} is damaged: {reason}\n",
                    deployment.generation
                ));
            }
            if let Some(reason) = &deployment.kind_reason {
                text.push_str(&format!(
                    "generation {} is a copy: {reason}\n",
                    deployment.generation
                ));
            }
        }
        if let Some(current) = status
            .deployments
            .iter()
            .find(|d| d.state == DeploymentState::Current && !d.mounted)
        {
            text.push_str(&format!(
                "generation {} is not mounted: run `layerset activate --target {}`\n",
                current.generation,
                self.target.display()
            ));
        }
        if let Some(next) = status.next {
            text.push_str(&starts_next(&next, status.current, way.as_ref()));
        }
        if let Some(lost) = status.lost_current {
            text.push_str(&format!(
                "'current' is gone: generation {lost} was current last, and the next change makes it current again\n"
            ));
        }
        if let Some(followed) = &status.channel {
            text.push_str(&format!(
                "follows {} on {}, at release {}\n",
                followed.channel, followed.remote, followed.serial
            ));
            for image in &status.held {
                text.push_str(&format!(
                    "holds image {}, which a rollback left, until there is a newer release; \
                     `layerset update --again` takes it\n",
                    image.short()
                ));
            }
        }
        if let Some(found) = &status.history_broken {
            text.push_str(&format!(
                "line {} of the history: {}\n",
                found.line, found.reason
            ));
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        context.ui.print(&format!("{}{gap}{text}", blocks(&status)));
        Ok(())
    }
}

/// Describes a target: one block for each deployment, the newest first.
fn blocks(status: &TargetStatus) -> String {
    if status.deployments.is_empty() {
        return "no deployment yet\n".to_owned();
    }
    let mut text = format!("target {}\n", status.root.display());
    for (index, deployment) in status.deployments.iter().enumerate().rev() {
        let before = index
            .checked_sub(1)
            .and_then(|at| status.deployments.get(at));
        text.push_str(&block(deployment, before));
    }
    text
}

/// Lists programs that have files of earlier deployments in memory.
fn old_programs(found: &[OldProgram]) -> String {
    if found.is_empty() {
        return "no program runs a file that is another one now\n".to_owned();
    }
    let row = |old: &OldProgram| {
        vec![
            old.unit.clone(),
            old.program.clone(),
            old.pid.to_string(),
            format!("/{}", escape(old.file.as_bytes())),
            old.generation.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    ui::table(&["unit", "program", "pid", "file", "generation"], &rows)
}

/// Says what the machine starts next.
fn starts_next(next: &Next, current: Option<u64>, way: Option<&SwitchWay>) -> String {
    let way = way.map_or(String::new(), |way| format!("; at once, it would be {way}"));
    let tries = match next.tries {
        Some(1) => ", which has one try left".to_owned(),
        Some(tries) => format!(", which has {tries} tries left"),
        None => String::new(),
    };
    match next.deployment {
        Some(number) if Some(number) != current => {
            format!(
                "generation {number} starts next{tries}: `systemctl reboot` switches to it{way}\n"
            )
        }
        Some(number) if next.tries.is_some() => {
            format!("generation {number} has to prove itself{tries}\n")
        }
        Some(_) => String::new(),
        None => "the boot loader has no entry: nothing would start\n".to_owned(),
    }
}

fn block(deployment: &DeploymentStatus, before: Option<&DeploymentStatus>) -> String {
    let marker = match deployment.state {
        DeploymentState::Current => '*',
        _ => ' ',
    };
    let mut text = format!(
        "\n{marker} generation {}, {}\n",
        deployment.generation,
        state(deployment)
    );
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("    {name:<9}{value}\n"));
        }
    };
    line("image", image(deployment));
    line("layers", layers(&deployment.layers));
    if let Some(created) = deployment.created {
        line("staged", time(created));
    }
    if let Some(origin) = &deployment.origin {
        let reason = match origin.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        line(
            "source",
            format!("{}, {}{reason}", time(origin.when), origin.who),
        );
    }
    if let Some(before) = before {
        let differs = differences(&before.layers, &deployment.layers);
        let against = format!(" (against generation {})", before.generation);
        line(
            "differs",
            if differs.is_empty() {
                differs
            } else {
                differs + &against
            },
        );
    }
    text
}

fn state(deployment: &DeploymentStatus) -> String {
    let mut words = vec![match deployment.state {
        DeploymentState::Current => "current",
        DeploymentState::Previous => "previous",
        DeploymentState::Staged => "staged",
        DeploymentState::Kept => "kept",
    }];
    words.extend(deployment.pinned.then_some("pinned"));
    words.extend(deployment.bad.is_some().then_some("bad"));
    words.join(", ")
}

/// Describes an image: `web 8cbac22fb326, 150 MB, composefs`.
fn image(deployment: &DeploymentStatus) -> String {
    let id = deployment
        .image
        .map_or("?".to_owned(), |image| image.short());
    let name = deployment.name.clone().unwrap_or_default();
    let mut text = format!("{name} {id}").trim_start().to_owned();
    if let Some(bytes) = deployment.bytes {
        text.push_str(&format!(", {}", ui::size(bytes)));
    }
    let kind = deployment
        .kind
        .and_then(|kind| serde_json::to_value(kind).ok());
    if let Some(kind) = kind.as_ref().and_then(|kind| kind.as_str()) {
        text.push_str(&format!(", {kind}"));
    }
    text
}

fn layers(layers: &[ImageLayer]) -> String {
    let layers = layers
        .iter()
        .map(|layer| format!("{} {}", layer.name, layer.version));
    layers.collect::<Vec<_>>().join(", ")
}

/// Says which layers of two deployments differ.
fn differences(before: &[ImageLayer], after: &[ImageLayer]) -> String {
    let find = |all: &[ImageLayer], name: &str| all.iter().find(|l| l.name == name).cloned();
    let mut words = Vec::new();
    for layer in after {
        match find(before, &layer.name) {
            None => words.push(format!("+ {} {}", layer.name, layer.version)),
            Some(old) if old.id == layer.id => {}
            Some(old) if old.version == layer.version => {
                words.push(format!("{} {} changed", layer.name, layer.version));
            }
            Some(old) => words.push(format!(
                "{} {} -> {}",
                layer.name, old.version, layer.version
            )),
        }
    }
    for layer in before {
        if find(after, &layer.name).is_none() {
            words.push(format!("- {} {}", layer.name, layer.version));
        }
    }
    words.join(", ")
}

/// Formats a time for people: `2026-11-28 04:15:20 UTC`.
fn time(at: i64) -> String {
    rfc3339(at).replace('T', " ").replace('Z', " UTC")
}

/// Shows every change of a target.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset history --target /srv/web
  layerset history --target /srv/web --json | jq '.records[-1]'

Each record carries the digest of the one before it, and the target counts them: a history that
was edited, cut, emptied or removed ends with status 4.")]
pub(in crate::cli) struct History {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
}

impl History {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let history = context.target(&self.target)?.history()?;
        context.ui.print_json(
            &serde_json::json!({ "records": history.records, "broken": history.broken }),
        )?;
        let lines: String = history.records.iter().map(sentence).collect();
        context.ui.print(&lines);
        match &history.broken {
            None => Ok(()),
            Some(found) => Err(CliError::new(format!("line {} of the history: {}", found.line, found.reason), error::INTEGRITY)
                .with_hint("the records before that place are as they were written; compare the file with a backup")),
        }
    }
}

/// Says what one record of a history is about: when, who, what, and why.
fn sentence(record: &HistoryRecord) -> String {
    let named = |n: Option<u64>| n.map_or("?".to_owned(), |n| format!("generation {n}"));
    let (from, to, about) = (named(record.from), named(record.to), named(record.about));
    let what = match record.action {
        HistoryAction::Deploy if record.from.is_none() => format!("deployed {to}"),
        HistoryAction::Deploy => format!("deployed {to} in place of {from}"),
        HistoryAction::Update => format!("updated from {from} to {to}"),
        HistoryAction::Rollback => format!("rolled back from {from} to {to}"),
        HistoryAction::Recovered if record.from.is_none() => format!("found {to} current"),
        HistoryAction::Recovered => {
            format!("found {to} current, not {from}: a command had ended early")
        }
        HistoryAction::Bad => format!("marked the image of {about} as bad"),
        HistoryAction::Good if record.checks.is_empty() => format!("took the mark of {about} back"),
        HistoryAction::Good => format!("found {about} well"),
        HistoryAction::Stage => format!("staged {about}"),
        HistoryAction::Pin => format!("pinned {about}"),
        HistoryAction::Unpin => format!("no longer pins {about}"),
        HistoryAction::Prune if record.about.is_some() => format!("removed {about}"),
        // One record for all that a command removed: its reason names them.
        HistoryAction::Prune => "pruned".to_owned(),
        HistoryAction::Lost => "found the history cut or replaced".to_owned(),
    };
    let mut text = format!(
        "{:>3}  {}  {} {what}",
        record.sequence,
        time(record.when),
        record.who
    );
    if !record.reason.is_empty() {
        text.push_str(&format!(": {}", record.reason));
    }
    text.push('\n');
    for check in &record.checks {
        if let Some(problem) = &check.problem {
            text.push_str(&format!("     {} failed: {problem}\n", check.check));
        }
    }
    let changes: Vec<String> = record
        .layers
        .iter()
        .map(|layer| layer_change(record, layer))
        .collect();
    if !changes.is_empty() {
        text.push_str(&format!("     {}\n", changes.join(", ")));
    }
    text
}

fn layer_change(record: &HistoryRecord, layer: &LayerChange) -> String {
    let name = &layer.name;
    match (&layer.from, &layer.to) {
        (from, to) if from == to && record.action == HistoryAction::Rollback => {
            format!("{name} as built before")
        }
        (from, to) if from == to => format!("{name} rebuilt"),
        (None, Some(to)) => format!("{name} {to}"),
        (Some(from), Some(to)) => format!("{name} {from} -> {to}"),
        (_, None) => format!("without {name}"),
    }
}
