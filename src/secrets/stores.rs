//! Files that are a secret as a whole: DER, key stores of Java, PKCS#12, keytabs, LUKS headers and
//! OpenPGP keyrings, by their structure.

use super::der;

/// `pkcs-12` bags that hold keys, plain and encrypted (RFC 7292).
const KEY_BAGS: [&[u8]; 2] = [
    &[
        0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x01,
    ],
    &[
        0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02,
    ],
];
/// Magic numbers of Java's key stores, JKS and JCEKS.
const JAVA: [&[u8]; 2] = [&[0xfe, 0xed, 0xfe, 0xed], &[0xce, 0xce, 0xce, 0xce]];
/// Trivial databases of Samba begin so.
const TDB: &[u8] = b"TDB file\n";

/// Says which secret a file is that begins with `head`, all of it where it is `whole`.
pub(super) fn kind(head: &[u8], is_whole: bool) -> Option<&'static str> {
    match head {
        [0x30, ..] if is_whole => der::whole_key(head).or_else(|| pkcs12(head)),
        [0xfe, 0xed, ..] | [0xce, 0xce, ..] => {
            java(head).then_some("a private key in a Java key store")
        }
        [0x05, 0x01 | 0x02, ..] => keytab(head).then_some("a Kerberos keytab"),
        [b'L' | b'S', ..] => luks(head).then_some("a LUKS header"),
        [0x94 | 0x95 | 0xc5, ..] => is_secret_packet(head).then_some("an OpenPGP secret keyring"),
        _ => None,
    }
}

/// Says whether a file is a database of Samba.
pub(super) fn is_tdb(head: &[u8]) -> bool {
    head.starts_with(TDB)
}

fn pkcs12(file: &[u8]) -> Option<&'static str> {
    let outer = der::element(file)?;
    let version = der::element(outer.content)?;
    let is_store = version.tag == 0x02 && version.content == [3];
    let has_key = KEY_BAGS
        .iter()
        .any(|bag| memchr::memmem::find(file, bag).is_some());
    (is_store && has_key).then_some("a private key in a PKCS#12 store")
}

struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(
            self.take(bytes)?
                .iter()
                .fold(0, |n, byte| n << 8 | usize::from(*byte)),
        )
    }
}

/// Says whether a key store holds more than certificates. The format stands in the source of
/// OpenJDK, `sun.security.provider.JavaKeyStore`.
fn java(file: &[u8]) -> bool {
    let mut words = Words(file);
    let mut entries = || {
        JAVA.contains(&words.take(4)?).then_some(())?;
        let version = words.number(4)?;
        let count = words.number(4)?;
        for _ in 0..count {
            let tag = words.number(4)?;
            let alias = words.number(2)?;
            words.take(alias + 8)?;
            if tag != 2 {
                return Some(matches!(tag, 1 | 3));
            }
            if version >= 2 {
                let kind = words.number(2)?;
                words.take(kind)?;
            }
            let length = words.number(4)?;
            words.take(length)?;
        }
        Some(false)
    };
    entries().unwrap_or(false)
}

/// Says whether a file has an entry of a keytab: MIT's documentation, "Keytab file format".
fn keytab(file: &[u8]) -> bool {
    let is_big = file.get(1) == Some(&2);
    let mut words = Words(file.get(2..).unwrap_or_default());
    let mut read = || {
        let short = |bytes: &[u8]| match (is_big, bytes) {
            (true, [a, b]) => usize::from(*a) << 8 | usize::from(*b),
            (_, [a, b]) => usize::from(*b) << 8 | usize::from(*a),
            _ => 0,
        };
        let size = words.take(4)?;
        let negative = if is_big { size[0] } else { size[3] } & 0x80 != 0;
        if negative || size.iter().all(|byte| *byte == 0) {
            return Some(false);
        }
        let components = short(words.take(2)?);
        let length = short(words.take(2)?);
        let realm = words.take(length)?;
        let is_name = |byte: &u8| byte.is_ascii_graphic();
        Some((1..=9).contains(&components) && !realm.is_empty() && realm.iter().all(is_name))
    };
    read().unwrap_or(false)
}

/// Says whether a file begins as cryptsetup's on-disk format has it, versions 1 and 2.
fn luks(head: &[u8]) -> bool {
    let is_mark = head.starts_with(b"LUKS\xba\xbe") || head.starts_with(b"SKUL\xba\xbe");
    is_mark && matches!(head.get(6..8), Some([0, 1 | 2])) && head.len() > 512
}

/// Says whether bytes begin with a secret key packet of OpenPGP (RFC 9580, sections 4.2 and 5.5.3).
pub(super) fn is_secret_packet(bytes: &[u8]) -> bool {
    let header = match bytes {
        [0x94, _, ..] => 2,
        [0x95, _, _, ..] => 3,
        [0xc5, 0..=191, ..] => 2,
        [0xc5, 192..=223, _, ..] => 3,
        [0xc5, 255, _, _, _, _, ..] => 6,
        _ => return false,
    };
    let Some([version, _, _, _, _, algorithm, ..]) = bytes.get(header..) else {
        return false;
    };
    let is_known = matches!(algorithm, 1 | 2 | 3 | 16 | 17 | 18 | 19 | 20 | 22 | 25..=28);
    matches!(version, 4..=6) && is_known && bytes.len() >= 64
}
