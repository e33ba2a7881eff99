//! Commands that look at a target; they need neither its lock nor the repository.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{DeploymentState, DeploymentStatus, HistoryAction};
use crate::time::rfc3339;

/// Shows the deployments of a target.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset status --target /srv/web
  layerset status --target /srv/web --json | jq .current")]
pub(in crate::cli) struct Status {
    /// The target
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
}

impl Status {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let status = context.target(&self.target)?.status()?;
        context.ui.print_json(&status)?;
        let rows: Vec<Vec<String>> = status.deployments.iter().map(row).collect();
        let mut text = if rows.is_empty() {
            "no deployment yet\n".to_owned()
        } else {
            ui::table(
                &["generation", "state", "image", "name", "how", "layers"],
                &rows,
            )
        };
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
        context.ui.print(&text);
        Ok(())
    }
}

fn row(deployment: &DeploymentStatus) -> Vec<String> {
    let mut state = match deployment.state {
        DeploymentState::Current => "current",
        DeploymentState::Previous => "previous",
        DeploymentState::Staged => "staged",
        DeploymentState::Kept => "kept",
    }
    .to_owned();
    for (flag, word) in [
        (deployment.pinned, "pinned"),
        (deployment.bad.is_some(), "bad"),
    ] {
        if flag {
            state.push_str(&format!(", {word}"));
        }
    }
    let layers: Vec<String> = deployment
        .layers
        .iter()
        .map(|layer| format!("{} {}", layer.name, layer.version))
        .collect();
    let kind = deployment
        .kind
        .and_then(|kind| serde_json::to_value(kind).ok());
    vec![
        deployment.generation.to_string(),
        state,
        deployment
            .image
            .map_or("?".to_owned(), |image| image.short()),
        deployment.name.clone().unwrap_or_default(),
        kind.and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_default(),
        layers.join(" + "),
    ]
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
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
}

impl History {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let history = context.target(&self.target)?.history()?;
        context.ui.print_json(
            &serde_json::json!({ "records": history.records, "broken": history.broken }),
        )?;
        let generation = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let rows: Vec<Vec<String>> = history
            .records
            .iter()
            .map(|record| {
                let layers: Vec<String> = record
                    .layers
                    .iter()
                    .map(|layer| {
                        let version = |version: &Option<String>| {
                            version.clone().unwrap_or_else(|| "-".to_owned())
                        };
                        if layer.from == layer.to {
                            let word = match record.action {
                                HistoryAction::Rollback => "as built before",
                                _ => "rebuilt",
                            };
                            format!("{} {word}", layer.name)
                        } else {
                            format!(
                                "{} {} -> {}",
                                layer.name,
                                version(&layer.from),
                                version(&layer.to)
                            )
                        }
                    })
                    .collect();
                let action = serde_json::to_value(record.action).ok();
                vec![
                    record.sequence.to_string(),
                    rfc3339(record.when),
                    record.who.clone(),
                    action
                        .and_then(|action| action.as_str().map(str::to_owned))
                        .unwrap_or_default(),
                    if record.action.is_switch() {
                        format!("{} -> {}", generation(record.from), generation(record.to))
                    } else {
                        generation(record.about)
                    },
                    layers.join(", "),
                    record.reason.clone(),
                ]
            })
            .collect();
        context.ui.print(&ui::table(
            &[
                "#",
                "when",
                "who",
                "action",
                "generation",
                "layers",
                "reason",
            ],
            &rows,
        ));
        match &history.broken {
            None => Ok(()),
            Some(found) => Err(CliError::new(format!("line {} of the history: {}", found.line, found.reason), error::INTEGRITY)
                .with_hint("the records before that place are as they were written; compare the file with a backup")),
        }
    }
}
