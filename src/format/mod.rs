//! Canonical bytes: the only place that reads untrusted bytes, and the only one that writes what
//! ids are made of.
//!
//! Trees and changesets are GVariant in normal form, little-endian ([`encode_tree`],
//! [`decode_tree`]); manifests are canonical JSON ([`to_canonical_json`], [`from_canonical_json`]).
//! A reader accepts exactly the bytes that the writer makes of the same value, so one value has one
//! identity. Each binary format has a text twin ([`dump_tree`], [`parse_tree`],
//! [`dump_changeset`]).

mod baseline;
pub mod delta;
mod error;
mod gv;
mod head;
mod json;
mod manifest;
pub mod pack;
pub mod release;
mod sweep;
mod text;

pub use baseline::{Baseline, BaselineOf, DerivedFile, Origin, decode_baseline, encode_baseline};
pub use error::FormatError;
pub use gv::{decode_changed_files, decode_changeset, decode_tree, encode_changeset, encode_tree};
pub use head::{HeadContents, MAX_HEAD_BYTES, decode_head, encode_head};
pub use json::{from_canonical_json, to_canonical_json};
pub use manifest::{
    BuildFacts, FirstBoot, Health, HealthCheck, Image, ImageLayer, Layer, LayerPackage, Probe,
    PublicSecret, RebuildRule, Waiver,
};
pub use sweep::{Sweep, Swept};
pub use text::{dump_changeset, dump_tree, parse_tree};
