//! Versions of Debian packages and their order.
//!
//! Grammar and order are those of deb-version(7), as `parseversion` and `dpkg_version_compare` of
//! dpkg's lib/dpkg have them. Rejected: the crate `debversion`, which brings a regular-expression
//! engine, big integers and a calendar for what is one loop.

use std::cmp::Ordering;
use std::fmt;

/// The longest version that is read, in bytes; real ones stay below 100.
const MAX_BYTES: usize = 256;

/// Why some text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a version: {reason}")]
pub struct VersionError {
    /// The text, escaped and shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The version of a Debian package: an epoch, an upstream version and a revision.
///
/// Versions that differ in spelling only, such as `1.0` and `0:1.00-0`, are equal.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    text: &'a str,
    epoch: u32,
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Version<'a> {
    /// Reads a version, without blanks around.
    ///
    /// Like dpkg, it lets a version start with a letter; unlike dpkg, it takes no other characters
    /// than the manual's.
    pub fn parse(text: &'a [u8]) -> Result<Self, VersionError> {
        let fail = |reason| {
            let shown = &text[..text.len().min(60)];
            let text = shown.escape_ascii().to_string();
            Err(VersionError { text, reason })
        };
        if text.len() > MAX_BYTES {
            return fail("it is longer than 256 bytes");
        }
        let (epoch, rest) = match text.iter().position(|byte| *byte == b':') {
            None => (0, text),
            Some(colon) => match epoch(&text[..colon]) {
                Some(epoch) => (epoch, &text[colon + 1..]),
                None => return fail("its epoch is not a number"),
            },
        };
        let (upstream, revision) = match rest.iter().rposition(|byte| *byte == b'-') {
            None => (rest, None),
            Some(dash) => (&rest[..dash], Some(&rest[dash + 1..])),
        };
        if upstream.is_empty() {
            return fail("it is empty");
        }
        if revision.is_some_and(<[u8]>::is_empty) {
            return fail("its revision is empty");
        }
        let revision = revision.unwrap_or_default();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".+~".contains(byte);
        let upper = |byte: &u8| plain(byte) || b"-:".contains(byte);
        if !upstream.iter().all(upper) || !revision.iter().all(plain) {
            return fail("it holds a character that is not allowed in versions");
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return fail("it holds a character that is not allowed in versions");
        };
        Ok(Self {
            text,
            epoch,
            upstream,
            revision,
        })
    }

    /// Returns the version as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

/// dpkg keeps an epoch in a signed 32-bit number.
fn epoch(digits: &[u8]) -> Option<u32> {
    let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = are_digits.then(|| std::str::from_utf8(digits).ok())??;
    text.parse().ok().filter(|epoch| *epoch <= i32::MAX as u32)
}

/// Compares two upstream versions, or two revisions: runs of other characters and numbers in turn.
fn compare_parts(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (weight(a), weight(b));
            if x != y {
                return x.cmp(&y);
            }
            if x == 0 {
                break;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
        let (x, y) = (take_number(&mut a), take_number(&mut b));
        // Of two numbers without leading zeros the longer one is the greater.
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Ranks the first character: `~` before the end and before a number, letters before all else.
fn weight(part: &[u8]) -> i32 {
    match part.first() {
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Takes the digits at the start, and returns them without leading zeros.
fn take_number<'a>(part: &mut &'a [u8]) -> &'a [u8] {
    let end = part.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = part.split_at(end.unwrap_or(part.len()));
    *part = rest;
    let start = digits.iter().position(|byte| *byte != b'0');
    &digits[start.unwrap_or(digits.len())..]
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_parts(self.upstream, other.upstream))
            .then_with(|| compare_parts(self.revision, other.revision))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version<'_> {}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn versions_are_ordered_as_the_manual_says() {
        // Each is below the next one.
        let order = [
            "0~~",
            "0~",
            "0",
            "0a",
            "0.0",
            "1~~a",
            "1~rc1-1",
            "1~rc1-1+b1",
            "1",
            "1-1~bpo12+1",
            "1-1",
            "1-1+b1",
            "1-1+deb12u1",
            "1-1.1",
            "1-2",
            "1-10",
            "1a",
            "1+dfsg-1",
            "1.0.9",
            "1.0.10",
            "1.2-3",
            "1.2-3-1",
            "2",
            "10",
            "a",
            "1:0",
            "1:1:2",
            "2147483647:0",
        ];
        for (at, a) in order.iter().enumerate() {
            for (to, b) in order.iter().enumerate() {
                assert_eq!(version(a).cmp(&version(b)), at.cmp(&to), "{a} and {b}");
            }
        }
    }

    #[test]
    fn spellings_of_one_version_are_equal() {
        for (a, b) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.01", "1.1"),
            ("1.0", "1.000"),
        ] {
            assert_eq!(version(a), version(b));
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let long = "1".repeat(257);
        for text in [
            "",
            "-1",
            "1-",
            ":1",
            "a:1",
            "-1:1",
            "+1:1",
            "2147483648:1",
            "1:",
            "1 2",
            " 1",
            "1\n",
            "1_2",
            "1-1:2",
            "1/2",
            "\u{e9}",
            &long,
        ] {
            assert!(Version::parse(text.as_bytes()).is_err(), "'{text}'");
        }
        assert!(Version::parse(b"1\xff").is_err());
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("([0-9]:)?[0-2a~.+]{1,6}(-[0-2a~.+]{1,4})?", 3)) {
            let [a, b, c] = [0, 1, 2].map(|at: usize| version(&texts[at]));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(a.cmp(&c), b.cmp(&c));
            }
        }
    }
}
