//! Layer and image manifests: what people read, `jq` and sign.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Baseline;
use crate::id::{BuildKey, LayerId, ObjectId, TreeId};
use crate::path::RelPath;
use crate::time::Date;

/// A layer: a changeset with its facts. Its id is the digest of its canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Format version of this manifest: 1.
    pub format: u32,
    /// The layer's name.
    pub name: String,
    /// The layer's version, for people.
    pub version: String,
    /// Debian's name of the architecture: `amd64`, `arm64` …
    pub architecture: String,
    /// The changeset.
    pub changeset: TreeId,
    /// Pre-image objects that a driver or the text merge may need; kept with the layer.
    pub pre_images: Vec<ObjectId>,
    /// How it was made.
    pub build: BuildFacts,
    /// The packages that this layer installed, sorted by name and architecture.
    pub packages: Vec<LayerPackage>,
    /// Work left for the first boot, by the path that it makes.
    pub first_boot: BTreeMap<RelPath, FirstBoot>,
    /// Checks after a switch.
    pub health: Health,
    /// Units to restart when this layer changes.
    pub restart: Vec<String>,
    /// Paths in lower layers whose change means rebuild.
    pub rebuild: RebuildRule,
    /// Its baseline, in layers that layerset 0.1 built. Today it lies beside the manifest, for what
    /// a layer is does not depend on what the checks of a day say about it: see
    /// [`encode_baseline`](super::encode_baseline).
    #[serde(default, skip_serializing_if = "Baseline::is_absent")]
    pub baseline: Baseline,
}

impl Layer {
    /// Returns the layer as images and baselines name it.
    pub fn named(&self, id: LayerId) -> ImageLayer {
        ImageLayer {
            name: self.name.clone(),
            id,
            version: self.version.clone(),
        }
    }
}

/// What went into a build besides the definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildFacts {
    /// The build key.
    pub key: BuildKey,
    /// The layers that it was built on, lowest first.
    pub on: Vec<ImageLayer>,
    /// The source-date-epoch, in seconds since 1970.
    pub epoch: i64,
    /// Version of the builder's rules; a change of capture or classification raises it.
    pub builder: u32,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPackage {
    /// Binary package name.
    pub name: String,
    /// Architecture, `all` included.
    pub architecture: String,
    /// Debian version.
    pub version: String,
    /// SHA-256 of the `.deb`, 64 hex digits.
    pub sha256: String,
}

/// How a secret or machine-specific file is made on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstBoot {
    /// The shell command, run as root when the path is missing.
    pub run: String,
    /// Further paths that the command makes.
    pub also: Vec<RelPath>,
}

/// Health checks of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The checks, in the order of the definition.
    pub checks: Vec<HealthCheck>,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What the check is called in messages.
    pub name: String,
    /// A shell command, a systemd unit or an HTTP address, by `kind`.
    pub kind: String,
    /// The command, unit or address.
    pub argument: String,
    /// Text that the answer must hold; empty for any.
    pub expect: String,
    /// How long it may take to become true, in milliseconds.
    pub timeout_ms: u64,
}

/// When lower layers force a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildRule {
    /// Path globs.
    pub when: Vec<String>,
}

/// An image: ordered layers and the tree that they compose to. Its id is the digest of its canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Format version of this manifest: 1.
    pub format: u32,
    /// The recipe's name.
    pub name: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The composed tree, derived files included.
    pub tree: TreeId,
    /// Size of all regular files, in bytes.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
    /// How many deployments targets keep, pinned ones aside, unless told otherwise.
    pub keep: u32,
    /// Findings that somebody accepted.
    pub waivers: Vec<Waiver>,
}

/// A layer within an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLayer {
    /// The layer's name.
    pub name: String,
    /// Its id.
    pub id: LayerId,
    /// Its version, for people.
    pub version: String,
}

/// One accepted finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The finding's id.
    pub finding: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is accepted.
    pub expires: Date,
}
