//! Layer definitions as values: the content of `layers/<name>/layer.toml`, valid on its own.
//!
//! A base and a layer on top of others are different variants, so no [`Definition`] has both
//! `[bootstrap]` and `on`. What needs the folder beside the file or the other layers is checked by
//! [`Workspace`](super::Workspace).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::HealthCheck;
use crate::path::RelPath;
use crate::tree::Owner;

use super::lock::LayerLock;
use super::sources::ArchiveSection;
use super::state::StateRule;
use crate::glob::Glob;

/// One layer's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The layer's name: its folder's name.
    pub name: String,
    /// A sentence for people; never part of a build key.
    pub description: Option<String>,
    /// The version, where the author gives one; see [`Definition::effective_version`].
    pub version: Option<String>,
    /// What the layer is made of.
    pub content: LayerContent,
    /// Rules for files below `/var`, by pattern.
    pub state: Vec<StateRule>,
    /// Secrets that installation made and that first boot makes anew, by path.
    pub secrets: BTreeMap<RelPath, SecretRule>,
    /// What looks like a secret and is none, by pattern.
    pub allowed_secrets: Vec<AllowedSecret>,
    /// Checks after a switch, in the order given.
    pub health: Vec<HealthCheck>,
    /// Units to restart after a live switch, beyond those whose files changed.
    pub restart: Vec<String>,
    /// Whether a running machine may not take a change of it beneath its services.
    pub forbids_live: bool,
    /// Paths of lower layers whose change means that this layer is rebuilt.
    pub rebuild_when: Vec<Glob>,
}

/// What a layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerContent {
    /// The first layer of every recipe.
    Base(Bootstrap),
    /// A layer built on others.
    Upper(UpperLayer),
}

/// `[bootstrap]`: a base made by mmdebstrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The release, e.g. `trixie`.
    pub suite: String,
    /// The archive's components; `main` when not given.
    pub components: Vec<String>,
    /// The suites beside the release; both when not given.
    pub pockets: Vec<Pocket>,
    /// What is installed before `packages`.
    pub variant: BootstrapVariant,
    /// Packages to install beyond the variant's.
    pub packages: Vec<String>,
    /// `[[bootstrap.sources]]`: the archives; those that mmdebstrap knows for the suite when empty.
    pub sources: Vec<ArchiveSection>,
    /// Where files are looked for that left their archive.
    pub snapshots: Vec<String>,
}

/// A suite beside the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pocket {
    /// Stable updates: `trixie-updates`.
    Updates,
    /// Security updates: `trixie-security`.
    Security,
}

impl Bootstrap {
    /// Returns the suites to draw from, the plain one first.
    pub fn suites(&self) -> Vec<String> {
        let mut pockets = self.pockets.clone();
        pockets.sort_unstable();
        pockets.dedup();
        let with_pocket = pockets
            .iter()
            .map(|pocket| format!("{}-{}", self.suite, pocket.suffix()));
        std::iter::once(self.suite.clone())
            .chain(with_pocket)
            .collect()
    }
}

impl Pocket {
    /// Returns what follows the suite's name and a dash.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Updates => "updates",
            Self::Security => "security",
        }
    }

    /// Every pocket, with its text form.
    pub const ALL: [(&'static str, Self); 2] =
        [("updates", Self::Updates), ("security", Self::Security)];
}

/// The package set that mmdebstrap starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BootstrapVariant {
    /// Essential packages, and those of priority required.
    Minbase,
    /// Essential packages and apt.
    Apt,
    /// Essential packages.
    Essential,
}

impl BootstrapVariant {
    /// Every variant, with its text form.
    pub const ALL: [(&'static str, Self); 3] = [
        ("minbase", Self::Minbase),
        ("apt", Self::Apt),
        ("essential", Self::Essential),
    ];
}

/// A layer on top of others: at least one of packages, files and scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperLayer {
    /// The layers it is built on, never empty.
    pub on: Vec<String>,
    /// `[apt]`: packages to install first.
    pub apt: Option<AptSection>,
    /// `[files]`: files to copy next.
    pub files: Option<FilesSection>,
    /// `[run]`: scripts to run last.
    pub run: Option<RunSection>,
}

/// `[apt]`: packages from the base's archives, and from those of the layers that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSection {
    /// The packages asked for, never empty.
    pub packages: Vec<String>,
    /// Whether recommended packages come too.
    pub recommends: bool,
    /// `[[apt.sources]]`: further archives, for this layer and those on it.
    pub sources: Vec<ArchiveSection>,
    /// Where files are looked for that left their archive.
    pub snapshots: Vec<String>,
}

/// `[files]`: a folder beside `layer.toml` that is copied onto the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSection {
    /// The folder, relative to the layer's; `files` when not given.
    pub source: RelPath,
    /// Permission bits by path; elsewhere the x bit of the source decides between 0755 and 0644.
    pub mode: BTreeMap<RelPath, u16>,
    /// Owner and group by path; `root:root` elsewhere.
    pub owner: BTreeMap<RelPath, (Owner, Owner)>,
}

/// `[run]`: scripts that run in the sandbox, without network, after packages and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSection {
    /// The scripts in their order, relative to the layer's folder; never empty.
    pub scripts: Vec<RelPath>,
    /// Variables the scripts see.
    pub env: BTreeMap<String, String>,
    /// How long each script may run, in milliseconds; never part of a build key, for it changes no
    /// layer.
    pub timeout_ms: Option<u64>,
}

/// How a secret is made on first boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretRule {
    /// The shell command that makes it.
    pub run: String,
    /// Other files that the same command makes.
    pub also: Vec<RelPath>,
}

/// What looks like a secret and may be in the image: a key for tests that everybody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSecret {
    /// Where it is.
    pub paths: Glob,
    /// Why it may be there, for whoever looks at the image.
    pub reason: String,
}

impl Definition {
    /// Returns what the layer is directly built on; empty for a base.
    pub fn on(&self) -> &[String] {
        match &self.content {
            LayerContent::Base(_) => &[],
            LayerContent::Upper(upper) => &upper.on,
        }
    }

    /// Returns `[bootstrap]`, which exactly bases have.
    pub fn bootstrap(&self) -> Option<&Bootstrap> {
        match &self.content {
            LayerContent::Base(bootstrap) => Some(bootstrap),
            LayerContent::Upper(_) => None,
        }
    }

    /// Returns `[apt]`.
    pub fn apt(&self) -> Option<&AptSection> {
        self.upper().and_then(|upper| upper.apt.as_ref())
    }

    /// Returns `[files]`.
    pub fn files(&self) -> Option<&FilesSection> {
        self.upper().and_then(|upper| upper.files.as_ref())
    }

    /// Returns `[run]`.
    pub fn run(&self) -> Option<&RunSection> {
        self.upper().and_then(|upper| upper.run.as_ref())
    }

    /// Returns the packages named in the definition, of `[bootstrap]` or `[apt]`.
    pub fn packages(&self) -> &[String] {
        match &self.content {
            LayerContent::Base(bootstrap) => &bootstrap.packages,
            LayerContent::Upper(upper) => upper.apt.as_ref().map_or(&[], |apt| &apt.packages),
        }
    }

    /// Returns the archives that the definition names.
    pub fn sources(&self) -> &[ArchiveSection] {
        match &self.content {
            LayerContent::Base(bootstrap) => &bootstrap.sources,
            LayerContent::Upper(upper) => upper.apt.as_ref().map_or(&[], |apt| &apt.sources),
        }
    }

    /// Returns where files are looked for that left their archive.
    pub fn snapshots(&self) -> &[String] {
        match &self.content {
            LayerContent::Base(bootstrap) => &bootstrap.snapshots,
            LayerContent::Upper(upper) => upper.apt.as_ref().map_or(&[], |apt| &apt.snapshots),
        }
    }

    /// Returns the layer's version: the author's, else a base's suite, else that of the first
    /// package of `[apt]` in the lock; `None` when there is none of these.
    pub fn effective_version<'a>(&'a self, lock: Option<&'a LayerLock>) -> Option<&'a str> {
        if let Some(version) = &self.version {
            return Some(version);
        }
        match &self.content {
            LayerContent::Base(bootstrap) => Some(&bootstrap.suite),
            LayerContent::Upper(upper) => {
                let first = upper.apt.as_ref()?.packages.first()?;
                let first = first.split(['=', '/']).next().unwrap_or(first);
                lock?.package(first).map(|package| package.version.as_str())
            }
        }
    }

    fn upper(&self) -> Option<&UpperLayer> {
        match &self.content {
            LayerContent::Base(_) => None,
            LayerContent::Upper(upper) => Some(upper),
        }
    }
}
