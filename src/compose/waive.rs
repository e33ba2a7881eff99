//! Waivers: each accepts one finding, for a reason and until a day. A waiver without effect is
//! reported.

use crate::check::{Finding, FindingKind, Severity};
use crate::format::Waiver;
use crate::time::Date;

/// Findings after the waivers.
#[derive(Debug, Clone, Default)]
pub struct WaiverOutcome {
    /// All findings; accepted ones are notes.
    pub findings: Vec<Finding>,
    /// The waivers that accept one of them: what an image records.
    pub in_force: Vec<Waiver>,
}

/// Applies `waivers` to `findings` on the day `today`. A waiver that has expired, matches nothing
/// or names what cannot be accepted becomes a note, and is not applied.
pub fn waive(mut findings: Vec<Finding>, waivers: &[Waiver], today: Date) -> WaiverOutcome {
    let mut in_force = Vec::new();
    let mut notes = Vec::new();
    for waiver in waivers {
        let mut note = |kind: &str, layer: &str, reason: String, hint: &str| {
            notes.push(Finding {
                id: FindingKind::Waiver.at(format_args!("{kind}:{}", waiver.finding)),
                severity: Severity::Note,
                layer: layer.to_owned(),
                package: None,
                path: None,
                reason,
                hint: hint.to_owned(),
                waived: None,
            });
        };
        let found = findings.iter_mut().find(|finding| {
            finding.id.as_str() == waiver.finding && finding.severity > Severity::Note
        });
        let Some(finding) = found else {
            let reason = format!("the waiver of '{}' matches no finding", waiver.finding);
            note("unused", "", reason, "remove it from the recipe");
            continue;
        };
        if !finding.is_waivable() {
            let reason = format!("'{}' cannot be waived", waiver.finding);
            let hint = "remove the waiver, and follow the finding's own hint";
            note("void", &finding.layer, reason, hint);
        } else if waiver.expires < today {
            let reason = format!(
                "the waiver of '{}' expired on {}",
                waiver.finding, waiver.expires
            );
            let hint = "fix the finding, or extend the waiver";
            note("expired", &finding.layer, reason, hint);
        } else {
            finding.severity = Severity::Note;
            finding.waived = Some(format!("{} (until {})", waiver.reason, waiver.expires));
            in_force.push(waiver.clone());
        }
    }
    findings.extend(notes);
    WaiverOutcome { findings, in_force }
}
