//! Paths inside an image: bytes relative to its root, always canonical.
//!
//! A [`RelPath`] cannot hold an absolute path, `.`/`..`, empty components, NUL or over-long names,
//! so code that has one never checks again. The root is the empty path. Order is plain byte order,
//! the order of trees on disk.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest name of one component, in bytes (`NAME_MAX`).
pub const MAX_NAME_BYTES: usize = 255;
/// The longest path, in bytes (`PATH_MAX` without its NUL).
pub const MAX_PATH_BYTES: usize = 4095;

/// Why some bytes are not a path inside an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{path}' is not a path inside an image: {reason}")]
pub struct PathError {
    /// The offending path, escaped.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A canonical path relative to an image's root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// Returns the path of the root itself: empty.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks `bytes` and makes a path of them.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        match Self::problem(bytes) {
            None => Ok(Self(bytes.into())),
            Some(reason) => Err(PathError {
                path: escape(bytes),
                reason,
            }),
        }
    }

    /// Makes a path from text that may start with one `/`, as people write it.
    pub fn from_text(text: &str) -> Result<Self, PathError> {
        Self::new(text.strip_prefix('/').unwrap_or(text).as_bytes())
    }

    /// Says what keeps `bytes` from being a path inside an image, if anything does.
    pub fn problem(bytes: &[u8]) -> Option<&'static str> {
        if bytes.is_empty() {
            return None;
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Some("it is longer than 4095 bytes");
        }
        if bytes.contains(&0) {
            return Some("it holds a NUL byte");
        }
        for name in bytes.split(|b| *b == b'/') {
            match name {
                b"" => return Some("it has an empty component or a leading or trailing '/'"),
                b"." | b".." => return Some("it has a '.' or '..' component"),
                _ if name.len() > MAX_NAME_BYTES => {
                    return Some("a name in it is longer than 255 bytes");
                }
                _ => {}
            }
        }
        None
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as the standard library's type, still relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Says whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(b"")
    }

    /// Returns the directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => Self(self.0[..slash].into()),
            None => Self::root(),
        })
    }

    /// Appends one component.
    pub fn join(&self, name: &[u8]) -> Result<RelPath, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        if name.is_empty() || name.contains(&b'/') {
            return Err(PathError {
                path: escape(&bytes),
                reason: "a component must be one non-empty name",
            });
        }
        Self::new(&bytes)
    }

    /// Says whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &[u8]) -> bool {
        ancestor.is_empty()
            || self
                .0
                .strip_prefix(ancestor)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Moves the path from below `from` to below `to`; `None` when it does not lie there.
    pub fn rebase(&self, from: &[u8], to: &[u8]) -> Option<RelPath> {
        if !self.starts_with(from) {
            return None;
        }
        let rest = self.0[from.len()..]
            .strip_prefix(b"/")
            .unwrap_or(&self.0[from.len()..]);
        let mut bytes = to.to_vec();
        if !bytes.is_empty() && !rest.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(rest);
        Self::new(&bytes).ok()
    }
}

/// Escapes bytes for people and text twins: printable ASCII stays, the rest becomes `\xNN`, a
/// backslash `\\`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || c.is_whitespace() => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        text.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Undoes [`escape`]; `None` when the text is not its output.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'\\' {
            out.push(byte);
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = tail;
        } else {
            let digits = std::str::from_utf8(tail.strip_prefix(b"x")?.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[3..];
        }
    }
    Some(out)
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escape(&self.0))
    }
}

impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl serde::Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unescape(text.strip_prefix('/').unwrap_or(&text))
            .ok_or_else(|| serde::de::Error::custom(format!("'{text}' is not an escaped path")))?;
        RelPath::new(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn escapes_from_the_root_are_refused() {
        for bytes in [
            &b"/etc"[..],
            b"a//b",
            b"a/",
            b"..",
            b"a/../b",
            b"./a",
            b"a\0b",
            &[b'x'; 256],
            &b"a/".repeat(3000),
        ] {
            assert!(RelPath::new(bytes).is_err(), "{}", escape(bytes));
        }
        assert!(RelPath::new(b"").unwrap().is_root());
        assert!(RelPath::new(b"usr/lib/..a").is_ok());
    }

    #[test]
    fn parents_and_names_follow_components() {
        let path = RelPath::new(b"usr/lib/x").unwrap();
        assert_eq!(path.name(), b"x");
        assert_eq!(path.parent().unwrap().as_bytes(), b"usr/lib");
        assert_eq!(
            RelPath::new(b"usr").unwrap().parent().unwrap(),
            RelPath::root()
        );
        assert!(
            path.starts_with(b"usr/lib") && !path.starts_with(b"usr/li") && path.starts_with(b"")
        );
        assert_eq!(
            path.rebase(b"usr/lib", b"opt").unwrap().as_bytes(),
            b"opt/x"
        );
        assert_eq!(
            path.rebase(b"usr/lib/x", b"opt").unwrap().as_bytes(),
            b"opt"
        );
    }

    #[test]
    fn escaping_round_trips_any_bytes() {
        for bytes in [
            &b"plain"[..],
            b"sp ace\n",
            b"back\\slash",
            b"\xff\xfe",
            "umläut".as_bytes(),
        ] {
            assert_eq!(unescape(&escape(bytes)).unwrap(), bytes);
        }
        assert_eq!(escape(b"a b\xff"), "a\\x20b\\xff");
    }
}
