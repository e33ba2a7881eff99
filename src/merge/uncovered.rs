//! What stands below a layer today that a sweep of its build would have met, and did not.

use super::sweeps::{differs, suffix};
use crate::format::{Sweep, Swept};
use crate::path::RelPath;
use crate::tree::{Changeset, Inode, Node, Tree};

/// A sweep with the paths that it did not meet when the layer was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered<'a> {
    /// What the build did.
    pub sweep: &'a Sweep,
    /// The paths, sorted; never empty.
    pub paths: Vec<RelPath>,
}

/// Finds what the sweeps of a layer do not cover in `tree`, which stands below the layer.
pub fn uncovered<'a>(
    tree: &Tree,
    changeset: &Changeset,
    sweeps: &'a [Sweep],
) -> Vec<Uncovered<'a>> {
    let found = sweeps.iter().map(|sweep| Uncovered {
        sweep,
        paths: match (sweep.what, &sweep.to) {
            (Swept::Copied, Some(to)) => not_copied(tree, changeset, sweep, to),
            (Swept::Removed | Swept::Contents | Swept::Copied, _) => {
                met(tree, changeset, sweep).collect()
            }
            _ => not_given(tree, changeset, sweep),
        },
    });
    found.filter(|found| !found.paths.is_empty()).collect()
}

/// Says whether a path lies in the reach of a sweep: all that is below the directory, or below the
/// names that end as the sweep says.
fn reaches(sweep: &Sweep, path: &RelPath) -> bool {
    let rest = path.as_bytes().strip_prefix(sweep.dir.as_bytes());
    let rest = rest.map(|rest| rest.strip_prefix(b"/").unwrap_or(rest));
    let name = rest.and_then(|rest| rest.split(|byte| *byte == b'/').next());
    name.is_some_and(|name| sweep.suffix.is_empty() || suffix(name) == Some(&sweep.suffix))
}

/// Returns what a sweep would meet and the layer does not speak of, or saw otherwise when it removed
/// it. A directory that the layer speaks of was there, and so was what it holds where the layer left
/// it.
fn met<'t>(
    tree: &'t Tree,
    changeset: &'t Changeset,
    sweep: &'t Sweep,
) -> impl Iterator<Item = RelPath> + 't {
    let is_new = move |path: &RelPath, inode: &Inode| {
        if let Some(change) = changeset.get(path.as_bytes()) {
            let is_as_seen = |pre: &Inode| pre.same_content(inode);
            return change.post.is_none() && !change.pre.as_ref().is_some_and(is_as_seen);
        }
        let first = first_below(&sweep.dir, path);
        let first = first.and_then(|first| changeset.get(first.as_bytes()));
        // A directory that stayed is no part of what was removed: it has a sweep of its own.
        first.is_none_or(|first| {
            let stayed = |inode: &Option<Inode>| inode.as_ref().is_some_and(Inode::is_dir);
            !(stayed(&first.pre) && stayed(&first.post))
        })
    };
    tree.below(sweep.dir.as_bytes())
        .filter(move |(path, inode)| reaches(sweep, path) && is_new(path, inode))
        .map(|(path, _)| path.clone())
}

/// Returns the child of `dir` on the way to `path`.
fn first_below(dir: &RelPath, path: &RelPath) -> Option<RelPath> {
    let skip = dir.as_bytes().len() + usize::from(!dir.is_root());
    let rest = path.as_bytes().get(skip..)?;
    dir.join(rest.split(|byte| *byte == b'/').next()?).ok()
}

/// Returns the children that have nothing of what a sweep gave to all others.
fn not_given(tree: &Tree, changeset: &Changeset, sweep: &Sweep) -> Vec<RelPath> {
    let child = |path: &RelPath| path.parent().as_ref() == Some(&sweep.dir);
    let given: Vec<&Inode> = changeset
        .iter()
        .filter(|(path, _)| child(path) || **path == sweep.dir)
        .filter_map(|(_, change)| change.pre.as_ref().zip(change.post.as_ref()))
        .filter(|(pre, post)| differs(sweep.what, pre, post))
        .map(|(_, post)| post)
        .collect();
    let has_it = |inode: &Inode| {
        let is_link = matches!(inode.node, Node::Symlink { .. });
        let same =
            |other: &&Inode| other.is_dir() == inode.is_dir() && !differs(sweep.what, inode, other);
        is_link && sweep.what == Swept::Mode || given.iter().any(same)
    };
    tree.below(sweep.dir.as_bytes())
        .filter(|(path, inode)| child(path) && reaches(sweep, path) && !has_it(inode))
        .filter(|(path, _)| changeset.get(path.as_bytes()).is_none())
        .map(|(path, _)| path.clone())
        .collect()
}

/// Returns what the directory of a sweep holds otherwise than its copy in the layer, and what is
/// only in one of them.
fn not_copied(tree: &Tree, changeset: &Changeset, sweep: &Sweep, to: &RelPath) -> Vec<RelPath> {
    let (dir, to) = (sweep.dir.as_bytes(), to.as_bytes());
    let differs = |(path, inode): &(&RelPath, &Inode)| {
        // What the layer changed there was copied as it changed it.
        let seen = changeset
            .get(path.as_bytes())
            .and_then(|change| change.pre.as_ref());
        if let Some(seen) = seen {
            return !seen.same_content(inode);
        }
        let there = path.rebase(dir, to);
        let copy = there
            .as_ref()
            .and_then(|there| changeset.get(there.as_bytes()));
        let copy = copy.and_then(|change| change.post.as_ref());
        let is_own = there.is_some_and(|there| sweep.own.contains(&there));
        copy.is_none_or(|copy| {
            let is_exact = copy.node == inode.node && copy.mode == inode.mode;
            !is_own && !is_exact
        })
    };
    let changed = tree.below(dir).filter(differs).map(|(path, _)| path);
    let copies = changeset.iter().filter(|(path, change)| {
        path.starts_with(to)
            && path.as_bytes() != to
            && change.post.is_some()
            && !sweep.own.contains(path)
    });
    let is_gone = |path: &&RelPath| {
        let origin = path.rebase(to, dir);
        origin.is_some_and(|origin| tree.get(origin.as_bytes()).is_none())
    };
    let gone = copies.map(|(path, _)| path).filter(is_gone);
    changed.chain(gone).cloned().collect()
}
