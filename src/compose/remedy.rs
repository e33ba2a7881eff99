//! What helps where building a layer again does not: the hints of findings that refuse a set, with
//! the commands and the lines to write.

use super::examine::MemberProblem;
use super::member::Member;
use crate::check::{FindingId, FindingKind};

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
