//! The problems in the set that a layer is built and tested in, recorded for later checks.

use std::collections::BTreeMap;

use super::examine::MemberProblem;
use super::member::Member;
use super::triggers;
use crate::check::{CHECKS_VERSION, FindingKind, Subject, Weight};
use crate::format::Baseline;
use crate::glob::Glob;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::{Inode, Node};

/// Makes the baseline of the last of `members`, in whose set the problems `found` were found.
///
/// `damage` are the problems among them that the layer made in what is below it: they stay new.
/// `previous` is the same layer as it was built before. If something is unchanged in it and
/// had no problem then, it was broken from outside. Such a problem is new, and stays new however
/// often the layer is built, and whichever checks look at it.
pub fn baseline(
    found: &[MemberProblem],
    members: &[Member],
    damage: &[MemberProblem],
    previous: Option<&Member>,
) -> Baseline {
    let Some((member, below)) = members.split_last() else {
        return Baseline::default();
    };
    let is_base = below.is_empty();
    let is_broken = |found: &&MemberProblem| {
        let was_sound = |previous: &&Member| previous.is_known() && !found.is_listed(previous);
        let was_broken = member
            .baseline
            .broken
            .iter()
            .any(|id| id == found.problem.id.as_str());
        let is_broken_now = previous
            .filter(was_sound)
            .is_some_and(|previous| is_unchanged(&found.problem.subject, member, previous));
        let ran = triggers::ran_in_last(&found.problem, members);
        !is_base && ran != Some(true) && (was_broken || is_broken_now)
    };
    // Package tools leave no relation unmet: such a problem is never the normal state.
    // Nor is an unreadable database, or a file that nothing reads: each is reported until somebody
    // repairs it. A trigger of one lower layer for files of another did not run in this build
    // either.
    let is_normal = |found: &&MemberProblem| {
        let kind = found.problem.id.kind();
        let is_unheard = triggers::ran_in_last(&found.problem, members) == Some(false);
        let is_lasting =
            kind.is_of_packages() || matches!(kind, FindingKind::Place | FindingKind::Record);
        is_base || !(is_lasting || is_unheard)
    };
    let is_new = |found: &&MemberProblem| !below.iter().any(|lower| found.is_listed(lower));
    let is_damage = |found: &&MemberProblem| {
        let mut damage = damage.iter();
        damage.any(|damage| damage.problem.id == found.problem.id)
    };
    let stays_new = |found: &&MemberProblem| is_damage(found) || is_new(found) && is_broken(found);
    let broken = found.iter().filter(stays_new).collect();
    let (problems, notes): (Vec<&MemberProblem>, Vec<&MemberProblem>) = found
        .iter()
        .filter(|found| is_new(found) && is_normal(found) && !stays_new(found))
        .partition(|found| found.problem.weight == Weight::Grave);
    let ids = |found: Vec<&MemberProblem>| {
        found
            .into_iter()
            .map(|found| found.problem.id.to_string())
            .collect()
    };
    Baseline {
        checks: CHECKS_VERSION,
        problems: ids(problems),
        notes: ids(notes),
        broken: ids(broken),
        watched: watched(member, below),
        // It follows from the definition, which is not at hand here.
        files_only: member.baseline.files_only,
        derived: Vec::new(),
    }
}

/// Says whether a layer has the same subject as before.
fn is_unchanged(subject: &Subject, now: &Member, before: &Member) -> bool {
    match subject {
        Subject::Path(path) => {
            let post = |member: &Member| {
                let change = member.changeset.get(path.as_bytes())?;
                change.post.as_ref().map(|inode| inode.node.clone())
            };
            post(now).is_some() && post(now) == post(before)
        }
        // It is about the layers below.
        Subject::Layer(_) => true,
        Subject::Package { name, architecture } => {
            let version = |member: &Member| {
                let packages = member.layer.packages.iter();
                let mut same =
                    packages.filter(|p| p.name == *name && p.architecture == *architecture);
                same.next().map(|package| package.version.clone())
            };
            version(now).is_some() && version(now) == version(before)
        }
    }
}

/// Returns, for each pattern of `[rebuild]`, the digest of what it matches in the layers below:
/// paths, kinds, modes and contents, without times.
pub fn watched(member: &Member, members: &[Member]) -> BTreeMap<String, ObjectId> {
    let digest = |pattern: &String| {
        let glob = Glob::new(pattern).ok()?;
        let mut matched: BTreeMap<&RelPath, Option<&Inode>> = BTreeMap::new();
        let lower = members
            .iter()
            .filter(|lower| member.stands_on(&lower.layer.name));
        for (path, change) in lower.flat_map(|lower| lower.changeset.iter()) {
            if glob.matches(path.as_bytes()) {
                matched.insert(path, change.post.as_ref());
            }
        }
        let mut text = String::new();
        for (path, inode) in matched {
            let Some(inode) = inode else { continue };
            let node = match &inode.node {
                Node::File { object, .. } => object.to_string(),
                Node::Symlink { target } => crate::path::escape(target),
                _ => String::new(),
            };
            let kind = inode.node.kind();
            text.push_str(&format!("{path} {kind} {:04o} {node}\n", inode.mode));
        }
        Some((pattern.clone(), ObjectId::of(text.as_bytes())))
    };
    member
        .layer
        .rebuild
        .when
        .iter()
        .filter_map(digest)
        .collect()
}
