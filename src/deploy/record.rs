//! What is known of one deployment: `deployment.json`, `image.json` and the flags beside them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DeployError;
use crate::format::{self, Image};
use crate::id::{ImageId, TreeId};
use crate::path::RelPath;

/// The version of `deployment.json` that this program reads and writes.
pub(super) const FORMAT: u32 = 1;

/// How a deployment's tree is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentKind {
    /// A metadata image over the object directory, mounted read-only.
    Composefs,
    /// Plain files.
    Copy,
}

/// How `etc` and `var` come into a deployment's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinMethod {
    /// By bind mounts.
    Bind,
    /// By symbolic links, where mounting is not allowed.
    Symlink,
}

/// Where a deployment's `/etc` came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcOrigin {
    /// The deployment whose `/etc` was merged.
    pub generation: u64,
    /// Changes whenever anything in that `/etc` does.
    pub stamp: String,
}

/// The facts of a deployment, fixed when it is staged; the presence of this file makes the
/// deployment complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Version of this file: 1.
    pub format: u32,
    /// Its number; numbers are never used twice.
    pub generation: u64,
    /// The image.
    pub image: ImageId,
    /// When it was staged, in seconds since 1970.
    pub created: i64,
    /// How its tree is on disk.
    pub kind: DeploymentKind,
    /// Why it is a copy, when it was meant to be mounted.
    pub kind_reason: Option<String>,
    /// How `etc` and `var` come into its root.
    pub join: JoinMethod,
    /// Whether the image has a directory `etc`.
    pub has_etc: bool,
    /// The image's own `etc`, kept as `etc.tree` for the next merge.
    pub etc_tree: TreeId,
    /// Whether the image has a directory `var`.
    pub has_var: bool,
    /// The deployment that `etc` was merged from; `None` when it is the image's own.
    pub etc_origin: Option<EtcOrigin>,
    /// Directories of `var-new` that go to the shared state whole or not at all.
    pub var_units: Vec<RelPath>,
    /// What changes places with what the shared state has: see `var-taken`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub var_taken: Vec<RelPath>,
    /// The deployments whose `var_taken` the shared state shows while this one is current.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub var_takes: Vec<u64>,
    /// BLAKE3 of `meta.erofs`, 64 hex digits.
    pub metadata: Option<String>,
}

/// A deployment's directory and its facts.
#[derive(Debug, Clone)]
pub(super) struct DeploymentDir {
    pub(super) dir: PathBuf,
    pub(super) facts: Deployment,
}

impl DeploymentDir {
    /// Reads the deployment in `dir`, which must be complete.
    pub(super) fn load(dir: PathBuf, generation: u64) -> Result<Self, DeployError> {
        let path = dir.join("deployment.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !dir.exists() => {
                return Err(DeployError::NoSuchDeployment { generation });
            }
            Err(error) => return Err(DeployError::io("read", &path, error)),
        };
        let damaged = |reason: String| DeployError::Damaged {
            path: path.clone(),
            reason,
        };
        let facts: Deployment =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if facts.format != FORMAT {
            return Err(damaged(format!("it has format {}", facts.format)));
        }
        if facts.generation != generation {
            return Err(damaged(format!("it says deployment {}", facts.generation)));
        }
        Ok(Self { dir, facts })
    }

    /// Reads the image's manifest, and checks it against the image's id.
    pub(super) fn image(&self) -> Result<Image, DeployError> {
        let path = self.dir.join("image.json");
        let bytes = std::fs::read(&path).map_err(|error| DeployError::io("read", &path, error))?;
        let damaged = |reason: String| DeployError::Damaged {
            path: path.clone(),
            reason,
        };
        let id = ImageId::of(&bytes);
        if id != self.facts.image {
            return Err(damaged(format!("its digest is {id}")));
        }
        format::from_canonical_json("image", &bytes).map_err(|error| damaged(error.to_string()))
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub(super) fn etc(&self) -> PathBuf {
        self.dir.join("etc")
    }

    /// Says whether the deployment must never be pruned.
    pub(super) fn is_pinned(&self) -> bool {
        self.dir.join("pinned").exists()
    }

    /// Returns why the deployment is marked bad, if it is.
    pub(super) fn bad(&self) -> Option<String> {
        bad_reason(&self.dir)
    }
}

fn bad_reason(dir: &Path) -> Option<String> {
    match std::fs::read_to_string(dir.join("bad")) {
        Ok(text) => Some(text.trim_end().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        // A mark that cannot be read is still a mark.
        Err(error) => Some(format!("the mark cannot be read: {error}")),
    }
}
