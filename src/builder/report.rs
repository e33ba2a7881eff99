//! What a build did, for people and for programs.

use serde::Serialize;

use crate::check::Finding;
use crate::id::{ImageId, LayerId};

/// What became of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerAction {
    /// It was there already.
    Kept,
    /// It was built.
    Built,
}

/// What a build did with one layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// The layer's name.
    pub name: String,
    /// Its id.
    pub id: LayerId,
    /// Its version.
    pub version: String,
    /// What became of it.
    pub action: LayerAction,
    /// Why.
    pub reason: String,
    /// The findings that caused the build, if any did.
    pub findings: Vec<Finding>,
    /// Seconds that it took.
    pub seconds: f64,
    /// Bytes written to the repository for it.
    pub bytes_written: u64,
    /// What the build of it met that somebody should know, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a build did.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// The recipe's name.
    pub recipe: String,
    /// The image.
    pub image: ImageId,
    /// Whether the image differs from the one before.
    pub changed: bool,
    /// The layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// What the checks found. None of it refuses the image.
    pub findings: Vec<Finding>,
    /// Names that were added to the ids table.
    pub new_ids: Vec<String>,
    /// Seconds in all.
    pub seconds: f64,
    /// Bytes written for the composed image, besides its layers.
    pub image_bytes_written: u64,
}
