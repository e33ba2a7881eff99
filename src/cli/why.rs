//! `layerset why`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{CliError, Context, error};
use crate::compose::{PathOrigin, origin_of};
use crate::deploy::{History, HistoryAction};
use crate::durable::LockMode;
use crate::format::{Image, ImageLayer};
use crate::path::RelPath;
use crate::store::Repository;
use crate::time::rfc3339;

/// Says which layer and which package something comes from, and since when it is there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset why /usr/sbin/nginx web                  # in the newest image of a recipe
  layerset why /usr/sbin/nginx --target /srv/web    # in what runs, and since when
  layerset why libssl3 --target /srv/web            # a package
  layerset why /etc/passwd web --json | jq '.layers[].name'

What starts with '/' is a path, everything else a package.")]
pub(super) struct Why {
    /// A path, or a package
    #[arg(value_name = "PATH|PACKAGE")]
    what: String,
    /// The image [default: the current one of --target]
    #[arg(required_unless_present = "target")]
    image: Option<String>,
    /// The target whose history says since when
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: Option<PathBuf>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    /// The path, with links on the way followed; none for a package.
    path: Option<RelPath>,
    /// The layers that changed it, the last one first.
    layers: Vec<ImageLayer>,
    package: Option<FoundPackage>,
    /// When the present build of its layer came to the target.
    since: Option<Since>,
}

#[derive(Debug, Clone, Serialize)]
struct FoundPackage {
    name: String,
    version: Option<String>,
    /// The layer that installed it.
    layer: Option<String>,
}

#[derive(Debug, Serialize)]
struct Since {
    generation: u64,
    when: i64,
    who: String,
    action: HistoryAction,
    /// The version of the layer before; none where the layer was new.
    before: Option<String>,
    reason: String,
}

impl Why {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.look("layerset why", LockMode::Shared)?;
        let target = self.target.as_ref().map(|root| context.target(root));
        let target = target.transpose()?;
        let image = match (&self.image, &target) {
            (Some(image), _) => repository.read_image(&repository.resolve_image(image)?)?,
            (None, Some(target)) => super::targets::current_image(target, &repository)?.1,
            (None, None) => return Err(CliError::usage("name an image, or a target")),
        };
        let mut answer = match self.what.starts_with('/') {
            true => self.path(&repository, &image)?,
            false => self.package(&repository, &image)?,
        };
        if let (Some(target), Some(layer)) = (&target, answer.layers.first()) {
            answer.since = since(&target.history()?, &layer.name);
        }
        context.ui.print_json(&answer)?;
        context.ui.print(&describe(&self.what, &answer));
        Ok(())
    }

    fn path(&self, repository: &Repository, image: &Image) -> Result<Answer, CliError> {
        let absent = || {
            CliError::new(
                format!("the image '{}' has no '{}'", image.name, self.what),
                error::FAILED,
            )
            .with_hint("paths below /var that are no image's own are made by the machine")
        };
        let path = RelPath::from_text(self.what.trim_matches('/')).map_err(|_| absent())?;
        let origin = origin_of(repository, image, &path)
            .map_err(|error| CliError::from_error(&error, error::FAILED))?;
        let PathOrigin {
            path,
            layers,
            package,
        } = origin.ok_or_else(absent)?;
        let package = match package {
            Some(name) => Some(
                find_package(repository, image, &name)?.unwrap_or(FoundPackage {
                    name,
                    version: None,
                    layer: None,
                }),
            ),
            None => None,
        };
        Ok(Answer {
            path: Some(path),
            layers,
            package,
            since: None,
        })
    }

    fn package(&self, repository: &Repository, image: &Image) -> Result<Answer, CliError> {
        let found = find_package(repository, image, &self.what)?.ok_or_else(|| {
            CliError::new(
                format!(
                    "no layer of the image '{}' installed '{}'",
                    image.name, self.what
                ),
                error::FAILED,
            )
            .with_hint("a path starts with '/'")
        })?;
        let mut layers = image.layers.clone();
        layers.retain(|layer| Some(&layer.name) == found.layer.as_ref());
        Ok(Answer {
            path: None,
            layers,
            package: Some(found),
            since: None,
        })
    }
}

/// Finds the layer that installed a package: the topmost, as it wins.
fn find_package(
    repository: &Repository,
    image: &Image,
    name: &str,
) -> Result<Option<FoundPackage>, CliError> {
    let name = name.split(':').next().unwrap_or(name);
    for layer in image.layers.iter().rev() {
        let manifest = repository.read_layer(&layer.id)?;
        if let Some(package) = manifest.packages.into_iter().find(|one| one.name == name) {
            return Ok(Some(FoundPackage {
                name: package.name,
                version: Some(package.version),
                layer: Some(layer.name.clone()),
            }));
        }
    }
    Ok(None)
}

/// Finds the last switch that changed a layer.
fn since(history: &History, layer: &str) -> Option<Since> {
    let mut records = history.records.iter().rev();
    records.find_map(|record| {
        let change = record.layers.iter().find(|change| change.name == layer)?;
        if !record.action.is_switch() || change.to.is_none() {
            return None;
        }
        Some(Since {
            generation: record.to?,
            when: record.when,
            who: record.who.clone(),
            action: record.action,
            before: change.from.clone(),
            reason: record.reason.clone(),
        })
    })
}

fn describe(what: &str, answer: &Answer) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<8} {value}\n"));
    match &answer.path {
        Some(path) if path.to_string() != what => row("path", format!("{what} is {path}")),
        Some(path) => row("path", path.to_string()),
        None => {}
    }
    for layer in &answer.layers {
        row(
            "layer",
            format!("{} {} {}", layer.name, layer.version, layer.id.short()),
        );
    }
    if answer.layers.is_empty() {
        row(
            "layer",
            "none: it is made when the layers are composed".to_owned(),
        );
    }
    match &answer.package {
        Some(package) => row(
            "package",
            format!(
                "{} {}",
                package.name,
                package
                    .version
                    .as_deref()
                    .unwrap_or("(no layer installed it)")
            ),
        ),
        None => row("package", "none".to_owned()),
    }
    if let Some(since) = &answer.since {
        let before = match &since.before {
            Some(before) => format!(", before that {before}"),
            None => String::new(),
        };
        row(
            "since",
            format!(
                "generation {}, {} by {}{before}",
                since.generation,
                rfc3339(since.when),
                since.who
            ),
        );
    }
    text
}
