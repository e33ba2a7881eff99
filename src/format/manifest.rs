//! Layer and image manifests: what people read, `jq` and sign.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::sweep::Sweep;
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
    /// What looks like a secret and is in the layer all the same, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub public_secrets: BTreeMap<RelPath, PublicSecret>,
    /// Checks after a switch.
    pub health: Health,
    /// Units to restart when this layer changes.
    pub restart: Vec<String>,
    /// Whether a running machine may not take a change of it beneath its services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forbids_live: bool,
    /// Paths in lower layers whose change means rebuild.
    pub rebuild: RebuildRule,
    /// What its build did to all that directories of the layers below held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<Sweep>,
    /// What its definition ships in the place of files and links of the layers below: the contents
    /// of a file, or the digest of a link's target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shipped: BTreeMap<RelPath, ObjectId>,
    /// Its baseline, in layers that layerset 0.1 built. Today it lies beside the manifest, for what
    /// a layer is does not depend on what the checks of a day say about it: see
    /// [`encode_baseline`](super::encode_baseline).
    #[serde(default, skip_serializing_if = "Baseline::is_absent")]
    pub baseline: Baseline,
}

#[cfg(test)]
impl Layer {
    /// A layer that nothing is known of but its name and what it was built on.
    pub(crate) fn bare(name: &str, on: impl IntoIterator<Item = ImageLayer>) -> Self {
        Self {
            format: 1,
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            changeset: TreeId::of(b""),
            pre_images: Vec::new(),
            build: BuildFacts {
                key: BuildKey::of(b""),
                on: on.into_iter().collect(),
                epoch: 0,
                builder: 0,
            },
            packages: Vec::new(),
            first_boot: BTreeMap::new(),
            public_secrets: BTreeMap::new(),
            health: Health::default(),
            restart: Vec::new(),
            forbids_live: false,
            rebuild: RebuildRule::default(),
            sweeps: Vec::new(),
            shipped: BTreeMap::new(),
            baseline: Baseline::default(),
        }
    }
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

/// A key or password that everybody may have, such as one for tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicSecret {
    /// What it is, in words.
    pub kind: String,
    /// Why it may be there, as the layer's definition says.
    pub reason: String,
}

/// Health checks of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The checks, in the order of the definition.
    pub checks: Vec<HealthCheck>,
}

/// A check that must pass after a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenCheck", into = "WrittenCheck")]
pub struct HealthCheck {
    /// The name in messages and history; never empty.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// How long it may take to become true, in milliseconds.
    pub timeout_ms: u64,
}

/// What a health check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// A shell command exits with status 0.
    Run(String),
    /// A systemd unit is active.
    Unit(String),
    /// A page answers with a status of 2xx or 3xx, and holds the expected text.
    Http {
        /// The address, always `http://`.
        url: String,
        /// The text its body must hold.
        expect: Option<String>,
    },
    /// Something takes connections at `HOST:PORT`.
    Tcp(String),
    /// A file is there, at this absolute path.
    File(String),
    /// Another machine answers: `HOST:PORT`, be it with a refusal, or `gateway`.
    Reachable(String),
}

/// A health check as manifests spell it: flat, with an empty text where there is none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCheck {
    name: String,
    kind: String,
    argument: String,
    expect: String,
    timeout_ms: u64,
}

impl From<HealthCheck> for WrittenCheck {
    fn from(check: HealthCheck) -> Self {
        let (kind, argument, expect) = match check.probe {
            Probe::Run(command) => ("run", command, String::new()),
            Probe::Unit(unit) => ("unit", unit, String::new()),
            Probe::Http { url, expect } => ("http", url, expect.unwrap_or_default()),
            Probe::Tcp(address) => ("tcp", address, String::new()),
            Probe::File(path) => ("file", path, String::new()),
            Probe::Reachable(whom) => ("reachable", whom, String::new()),
        };
        Self {
            name: check.name,
            kind: kind.to_owned(),
            argument,
            expect,
            timeout_ms: check.timeout_ms,
        }
    }
}

impl TryFrom<WrittenCheck> for HealthCheck {
    type Error = String;

    fn try_from(written: WrittenCheck) -> Result<Self, String> {
        let expect = Some(written.expect).filter(|text| !text.is_empty());
        let probe = match (written.kind.as_str(), expect) {
            ("run", None) => Probe::Run(written.argument),
            ("unit", None) => Probe::Unit(written.argument),
            ("http", expect) => Probe::Http {
                url: written.argument,
                expect,
            },
            ("tcp", None) => Probe::Tcp(written.argument),
            ("file", None) => Probe::File(written.argument),
            ("reachable", None) => Probe::Reachable(written.argument),
            ("run" | "unit" | "tcp" | "file" | "reachable", Some(_)) => {
                return Err(format!(
                    "health check '{}' expects a text, but its kind has none",
                    written.name
                ));
            }
            (kind, _) => return Err(format!("unknown kind of health check '{kind}'")),
        };
        Ok(Self {
            name: written.name,
            probe,
            timeout_ms: written.timeout_ms,
        })
    }
}

/// When lower layers force a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildRule {
    /// Path globs.
    pub when: Vec<String>,
}

/// An image: ordered layers and the tree that they compose to. Its id is the digest of its
/// canonical JSON.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::{from_canonical_json, to_canonical_json};

    fn written(kind: &str, argument: &str, expect: &str) -> String {
        format!(
            "{{\n  \"argument\": \"{argument}\",\n  \"expect\": \"{expect}\",\n  \"kind\": \"{kind}\",\n  \
             \"name\": \"x\",\n  \"timeout_ms\": 500\n}}\n"
        )
    }

    #[test]
    fn a_health_check_is_spelt_as_layers_of_earlier_versions_spell_it() {
        let page = |expect: Option<&str>| Probe::Http {
            url: "http://a/".to_owned(),
            expect: expect.map(str::to_owned),
        };
        let cases = [
            (Probe::Run("true".to_owned()), written("run", "true", "")),
            (
                Probe::Unit("a.service".to_owned()),
                written("unit", "a.service", ""),
            ),
            (page(None), written("http", "http://a/", "")),
            (page(Some("works")), written("http", "http://a/", "works")),
            (
                Probe::Tcp("localhost:22".to_owned()),
                written("tcp", "localhost:22", ""),
            ),
            (
                Probe::File("/run/x".to_owned()),
                written("file", "/run/x", ""),
            ),
            (
                Probe::Reachable("gateway".to_owned()),
                written("reachable", "gateway", ""),
            ),
        ];
        for (probe, text) in cases {
            let check = HealthCheck {
                name: "x".to_owned(),
                probe,
                timeout_ms: 500,
            };
            let bytes = to_canonical_json("layer", &check).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
            let read: HealthCheck = from_canonical_json("layer", text.as_bytes()).unwrap();
            assert_eq!(read, check);
        }
        for (kind, expect) in [("run", "works"), ("unit", "works"), ("ping", "")] {
            let text = written(kind, "a", expect);
            assert!(from_canonical_json::<HealthCheck>("layer", text.as_bytes()).is_err());
        }
    }
}
