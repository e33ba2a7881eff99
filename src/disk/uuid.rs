//! UUIDs and GUIDs: one value, two orders of bytes.

use std::fmt;

/// A UUID, its bytes in the order of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Parses `8-4-4-4-12` hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let lengths = [8, 4, 4, 4, 12];
        let is_fit = parts.len() == 5
            && parts.iter().zip(lengths).all(|(part, length)| {
                part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit())
            });
        let value = u128::from_str_radix(&parts.concat(), 16).ok()?;
        is_fit.then_some(Self(value.to_be_bytes()))
    }

    /// Returns the bytes in the order of a GPT: the first three groups are little-endian (UEFI
    /// specification, appendix A).
    pub fn to_gpt(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_prints_as_it_was_parsed_and_mixes_its_bytes_for_a_gpt() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let uuid = Uuid::parse(&text.to_uppercase()).unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(uuid.to_gpt()[..8], *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11");
        for bad in [
            "",
            "c12a7328",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "+12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        ] {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
    }
}
