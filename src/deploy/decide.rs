//! Decisions about conflicting paths of `/etc`: whose side is taken, and how that changes the
//! inputs of the merge. Pure.

use std::collections::BTreeSet;

use crate::merge::ApplyReport;
use crate::path::RelPath;
use crate::tree::{Changeset, Inode, Tree};

/// Whose version of a conflicting path is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictSide {
    /// The machine's.
    Machine,
    /// The image's.
    Image,
}

/// Decisions about conflicting paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Paths that stay as they are on the machine, with everything below.
    pub keep: BTreeSet<RelPath>,
    /// Paths that become what the image has.
    pub take: BTreeSet<RelPath>,
}

impl Decisions {
    /// Returns a path to keep and one to take of which one is the other, or is below it: both cannot
    /// be had.
    pub fn contradiction(&self) -> Option<(&RelPath, &RelPath)> {
        let clash = |keep: &RelPath, take: &RelPath| {
            keep.starts_with(take.as_bytes()) || take.starts_with(keep.as_bytes())
        };
        self.keep.iter().find_map(|keep| {
            let take = self.take.iter().find(|take| clash(keep, take))?;
            Some((keep, take))
        })
    }

    /// Returns those about `/etc`; a file of `/var` is nothing that is merged.
    pub(super) fn of_etc(&self) -> Self {
        self.only(|path| !path.starts_with(b"var"))
    }

    /// Returns those about `/var`.
    pub(super) fn of_var(&self) -> Self {
        self.only(|path| path.starts_with(b"var"))
    }

    fn only(&self, is_meant: impl Fn(&RelPath) -> bool) -> Self {
        let only = |paths: &BTreeSet<RelPath>| {
            let paths = paths.iter().filter(|path| is_meant(path));
            paths.cloned().collect()
        };
        Self {
            keep: only(&self.keep),
            take: only(&self.take),
        }
    }
}

pub(super) fn conflict_paths(applied: &ApplyReport) -> BTreeSet<RelPath> {
    applied
        .conflicts
        .iter()
        .map(|conflict| conflict.path.clone())
        .collect()
}

/// Finds the decision about each conflicting path.
pub(super) fn resolved(
    conflicting: &BTreeSet<RelPath>,
    decisions: &Decisions,
) -> Vec<(RelPath, ConflictSide)> {
    let decision = |path: &RelPath| {
        if decisions.keep.contains(path) {
            Some(ConflictSide::Machine)
        } else if decisions.take.contains(path) {
            Some(ConflictSide::Image)
        } else {
            None
        }
    };
    conflicting
        .iter()
        .filter_map(|path| Some((path.clone(), decision(path)?)))
        .collect()
}

/// Changes both inputs of the merge so that decided paths cannot conflict.
pub(super) fn decide(
    tree: &mut Tree,
    changes: &mut Changeset,
    resolved: &[(RelPath, ConflictSide)],
    image: &Tree,
) {
    for (path, side) in resolved {
        match side {
            ConflictSide::Machine => {
                let below: Vec<RelPath> = changes
                    .iter()
                    .map(|(changed, _)| changed)
                    .filter(|changed| changed.starts_with(path.as_bytes()))
                    .cloned()
                    .collect();
                for changed in below {
                    changes.remove(changed.as_bytes());
                }
            }
            ConflictSide::Image => take_image(tree, changes, path, image),
        }
    }
}

/// Makes the tree what the image was at `path`, so that the change applies to it.
fn take_image(tree: &mut Tree, changes: &Changeset, path: &RelPath, image: &Tree) {
    let Some(change) = changes.get(path.as_bytes()) else {
        return;
    };
    let mut above = path.parent();
    while let Some(dir) = above.filter(|dir| !dir.is_root()) {
        let here = tree.get(dir.as_bytes()).is_some_and(Inode::is_dir);
        if let Some(inode) = image.get(dir.as_bytes()).filter(|_| !here) {
            tree.insert(dir.clone(), inode.clone());
        }
        above = dir.parent();
    }
    if change.post.as_ref().is_some_and(|post| !post.is_dir()) {
        let below: Vec<RelPath> = tree
            .below(path.as_bytes())
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            tree.remove(path.as_bytes());
        }
    }
    match &change.pre {
        // Hard-link numbers of the image mean nothing in the machine's tree.
        Some(pre) => drop(tree.insert(
            path.clone(),
            Inode {
                hardlink: 0,
                ..pre.clone()
            },
        )),
        None => drop(tree.remove(path.as_bytes())),
    }
}

/// Returns `paths`, what is below them, and the directories above.
pub(super) fn excerpt(tree: &Tree, paths: &[&RelPath]) -> Tree {
    let mut part = Tree::new();
    let mut add = |path: &RelPath| {
        if let Some(inode) = tree.get(path.as_bytes()) {
            part.insert(path.clone(), inode.clone());
        }
    };
    for path in paths {
        tree.subtree(path.as_bytes())
            .for_each(|(path, _)| add(path));
        let mut above = path.parent();
        while let Some(dir) = above {
            add(&dir);
            above = dir.parent();
        }
    }
    part.canonicalize_hardlinks();
    part
}
