//! The head of a remote: its one mutable file, with all that is signed and current.
//!
//! A zstd frame that holds canonical JSON: the signed metadata by file name (`1.root.json` and
//! later roots, `timestamp.json`, `snapshot.json`, `targets.json`, one for each delegated role),
//! and the documents that they sign, by target name. One file, because an update should cost one
//! round trip before its first byte arrives, and because one conditional put is a commit.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::FormatError;
use super::json::{from_canonical_json, to_canonical_json};

/// The most bytes that a head has on the wire.
pub const MAX_HEAD_BYTES: u64 = 8 << 20;

/// The most bytes that a head has unpacked.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// The most documents of one kind in a head: many short ones take far more memory than their bytes.
const MAX_DOCUMENTS: usize = 1 << 16;

/// What a head says; nothing of it is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadContents {
    /// Format version: 1.
    pub format: u32,
    /// Signed metadata by file name, as text.
    #[serde(deserialize_with = "documents")]
    pub metadata: BTreeMap<String, String>,
    /// Signed documents by target name, as text.
    #[serde(deserialize_with = "documents")]
    pub targets: BTreeMap<String, String>,
}

/// Encodes a head.
pub fn encode_head(contents: &HeadContents) -> Result<Vec<u8>, FormatError> {
    let json = to_canonical_json("head", contents)?;
    zstd::bulk::compress(&json, 12).map_err(|error| fail(error.to_string()))
}

/// Decodes a head, in bounded memory.
pub fn decode_head(bytes: &[u8]) -> Result<HeadContents, FormatError> {
    let mut decoder = zstd::stream::read::Decoder::new(bytes)
        .map_err(|error| fail(error.to_string()))?
        .single_frame();
    // 8 MiB: what level 12 uses at most.
    let limited = decoder.window_log_max(23);
    limited.map_err(|error| fail(error.to_string()))?;
    let mut json = Vec::new();
    let read = (&mut decoder)
        .take(MAX_UNPACKED_BYTES + 1)
        .read_to_end(&mut json);
    read.map_err(|error| fail(error.to_string()))?;
    if json.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(fail(format!(
            "it unpacks to more than {MAX_UNPACKED_BYTES} bytes"
        )));
    }
    let mut rest = decoder.finish();
    if !std::io::BufRead::fill_buf(&mut rest).is_ok_and(<[u8]>::is_empty) {
        return Err(fail("bytes follow its end".to_owned()));
    }
    let contents: HeadContents = from_canonical_json("head", &json)?;
    if contents.format != 1 {
        let found = contents.format;
        return Err(fail(format!(
            "it has format version {found}, this program reads 1"
        )));
    }
    Ok(contents)
}

/// Reads documents by name, not too many.
fn documents<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Documents;

    impl<'de> Visitor<'de> for Documents {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("documents by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some((name, text)) = map.next_entry()? {
                if found.len() == MAX_DOCUMENTS {
                    return Err(A::Error::custom(format_args!(
                        "it holds more than {MAX_DOCUMENTS} documents"
                    )));
                }
                found.insert(name, text);
            }
            Ok(found)
        }
    }

    deserializer.deserialize_map(Documents)
}

fn fail(reason: String) -> FormatError {
    FormatError::Binary {
        what: "head",
        reason,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with_documents(count: usize) -> HeadContents {
        let named = |number: usize| (format!("{number:07}"), String::new());
        HeadContents {
            format: 1,
            targets: (0..count).map(named).collect(),
            ..HeadContents::default()
        }
    }

    #[test]
    fn a_head_comes_back() {
        let contents = with_documents(1000);
        let bytes = encode_head(&contents).unwrap();
        assert_eq!(decode_head(&bytes).unwrap(), contents);
    }

    #[test]
    fn a_head_of_countless_short_documents_is_refused_before_they_fill_the_memory() {
        let bytes = encode_head(&with_documents(MAX_DOCUMENTS + 1)).unwrap();
        let error = decode_head(&bytes).unwrap_err().to_string();
        assert!(error.contains("more than 65536 documents"), "{error}");
    }
}
