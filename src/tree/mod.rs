//! Filesystem trees as values: entries, trees, changesets and the difference of two trees. Pure.

mod changeset;
mod diff;
mod entry;
mod overlay;
pub mod view;

#[cfg(test)]
pub(crate) mod testing;

pub use changeset::{Change, Changeset};
pub use diff::{Difference, diff};
pub use entry::{Inode, Node, Owner, Xattrs};
pub use overlay::{corrections, lay};

use std::collections::{BTreeMap, BTreeSet, btree_map};

use crate::id::ObjectId;
use crate::layout::{self, OnMissing, Resolution};
use crate::path::RelPath;

/// A filesystem tree: every path once, in byte order; the root is the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<RelPath, Inode>,
}

/// A tree that is not a filesystem: the first problem found.
#[allow(missing_docs, reason = "the names of the fields say it")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tree is not a filesystem: '{path}' {problem}")]
pub struct TreeError {
    pub path: RelPath,
    pub problem: &'static str,
}

impl Tree {
    /// Makes an empty tree, without even a root.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the inode at `path`.
    pub fn get(&self, path: &[u8]) -> Option<&Inode> {
        self.entries.get(path)
    }

    /// Sets `path`, and returns what was there.
    pub fn insert(&mut self, path: RelPath, inode: Inode) -> Option<Inode> {
        self.entries.insert(path, inode)
    }

    /// Removes `path` alone (not what is below it), and returns what was there.
    pub fn remove(&mut self, path: &[u8]) -> Option<Inode> {
        self.entries.remove(path)
    }

    /// Returns the number of entries, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether the tree has no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Iterates over all entries in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Inode)> {
        self.entries.iter()
    }

    /// Iterates over `path` itself and everything below it, in path order.
    pub fn subtree<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a RelPath, &'a Inode)> {
        self.get_key_value(path).into_iter().chain(self.below(path))
    }

    /// Returns the entry at `path`, with the tree's own path.
    pub fn get_key_value(&self, path: &[u8]) -> Option<(&RelPath, &Inode)> {
        self.entries.get_key_value(path)
    }

    /// Iterates over everything strictly below `path`, in path order.
    pub fn below<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = (&'a RelPath, &'a Inode)> {
        self.range_below(path, None)
    }

    /// Iterates over what lies below `dir`, from `low` on where one is given.
    fn range_below(&self, dir: &[u8], low: Option<&[u8]>) -> btree_map::Range<'_, RelPath, Inode> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = [dir, b"/"].concat();
        // The byte after a slash: between the two lies all that is below.
        let end = [dir, b"0"].concat();
        let (first, end): (_, std::ops::Bound<&[u8]>) = match dir {
            b"" => (Excluded(dir), Unbounded),
            _ => (Included(first.as_slice()), Excluded(end.as_slice())),
        };
        self.entries
            .range::<[u8], _>((low.map_or(first, Included), end))
    }

    /// Iterates over all paths that start with these bytes, in path order.
    pub fn starting_with<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a RelPath, &'a Inode)> {
        use std::ops::Bound::{Included, Unbounded};
        self.entries
            .range::<[u8], _>((Included(bytes), Unbounded))
            .take_while(|(path, _)| path.as_bytes().starts_with(bytes))
    }

    /// Returns the names of the direct children of `dir`, sorted. What lies below them is passed
    /// over.
    pub fn names<'a>(&'a self, dir: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let mut rest = self.range_below(dir, None);
        std::iter::from_fn(move || {
            loop {
                let path = rest.next()?.0.as_bytes();
                let name = &path[skip..];
                let Some(end) = name.iter().position(|byte| *byte == b'/') else {
                    return Some(name);
                };
                let behind = [&path[..skip + end], b"0"].concat();
                rest = self.range_below(dir, Some(&behind));
            }
        })
    }

    /// Follows symlinks inside the image's root; returns the final path, or `None` when it dangles
    /// or loops.
    pub fn resolve(&self, path: &[u8]) -> Option<RelPath> {
        let look = |path: &[u8]| self.get(path).map(|inode| inode.node.entry_kind());
        match layout::walk(&look, b"", path, OnMissing::LeadsNowhere) {
            Resolution::Found(at) => self.get_key_value(&at).map(|(path, _)| path.clone()),
            Resolution::Lost(_) | Resolution::Loop(_) => None,
        }
    }

    /// Returns a digest of all that programs find in the tree: paths, kinds, modes, contents and
    /// targets. Owners, times and attributes do not count.
    pub fn digest(&self) -> ObjectId {
        let mut text = Vec::new();
        for (path, inode) in &self.entries {
            text.extend_from_slice(path.as_bytes());
            text.push(0);
            text.extend_from_slice(inode.node.kind().as_bytes());
            text.extend_from_slice(&inode.mode.to_le_bytes());
            match &inode.node {
                Node::File { object, .. } => text.extend_from_slice(object.as_bytes()),
                Node::Symlink { target } => text.extend_from_slice(target),
                _ => {}
            }
            text.push(0);
        }
        ObjectId::of(&text)
    }

    /// Returns the set of objects that the tree's files need.
    pub fn objects(&self) -> BTreeSet<ObjectId> {
        self.entries.values().filter_map(Inode::object).collect()
    }

    /// Returns the sum of the sizes of all regular files, in bytes; hard links count once.
    pub fn bytes(&self) -> u64 {
        let mut seen = BTreeSet::new();
        self.entries
            .values()
            .filter(|inode| inode.hardlink == 0 || seen.insert(inode.hardlink))
            .filter_map(|inode| match inode.node {
                Node::File { size, .. } => Some(size),
                _ => None,
            })
            .sum()
    }

    /// Checks that every entry but the root has a directory above it and that hard-link groups
    /// agree.
    pub fn validate(&self) -> Result<(), TreeError> {
        let fail = |path: &RelPath, problem| {
            Err(TreeError {
                path: path.clone(),
                problem,
            })
        };
        match self.get(b"") {
            Some(inode) if matches!(inode.node, Node::Directory) => {}
            _ => return fail(&RelPath::root(), "is not a directory"),
        }
        let mut groups: BTreeMap<u32, &Inode> = BTreeMap::new();
        for (path, inode) in &self.entries {
            if let Some(parent) = path.parent() {
                match self.get(parent.as_bytes()) {
                    Some(above) if matches!(above.node, Node::Directory) => {}
                    _ => return fail(path, "has no directory above it"),
                }
            }
            if inode.hardlink != 0 {
                if matches!(inode.node, Node::Directory) {
                    return fail(path, "is a directory in a hard-link group");
                }
                if *groups.entry(inode.hardlink).or_insert(inode) != inode {
                    return fail(path, "differs from the other names of its hard link");
                }
            }
        }
        Ok(())
    }

    /// Renumbers hard-link groups from 1 in path order; a group of one name gets no number.
    pub fn canonicalize_hardlinks(&mut self) {
        let mut count: BTreeMap<u32, u32> = BTreeMap::new();
        for inode in self.entries.values() {
            *count.entry(inode.hardlink).or_default() += 1;
        }
        let mut number: BTreeMap<u32, u32> = BTreeMap::new();
        for inode in self
            .entries
            .values_mut()
            .filter(|inode| inode.hardlink != 0)
        {
            if count[&inode.hardlink] < 2 {
                inode.hardlink = 0;
            } else {
                let next = u32::try_from(number.len() + 1).unwrap_or(u32::MAX);
                inode.hardlink = *number.entry(inode.hardlink).or_insert(next);
            }
        }
    }
}

impl FromIterator<(RelPath, Inode)> for Tree {
    fn from_iter<I: IntoIterator<Item = (RelPath, Inode)>>(iter: I) -> Self {
        Self {
            entries: iter.into_iter().collect(),
        }
    }
}

impl IntoIterator for Tree {
    type Item = (RelPath, Inode);
    type IntoIter = std::collections::btree_map::IntoIter<RelPath, Inode>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::from_text(text).unwrap()
    }

    fn sample() -> Tree {
        let mut tree = Tree::new();
        for dir in ["", "etc", "etc-old", "usr", "usr/lib"] {
            tree.insert(path(dir), Inode::directory(0o755));
        }
        tree.insert(path("lib"), Inode::symlink("usr/lib"));
        tree.insert(path("etc/a"), Inode::file(ObjectId::of(b"a"), 1, 0o644));
        tree.insert(path("usr/lib/b"), Inode::symlink("/lib/c"));
        tree.insert(path("usr/lib/c"), Inode::file(ObjectId::of(b"c"), 1, 0o644));
        tree.insert(path("loop"), Inode::symlink("loop"));
        tree
    }

    #[test]
    fn below_does_not_take_siblings_that_share_a_prefix() {
        let tree = sample();
        let names: Vec<_> = tree.below(b"etc").map(|(p, _)| p.to_string()).collect();
        assert_eq!(names, ["/etc/a"]);
        assert_eq!(tree.names(b"").count(), 5);
        assert_eq!(tree.names(b"usr").collect::<Vec<_>>(), [b"lib"]);
    }

    #[test]
    fn names_of_a_directory_are_those_of_its_children_however_they_sort() {
        let mut tree = sample();
        for name in [
            "d", "d/x", "d/x/1", "d/x/2", "d/x-y", "d/x0", "d/x0/3", "d0",
        ] {
            tree.insert(path(name), Inode::directory(0o755));
        }
        // Below a directory that is not listed itself.
        tree.insert(path("d/z/deep"), Inode::directory(0o755));
        let names = |dir: &str| {
            let names = tree.names(dir.as_bytes()).map(<[u8]>::to_vec);
            names
                .map(|name| String::from_utf8(name).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("d"), ["x", "x-y", "x0"]);
        assert_eq!(names("d/x"), ["1", "2"]);
        assert_eq!(
            names(""),
            ["d", "d0", "etc", "etc-old", "lib", "loop", "usr"]
        );
        assert!(names("d0").is_empty() && names("none").is_empty());
    }

    #[test]
    fn symlinks_resolve_inside_the_root_and_loops_end() {
        let tree = sample();
        assert_eq!(tree.resolve(b"lib/b").unwrap(), path("usr/lib/c"));
        assert_eq!(tree.resolve(b"lib/../../../etc/a").unwrap(), path("etc/a"));
        assert!(tree.resolve(b"loop").is_none() && tree.resolve(b"lib/none").is_none());
    }

    #[test]
    fn a_file_without_a_directory_above_is_no_filesystem() {
        let mut tree = sample();
        tree.validate().unwrap();
        tree.insert(path("etc/a/b"), Inode::directory(0o755));
        assert_eq!(tree.validate().unwrap_err().path, path("etc/a/b"));
    }

    #[test]
    fn hardlink_groups_are_numbered_by_path_and_singletons_vanish() {
        let mut tree = sample();
        for (name, group) in [("x1", 9), ("x2", 9), ("y1", 4), ("z1", 3), ("z2", 3)] {
            tree.insert(
                path(name),
                Inode {
                    hardlink: group,
                    ..Inode::file(ObjectId::of(b"x"), 1, 0o644)
                },
            );
        }
        tree.canonicalize_hardlinks();
        let groups: Vec<_> = ["x1", "x2", "y1", "z1", "z2"]
            .iter()
            .map(|n| tree.get(n.as_bytes()).unwrap().hardlink)
            .collect();
        assert_eq!(groups, [1, 1, 0, 2, 2]);
    }
}
