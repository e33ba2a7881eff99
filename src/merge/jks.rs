//! Java key stores of trusted certificates (JKS), as `sun.security.provider.JavaKeyStore` of
//! OpenJDK reads and writes them.
//!
//! Big-endian: magic `feedfeed`, version 2, the number of entries; each entry is its tag (2: a
//! trusted certificate), the alias, the time it was made in milliseconds, the kind of certificate,
//! and the certificate. Strings have their length in two bytes before them. The end is the SHA-1 of
//! the password in UTF-16, of `Mighty Aphrodite`, and of all before it. Stores with keys in them,
//! other versions, and other passwords than Debian's are not read.

use std::collections::BTreeMap;

use sha1::{Digest as _, Sha1};

const HEAD: [u8; 8] = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
const TRUSTED: u32 = 2;
const DIGEST_BYTES: usize = 20;
/// The password of Debian's `cacerts`, which is no secret.
const PASSWORD: &str = "changeit";

/// A trusted certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// When the entry was made, in milliseconds since 1970.
    pub made: u64,
    /// The kind, such as `X.509`.
    pub kind: Vec<u8>,
    /// The certificate itself, in DER.
    pub der: Vec<u8>,
}

/// Trusted certificates by alias.
pub(super) type JavaKeyStore = BTreeMap<Vec<u8>, Certificate>;

/// Reads a store; `None` if it is not a store, damaged, or holds anything but trusted certificates.
pub(super) fn decode(bytes: &[u8]) -> Option<JavaKeyStore> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if sign(body) != *digest {
        return None;
    }
    let mut rest = body.strip_prefix(&HEAD)?;
    let count = number(&mut rest)?;
    let mut store = JavaKeyStore::new();
    for _ in 0..count {
        if number(&mut rest)? != TRUSTED {
            return None;
        }
        let alias = string(&mut rest)?;
        let made = u64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let kind = string(&mut rest)?;
        let length = number(&mut rest)?;
        let der = take(&mut rest, usize::try_from(length).ok()?)?.to_vec();
        if store
            .insert(alias, Certificate { made, kind, der })
            .is_some()
        {
            return None;
        }
    }
    rest.is_empty().then_some(store)
}

/// Writes a store, sorted by alias.
pub(super) fn encode(store: &JavaKeyStore) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = HEAD.to_vec();
    out.extend(length(store.len()));
    for (alias, certificate) in store {
        out.extend(TRUSTED.to_be_bytes());
        put_string(&mut out, alias);
        out.extend(certificate.made.to_be_bytes());
        put_string(&mut out, &certificate.kind);
        out.extend(length(certificate.der.len()));
        out.extend(&certificate.der);
    }
    out.extend(sign(&out));
    out
}

/// Strings come from stores, or from names of files: none is too long for its two bytes of length.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text);
}

fn sign(body: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hasher = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        hasher.update(unit.to_be_bytes());
    }
    hasher.update(b"Mighty Aphrodite");
    hasher.update(body);
    hasher.finalize().into()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    Some(take(rest, usize::from(length))?.to_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn store() -> JavaKeyStore {
        let certificate = |made, der: &[u8]| Certificate {
            made,
            kind: b"X.509".to_vec(),
            der: der.to_vec(),
        };
        [
            (b"own".to_vec(), certificate(1_700_000_000_000, b"0\x03abc")),
            (b"debian:a.pem".to_vec(), certificate(0, b"")),
        ]
        .into()
    }

    #[test]
    fn a_store_is_read_as_it_was_written() {
        for store in [store(), JavaKeyStore::new()] {
            assert_eq!(decode(&encode(&store)).unwrap(), store);
        }
    }

    #[test]
    fn every_damage_is_seen() {
        let bytes = encode(&store());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_signed_lie_about_a_length_is_no_store() {
        let body = &encode(&store())[..];
        let body = &body[..body.len() - DIGEST_BYTES];
        for at in 8..body.len() {
            let mut lie = body.to_vec();
            lie[at] = 0xff;
            lie.extend(sign(&lie));
            let _ = decode(&lie);
        }
        let mut many = [&HEAD[..], &[0xff; 4]].concat();
        many.extend(sign(&many));
        assert_eq!(decode(&many), None);
    }
}
