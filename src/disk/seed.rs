//! What other tools make at random: identifiers that derive from what a disk holds.

/// The origin of every identifier on a disk: the same seed and name give the same identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// Separates these digests from all others; it never changes.
const CONTEXT: &str = "layerset 2026-11-28 disk identifiers";

impl Seed {
    /// Makes a seed of what identifies the disk, such as an image's id and the disk's description.
    pub fn new(of: &[u8]) -> Self {
        Self(blake3::derive_key(CONTEXT, of))
    }

    /// Returns 32 bytes for `name`.
    pub fn bytes(&self, name: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, name.as_bytes()).as_bytes()
    }

    /// Returns 32 bits for `name`, such as a disk signature or a volume's serial number; never 0.
    pub fn number(&self, name: &str) -> u32 {
        let [a, b, c, d, ..] = self.bytes(name);
        u32::from_le_bytes([a, b, c, d]).max(1)
    }

    /// Returns a UUID for `name` in the order of its text: version 8, made in a way of our own
    /// (RFC 9562, section 5.8).
    pub fn uuid(&self, name: &str) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.bytes(name)[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::hex;

    #[test]
    fn identifiers_are_golden_and_differ_by_seed_and_name() {
        let seed = Seed::new(b"image");
        assert_eq!(hex(&seed.uuid("esp")), "c0be7d6090da80548a97e3e4187b3b24");
        assert_eq!(seed.uuid("esp"), Seed::new(b"image").uuid("esp"));
        assert_ne!(seed.uuid("esp"), seed.uuid("data"));
        assert_ne!(seed.uuid("esp"), Seed::new(b"other").uuid("esp"));
        assert_eq!(seed.uuid("esp")[6] >> 4, 8);
        assert_eq!(seed.uuid("esp")[8] >> 6, 2);
    }
}
