//! What a layer breaks of the layers below it.
//!
//! A grave problem with something of a lower layer, which the set below did not have, is the doing
//! of the layer that was added: it never becomes the normal state of that layer.

use std::collections::BTreeSet;

use super::composition::Composition;
use super::examine::MemberProblem;
use super::member::Member;
use crate::check::{Finding, FindingId, FindingKind, Subject, Weight};
use crate::layout::{join, name, parent};
use crate::merge::drivers::driver_for;
use crate::path::RelPath;
use crate::tree::{Inode, Tree};

/// The layers below one, composed and checked.
#[derive(Debug, Clone)]
pub struct CheckedGround {
    /// Their composition.
    pub composition: Composition,
    /// What is wrong with it.
    pub found: Vec<MemberProblem>,
}

/// Says whether the last of `members` may have caused one of the problems of the set. Only then
/// does anybody need to look at the layers below it.
pub fn may_damage(composition: &Composition, found: &[MemberProblem], members: &[Member]) -> bool {
    let Some((last, lower)) = members.split_last() else {
        return false;
    };
    let is_suspect = |found: &MemberProblem| {
        let is_drop_in = |path: &RelPath| is_drop_in_of(&found.problem.id, path, &composition.tree);
        let was_there = match &found.problem.subject {
            Subject::Path(path) if is_drop_in(path) => true,
            Subject::Path(path) => lower
                .iter()
                .any(|member| member.changeset.get(path.as_bytes()).is_some()),
            Subject::Package { .. } | Subject::Layer(_) => false,
        };
        can_be_damage(found) && (found.member < lower.len() || was_there)
    };
    let is_of_lower = |finding: &&Finding| finding.layer != last.layer.name;
    !lower.is_empty()
        && (found.iter().any(is_suspect) || owners(composition).any(|f| is_of_lower(&f)))
}

/// Returns the problems of a set that its last layer made, as the doing of that layer: those with
/// what the layers below it, `ground`, have and had sound.
pub fn damage(
    found: &[MemberProblem],
    members: &[Member],
    ground: &CheckedGround,
) -> Vec<MemberProblem> {
    let last = members.len().saturating_sub(1);
    let before: BTreeSet<&FindingId> = ground
        .found
        .iter()
        .filter(|found| found.problem.weight == Weight::Grave)
        .map(|found| &found.problem.id)
        .collect();
    let is_of_ground = |found: &MemberProblem| match &found.problem.subject {
        // Records that a layer adds to a file of all layers are its own.
        Subject::Path(path) if found.member == last => {
            let inode = ground.composition.tree.get(path.as_bytes());
            let is_disabled = found.problem.id.kind() == FindingKind::Disabled;
            is_drop_in_of(&found.problem.id, path, &ground.composition.tree)
                || is_disabled
                || inode.is_some_and(|inode| !inode.is_dir())
                    && driver_for(path.as_bytes()).is_none()
        }
        _ => found.member < last,
    };
    let was_so = |found: &MemberProblem| {
        let id = &found.problem.id;
        before.contains(id) || id.hidden_behind().is_some_and(|id| before.contains(&id))
    };
    let as_doing = |found: &MemberProblem| {
        let origin = match &found.problem.subject {
            Subject::Path(path) => ground.composition.origin.get(path).copied(),
            Subject::Package { .. } | Subject::Layer(_) => None,
        };
        MemberProblem {
            problem: found.problem.clone(),
            member: last,
            owner: origin.unwrap_or(found.owner.min(last.saturating_sub(1))),
        }
    };
    found
        .iter()
        .filter(|found| can_be_damage(found) && is_of_ground(found) && !was_so(found))
        .map(as_doing)
        .collect()
}

/// Returns the owners of files of the layers below that have no account any more, and had one
/// there.
pub fn lost_owners(
    composition: &Composition,
    last: &Member,
    ground: &CheckedGround,
) -> Vec<Finding> {
    let before: BTreeSet<&FindingId> = owners(&ground.composition).map(|f| &f.id).collect();
    let of_lower = |finding: &&Finding| {
        let tree = &ground.composition.tree;
        let inode = finding
            .path
            .as_ref()
            .and_then(|path| tree.get(path.as_bytes()));
        inode.is_some_and(|inode: &Inode| !inode.is_dir()) || finding.layer != last.layer.name
    };
    owners(composition)
        .filter(|finding| !before.contains(&finding.id))
        .filter(of_lower)
        .cloned()
        .collect()
}

/// Says whether a problem is with a drop-in for a unit that is there: the unit has it then.
fn is_drop_in_of(id: &FindingId, path: &RelPath, ground: &Tree) -> bool {
    let dir = parent(path.as_bytes());
    let (unit, place) = (name(dir).strip_suffix(b".d"), parent(dir));
    let dirs = [place, b"usr/lib/systemd/system", b"usr/lib/systemd/user"];
    let is_there = |unit: &[u8]| {
        dirs.iter()
            .any(|dir| ground.get(&join(dir, unit)).is_some())
    };
    id.kind() == FindingKind::Unit && unit.is_some_and(is_there)
}

fn owners(composition: &Composition) -> impl Iterator<Item = &Finding> {
    let findings = composition.findings.iter();
    findings.filter(|finding| finding.id.kind() == FindingKind::Owner)
}

/// Says whether a problem can be damage at all. That a newcomer lacks something which the layers
/// below offer is a fault of the newcomer: what they have works as it did.
fn can_be_damage(found: &MemberProblem) -> bool {
    let id = &found.problem.id;
    let is_of_newcomer = match id.kind() {
        FindingKind::Trigger => true,
        FindingKind::Php => id.place().ends_with(":enabled"),
        _ => false,
    };
    found.problem.weight == Weight::Grave && !is_of_newcomer
}
