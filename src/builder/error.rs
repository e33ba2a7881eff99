//! Why a build stopped, by what one can do about it.

use std::path::PathBuf;

use super::unclassified::UnclassifiedGroup;
use super::undeclared::UndeclaredSecret;
use crate::check::Finding;
use crate::compose::ComposeError;
use crate::durable::DurableError;
use crate::materialise::MaterialiseError;
use crate::path::{PathError, RelPath};
use crate::recipe::{AllocateError, RecipeError};
use crate::sandbox::SandboxError;
use crate::store::StoreError;
use crate::tree::TreeError;

/// Why a build stopped. Layers that were finished before are kept.
#[allow(missing_docs)] // Most fields are what their names say.
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
        layer: String,
        /// `installing packages`, or the script's name.
        step: String,
        source: Box<SandboxError>,
    },
    /// The layers below a script lack the program that runs it.
    #[error(
        "layer '{layer}': '{script}' is run by '{program}', which the layers below do not have"
    )]
    NoInterpreter {
        layer: String,
        script: String,
        program: String,
    },
    /// A program of the image that makes files from the rest of it failed.
    #[error("'{generator}' failed")]
    Generator {
        /// Its name in the table of generators.
        generator: String,
        source: Box<SandboxError>,
    },
    /// Programs of the image have to be run, which takes a sandbox.
    #[error("programs of the image cannot be run without root")]
    GeneratingNeedsRoot,
    /// The sandbox could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Files below `/var` that no rule classifies.
    #[error(
        "layer '{layer}' leaves files below /var that no rule classifies:{}",
        groups_listed(groups)
    )]
    Unclassified {
        layer: String,
        /// Whether the definition has rules already.
        has_rules: bool,
        groups: Vec<UnclassifiedGroup>,
    },
    /// Private keys or password hashes that nobody declared.
    #[error("layer '{layer}' holds {} undeclared secret{}:{}", found.len(), plural(found.len()), secrets_listed(found))]
    Secrets {
        layer: String,
        found: Vec<UndeclaredSecret>,
    },
    /// A layer that gives every machine the same identity.
    #[error("layer '{layer}' holds a fixed /etc/machine-id, which all machines would share")]
    MachineId { layer: String },
    /// A layer ships files to directories that each start of a machine makes anew.
    #[error("layer '{layer}' ships {} file{} that no machine would see:{}", paths.len(), plural(paths.len()), listed(paths))]
    Volatile { layer: String, paths: Vec<RelPath> },
    /// Files that only their owner reads, and that are not the same at each build.
    #[error("layer '{layer}' holds {} file{} that only the owner reads and that each build makes anew: a secret, until somebody says what it is:{}", paths.len(), plural(paths.len()), listed(paths))]
    RandomSecrets { layer: String, paths: Vec<RelPath> },
    /// The ids table has no room for a name.
    #[error("cannot number the accounts of a layer")]
    Ids { source: AllocateError },
    /// A source file of a layer cannot be read.
    #[error("cannot {verb} '{}'", path.display())]
    Source {
        verb: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A source file of a layer is something that layers do not hold.
    #[error("'{}' is {what}", path.display())]
    SourceKind { path: PathBuf, what: &'static str },
    /// A path in a definition cannot stand in an image.
    #[error(transparent)]
    Path { source: PathError },
    /// What a deriver reads could not be had.
    #[error("cannot read the files that the layer made")]
    View {
        source: crate::tree::view::ViewError,
    },
    /// The composed tree is no filesystem.
    #[error(transparent)]
    Tree { source: TreeError },
    /// The composed layers do not make a sound image.
    #[error("the layers do not make a sound image:{}", findings_listed(findings))]
    Refused { findings: Vec<Finding> },
    /// A layer breaks what the layers below it bring.
    #[error("layer '{layer}' breaks what is below it:{}", reasons_listed(findings))]
    Damage {
        layer: String,
        findings: Vec<Finding>,
    },
    /// Layers that are there do not hold on today's lower layers, and were not rebuilt.
    #[error("some layers must be rebuilt:{}", findings_listed(findings))]
    RebuildNeeded { findings: Vec<Finding> },
    /// Layers must be rebuilt, of other packages than the lock names.
    #[error(
        "some layers do not fit on today's lower layers with the packages of the lock:{}",
        findings_listed(findings)
    )]
    NeedsLock { findings: Vec<Finding> },
    /// Only one layer was to be built, and another one changed too.
    #[error("layer '{layer}' changed too: {reason}")]
    AnotherChanged { layer: String, reason: String },
    /// Building is for root: it mounts, and gives files their owners.
    #[error("layer '{layer}' cannot be built without root")]
    NeedsRoot {
        /// The first layer that had to be built.
        layer: String,
    },
    /// Root in a container that does not let it build.
    #[error("layer '{layer}' cannot be built here: root lacks {}", lacking.join(", "))]
    Unprivileged {
        layer: String,
        /// Names of capabilities.
        lacking: Vec<&'static str>,
    },
    /// The programs of the image do not run on this machine.
    #[error(
        "layer '{layer}' cannot be built here: programs of {architecture} do not run on this machine"
    )]
    ForeignPrograms { layer: String, architecture: String },
    /// A command needs a layer that is not there.
    #[error("layer '{layer}' is not built {what}")]
    NotBuilt {
        layer: String,
        recipe: PathBuf,
        what: &'static str,
    },
    /// The oracle is for root: it installs packages.
    #[error("the oracle cannot install packages without root")]
    OracleNeedsRoot,
    /// The oracle's allow-list is wrong.
    #[error(transparent)]
    Allow { source: super::oracle::AllowError },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Lists paths for a message. Twenty are enough to see the pattern.
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

fn secrets_listed(found: &[UndeclaredSecret]) -> String {
    listed_by(found, |one| {
        format!("{}: {}: {}", one.path, one.secret.place, one.secret.kind)
    })
}

/// Lists groups, each with its first files; all are in the JSON document.
fn groups_listed(groups: &[UnclassifiedGroup]) -> String {
    let mut text = String::new();
    for group in groups {
        let count = group.paths.len();
        let of = match group.packages.as_slice() {
            [] => "of no package".to_owned(),
            packages => format!("of {}", packages.join(", ")),
        };
        let files = plural(count);
        text.push_str(&format!(
            "\n  /{}  {count} file{files}, {of}",
            group.pattern
        ));
        for path in group.paths.iter().take(3) {
            if path.to_string() != format!("/{}", group.pattern) {
                text.push_str(&format!("\n    {path}"));
            }
        }
        if count > 3 {
            text.push_str(&format!("\n    … and {} more", count - 3));
        }
    }
    text
}

fn findings_listed(findings: &[Finding]) -> String {
    listed_by(findings, |finding| {
        format!("[{}] {}", finding.place(), finding.reason)
    })
}

/// Lists findings of one layer with their ids, which waivers name.
fn reasons_listed(findings: &[Finding]) -> String {
    listed_by(findings, |finding| {
        format!("{}\n    {}", finding.reason, finding.id)
    })
}

fn listed_by<T>(findings: &[T], line: impl Fn(&T) -> String) -> String {
    let lines = findings
        .iter()
        .take(20)
        .map(|finding| format!("\n  {}", line(finding)));
    let mut text: String = lines.collect();
    if findings.len() > 20 {
        text.push_str(&format!("\n  … and {} more", findings.len() - 20));
    }
    text
}
