//! From problems to findings: what is new, whose it is, and how bad.
//!
//! A problem is new when no baseline of a member lists it; an unknown baseline lists nothing. A
//! grave new problem means that its layer must be rebuilt, if that layer stands on other layers
//! than those it was built on, and building it again can give something else. Otherwise a rebuild
//! would not help, and the set is refused.

use super::baseline::watched;
use super::examine::MemberProblem;
use super::member::Member;
use super::remedy::remedy;
use super::triggers;
use crate::check::{CHECKS_VERSION, Finding, FindingKind, Problem, Severity, Subject, Weight};

/// Returns how bad a problem of `member` is in the set `members`.
pub(super) fn severity(member: &Member, members: &[Member]) -> Severity {
    if member.is_moved(members) {
        Severity::Rebuild
    } else {
        Severity::Refuse
    }
}

/// Returns how bad a grave problem of a kind is. Files of a layer that installs nothing and runs
/// nothing come out the same, however often it is built: only what they meet below is another.
fn severity_of(kind: FindingKind, member: &Member, members: &[Member]) -> Severity {
    let is_about_below = matches!(
        kind,
        FindingKind::Conflict | FindingKind::Rebuild | FindingKind::Shadow | FindingKind::Trigger
    );
    if member.baseline.files_only && !is_about_below {
        return Severity::Refuse;
    }
    severity(member, members)
}

/// What the problems of a set mean.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// The new findings, sorted by layer and id.
    pub new: Vec<Finding>,
    /// The findings that existed when the layers were built, as notes, sorted by layer and id.
    pub known: Vec<Finding>,
}

/// Judges the problems of a set.
pub fn judge(found: Vec<MemberProblem>, members: &[Member]) -> Judgement {
    let (old, new): (Vec<MemberProblem>, Vec<MemberProblem>) =
        found.into_iter().partition(|found| found.is_known(members));
    let new = new.into_iter().map(|found| {
        let severity = match found.problem.weight {
            Weight::Minor => Severity::Note,
            Weight::Grave => severity_of(found.problem.id.kind(), &members[found.member], members),
        };
        finding(found, severity, members)
    });
    let changed = members
        .iter()
        .flat_map(|member| changed_below(member, members));
    let unknown = members.iter().filter(|member| !member.is_known());
    let old = old
        .into_iter()
        .filter(|found| !triggers::ran(&found.problem, members))
        .map(|found| finding(found, Severity::Note, members));
    Judgement {
        new: sorted(
            new.chain(changed)
                .chain(unknown.map(unknown_baseline))
                .collect(),
        ),
        known: sorted(old.collect()),
    }
}

/// Reports that the baseline of a layer is unknown.
fn unknown_baseline(member: &Member) -> Finding {
    let layer = &member.layer.name;
    let why = match member.baseline.checks {
        0 => "no checks ran then".to_owned(),
        version => {
            format!("version {version} of the checks ran then, this is version {CHECKS_VERSION}")
        }
    };
    Finding {
        id: FindingKind::Baseline.at(layer),
        severity: Severity::Note,
        layer: layer.clone(),
        package: None,
        path: None,
        reason: format!(
            "nobody knows what was wrong with '{layer}' when it was built ({why}, and the layers \
             that it was built on are missing): every problem with it is reported as new"
        ),
        hint: format!("rebuild '{layer}', or pull it again where it was published"),
        waived: None,
    }
}

/// Finds the patterns of `[rebuild]` whose matches in the layers below changed, or may have
/// changed, since the layer was built. What they matched does not depend on the version of the
/// checks.
fn changed_below(member: &Member, members: &[Member]) -> Vec<Finding> {
    let today = watched(member, members);
    let layer = &member.layer;
    let before = &member.baseline.watched;
    let changed = today
        .iter()
        .filter_map(|(pattern, now)| match before.get(pattern) {
            Some(before) if before == now => None,
            Some(_) => Some((pattern, "changed")),
            // On the layers that it was built on, the pattern matches the same files as then.
            None if !member.is_moved(members) => None,
            None => Some((pattern, "may have changed")),
        });
    changed
        .map(|(pattern, how)| Finding {
            id: FindingKind::Rebuild.at(format_args!("{}:{pattern}", layer.name)),
            severity: severity(member, members),
            layer: layer.name.clone(),
            package: None,
            path: None,
            reason: format!(
                "the files in the layers below that match '{pattern}' {how}, and the layer is built from them"
            ),
            hint: format!("rebuild '{}'", layer.name),
            waived: None,
        })
        .collect()
}

/// Makes the finding about a problem.
pub fn finding(found: MemberProblem, severity: Severity, members: &[Member]) -> Finding {
    let remedy = remedy(&found, members);
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
        Severity::Refuse => remedy,
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
