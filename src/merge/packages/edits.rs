//! What arbitration does to the two sides, collected before any of it is done.

use std::collections::BTreeSet;

use crate::path::RelPath;
use crate::tree::{Change, Changeset, Inode, Tree};

/// What is to be done to the two sides.
#[derive(Default)]
pub(super) struct Edits {
    /// New changes; `None` drops the change of the layer.
    pub changes: Vec<(RelPath, Option<Change>)>,
    /// New inodes of the tree; `None` removes the path.
    pub inodes: Vec<(RelPath, Option<Inode>)>,
    /// Directories that the tree loses if they end up empty, in path order.
    pub directories: BTreeSet<RelPath>,
}

impl Edits {
    /// Changes both sides.
    pub(super) fn apply(self, tree: &mut Tree, changeset: &mut Changeset) {
        for (path, change) in self.changes {
            changeset.remove(path.as_bytes());
            if let Some(change) = change {
                changeset.insert(path, change);
            }
        }
        for (path, inode) in self.inodes {
            match inode {
                Some(inode) => drop(tree.insert(path, inode)),
                None => drop(tree.remove(path.as_bytes())),
            }
        }
        // Deepest first. A directory goes if it is empty and the layer puts nothing into it.
        let used: BTreeSet<_> = changeset
            .iter()
            .filter(|(_, change)| change.post.is_some())
            .filter_map(|(path, _)| path.parent())
            .collect();
        for path in self.directories.into_iter().rev() {
            if !used.contains(&path) && tree.below(path.as_bytes()).next().is_none() {
                tree.remove(path.as_bytes());
            }
        }
    }
}
