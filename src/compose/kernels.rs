//! Kernel modules of layers whose kernel has left.

use super::composition::Composition;
use super::examine::owner_of_path;
use super::member::Member;
use crate::check::paths::kernel_of;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::tree::Tree;

/// Modules for a kernel that is not there are left over, as long as their layer has modules for
/// one that is. A layer that has none is about modules that nothing loads: that is grave.
pub(super) fn weigh(problems: &mut [Problem], composition: &Composition, members: &[Member]) {
    for problem in problems {
        let Subject::Path(path) = &problem.subject else {
            continue;
        };
        if problem.id.kind() == FindingKind::Kernel
            && let Some(member) = members.get(owner_of_path(path, composition))
            && !has_use(member, &composition.tree)
        {
            problem.weight = Weight::Grave;
        }
    }
}

/// Says whether a layer has files of a kernel that is there.
fn has_use(member: &Member, tree: &Tree) -> bool {
    let mut versions: Vec<&str> = member
        .changeset
        .iter()
        .filter(|(_, change)| change.post.is_some())
        .filter_map(|(path, _)| {
            let rest = path.as_bytes().strip_prefix(b"usr/lib/modules/")?;
            let version = rest.split(|byte| *byte == b'/').next()?;
            std::str::from_utf8(version).ok()
        })
        .collect();
    versions.dedup();
    versions.iter().any(|version| kernel_of(tree, version))
}
