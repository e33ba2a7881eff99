//! The files of the layers that a layer stands on, as they are in a composition.

use std::collections::BTreeSet;

use crate::compose::composition::Composition;
use crate::compose::member::Member;
use crate::id::ObjectId;
use crate::layout::within;
use crate::path::RelPath;
use crate::tree::{Inode, Node};

/// The layers below one member that it was built on, and their files today.
pub(super) struct Ground<'a> {
    composition: &'a Composition,
    members: &'a [Member],
    /// Their places in `members`, lowest first.
    closure: Vec<usize>,
}

impl<'a> Ground<'a> {
    /// Takes what the member at `number` stands on.
    pub(super) fn new(composition: &'a Composition, members: &'a [Member], number: usize) -> Self {
        let stands_on = |lower: &usize| members[number].stands_on(&members[*lower].layer.name);
        Self {
            composition,
            members,
            closure: (0..number).filter(stands_on).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.closure.is_empty()
    }

    /// Returns what is at a path, and whose it is. What the layer itself, its siblings and the
    /// layers above it make of the path does not count: to build the layer again would not see it.
    pub(super) fn get(&self, path: &RelPath) -> Option<(&'a Inode, &'a Member)> {
        let (composition, members) = (self.composition, self.members);
        let last = composition.origin.get(path).copied();
        let today = last
            .filter(|last| self.closure.contains(last))
            .and_then(|last| Some((composition.tree.get(path.as_bytes())?, last)));
        let (inode, owner) = match today {
            Some(today) => today,
            None => {
                let mut tops = self.closure.iter().rev();
                tops.find_map(|number| {
                    let change = members[*number].changeset.get(path.as_bytes())?;
                    Some(change.post.as_ref().map(|inode| (inode, *number)))
                })??
            }
        };
        Some((inode, &members[owner]))
    }

    /// Returns the object of the file at a path.
    pub(super) fn object(&self, path: &RelPath) -> Option<ObjectId> {
        self.get(path)?.0.object()
    }

    /// Returns all files in the order of their paths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'a RelPath, ObjectId, u64)> {
        let mut paths: BTreeSet<&'a RelPath> = BTreeSet::new();
        for number in &self.closure {
            let changes = self.members[*number].changeset.iter();
            paths.extend(changes.map(|(path, _)| path));
        }
        paths
            .into_iter()
            .filter_map(|path| match self.get(path)?.0.node {
                Node::File { object, size } => Some((path, object, size)),
                _ => None,
            })
    }

    /// Returns the digests of the files in each of some directories: their paths and contents.
    pub(super) fn digests(&self, dirs: &[RelPath]) -> Vec<ObjectId> {
        if dirs.is_empty() {
            return Vec::new();
        }
        let mut hashers = vec![blake3::Hasher::new(); dirs.len()];
        for (path, object, _) in self.files() {
            for (dir, hasher) in dirs.iter().zip(&mut hashers) {
                if within(path.as_bytes(), dir.as_bytes()) {
                    hasher.update(format!("{path} {object}\n").as_bytes());
                }
            }
        }
        let id = |hasher: blake3::Hasher| ObjectId::from_digest(*hasher.finalize().as_bytes());
        hashers.into_iter().map(id).collect()
    }
}
