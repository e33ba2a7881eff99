//! What can go wrong with packages, by what the caller can do about it.

use super::package::Sha256;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Describes a package of a lower layer that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPackage {
    /// The layer being resolved.
    pub layer: String,
    /// What it needs, as in `needs libssl3t64 (>= 3.5.4) (for nginx)`.
    pub need: String,
    /// The lower layer.
    pub holder: String,
    /// The version it holds.
    pub held: String,
    /// Whether the archives offer a solution once lower packages may move.
    pub movable: bool,
    /// A specification with an older version that needs no move, where there is one.
    pub fitting: Option<String>,
}

impl HeldPackage {
    /// Says what stands in the way.
    pub fn in_the_way(&self) -> String {
        let Self {
            layer,
            need,
            holder,
            held,
            ..
        } = self;
        format!("layer '{layer}' {need}, but layer '{holder}' holds {held}")
    }

    /// Says what would help, where something would.
    pub fn ways(&self) -> Vec<String> {
        let holder = &self.holder;
        let moved = self
            .movable
            .then(|| format!("lock --update {holder} would allow it"));
        let fitting = self
            .fitting
            .as_ref()
            .map(|f| format!("'{f}' fits as it is"));
        moved.into_iter().chain(fitting).collect()
    }
}

impl fmt::Display for HeldPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_the_way())?;
        match self.ways() {
            ways if ways.is_empty() => Ok(()),
            ways => write!(f, ": {}", ways.join(", ")),
        }
    }
}

/// Describes an archive that apt does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedArchive {
    /// Where people wrote it down; empty for the default archives.
    pub place: String,
    /// Its address and suite.
    pub archive: String,
    /// `is …`, `has …`: completes a sentence that starts with the archive.
    pub reason: String,
    /// What may help.
    pub cure: String,
}

impl fmt::Display for RefusedArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "the archive '{}' {}", self.archive, self.reason)
    }
}

/// Describes a failure of the package side of a build.
#[allow(missing_docs)] // Most fields are what their names say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AptError {
    /// Reports a failed file operation.
    #[error("cannot {action} '{path}'")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Reports a tool that could not be started, mostly because it is not installed.
    #[error("cannot start '{program}'")]
    Spawn { program: String, source: io::Error },
    /// Reports a tool that failed for a reason which is its own to explain.
    #[error("'{command}' failed: {reason}")]
    Tool { command: String, reason: String },
    /// Reports output or a file that does not have the form it must have.
    #[error("unexpected content in {place}: {detail}")]
    Malformed { place: String, detail: String },
    /// Reports a sources file that cannot be understood.
    #[error("sources file '{path}', line {line}: {detail}")]
    BadSources {
        path: PathBuf,
        line: usize,
        detail: String,
    },
    /// Reports an archive whose indexes apt does not take.
    #[error("{0}")]
    Refused(Box<RefusedArchive>),
    /// Reports that no archive offers what the base asks for.
    #[error("no archive source for '{wanted}'")]
    NoSource {
        /// The suite, or suite and pocket.
        wanted: String,
    },
    /// Reports a suite that no archive has.
    #[error("no archive has the suite '{suite}'{}", did_you_mean(.suggestion.as_deref()))]
    UnknownSuite {
        suite: String,
        suggestion: Option<String>,
    },
    /// Reports a component that no archive of the base has.
    #[error("no archive has the component '{component}'{}", did_you_mean(.suggestion.as_deref()))]
    UnknownComponent {
        component: String,
        suggestion: Option<String>,
        /// Those that the archives have.
        known: Vec<String>,
    },
    /// Reports a package specification that is not of the form `name[:arch][=version|/suite]`.
    #[error("layer '{layer}': '{name}' is not a package name")]
    BadName {
        /// The layer whose list it is in.
        layer: String,
        name: String,
    },
    /// Reports a name that no archive knows.
    #[error("layer '{layer}': no package '{name}' in {place}{}", did_you_mean(.suggestion.as_deref()))]
    UnknownPackage {
        layer: String,
        name: String,
        /// Suite and components.
        place: String,
        suggestion: Option<String>,
    },
    /// Reports a name that several others provide.
    #[error("layer '{layer}': '{name}' is provided by several packages; name one of them: {}", list(.providers))]
    Virtual {
        layer: String,
        name: String,
        providers: Vec<String>,
    },
    /// Reports a version or suite that the archives do not offer for a known package.
    #[error("layer '{layer}': no version '{wanted}' of '{name}' (there is {})", list(.available))]
    NoVersion {
        layer: String,
        name: String,
        /// The version or suite asked for.
        wanted: String,
        available: Vec<String>,
    },
    /// Reports that a package of a lower layer would have to move.
    #[error("{0}")]
    Held(Box<HeldPackage>),
    /// Reports a set that apt cannot install, with apt's reason.
    #[error("the packages of layer '{layer}' cannot be installed together:{}", lines(.reason))]
    Unsolvable {
        layer: String,
        /// What apt says, separated by `; `.
        reason: String,
    },
    /// Reports a package file whose content is not what the lock says.
    #[error("package '{package}' at '{path}' has sha256 {found}, the lock says {expected}")]
    HashMismatch {
        package: String,
        expected: Sha256,
        found: Sha256,
        path: PathBuf,
    },
    /// Reports a locked package that its archive no longer has.
    #[error("the archive '{archive}' no longer has {}: lock the layer again", list(.packages))]
    Gone {
        archive: String,
        packages: Vec<String>,
    },
    /// Reports a locked package from an archive that the sources do not name.
    #[error("no source for the archive '{archive}' of {package} (the sources offer {})", list(.known))]
    UnknownArchive {
        archive: String,
        package: String,
        /// Labels that the sources have.
        known: Vec<String>,
    },
    /// Reports a download that failed and may succeed later.
    #[error("cannot download {packages} packages: {reason}")]
    Download { packages: usize, reason: String },
    /// Reports a package that is needed offline and was never fetched.
    #[error("package '{package}' is not in the cache at '{path}'")]
    NotCached {
        package: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// Reports a failed bootstrap.
    #[error("bootstrap of '{root}' failed, log at '{log}': {reason}")]
    Bootstrap {
        /// The directory that was to become the root.
        root: PathBuf,
        log: PathBuf,
        reason: String,
    },
    /// Reports an installed set that is not the locked one.
    #[error("'{root}' does not have exactly the locked packages: {}", list(.differences))]
    NotAsLocked {
        root: PathBuf,
        /// One line per package.
        differences: Vec<String>,
    },
}

impl AptError {
    /// Makes the mapping from an I/O error on `path` while doing `action`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Sets each of apt's reasons on a line of its own.
fn lines(reason: &str) -> String {
    let lines = reason.split("; ").map(|line| format!("\n  {line}"));
    lines.collect()
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |s| format!(" (did you mean '{s}'?)"))
}

fn list(items: &[String]) -> String {
    const SHOWN: usize = 12;
    match items.len() {
        0 => "nothing".to_owned(),
        n if n > SHOWN => format!("{} and {} more", items[..SHOWN].join(", "), n - SHOWN),
        _ => items.join(", "),
    }
}
