//! From problems to findings: what is news, whose it is, and how bad.
//!
//! A problem is news when no baseline of a member lists it. A grave one means that its layer must be rebuilt, if that
//! layer stands on other layers than those it was built on; else building helps nobody, and the set is refused.

use super::{Found, Member, watched};
use crate::check::{Finding, FindingKind, Problem, Severity, Subject, Weight};

/// Returns how bad it is that something of `member` does not hold in the set `members`.
pub fn severity(member: &Member, members: &[Member]) -> Severity {
    if member.is_moved(members) {
        Severity::Rebuild
    } else {
        Severity::Refuse
    }
}

/// What the problems of a set mean.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// The news, sorted by layer and id.
    pub news: Vec<Finding>,
    /// What was so already when the layers were built, as notes, sorted by layer and id.
    pub known: Vec<Finding>,
}

/// Judges the problems of a set.
pub fn judge(found: Vec<Found>, members: &[Member]) -> Judgement {
    let (old, new): (Vec<Found>, Vec<Found>) =
        found.into_iter().partition(|found| found.is_known(members));
    let news = new.into_iter().map(|found| {
        let severity = match found.problem.weight {
            Weight::Minor => Severity::Note,
            Weight::Grave => severity(&members[found.member], members),
        };
        finding(found, severity, members)
    });
    let changed = members
        .iter()
        .flat_map(|member| changed_below(member, members));
    let old = old
        .into_iter()
        .map(|found| finding(found, Severity::Note, members));
    Judgement {
        news: sorted(news.chain(changed).collect()),
        known: sorted(old.collect()),
    }
}

/// Finds the patterns of `[rebuild]` that match something else in the layers below than when the layer was built.
fn changed_below(member: &Member, members: &[Member]) -> Vec<Finding> {
    let today = watched(member, members);
    let layer = &member.layer;
    let before = layer.baseline.watched.iter();
    let changed =
        before.filter(|(pattern, digest)| today.get(*pattern).is_some_and(|now| now != *digest));
    changed
        .map(|(pattern, _)| Finding {
            id: FindingKind::Rebuild.at(format_args!("{}:{pattern}", layer.name)),
            severity: severity(member, members),
            layer: layer.name.clone(),
            package: None,
            path: None,
            reason: format!("what '{pattern}' matches in the layers below changed, and the layer is built from it"),
            hint: format!("rebuild '{}'", layer.name),
            waived: None,
        })
        .collect()
}

fn finding(found: Found, severity: Severity, members: &[Member]) -> Finding {
    let Problem {
        id,
        subject,
        package,
        reason,
        hint,
        ..
    } = found.problem;
    let layer = members[found.member].layer.name.clone();
    let hint = match severity {
        Severity::Refuse => format!(
            "building '{layer}' again would give the same: add what is missing to it or to a layer below, or waive the finding"
        ),
        _ => hint,
    };
    let path = match subject {
        Subject::Path(path) => Some(path),
        Subject::Package { .. } | Subject::Layer(_) => None,
    };
    Finding {
        id,
        severity,
        layer,
        package,
        path,
        reason,
        hint,
        waived: None,
    }
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| (&a.layer, &a.id).cmp(&(&b.layer, &b.id)));
    findings
}
