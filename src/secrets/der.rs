//! Private keys in DER (X.690), as RFC 5208, 5958, 8017 and 5915 have them.

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// The object identifiers of encryption by password begin so: PKCS#5 and PKCS#12.
const BY_PASSWORD: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01],
];
/// Numbers of a key are at least so long, in bytes.
const MIN_NUMBER: usize = 32;

/// One element: its tag, its content, and what follows it.
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// Reads the element at the start of `bytes`, if all of it is there.
pub(super) fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

fn of_tag(bytes: &[u8], tag: u8) -> Option<Element<'_>> {
    element(bytes).filter(|element| element.tag == tag)
}

/// Says which private key a file is, from its first byte to its last.
pub(super) fn whole_key(file: &[u8]) -> Option<&'static str> {
    let outer = of_tag(file, SEQUENCE)?;
    // Some tools end a file with a line end or a block with zeros.
    let is_end = outer.rest.len() < 16
        && outer
            .rest
            .iter()
            .all(|byte| matches!(byte, 0 | b'\n' | b'\r'));
    is_end.then(|| key(file)).flatten()
}

/// Says which private key `bytes` begin with.
pub(super) fn key(bytes: &[u8]) -> Option<&'static str> {
    let body = of_tag(bytes, SEQUENCE)?.content;
    let first = element(body)?;
    match (first.tag, first.content) {
        (INTEGER, [0 | 1]) => plain_key(first.content[0], first.rest),
        (SEQUENCE, algorithm) => {
            let oid = of_tag(algorithm, OID)?.content;
            let is_by_password = BY_PASSWORD.iter().any(|prefix| oid.starts_with(prefix));
            let sealed = of_tag(first.rest, OCTETS)?.content;
            (is_by_password && sealed.len() >= MIN_NUMBER).then_some("an encrypted private key")
        }
        _ => None,
    }
}

/// Says whether bytes begin as a key does, as far as they go.
pub(super) fn is_start_of_key(bytes: &[u8]) -> bool {
    let body = match bytes {
        [SEQUENCE, 0x82, _, _, body @ ..]
        | [SEQUENCE, 0x81, _, body @ ..]
        | [SEQUENCE, 0..=0x7f, body @ ..] => body,
        _ => return false,
    };
    let is_versioned = matches!(body, [INTEGER, 1, 0 | 1, SEQUENCE | OCTETS | INTEGER, ..]);
    is_versioned && body.len() >= 12
}

fn plain_key(version: u8, rest: &[u8]) -> Option<&'static str> {
    let second = element(rest)?;
    match second.tag {
        SEQUENCE => {
            of_tag(second.content, OID)?;
            let inner = of_tag(second.rest, OCTETS)?.content;
            (inner.len() >= 20).then_some("a private key")
        }
        OCTETS if version == 1 => {
            let is_scalar = (16..=72).contains(&second.content.len());
            (is_scalar && second.content.iter().any(|byte| *byte != 0))
                .then_some("an EC private key")
        }
        INTEGER if second.content.len() >= MIN_NUMBER => match integers(rest) {
            5 => Some("a DSA private key"),
            8 => Some("an RSA private key"),
            _ => None,
        },
        _ => None,
    }
}

fn integers(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(number) = of_tag(bytes, INTEGER) {
        bytes = number.rest;
        count += 1;
    }
    count
}
