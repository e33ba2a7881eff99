//! Changesets: what a layer does to the tree below it, each change with its pre-image.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::{Inode, Tree, diff};

/// One change: what the path was when the change was made, and what it became. Never both absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was there; `None` for an addition.
    pub pre: Option<Inode>,
    /// What is there now; `None` for a removal.
    pub post: Option<Inode>,
}

/// A sorted set of changes by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changeset {
    changes: BTreeMap<RelPath, Change>,
}

impl Changeset {
    /// Makes an empty changeset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the changeset that turns `before` into `after`.
    pub fn between(before: &Tree, after: &Tree) -> Self {
        diff(before, after)
            .map(|(path, difference)| {
                (
                    path.clone(),
                    Change {
                        pre: difference.before.cloned(),
                        post: difference.after.cloned(),
                    },
                )
            })
            .collect()
    }

    /// Sets the change of `path`; a change from nothing to nothing is dropped.
    pub fn insert(&mut self, path: RelPath, change: Change) {
        if change.pre.is_some() || change.post.is_some() {
            self.changes.insert(path, change);
        }
    }

    /// Removes the change of `path`, and returns it.
    pub fn remove(&mut self, path: &[u8]) -> Option<Change> {
        self.changes.remove(path)
    }

    /// Returns the change of `path`.
    pub fn get(&self, path: &[u8]) -> Option<&Change> {
        self.changes.get(path)
    }

    /// Iterates over the changes in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Change)> {
        self.changes.iter()
    }

    /// Returns the number of changed paths.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Says whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the objects that the changed paths hold afterwards.
    pub fn post_objects(&self) -> BTreeSet<ObjectId> {
        self.changes
            .values()
            .filter_map(|change| change.post.as_ref()?.object())
            .collect()
    }
}

impl FromIterator<(RelPath, Change)> for Changeset {
    fn from_iter<I: IntoIterator<Item = (RelPath, Change)>>(iter: I) -> Self {
        let mut changeset = Self::new();
        for (path, change) in iter {
            changeset.insert(path, change);
        }
        changeset
    }
}

impl IntoIterator for Changeset {
    type Item = (RelPath, Change);
    type IntoIter = std::collections::btree_map::IntoIter<RelPath, Change>;
    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}
