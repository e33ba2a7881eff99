//! What is a secret in a file: keys, passwords, tokens, and where they stand.
//!
//! A [`Scanner`] reads a file once, as a stream. It knows secrets in three ways:
//!
//! - by what stands in the text, wherever that is (`anchors`): a short literal that every secret
//!   of a kind has makes a candidate, and a reader of that format says whether it is one;
//! - by what the file is as a whole (`stores`): DER, key stores, keytabs, LUKS headers;
//! - by the name of the file (`places`): what is a password in `.netrc` is prose elsewhere.
//!
//! Formats have checksums, lengths and structures of their own, and these come first: a header
//! without a key is no key. Where a format has none, `plausible` tells random text from examples.
//! What a secret says is never part of a [`Secret`], so no message can print it.

mod accounts;
mod anchors;
mod armour;
mod der;
mod hashes;
mod places;
mod plausible;
mod scanner;
mod settings;
mod stores;
mod tokens;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;

pub use places::{crypttab_keys, is_sample};
pub use scanner::Scanner;

/// A secret in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// Where it stands.
    pub place: Place,
    /// What it is, in words: `an RSA private key`.
    pub kind: &'static str,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of a text, counted from 1.
    Line(u64),
    /// An offset in other files, in bytes.
    Offset(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => out.write_str("the whole file"),
            Self::Line(line) => write!(out, "line {line}"),
            Self::Offset(offset) => write!(out, "byte {offset}"),
        }
    }
}
