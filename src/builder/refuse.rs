//! Which error a set is refused with.

use super::BuildError;
use crate::check::{Finding, FindingKind, Severity, Verdict, verdict};

/// Returns the findings of a sound set.
pub(super) fn refuse(findings: Vec<Finding>) -> Result<Vec<Finding>, BuildError> {
    match verdict(&findings) {
        Verdict::Safe => Ok(findings),
        Verdict::Refused => Err(BuildError::Refused {
            findings: grave(findings),
        }),
        Verdict::RebuildNeeded
            if findings
                .iter()
                .any(|f| f.severity == Severity::Rebuild && f.needs_lock()) =>
        {
            Err(BuildError::NeedsLock {
                findings: grave(findings),
            })
        }
        Verdict::RebuildNeeded => Err(BuildError::RebuildNeeded {
            findings: grave(findings),
        }),
    }
}

/// Returns what is worse than a note, the worst first.
fn grave(mut findings: Vec<Finding>) -> Vec<Finding> {
    // What became of waivers belongs to the answer.
    let is_said = |finding: &Finding| {
        finding.severity > Severity::Note || finding.id.kind() == FindingKind::Waiver
    };
    findings.retain(is_said);
    worst_first(findings)
}

/// Sorts findings: the worst first, and of those the ones that cause others.
pub(super) fn worst_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| {
        let is_cause = matches!(
            finding.id.kind(),
            FindingKind::DpkgUnreadable | FindingKind::Merged
        );
        std::cmp::Reverse((finding.severity, is_cause))
    });
    findings
}
