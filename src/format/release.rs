//! What is signed: releases of layers and images, and channels that point at them.
//!
//! Each is canonical JSON, and a target of the signed metadata (see `trust`), under the name that
//! [`release_target`] and [`ChannelName`] give it. What a release names is verified by its own
//! digests: contents by BLAKE3 after they were unpacked, the indexes of packs and whole deltas by
//! SHA-256 before they are read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::manifest::ImageLayer;
use crate::id::{ImageId, LayerId, TreeId};
use crate::sha256::Sha256;

/// Layer or image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseKind {
    /// A layer.
    Layer,
    /// An image.
    Image,
}

impl ReleaseKind {
    /// Returns the first part of the names of such things: `layers`, `images`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Layer => "layers",
            Self::Image => "images",
        }
    }

    /// Returns the word for messages: `layer`, `image`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Image => "image",
        }
    }
}

/// A published layer or image: what it is, and the blobs to fetch it from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Format version of this document: 1.
    pub format: u32,
    /// Layer or image.
    pub kind: ReleaseKind,
    /// The name of the layer, or of the image's recipe.
    pub name: String,
    /// The layer's version; an image has that of its topmost layer.
    pub version: String,
    /// The serial of this release of the name, from 1: a machine never goes to a lower one by
    /// itself.
    pub serial: u64,
    /// When it was published first, in seconds since 1970.
    pub published: i64,
    /// The digest of the manifest: a [`LayerId`] or an [`ImageId`].
    pub id: ReleaseId,
    /// Size of the manifest, in bytes.
    pub manifest_bytes: u64,
    /// The changeset of a layer, the composed tree of an image.
    pub tree: TreeId,
    /// Size of that, in bytes.
    pub tree_bytes: u64,
    /// What turns an image's layers into its tree; the packs hold it instead of the tree. A layer
    /// has none: its changeset is packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrections: Option<Corrections>,
    /// What the checks found when a layer was built: signed with it, and no part of its id. An
    /// image has none, nor has a layer whose manifest holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The layers of an image, lowest first; a layer has none.
    pub layers: Vec<ImageLayer>,
    /// Number of objects: those of a layer; of an image those that no layer of it has.
    pub objects: u64,
    /// Size of the objects, in bytes.
    pub object_bytes: u64,
    /// The packs that hold the manifest, the tree or its corrections, and the objects.
    pub packs: Vec<PackRef>,
    /// Deltas from earlier releases of the same name.
    pub deltas: Vec<DeltaRef>,
}

/// A changeset that makes the tree of an image when it is laid over the changesets of the image's
/// layers, one over the other ([`crate::tree::lay`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrections {
    /// The digest of the changeset.
    pub id: TreeId,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// A pack, and where its index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackRef {
    /// The digest of the pack.
    pub blob: Sha256,
    /// Size of the pack, in bytes.
    pub bytes: u64,
    /// Size of the index at its end, in bytes.
    pub index_bytes: u64,
    /// The digest of the index.
    pub index: Sha256,
}

/// A delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaRef {
    /// What the receiver must have.
    pub from: ReleaseId,
    /// The digest of the delta.
    pub blob: Sha256,
    /// Size of the delta, in bytes.
    pub bytes: u64,
}

/// A [`LayerId`] or an [`ImageId`], where either can stand: the digest of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseId([u8; 32]);

impl ReleaseId {
    /// Returns the id as that of a layer.
    pub const fn layer(self) -> LayerId {
        LayerId::from_digest(self.0)
    }

    /// Returns the id as that of an image.
    pub const fn image(self) -> ImageId {
        ImageId::from_digest(self.0)
    }

    /// Returns the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<LayerId> for ReleaseId {
    fn from(id: LayerId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<ImageId> for ReleaseId {
    fn from(id: ImageId) -> Self {
        Self(*id.as_bytes())
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layer().fmt(f)
    }
}

impl fmt::Debug for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseId({})", self.layer().short())
    }
}

impl Serialize for ReleaseId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.layer().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ReleaseId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LayerId::deserialize(deserializer).map(Self::from)
    }
}

/// What a channel says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Format version of this document: 1.
    pub format: u32,
    /// Layer or image.
    pub kind: ReleaseKind,
    /// The name of the layer, or of the image's recipe.
    pub name: String,
    /// The channel's own name: `stable`.
    pub channel: String,
    /// The release that it points at.
    pub release: ReleaseId,
    /// The serial of that release.
    pub serial: u64,
    /// When it was pointed there, in seconds since 1970.
    pub published: i64,
    /// Which machines take it, and when.
    pub rollout: Rollout,
    /// Set for a deliberate step back to a lower release, which machines refuse otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<Downgrade>,
}

/// Which machines take a release, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The share of the machines, 0 to 100. Their machine ids decide which; a larger share contains
    /// every smaller one.
    pub percent: u8,
    /// The first second in which machines take it, since 1970; 0 for at once.
    pub not_before: i64,
    /// What the other machines take: the release before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<ReleaseId>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            percent: 100,
            not_before: 0,
            others: None,
        }
    }
}

/// Why a channel goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downgrade {
    /// The highest serial that is given up: machines that have a higher one refuse.
    pub from: u64,
    /// Why, for people.
    pub reason: String,
}

/// The name of a channel: `images/web/stable`, `layers/nginx/stable`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName {
    /// Layer or image.
    pub kind: ReleaseKind,
    /// The name of the layer, or of the image's recipe.
    pub name: String,
    /// The channel's own name.
    pub channel: String,
}

/// A text that is not the name of a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' names no channel: write 'images/NAME/CHANNEL' or 'layers/NAME/CHANNEL', in lower-case letters, digits, '.', '-', '_' and '+'"
)]
pub struct ChannelNameError {
    /// The text as given.
    pub text: String,
}

impl ChannelName {
    /// Makes a name of checked parts.
    pub fn new(kind: ReleaseKind, name: &str, channel: &str) -> Result<Self, ChannelNameError> {
        if is_word(name) && is_word(channel) {
            return Ok(Self {
                kind,
                name: name.to_owned(),
                channel: channel.to_owned(),
            });
        }
        Err(ChannelNameError {
            text: format!("{}/{name}/{channel}", kind.plural()),
        })
    }

    /// Returns the name of the channel's document among the signed targets.
    pub fn target(&self) -> String {
        let Self {
            kind,
            name,
            channel,
        } = self;
        format!("{}/{name}/channels/{channel}.json", kind.plural())
    }
}

/// Returns the name of a release's document among the signed targets.
pub fn release_target(kind: ReleaseKind, name: &str, id: &ReleaseId) -> String {
    let hex = id.layer().to_hex();
    format!("{}/{name}/releases/{hex}.json", kind.plural())
}

/// Says whether a text can be the name of a layer, a recipe or a channel.
pub fn is_word(text: &str) -> bool {
    let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._+-".contains(&b);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts_well && text.len() <= 100 && text.bytes().all(is_good)
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ChannelName {
    type Error = ChannelNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.plural(), self.name, self.channel)
    }
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(text: &str) -> Result<Self, ChannelNameError> {
        let fail = || ChannelNameError {
            text: text.to_owned(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, name, channel] = parts.as_slice() else {
            return Err(fail());
        };
        let kind = match *kind {
            "layers" => ReleaseKind::Layer,
            "images" => ReleaseKind::Image,
            _ => return Err(fail()),
        };
        Self::new(kind, name, channel).map_err(|_| fail())
    }
}
