//! Why a build stopped, by what one can do about it.

use std::path::PathBuf;

use crate::check::Finding;
use crate::compose::ComposeError;
use crate::durable::DurableError;
use crate::materialise::MaterialiseError;
use crate::path::{PathError, RelPath};
use crate::recipe::{AllocateError, RecipeError};
use crate::sandbox::SandboxError;
use crate::store::StoreError;
use crate::tree::TreeError;

/// A build that stopped; what was built before is kept.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe, a definition, the lock or the ids table is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Packages could not be resolved, fetched or installed.
    #[error(transparent)]
    Apt(#[from] crate::apt::AptError),
    /// The repository refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lower layers could not be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A tree could not be written, mounted or read.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// A file could not be replaced.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Something that ran in the sandbox failed.
    #[error("layer '{layer}': {step} failed")]
    Step {
        /// The layer.
        layer: String,
        /// `installing packages`, or the script's name.
        step: String,
        /// What the sandbox saw.
        source: Box<SandboxError>,
    },
    /// A program of the image that makes files from the rest of it failed.
    #[error("'{generator}' failed")]
    Generator {
        /// Its name in the table of generators.
        generator: String,
        /// What the sandbox saw.
        source: Box<SandboxError>,
    },
    /// Programs of the image have to be run, which takes a sandbox.
    #[error("programs of the image cannot be run without root")]
    GeneratingNeedsRoot,
    /// The sandbox could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Files below `/var` that no rule classifies.
    #[error("layer '{layer}' leaves {} file{} below /var that no rule classifies:{}", paths.len(), plural(paths.len()), listed(paths))]
    Unclassified {
        /// The layer.
        layer: String,
        /// The files.
        paths: Vec<RelPath>,
    },
    /// Private keys or password hashes that nobody declared.
    #[error("layer '{layer}' holds {} undeclared secret{}:{}", paths.len(), plural(paths.len()), listed(paths))]
    Secrets {
        /// The layer.
        layer: String,
        /// The files.
        paths: Vec<RelPath>,
    },
    /// The ids table has no room for a name.
    #[error("cannot number the accounts of a layer")]
    Ids {
        /// Why.
        source: AllocateError,
    },
    /// A source file of a layer cannot be read.
    #[error("cannot {verb} '{}'", path.display())]
    Source {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A source file of a layer is something that layers do not hold.
    #[error("'{}' is {what}", path.display())]
    SourceKind {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A path in a definition cannot stand in an image.
    #[error(transparent)]
    Path {
        /// Why.
        source: PathError,
    },
    /// What a deriver reads could not be had.
    #[error("cannot look at what the layer made")]
    View {
        /// Why.
        source: crate::tree::view::ViewError,
    },
    /// The composed tree is no filesystem.
    #[error(transparent)]
    Tree {
        /// Why.
        source: TreeError,
    },
    /// The composed layers do not make a sound image.
    #[error("the layers do not make a sound image:{}", findings_listed(findings))]
    Refused {
        /// What the checks found.
        findings: Vec<Finding>,
    },
    /// Layers that are there do not hold on today's lower layers, and were not rebuilt.
    #[error("some layers must be rebuilt:{}", findings_listed(findings))]
    RebuildNeeded {
        /// What the checks found.
        findings: Vec<Finding>,
    },
    /// Layers must be rebuilt, of other packages than the lock names.
    #[error(
        "some layers do not fit on today's lower layers with the packages of the lock:{}",
        findings_listed(findings)
    )]
    NeedsLock {
        /// What the checks found.
        findings: Vec<Finding>,
    },
    /// Only one layer was to be built, and another one changed too.
    #[error("layer '{layer}' changed too: {reason}")]
    AnotherChanged {
        /// The other layer.
        layer: String,
        /// What changed.
        reason: String,
    },
    /// Building is for root: it mounts, and gives files their owners.
    #[error("layer '{layer}' cannot be built without root")]
    NeedsRoot {
        /// The first layer that had to be built.
        layer: String,
    },
    /// A command needs a layer that is not there.
    #[error("layer '{layer}' is not built {what}")]
    NotBuilt {
        /// The layer.
        layer: String,
        /// The recipe.
        recipe: PathBuf,
        /// For or from what.
        what: &'static str,
    },
    /// The oracle is for root: it installs packages.
    #[error("the oracle cannot install packages without root")]
    OracleNeedsRoot,
    /// The oracle's allow-list is wrong.
    #[error(transparent)]
    Allow {
        /// Why.
        source: super::oracle::AllowError,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Lists paths for a message: twenty say enough, and a pattern for the rest is found by looking at them.
fn listed(paths: &[RelPath]) -> String {
    let mut text: String = paths
        .iter()
        .take(20)
        .map(|path| format!("\n  {path}"))
        .collect();
    if paths.len() > 20 {
        text.push_str(&format!("\n  … and {} more", paths.len() - 20));
    }
    text
}

fn findings_listed(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .take(20)
        .map(|finding| format!("\n  [{}] {}", finding.place(), finding.reason));
    let mut text: String = lines.collect();
    if findings.len() > 20 {
        text.push_str(&format!("\n  … and {} more", findings.len() - 20));
    }
    text
}

impl BuildError {
    /// Says what to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unclassified { layer, paths } => {
                let dir = paths.first()?.parent()?;
                let dir = dir.to_string();
                Some(format!(
                    "add to layers/{layer}/layer.toml:\n  [state]\n  \"{}\" = \"factory\"   # copied once to a machine's /var; \
                     \"image\" if it changes with the image, \"drop\" if each machine makes its own, as databases should",
                    dir.trim_start_matches('/')
                ))
            }
            Self::Secrets { paths, .. } if paths.iter().any(|path| path.as_bytes() == b"etc/shadow") => Some(
                "an image must not hold a password: lock it in a script (`passwd --lock USER`), and set it on each machine"
                    .to_owned(),
            ),
            Self::Secrets { layer, paths } => {
                let path = paths.first()?.to_string();
                Some(format!(
                    "remove it in a script, or declare in layers/{layer}/layer.toml how each machine makes its own:\n  \
                     [secrets]\n  \"{}\" = {{ run = \"…\" }}",
                    path.trim_start_matches('/')
                ))
            }
            Self::NeedsLock { findings } => {
                let mut layers: Vec<&str> = Vec::new();
                for finding in findings.iter().filter(|finding| finding.needs_lock()) {
                    if !layers.contains(&finding.layer.as_str()) {
                        layers.push(&finding.layer);
                    }
                }
                let options: Vec<String> = layers.iter().map(|layer| format!("--update {layer}")).collect();
                Some(format!(
                    "run `layerset lock RECIPE {}`, then build again",
                    options.join(" ")
                ))
            }
            Self::Refused { findings } | Self::RebuildNeeded { findings } => findings.first().map(|finding| finding.hint.clone()),
            Self::AnotherChanged { layer, .. } => Some(format!(
                "update '{layer}' first, or run `layerset build` and `layerset deploy` to take all changes"
            )),
            Self::Step { source, .. } | Self::Generator { source, .. } => source.hint(),
            Self::GeneratingNeedsRoot => Some(
                "run `layerset build` as root once: what they make is kept until what they make it from changes".to_owned(),
            ),
            Self::Compose(ComposeError::Generate(error)) => error.hint.clone(),
            Self::Sandbox(source) => source.hint(),
            Self::Apt(error) => error.hint(),
            Self::NeedsRoot { .. } => Some(
                "run `layerset build` as root; `layerset lock`, and a build in which all layers are kept, need no root".to_owned(),
            ),
            Self::NotBuilt { recipe, .. } => {
                Some(format!("run `layerset build {}` first", recipe.display()))
            }
            Self::OracleNeedsRoot => Some("run it as root, as `layerset build`".to_owned()),
            Self::Durable(DurableError::Full { .. }) | Self::Store(StoreError::TooSmall { .. }) => {
                Some("free some space, or run `layerset gc` to remove what no image and no deployment needs".to_owned())
            }
            _ => None,
        }
    }
}
