//! Java's keystore of certificate authorities, `/etc/ssl/certs/java/cacerts`, in its format JKS.
//!
//! Big-endian: magic `feedfeed`, version 2, a count, and for each certificate the tag 2, its alias, the time when it was
//! added in milliseconds since 1970, a type and its bytes; texts and bytes come after their length (16 bits for texts, 32
//! for bytes). At the end stands the SHA-1 of the password in UTF-16, the words `Mighty Aphrodite` and all before. The
//! format is that of `sun.security.provider.JavaKeyStore` in OpenJDK.

/// A keystore that holds certificates only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keystore {
    /// The certificates in the order of the file.
    pub entries: Vec<TrustedCert>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustedCert {
    /// Its alias in Java's modified UTF-8; unique in a keystore.
    pub alias: Vec<u8>,
    /// The kind of certificate, e.g. `X.509`.
    pub kind: Vec<u8>,
    /// The certificate.
    pub bytes: Vec<u8>,
    /// When it was added, in milliseconds since 1970.
    pub added: u64,
}

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERT: u32 = 2;
/// The size of the digest at the end, in bytes.
const DIGEST: usize = 20;

impl Keystore {
    /// Reads a keystore; `None` when it is none, holds keys, or ends too early. The digest at its end is not looked at.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if take_u32(&mut rest)? != MAGIC || take_u32(&mut rest)? != VERSION {
            return None;
        }
        let count = take_u32(&mut rest)?;
        // Nothing is reserved: the count may be any number.
        let mut entries = Vec::new();
        for _ in 0..count {
            if take_u32(&mut rest)? != TRUSTED_CERT {
                return None;
            }
            let alias = take_text(&mut rest)?;
            let added = (u64::from(take_u32(&mut rest)?) << 32) | u64::from(take_u32(&mut rest)?);
            let kind = take_text(&mut rest)?;
            let length = usize::try_from(take_u32(&mut rest)?).ok()?;
            entries.push(TrustedCert {
                alias,
                kind,
                bytes: take(&mut rest, length)?.to_vec(),
                added,
            });
        }
        (rest.len() == DIGEST).then_some(Self { entries })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

fn take_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    Some(take(rest, length.into())?.to_vec())
}
