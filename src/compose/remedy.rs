//! What helps where building a layer again does not: the hints of findings that refuse a set, with
//! the commands and the lines to write.

use super::examine::MemberProblem;
use super::member::Member;
use super::triggers::is_related;
use crate::check::{FindingId, FindingKind};
use crate::layout::within;

/// Says what helps against a problem that refuses a set.
pub(super) fn remedy(found: &MemberProblem, members: &[Member]) -> String {
    let (problem, member) = (&found.problem, &members[found.member]);
    let layer = &member.layer.name;
    let owner = &members[found.owner].layer.name;
    if matches!(
        problem.id.kind(),
        FindingKind::Alternative
            | FindingKind::Merged
            | FindingKind::Place
            // It knows which layer has to stand on which.
            | FindingKind::Trigger
    ) {
        return problem.hint.clone();
    }
    if let Some((upper, lower)) = php_siblings(found, members) {
        return stand_on(&members[upper].layer.name, &members[lower].layer.name);
    }
    if owner != layer {
        return leave_alone(layer, owner);
    }
    match problem.id.kind() {
        kind if kind.is_of_packages() => lock_again(&[layer]),
        _ if member.baseline.files_only => format!(
            "'{layer}' is files only, so building it again changes nothing: mend the file in \
             layers/{layer}, or add what it needs to a layer that it stands on"
        ),
        _ if member.layer.packages.is_empty() => format!(
            "add what is missing to '{layer}' or to a layer that it stands on: building '{layer}' \
             as it is does not help"
        ),
        _ => format!(
            "{}; or add what is missing to '{layer}' or to a layer that it stands on",
            lock_again(&[layer])
        ),
    }
}

/// Returns two layers beside each other with settings of the same PHP, of which a module of one is
/// not enabled for the other: the one that has to stand on the other, and that one. Debian's
/// packages enable what is there when they are installed.
fn php_siblings(found: &MemberProblem, members: &[Member]) -> Option<(usize, usize)> {
    let id = &found.problem.id;
    let place = id.place().strip_suffix(":enabled")?;
    if id.kind() != FindingKind::Php {
        return None;
    }
    // `/etc/php/8.4/fpm/conf.d/20-gd.ini`
    let settings = place.splitn(5, '/').take(4).collect::<Vec<_>>().join("/");
    let own = &members[found.member];
    let has_settings = |member: &Member| {
        let mut paths = member.changeset.iter().map(|(path, _)| path.as_bytes());
        paths.any(|path| within(path, settings.trim_start_matches('/').as_bytes()))
    };
    let beside = |member: &&Member| !is_related(member, own) && has_settings(member);
    let other = members.iter().rev().find(beside)?;
    let number = members.iter().position(|member| member.id == other.id)?;
    Some((number.max(found.member), number.min(found.member)))
}

/// Says that a layer has to leave alone what another one brings.
pub fn leave_alone(layer: &str, owner: &str) -> String {
    format!(
        "'{owner}' brings it and '{layer}' breaks it: let layers/{layer} leave it as it is, or take it out of '{owner}'"
    )
}

/// Says that a layer has to see another one's files when it is built.
pub(super) fn stand_on(layer: &str, other: &str) -> String {
    format!(
        "add \"{other}\" to `on` in layers/{layer}/layer.toml, then run `layerset lock RECIPE` and \
         `layerset build RECIPE`: '{layer}' is built above it then, and sees its files"
    )
}

/// Says that layers need other packages.
pub fn lock_again(layers: &[&str]) -> String {
    let options: Vec<String> = layers
        .iter()
        .map(|layer| format!("--update {layer}"))
        .collect();
    format!(
        "run `layerset lock RECIPE {}`, then build again",
        options.join(" ")
    )
}

/// Returns what to write into the recipe to accept a finding.
pub fn waiver_block(id: &FindingId) -> String {
    format!(
        "to accept it, add to the recipe:\n  [[waivers]]\n  finding = {}\n  reason = \"…\"\n  expires = YYYY-MM-DD",
        crate::recipe::quote(id.as_str())
    )
}
