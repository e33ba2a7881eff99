//! Findings and the verdict that they add up to.

use serde::{Deserialize, Serialize};

use super::finding_id::{FindingId, FindingKind};
use crate::path::RelPath;

/// How bad a finding is; the order is the order of verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; the set is sound.
    Note,
    /// The named layer must be rebuilt on today's lower layers.
    Rebuild,
    /// The set must not be built or deployed.
    Refuse,
}

/// What all findings of a set add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing speaks against the set.
    Safe,
    /// Some layers must be rebuilt.
    RebuildNeeded,
    /// The set is not sound.
    Refused,
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its kind and place: `conflict:/etc/passwd#www`.
    pub id: FindingId,
    /// How bad it is.
    pub severity: Severity,
    /// The layer that it is about.
    pub layer: String,
    /// The package, where one is to blame.
    pub package: Option<String>,
    /// The path, where there is one.
    pub path: Option<RelPath>,
    /// What is wrong, one line.
    pub reason: String,
    /// What to do about it, one line.
    pub hint: String,
    /// Why somebody accepted it; the severity is then [`Severity::Note`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<String>,
}

impl Finding {
    /// Returns what messages put before the reason: the layer, or the recipe where it is about
    /// none.
    pub fn place(&self) -> &str {
        if self.layer.is_empty() {
            "the recipe"
        } else {
            &self.layer
        }
    }

    /// Says whether only other package versions help: the layer has to be locked again before it is
    /// rebuilt.
    pub fn needs_lock(&self) -> bool {
        self.id.kind().is_of_packages()
    }

    /// Says whether a waiver can accept it. What could not be merged or generated, or has no
    /// number, cannot be put on a machine.
    pub fn is_waivable(&self) -> bool {
        !matches!(
            self.id.kind(),
            FindingKind::Conflict
                | FindingKind::Derive
                | FindingKind::DpkgUnreadable
                | FindingKind::Owner
        )
    }
}

/// Returns the verdict on a set with these findings.
pub fn verdict(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Note) => Verdict::Safe,
        Some(Severity::Rebuild) => Verdict::RebuildNeeded,
        Some(Severity::Refuse) => Verdict::Refused,
    }
}
