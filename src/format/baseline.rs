//! The baseline of a layer: what the checks found in the set that it was built and tested in.
//!
//! It is kept beside the layer, by the layer's id, and signed with its release. It is not part
//! of that id: another version of the checks changes no layer. An image has one too, which is of
//! its whole set and stays where it was made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::FormatError;
use super::json::{from_canonical_json, to_canonical_json};
use crate::id::{ImageId, LayerId, ObjectId};
use crate::path::RelPath;

/// The problems in the set that a layer was built and tested in: to later checks, only problems
/// that are not listed here are new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of the checks that looked; 0 where none did.
    pub checks: u32,
    /// Ids of the grave problems that were there, sorted, without those that a lower layer's
    /// baseline lists.
    pub problems: Vec<String>,
    /// The same of the minor ones.
    pub notes: Vec<String>,
    /// Ids of problems that existed and stay new, sorted: the layer had been sound before, and
    /// was broken from outside, or the layer broke what is below it. Kept so that looking again
    /// with later checks does not list them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
    /// For each pattern of `rebuild.when`, the digest of what it matched in the layers below.
    pub watched: BTreeMap<String, ObjectId>,
    /// Whether the layer is files of its own and nothing else: it installs nothing and runs
    /// nothing, so building it again changes nothing but what it meets below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_only: bool,
    /// What of the layer was made of files of the layers below, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<DerivedFile>,
}

/// A file of a layer, or a directory of such files, that was made of files of the layers below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DerivedFile {
    /// Where it is.
    pub path: RelPath,
    /// Whether the layer's definition brings it as it is: to build the layer again makes no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_brought: bool,
    /// What it was made of, sorted by path.
    pub origins: Vec<Origin>,
}

/// A file of the layers below that something was made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Where it was.
    pub path: RelPath,
    /// What it was then; for a directory the digest of all that is in it. `None` where it matters
    /// only that something is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// Whether it is a directory, and stands for what is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_directory: bool,
    /// Whether it was another one already when the layer was built: a rebuild left the old copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stale: bool,
    /// The package that it belonged to, where it belonged to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Where in the archive or the directory it is held, escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl Baseline {
    /// Says whether a problem existed, and was as bad: one that was minor then is new when it is
    /// grave.
    pub fn lists(&self, id: &str, is_grave: bool) -> bool {
        let among = |ids: &[String]| ids.binary_search_by(|known| known.as_str().cmp(id)).is_ok();
        among(&self.problems) || (!is_grave && among(&self.notes))
    }

    pub(super) fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    /// Says what is wrong with a baseline that somebody else wrote, if anything is.
    pub fn problem(&self) -> Option<&'static str> {
        let is_sorted = |ids: &[String]| ids.is_sorted_by(|a, b| a < b);
        let lists = [&self.problems, &self.notes, &self.broken];
        if !lists.iter().all(|ids| is_sorted(ids)) {
            return Some("its ids are not sorted");
        }
        if !self.derived.is_sorted_by(|a, b| a.path < b.path) {
            return Some("its derived files are not sorted");
        }
        None
    }
}

/// A baseline as it lies in a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    baseline: Baseline,
    /// The digest of the baseline's own canonical JSON: the file is named by the layer, not by its
    /// bytes.
    digest: ObjectId,
    /// Format version of this document: 1.
    format: u32,
    /// The image that it belongs to, if that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<ImageId>,
    /// The layer that it belongs to, if that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<LayerId>,
}

/// What a baseline belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaselineOf {
    /// A layer, in the set that it was built in.
    Layer(LayerId),
    /// An image.
    Image(ImageId),
}

impl BaselineOf {
    fn ids(self) -> (Option<ImageId>, Option<LayerId>) {
        match self {
            Self::Layer(layer) => (None, Some(layer)),
            Self::Image(image) => (Some(image), None),
        }
    }
}

/// Encodes a baseline with the id of what it belongs to.
pub fn encode_baseline(of: BaselineOf, baseline: &Baseline) -> Result<Vec<u8>, FormatError> {
    let (image, layer) = of.ids();
    let document = Document {
        digest: digest(baseline)?,
        baseline: baseline.clone(),
        format: 1,
        image,
        layer,
    };
    to_canonical_json("baseline", &document)
}

/// Decodes the baseline of a layer or image, and refuses that of another one, and damaged bytes.
pub fn decode_baseline(of: BaselineOf, bytes: &[u8]) -> Result<Baseline, FormatError> {
    let document: Document = from_canonical_json("baseline", bytes)?;
    let reason = if document.format != 1 {
        Some(format!("it has format {}", document.format))
    } else if (document.image, document.layer) != of.ids() {
        Some("it belongs to something else".to_owned())
    } else if digest(&document.baseline)? != document.digest {
        Some("its digest is not the one that it states".to_owned())
    } else {
        document.baseline.problem().map(str::to_owned)
    };
    match reason {
        Some(reason) => Err(FormatError::Manifest {
            what: "baseline",
            reason,
        }),
        None => Ok(document.baseline),
    }
}

fn digest(baseline: &Baseline) -> Result<ObjectId, FormatError> {
    Ok(ObjectId::of(&to_canonical_json("baseline", baseline)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> Baseline {
        Baseline {
            checks: 1,
            problems: vec!["elf:/usr/bin/a".to_owned(), "script:/usr/bin/b".to_owned()],
            notes: vec!["link:/usr/c".to_owned()],
            broken: Vec::new(),
            watched: BTreeMap::from([("usr/*".to_owned(), ObjectId::of(b"x"))]),
            files_only: false,
            derived: Vec::new(),
        }
    }

    #[test]
    fn a_baseline_keeps_its_golden_bytes() {
        let layer = BaselineOf::Layer(LayerId::of(b"layer"));
        let bytes = encode_baseline(layer, &sample()).unwrap();
        assert_eq!(decode_baseline(layer, &bytes).unwrap(), sample());
        assert_eq!(
            ObjectId::of(&bytes).to_hex(),
            "78c6abcec9d1b73c0fe56b9344bc1b177d00afcdee62cd8cab4fe6baabcb741d"
        );
    }

    #[test]
    fn damaged_bytes_and_those_of_another_layer_are_refused() {
        let layer = BaselineOf::Layer(LayerId::of(b"layer"));
        let bytes = encode_baseline(layer, &sample()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode_baseline(layer, &damaged).is_err(), "byte {at}");
            assert!(decode_baseline(layer, &bytes[..at]).is_err(), "cut at {at}");
        }
        for other in [
            BaselineOf::Layer(LayerId::of(b"other")),
            BaselineOf::Image(ImageId::of(b"layer")),
        ] {
            assert!(decode_baseline(other, &bytes).is_err());
            let theirs = encode_baseline(other, &sample()).unwrap();
            assert_eq!(decode_baseline(other, &theirs).unwrap(), sample());
        }
        let of = |path: &str| DerivedFile {
            path: RelPath::from_text(path).unwrap(),
            is_brought: false,
            origins: Vec::new(),
        };
        let mut derived = sample();
        derived.derived = vec![of("boot/b"), of("boot/c")];
        let bytes = encode_baseline(layer, &derived).unwrap();
        assert_eq!(decode_baseline(layer, &bytes).unwrap(), derived);
        derived.derived.reverse();
        let bytes = encode_baseline(layer, &derived).unwrap();
        assert!(decode_baseline(layer, &bytes).is_err());
        let mut unsorted = sample();
        unsorted.problems.reverse();
        let bytes = encode_baseline(layer, &unsorted).unwrap();
        assert!(decode_baseline(layer, &bytes).is_err());
    }
}
