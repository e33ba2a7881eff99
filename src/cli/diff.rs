//! `layerset diff`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{CliError, Context, error, ui};
use crate::deploy::package_changes;
use crate::durable::LockMode;
use crate::format::{Image, Layer};
use crate::id::ImageId;
use crate::store::Repository;
use crate::tree::{Inode, Node, diff};

/// Compares two images, or two generations of a target.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset diff web data                       # the newest images of two recipes
  layerset diff 1 2 --target /srv/web          # two generations of a target
  layerset diff b3:1f2e b3:77aa --files")]
pub(super) struct Diff {
    /// An image, or with --target a generation
    from: String,
    /// What to compare it with
    to: String,
    /// Take numbers as generations of this target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: Option<PathBuf>,
    /// List every path, not only the first 20
    #[arg(long)]
    files: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    from: ImageId,
    to: ImageId,
    layers: Vec<LayerDiff>,
    packages: Vec<PackageDiff>,
    files: Vec<FileDiff>,
    bytes_before: u64,
    bytes_after: u64,
}

#[derive(Debug, Serialize)]
struct LayerDiff {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct PackageDiff {
    name: String,
    layer: String,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct FileDiff {
    path: crate::path::RelPath,
    change: &'static str,
    before_bytes: Option<u64>,
    after_bytes: Option<u64>,
}

impl Diff {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset diff")?;
        let (from, to) = (
            self.find(context, &repository, &self.from)?,
            self.find(context, &repository, &self.to)?,
        );
        let report = compare(&repository, from, to)?;
        context.ui.print_json(&report)?;
        context.ui.print(&describe(&report, self.files));
        Ok(())
    }

    fn find(
        &self,
        context: &Context,
        repository: &Repository,
        text: &str,
    ) -> Result<ImageId, CliError> {
        if let (Some(target), Ok(generation)) = (&self.target, text.parse::<u64>()) {
            let status = context.target(target)?.status()?;
            let found = status
                .deployments
                .iter()
                .find(|deployment| deployment.generation == generation);
            let found = found.ok_or_else(|| {
                CliError::new(
                    format!("'{}' has no generation {generation}", target.display()),
                    error::FAILED,
                )
                .with_hint(format!(
                    "`layerset status --target {}` lists them",
                    target.display()
                ))
            })?;
            let damaged = || {
                CliError::new(
                    format!("generation {generation} is damaged"),
                    error::INTEGRITY,
                )
            };
            return found.image.ok_or_else(damaged);
        }
        Ok(repository.resolve_image(text)?)
    }
}

fn compare(repository: &Repository, from: ImageId, to: ImageId) -> Result<Report, CliError> {
    let (before, after) = (repository.read_image(&from)?, repository.read_image(&to)?);
    let (old, new) = (
        repository.read_tree(&before.tree)?,
        repository.read_tree(&after.tree)?,
    );
    let size = |inode: Option<&Inode>| match inode?.node {
        Node::File { size, .. } => Some(size),
        _ => None,
    };
    let files = diff(&old, &new).map(|(path, difference)| FileDiff {
        path: path.clone(),
        change: match (difference.before, difference.after) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(a), Some(b)) if a.node != b.node => "changed",
            (Some(a), Some(b)) if !a.same_content(b) => "metadata",
            _ => "time",
        },
        before_bytes: size(difference.before),
        after_bytes: size(difference.after),
    });
    Ok(Report {
        from,
        to,
        layers: layers(&before, &after),
        packages: packages(repository, &before, &after)?,
        files: files.collect(),
        bytes_before: before.bytes,
        bytes_after: after.bytes,
    })
}

fn layers(before: &Image, after: &Image) -> Vec<LayerDiff> {
    let text = |image: &Image, name: &str| {
        let layer = image.layers.iter().find(|layer| layer.name == name)?;
        Some((
            layer.id,
            format!("{} ({})", layer.version, layer.id.short()),
        ))
    };
    let mut seen = BTreeSet::new();
    let names = after
        .layers
        .iter()
        .chain(&before.layers)
        .map(|layer| layer.name.as_str());
    names
        .filter(|name| seen.insert(*name))
        .filter_map(|name| {
            let (old, new) = (text(before, name), text(after, name));
            (old.as_ref().map(|(id, _)| *id) != new.as_ref().map(|(id, _)| *id)).then(|| {
                LayerDiff {
                    name: name.to_owned(),
                    before: old.map(|(_, text)| text),
                    after: new.map(|(_, text)| text),
                }
            })
        })
        .collect()
}

fn packages(
    repository: &Repository,
    before: &Image,
    after: &Image,
) -> Result<Vec<PackageDiff>, CliError> {
    let all = |image: &Image| -> Result<Vec<Layer>, CliError> {
        let layers = image.layers.iter();
        Ok(layers
            .map(|entry| repository.read_layer(&entry.id))
            .collect::<Result<_, _>>()?)
    };
    let moved = package_changes(&all(before)?, &all(after)?).into_iter();
    let rows = moved.map(|package| PackageDiff {
        name: package.name,
        layer: package.layer,
        before: package.before,
        after: package.after,
    });
    Ok(rows.collect())
}

fn describe(report: &Report, files: bool) -> String {
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut text = String::new();
    if report.from == report.to {
        return "the same image\n".to_owned();
    }
    if !report.layers.is_empty() {
        let rows: Vec<_> = report
            .layers
            .iter()
            .map(|l| vec![l.name.clone(), side(&l.before), side(&l.after)])
            .collect();
        text.push_str(&ui::table(&["layer", "before", "after"], &rows));
    }
    if !report.packages.is_empty() {
        let rows: Vec<_> = report
            .packages
            .iter()
            .map(|p| {
                vec![
                    p.name.clone(),
                    p.layer.clone(),
                    side(&p.before),
                    side(&p.after),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&ui::table(&["package", "layer", "before", "after"], &rows));
    }
    let count = |change: &str| {
        report
            .files
            .iter()
            .filter(|file| file.change == change)
            .count()
    };
    // Times alone say nothing about what changed.
    let listed: Vec<&FileDiff> = report
        .files
        .iter()
        .filter(|file| files || file.change != "time")
        .collect();
    let shown = if files {
        listed.len()
    } else {
        listed.len().min(20)
    };
    if shown > 0 {
        text.push('\n');
    }
    for file in &listed[..shown] {
        let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), ui::size);
        let sizes = match (file.before_bytes, file.after_bytes) {
            (None, None) => String::new(),
            (a, b) => format!("  {} -> {}", bytes(a), bytes(b)),
        };
        text.push_str(&format!("{:8} {}{sizes}\n", file.change, file.path));
    }
    if shown < listed.len() {
        text.push_str(&format!(
            "… and {} more (--files lists all)\n",
            listed.len() - shown
        ));
    }
    text.push_str(&format!(
        "\n{} added, {} removed, {} changed, {} with other metadata; {} -> {}\n",
        count("added"),
        count("removed"),
        count("changed"),
        count("metadata") + count("time"),
        ui::size(report.bytes_before),
        ui::size(report.bytes_after)
    ));
    text
}
