//! The allow-list: which differences are no defects, by which rule, and why.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::compare::{OracleDifference, ReadObject};
use crate::recipe::Glob;
use crate::store::StoreError;

const BUILT_IN: &str = include_str!("allow.toml");

/// Why an allow-list cannot be used.
#[allow(missing_docs)] // Most fields are what their names say.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    /// It is not what it should be.
    #[error("the oracle's allow-list is malformed")]
    Toml {
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A path is no pattern.
    #[error("the oracle's allow-list: '{path}': {problem}")]
    Pattern { path: String, problem: &'static str },
    /// A reason is missing.
    #[error("the oracle's allow-list: '{path}' has no reason")]
    NoReason {
        /// The first path of the entry.
        path: String,
    },
}

/// What must hold of a difference for it to be no defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllowRule {
    /// The contents hold the same lines, in any order; all else is equal.
    SameLines,
    /// The contents are those of `SameLines`, but for the third field: in shadow(5), the day of the
    /// last change.
    SameLinesButDays,
    /// The contents hold the same paragraphs, divided by blank lines, in any order; all else is
    /// equal.
    SameStanzas,
    /// The contents hold the same records of three lines each, in any order; all else is equal.
    SameTriples,
    /// The contents are those of `SameStanzas`, but for more `Auto-Installed: 1` in the composed
    /// tree.
    MoreAutomatic,
    /// The installation has it, the composed tree has nothing.
    OnlyInstalled,
    /// The composed tree has it, the installation has nothing.
    OnlyComposed,
}

/// Explains some differences.
#[derive(Debug, Clone)]
pub(super) struct AllowEntry {
    /// Where.
    pub paths: Vec<Glob>,
    /// What must hold.
    pub rule: AllowRule,
    /// Why it is no defect.
    pub reason: String,
}

/// Explains differences.
#[derive(Debug, Clone)]
pub(super) struct AllowList {
    entries: Vec<AllowEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowListText {
    allow: Vec<AllowEntryText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowEntryText {
    paths: Vec<String>,
    rule: AllowRule,
    reason: String,
}

impl AllowList {
    /// Returns the list that belongs to this program.
    pub(super) fn built_in() -> Result<Self, AllowError> {
        Self::parse(BUILT_IN)
    }

    /// Parses a list: tables `[[allow]]` of `paths`, `rule` and `reason`.
    pub(super) fn parse(text: &str) -> Result<Self, AllowError> {
        let text: AllowListText = toml::from_str(text).map_err(|source| AllowError::Toml {
            source: Box::new(source),
        })?;
        let entries = text.allow.into_iter().map(|entry| {
            if entry.reason.trim().is_empty() || entry.paths.is_empty() {
                return Err(AllowError::NoReason {
                    path: entry.paths.first().cloned().unwrap_or_default(),
                });
            }
            let paths = entry.paths.into_iter().map(|path| {
                Glob::new(&path).map_err(|problem| AllowError::Pattern { path, problem })
            });
            Ok(AllowEntry {
                paths: paths.collect::<Result<_, _>>()?,
                rule: entry.rule,
                reason: entry.reason,
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the first entry that explains `difference`.
    pub(super) fn explain(
        &self,
        difference: &OracleDifference,
        read: &ReadObject<'_>,
    ) -> Result<Option<&AllowEntry>, StoreError> {
        for entry in &self.entries {
            let is_there = entry
                .paths
                .iter()
                .any(|path| path.matches(difference.path.as_bytes()));
            if is_there && entry.rule.holds(difference, read)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl AllowRule {
    fn holds(
        self,
        difference: &OracleDifference,
        read: &ReadObject<'_>,
    ) -> Result<bool, StoreError> {
        let (a, b) = (&difference.composed, &difference.installed);
        let objects = match (a, b) {
            _ if difference.differs != ["contents"] => None,
            (Some(a), Some(b)) => a.object.zip(b.object),
            _ => None,
        };
        Ok(match (self, objects) {
            (Self::OnlyInstalled, _) => a.is_none(),
            (Self::OnlyComposed, _) => b.is_none(),
            (_, None) => false,
            (rule, Some((a, b))) => rule.holds_for(&read(&a)?, &read(&b)?),
        })
    }

    fn holds_for(self, composed: &[u8], installed: &[u8]) -> bool {
        let same = |split: fn(&[u8]) -> Vec<&[u8]>| {
            let (mut a, mut b) = (split(composed), split(installed));
            a.sort_unstable();
            b.sort_unstable();
            a == b
        };
        match self {
            Self::SameLines => same(lines),
            Self::SameLinesButDays => {
                let [mut a, mut b] = [composed, installed].map(|side| {
                    let without_day = |line: &[u8]| {
                        let fields = line.split(|byte| *byte == b':').enumerate();
                        let others = fields.filter(|(at, _)| *at != 2).map(|(_, field)| field);
                        others.collect::<Vec<_>>().join(&b':')
                    };
                    lines(side).into_iter().map(without_day).collect::<Vec<_>>()
                });
                a.sort_unstable();
                b.sort_unstable();
                a == b
            }
            Self::SameStanzas => same(stanzas),
            Self::SameTriples => {
                [composed, installed].map(|side| lines(side).len() % 3) == [0, 0] && same(triples)
            }
            Self::MoreAutomatic => {
                let (a, b) = (stanzas(composed), stanzas(installed));
                let (a, b): (BTreeSet<_>, BTreeSet<_>) =
                    (a.into_iter().collect(), b.into_iter().collect());
                let is_mark = |stanza: &&[u8]| lines(stanza).contains(&&b"Auto-Installed: 1"[..]);
                b.is_subset(&a) && a.difference(&b).all(is_mark)
            }
            Self::OnlyComposed | Self::OnlyInstalled => false,
        }
    }
}

/// Joins the lines by threes; a file that ends in the middle of one is the caller's to refuse.
fn triples(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    while !rest.is_empty() {
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = ends.map(|(at, _)| at).nth(2).unwrap_or(rest.len());
        let (record, after) = rest.split_at(end);
        found.push(record);
        rest = after.get(1..).unwrap_or_default();
    }
    found
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.split(|byte| *byte == b'\n').collect()
}

/// Splits at blank lines; how many there are between two paragraphs means nothing.
fn stanzas(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\n\n");
        let (stanza, after) = rest.split_at(end.unwrap_or(rest.len()));
        let stanza = stanza.trim_ascii();
        if !stanza.is_empty() {
            found.push(stanza);
        }
        rest = after.get(2..).unwrap_or_default();
    }
    found
}
