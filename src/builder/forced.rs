//! Layers that are built although their keys are known.

use std::collections::BTreeMap;

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

/// How often a layer is built again in one build. Once is enough, unless a layer below it is built
/// again afterwards.
const ATTEMPTS: usize = 2;

/// Returns the layers that findings ask to rebuild and that were not tried too often yet; `tried`
/// counts.
pub(super) fn forced_by(
    findings: &[Finding],
    tried: &BTreeMap<String, usize>,
) -> BTreeMap<String, ForcedRebuild> {
    let may_help = |layer: &str| tried.get(layer).copied().unwrap_or(0) < ATTEMPTS;
    let mut forced: BTreeMap<String, ForcedRebuild> = BTreeMap::new();
    for finding in findings {
        if finding.severity == Severity::Rebuild && may_help(&finding.layer) {
            let entry = forced.entry(finding.layer.clone()).or_default();
            entry.findings.push(finding.clone());
        }
    }
    forced
}

/// Says of findings which layers were built again in vain.
pub(super) fn tell_tried(findings: &mut [Finding], tried: &BTreeMap<String, usize>) {
    for finding in findings {
        if finding.severity > Severity::Note && tried.contains_key(&finding.layer) {
            finding.hint = format!(
                "'{}' was built again on today's layers, which did not help: {}",
                finding.layer, finding.hint
            );
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::FindingKind;

    fn finding(layer: &str, severity: Severity) -> Finding {
        Finding {
            id: FindingKind::Elf.at("x"),
            severity,
            layer: layer.to_owned(),
            package: None,
            path: None,
            reason: String::new(),
            hint: "mend it".to_owned(),
            waived: None,
        }
    }

    #[test]
    fn a_layer_is_built_again_while_that_may_help_and_then_said_to_be_tried() {
        let mut findings = [
            finding("app", Severity::Rebuild),
            finding("web", Severity::Rebuild),
            finding("old", Severity::Note),
        ];
        let tried = |app: usize| BTreeMap::from([("app".to_owned(), app), ("old".to_owned(), 1)]);
        let names = |tried| forced_by(&findings, &tried).into_keys().collect::<Vec<_>>();
        assert_eq!(names(BTreeMap::new()), ["app", "web"]);
        assert_eq!(names(tried(1)), ["app", "web"]);
        assert_eq!(names(tried(ATTEMPTS)), ["web"]);
        tell_tried(&mut findings, &tried(1));
        let hints = findings.map(|finding| finding.hint);
        assert!(hints[0].starts_with("'app' was built again"), "{hints:?}");
        assert!(hints[0].ends_with(": mend it"), "{hints:?}");
        assert_eq!(hints[1..], ["mend it", "mend it"]);
    }
}
