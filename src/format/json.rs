//! Canonical JSON: sorted keys, two-space indent, no floats, one trailing newline; people read it
//! and `jq` it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::FormatError;

/// Encodes a manifest; its id is the digest of the result.
pub fn to_canonical_json<T: Serialize>(
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, FormatError> {
    let fail = |reason: String| FormatError::Manifest { what, reason };
    // serde_json's own map is sorted by key as long as its `preserve_order` feature is off, which a
    // test holds.
    let value = serde_json::to_value(value).map_err(|error| fail(error.to_string()))?;
    if has_float(&value) {
        return Err(fail("it holds a fraction".to_owned()));
    }
    let mut bytes = serde_json::to_vec_pretty(&value).map_err(|error| fail(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Decodes a manifest, and refuses anything but its canonical bytes.
pub fn from_canonical_json<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, FormatError> {
    let value: T = serde_json::from_slice(bytes).map_err(|error| FormatError::Manifest {
        what,
        reason: error.to_string(),
    })?;
    if to_canonical_json(what, &value)? != bytes {
        return Err(FormatError::Manifest {
            what,
            reason: "the bytes are not in canonical form".to_owned(),
        });
    }
    Ok(value)
}

fn has_float(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_f64(),
        serde_json::Value::Array(items) => items.iter().any(has_float),
        serde_json::Value::Object(map) => map.values().any(has_float),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(serde::Serialize, serde::Deserialize, Debug)]
    struct Sample {
        zebra: u32,
        apple: BTreeMap<String, i64>,
    }

    #[test]
    fn keys_are_sorted_and_other_spellings_are_refused() {
        let bytes = to_canonical_json(
            "layer",
            &Sample {
                zebra: 1,
                apple: BTreeMap::new(),
            },
        )
        .unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            "{\n  \"apple\": {},\n  \"zebra\": 1\n}\n"
        );
        assert!(from_canonical_json::<Sample>("layer", &bytes).is_ok());
        for other in [
            &b"{\"apple\":{},\"zebra\":1}"[..],
            b"{\n  \"zebra\": 1,\n  \"apple\": {}\n}\n",
            b"{}",
            b"",
        ] {
            assert!(from_canonical_json::<Sample>("layer", other).is_err());
        }
    }

    #[test]
    fn fractions_are_refused() {
        assert!(to_canonical_json("layer", &1.5f64).is_err());
    }
}
