//! Canonical bytes: the only place that reads untrusted bytes, and the only one that writes what ids are made of.
//!
//! Trees and changesets are GVariant in normal form, little-endian ([`encode_tree`], [`decode_tree`]); manifests are
//! canonical JSON ([`to_canonical_json`], [`from_canonical_json`]). A reader accepts exactly the bytes that the writer
//! makes of the same value, so one value has one identity. Each binary format has a text twin ([`dump_tree`],
//! [`parse_tree`], [`dump_changeset`]).

mod baseline;
pub mod delta;
mod gv;
mod head;
mod json;
mod manifest;
pub mod pack;
pub mod release;
mod text;

pub use baseline::{Baseline, decode_baseline, encode_baseline};
pub use gv::{decode_changeset, decode_tree, encode_changeset, encode_tree};
pub use head::{HeadContents, MAX_HEAD_BYTES, decode_head, encode_head};
pub use json::{from_canonical_json, to_canonical_json};
pub use manifest::{
    BuildFacts, FirstBoot, Health, HealthCheck, Image, ImageLayer, Layer, LayerPackage, Probe,
    RebuildRule, Waiver,
};
pub use text::{dump_changeset, dump_tree, parse_tree};

/// Why some bytes are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are no canonical tree or changeset.
    #[error("not a canonical {what}: {reason}")]
    Binary {
        /// `tree` or `changeset`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are no canonical manifest.
    #[error("not a canonical {what} manifest: {reason}")]
    Manifest {
        /// `layer`, `image` or `baseline`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A line of a text twin does not parse.
    #[error("line {line}: {reason}")]
    Text {
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}
