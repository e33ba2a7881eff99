//! Content identities: distinct 32-byte BLAKE3 newtypes and their text form.
//!
//! An id is always the digest of *uncompressed canonical* bytes. The text form is `b3:` and 64
//! lower-case hex digits; commands also accept a unique prefix of at least four digits (see
//! [`IdPrefix`]).

use std::fmt;
use std::str::FromStr;

/// The text prefix of every id.
pub const TEXT_PREFIX: &str = "b3:";

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an id: expected 'b3:' and 64 hexadecimal digits")]
pub struct ParseIdError {
    /// The text as given.
    pub text: String,
}

fn parse_digest(text: &str) -> Result<[u8; 32], ParseIdError> {
    let fail = || ParseIdError {
        text: text.to_owned(),
    };
    let hex = text.strip_prefix(TEXT_PREFIX).ok_or_else(fail)?;
    if hex.len() != 64 {
        return Err(fail());
    }
    let mut out = [0u8; 32];
    for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = hex_digit(pair[0]).ok_or_else(fail)? << 4 | hex_digit(pair[1]).ok_or_else(fail)?;
    }
    Ok(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps a digest that was computed or verified elsewhere.
            pub const fn from_digest(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            /// Computes the id of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// Returns the raw digest.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the 64 hex digits without the `b3:` prefix.
            pub fn to_hex(&self) -> String {
                hex(&self.0)
            }

            /// Returns the abbreviation that people read: twelve hex digits.
            pub fn short(&self) -> String {
                hex(&self.0[..6])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{TEXT_PREFIX}{}", self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_digest(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id_type! {
    /// Identifies the bytes of one regular file.
    ObjectId
}
id_type! {
    /// Identifies a tree or a changeset by its canonical GVariant bytes.
    TreeId
}
id_type! {
    /// Identifies a layer by its canonical JSON manifest.
    LayerId
}
id_type! {
    /// Identifies an image by its canonical JSON manifest.
    ImageId
}
id_type! {
    /// Identifies the inputs of one layer build (definition, files, scripts, lock entries,
    /// architecture, epoch, builder).
    BuildKey
}

/// An abbreviated id as people type it: `b3:` optional, at least four hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Parses `text` as an abbreviation, or returns `None` when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(TEXT_PREFIX).unwrap_or(text);
        let fits =
            (4..=64).contains(&digits.len()) && digits.bytes().all(|b| hex_digit(b).is_some());
        fits.then(|| Self(digits.to_owned()))
    }

    /// Returns the digits.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = ObjectId::of(b"layerset");
        assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 67);
        assert!(id.to_string().starts_with(&format!("b3:{}", id.short())));
    }

    #[test]
    fn the_empty_object_has_the_published_blake3_digest() {
        assert_eq!(
            ObjectId::of(b"").to_hex(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "b3:",
            "af13",
            &"0".repeat(64),
            &format!("b3:{}", "G".repeat(64)),
            &format!("b3:{}", "A".repeat(64)),
        ] {
            assert!(text.parse::<TreeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_need_four_digits() {
        assert!(IdPrefix::parse("b3:abc").is_none());
        assert_eq!(IdPrefix::parse("b3:abcd").unwrap().digits(), "abcd");
        assert!(IdPrefix::parse("nginx").is_none());
    }
}
