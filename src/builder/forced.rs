//! Layers that are built although their keys are known.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Finding, Severity};

/// Why a layer is built although it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct ForcedRebuild {
    /// The findings that ask for it; none when somebody asked.
    pub findings: Vec<Finding>,
}

impl ForcedRebuild {
    /// Says why, in one line.
    pub(super) fn reason(&self) -> String {
        match self.findings.as_slice() {
            [] => "asked for".to_owned(),
            [only] => format!("it must be rebuilt: {}", only.reason),
            [first, rest @ ..] => {
                format!(
                    "it must be rebuilt: {} (and {} more)",
                    first.reason,
                    rest.len()
                )
            }
        }
    }
}

/// Returns the layers that findings ask to rebuild and that were not tried yet.
pub(super) fn forced_by(
    findings: &[Finding],
    tried: &BTreeSet<String>,
) -> BTreeMap<String, ForcedRebuild> {
    let mut forced: BTreeMap<String, ForcedRebuild> = BTreeMap::new();
    for finding in findings {
        if finding.severity == Severity::Rebuild && !tried.contains(&finding.layer) {
            let entry = forced.entry(finding.layer.clone()).or_default();
            entry.findings.push(finding.clone());
        }
    }
    forced
}
