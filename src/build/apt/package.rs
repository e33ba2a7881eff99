//! The values of the package side: what is asked for and what a lock holds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Names a file's content by its SHA-256 digest, the one Debian's indexes carry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Wraps a computed digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// Says that a text is not 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("not a sha256 digest of 64 lower-case hexadecimal digits")]
pub struct NotSha256;

impl FromStr for Sha256 {
    type Err = NotSha256;

    fn from_str(text: &str) -> Result<Self, NotSha256> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NotSha256);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, NotSha256> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotSha256),
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Pins one package of a layer to exact bytes.
///
/// Read from a file, its texts are checked: they become file names, addresses and arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// The package's name.
    #[serde(deserialize_with = "checked::name")]
    pub name: String,
    /// The full Debian version, with epoch and revision.
    #[serde(deserialize_with = "checked::version")]
    pub version: String,
    /// The package's architecture: the image's, or `all`.
    #[serde(deserialize_with = "checked::architecture")]
    pub architecture: String,
    /// The digest of the `.deb` file.
    pub sha256: Sha256,
    /// The size of the `.deb` file in bytes.
    pub size: u64,
    /// The file's path below the archive's root.
    #[serde(deserialize_with = "checked::pool_path")]
    pub pool_path: String,
    /// The archive's label in lower case, as in `debian` or `debian-security`; never a host.
    pub archive: String,
    /// Whether it was asked for, not merely pulled in by a dependency.
    pub manual: bool,
}

/// Says whether a text is a package's name (Debian Policy 5.6.7).
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    text.len() > 1 && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(allowed)
}

/// Says whether a text is made of what versions are made of (Debian Policy 5.6.12).
fn is_version(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-.~:".contains(&b);
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(allowed)
}

/// Readers for the texts of a lock.
mod checked {
    use super::{Deserialize, Deserializer, de};

    fn text<'de, D: Deserializer<'de>>(
        from: D,
        what: &str,
        valid: fn(&str) -> bool,
    ) -> Result<String, D::Error> {
        let text = String::deserialize(from)?;
        if valid(&text) {
            Ok(text)
        } else {
            Err(de::Error::custom(format!("'{text}' is not {what}")))
        }
    }

    pub fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        text(from, "a package name", super::is_name)
    }

    pub fn version<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        text(from, "a Debian version", super::is_version)
    }

    pub fn architecture<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        text(from, "an architecture", super::is_name)
    }

    pub fn pool_path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        let valid = |text: &str| {
            !text.starts_with('/') && text.split('/').all(|part| !part.is_empty() && part != "..")
        };
        text(from, "a path below an archive", valid)
    }
}

impl LockedPackage {
    /// Returns `name version`, as messages show it.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// Names a set of updates beside a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pocket {
    /// `<suite>-updates`.
    Updates,
    /// `<suite>-security`.
    Security,
}

impl Pocket {
    /// Returns what follows the suite's name and a dash.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Updates => "updates",
            Self::Security => "security",
        }
    }
}

/// Says how much a base holds before any package is asked for, in mmdebstrap's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Packages marked essential. Nothing can be installed on top by apt: it is not there.
    Essential,
    /// Those and apt.
    Apt,
    /// Those and everything of priority `required`.
    #[default]
    Minbase,
}

/// Describes a base: where its packages come from and which there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapSpec {
    /// The suite's code name, as in `trixie`.
    pub suite: String,
    /// Archive components; `main` only unless said otherwise.
    #[serde(default = "main_only")]
    pub components: Vec<String>,
    /// Updates to take in; none means the plain suite.
    #[serde(default)]
    pub pockets: Vec<Pocket>,
    /// The set to start from.
    #[serde(default)]
    pub variant: Variant,
    /// Packages to add.
    #[serde(default)]
    pub packages: Vec<String>,
}

fn main_only() -> Vec<String> {
    vec!["main".to_owned()]
}

impl BootstrapSpec {
    /// Returns the suites to draw from, the plain one first.
    pub fn suites(&self) -> Vec<String> {
        let mut pockets = self.pockets.clone();
        pockets.sort_unstable();
        pockets.dedup();
        let with_pocket = pockets
            .iter()
            .map(|p| format!("{}-{}", self.suite, p.suffix()));
        std::iter::once(self.suite.clone())
            .chain(with_pocket)
            .collect()
    }
}

/// Asks for the packages of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The layer's name, for messages.
    pub layer: &'a str,
    /// Specifications: `name[:arch][=version|/suite]`. A base's own list comes from `base`.
    pub packages: &'a [String],
    /// Whether recommended packages come along.
    pub recommends: bool,
    /// The base's definition, if the layer is one.
    pub base: Option<&'a BootstrapSpec>,
}

/// Offers the locked packages of a layer below the one being resolved.
#[derive(Clone, Copy, Debug)]
pub struct Lower<'a> {
    /// The layer's name.
    pub layer: &'a str,
    /// What its lock holds.
    pub packages: &'a [LockedPackage],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_text_and_rejects_anything_else() {
        let text = "e226f661d918f04daf38cdbc4806b7ed7d6ef95c7eb0ade692fc350e31970040";
        assert_eq!(text.parse::<Sha256>().unwrap().to_string(), text);
        for bad in [
            "",
            "e2",
            &text.to_uppercase(),
            &format!("{text}0"),
            &text.replace('e', "g"),
        ] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lock_with_texts_that_could_do_harm_is_refused() {
        let lock = |name: &str, version: &str, path: &str| {
            let digest = "0".repeat(64);
            let text = format!(
                r#"{{"name":"{name}","version":"{version}","architecture":"amd64","sha256":"{digest}","size":1,
                    "pool_path":"{path}","archive":"debian","manual":true}}"#
            );
            serde_json::from_str::<LockedPackage>(&text)
        };
        assert!(lock("libstdc++6", "1:2.0~b+c-1", "pool/main/g/x.deb").is_ok());
        assert!(lock("a1", "1", "./a1_1_all.deb").is_ok());
        for (name, version, path) in [
            ("../x", "1", "a"),
            ("a;b", "1", "a"),
            ("-o", "1", "a"),
            ("ab", "1 $(x)", "a"),
            ("ab", "", "a"),
            ("ab", "1/2", "a"),
            ("ab", "1", "a/../../b"),
            ("ab", "1", "/a"),
        ] {
            assert!(
                lock(name, version, path).is_err(),
                "{name} {version} {path}"
            );
        }
    }

    #[test]
    fn suites_are_sorted_with_the_plain_one_first() {
        let spec = BootstrapSpec {
            suite: "trixie".into(),
            components: main_only(),
            pockets: vec![Pocket::Security, Pocket::Updates, Pocket::Security],
            variant: Variant::Apt,
            packages: vec![],
        };
        assert_eq!(
            spec.suites(),
            ["trixie", "trixie-updates", "trixie-security"]
        );
    }
}
