//! What a kept layer would do otherwise if it were built on today's lower layers.
//!
//! The merge puts a layer's changes on what they speak of. What a build did to all that a directory
//! held, and what a definition ships whole, does not depend on what was there: where that is other
//! today, kept would differ from rebuilt.

use super::composition::Composition;
use super::judge;
use super::member::Member;
use crate::check::{Finding, FindingKind};
use crate::format::{Sweep, Swept};
use crate::merge::{Blobs, Uncovered, overwritten, uncovered};
use crate::path::RelPath;

/// Finds what the layer of this `number` would treat otherwise than its changes do:
/// `covered:LAYER:PATH`. `below` is composed of the layers below it.
pub(super) fn covered(
    below: &Composition,
    members: &[Member],
    number: usize,
    blobs: &dyn Blobs,
) -> Vec<Finding> {
    let member = &members[number];
    // On the layers that it was built on there is nothing that it did not see.
    if !member.is_moved(members) {
        return Vec::new();
    }
    let (tree, layer) = (&below.tree, &member.layer);
    // A layer never sees its siblings.
    let is_seen = |path: &RelPath| {
        let origin = below
            .origin
            .get(path)
            .and_then(|origin| members.get(*origin));
        origin.is_none_or(|origin| member.stands_on(&origin.layer.name))
    };
    let finding = |path: &RelPath, reason: String| Finding {
        id: FindingKind::Covered.at(format_args!("{}:{path}", layer.name)),
        severity: judge::severity(member, members),
        layer: layer.name.clone(),
        package: None,
        path: Some(path.clone()),
        reason,
        hint: format!("rebuild '{}'", layer.name),
        waived: None,
    };
    let mut found: Vec<Finding> = Vec::new();
    for Uncovered { sweep, mut paths } in uncovered(tree, &member.changeset, &layer.sweeps) {
        paths.retain(is_seen);
        if !paths.is_empty() {
            found.push(finding(&sweep.dir, described(&layer.name, sweep, &paths)));
        }
    }
    let mut anew = overwritten(tree, &member.changeset, &layer.shipped, blobs);
    anew.retain(is_seen);
    found.extend(anew.iter().map(|path| {
        let reason = format!(
            "'{}' replaces '{path}' as a whole, and the layers below have changed it",
            layer.name
        );
        finding(path, reason)
    }));
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    found
}

fn described(layer: &str, sweep: &Sweep, paths: &[RelPath]) -> String {
    let all = match sweep.suffix.as_str() {
        "" => format!("all of '{}'", sweep.dir),
        end => format!("all '*{end}' in '{}'", sweep.dir),
    };
    let did = match (sweep.what, &sweep.to) {
        (Swept::Removed, _) => format!("removed {all}"),
        (Swept::Contents, _) => format!("changed {all}"),
        (Swept::Mode, _) => format!("gave a mode to {all}"),
        (Swept::Owner, _) => format!("gave an owner to {all}"),
        (Swept::Group, _) => format!("gave a group to {all}"),
        (Swept::Xattrs, _) => format!("gave extended attributes to {all}"),
        (Swept::Copied, Some(to)) => format!("copied {all} to '{to}'"),
        (Swept::Copied, None) => format!("copied {all}"),
    };
    let more = match paths.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let first = paths.first().cloned().unwrap_or_default();
    format!(
        "'{layer}' {did}, and the layers below have '{first}'{more} today, which it did not see so"
    )
}
