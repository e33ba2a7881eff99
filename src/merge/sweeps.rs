//! Finds what a build did to all that a directory of the layers below held: the evidence that it
//! would do the same to what comes later.
//!
//! Evidence are: a directory that is gone; a directory of which nothing old is left; all names of
//! one ending that are gone or have other contents; one mode, owner or set of extended attributes
//! given to everything; a copy of a whole directory. What packages did is none: dpkg knows its files
//! by name, and removes a directory only when it is empty.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Blobs, MergeError};
use crate::format::{Sweep, Swept};
use crate::id::ObjectId;
use crate::layout::dpkg;
use crate::packages;
use crate::path::RelPath;
use crate::tree::{Change, Changeset, Inode, Node, Tree};

/// Aspects of an inode that a command gives to everything, whatever it was before.
const GIVEN: [Swept; 4] = [Swept::Mode, Swept::Owner, Swept::Group, Swept::Xattrs];

/// Finds the sweeps in what a build did to `lower`, sorted. `blobs` reads the lists of packages.
pub fn sweeps(
    lower: &Tree,
    changeset: &Changeset,
    blobs: &dyn Blobs,
) -> Result<Vec<Sweep>, MergeError> {
    let finder = SweepFinder { lower, changeset };
    let mut found = finder.removed();
    found.extend(finder.in_directories());
    found.extend(finder.copied());
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let listed = listed(lower, changeset, blobs)?;
    found.retain(|(_, evidence)| !evidence.iter().all(|path| listed.contains(path)));
    let mut sweeps: Vec<Sweep> = found.into_iter().map(|(sweep, _)| sweep).collect();
    sweeps.sort();
    sweeps.dedup();
    Ok(sweeps)
}

/// A sweep with the paths that tell of it.
type Evidence = (Sweep, Vec<RelPath>);

struct SweepFinder<'a> {
    lower: &'a Tree,
    changeset: &'a Changeset,
}

fn sweep(dir: &RelPath, what: Swept, suffix: &str) -> Sweep {
    Sweep {
        dir: dir.clone(),
        what,
        suffix: suffix.to_owned(),
        to: None,
        own: Vec::new(),
    }
}

/// Returns the end of a name with its dot, where it has one that a pattern would use.
pub(super) fn suffix(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let dot = name.rfind('.').filter(|dot| *dot > 0)?;
    Some(&name[dot..]).filter(|end| end.len() > 1)
}

/// Says whether two inodes differ in what a sweep gives.
pub(super) fn differs(what: Swept, a: &Inode, b: &Inode) -> bool {
    match what {
        Swept::Removed | Swept::Copied => false,
        Swept::Contents => a.node != b.node,
        Swept::Mode => a.mode != b.mode,
        Swept::Owner => a.owner != b.owner,
        Swept::Group => a.group != b.group,
        Swept::Xattrs => a.xattrs != b.xattrs,
    }
}

impl<'a> SweepFinder<'a> {
    fn post(&self, path: &RelPath) -> Option<&'a Inode> {
        match self.changeset.get(path.as_bytes()) {
            Some(change) => change.post.as_ref(),
            None => self.lower.get(path.as_bytes()),
        }
    }

    /// Finds directories that are gone and whose own directory is not.
    fn removed(&self) -> Vec<Evidence> {
        let is_gone = |change: &Change| change.post.is_none();
        let is_top = |path: &RelPath| {
            let above = path.parent();
            let above = above.and_then(|dir| self.changeset.get(dir.as_bytes()));
            !above.is_some_and(is_gone)
        };
        let removed = self.changeset.iter().filter(|(path, change)| {
            change.pre.as_ref().is_some_and(Inode::is_dir) && is_gone(change) && is_top(path)
        });
        removed
            .map(|(dir, _)| {
                let below = self.lower.subtree(dir.as_bytes());
                let below = below.map(|(path, _)| path.clone()).collect();
                (sweep(dir, Swept::Removed, ""), below)
            })
            .collect()
    }

    /// Finds what was done to all that directories held which are still there.
    fn in_directories(&self) -> Vec<Evidence> {
        let changed = self
            .changeset
            .iter()
            .filter(|(_, change)| change.pre.is_some());
        let dirs: BTreeSet<RelPath> = changed.filter_map(|(path, _)| path.parent()).collect();
        // Nobody does anything to all that is in the root.
        let still = |dir: &&RelPath| !dir.is_root() && self.post(dir).is_some_and(Inode::is_dir);
        dirs.iter()
            .filter(still)
            .flat_map(|dir| self.in_directory(dir))
            .collect()
    }

    fn in_directory(&self, dir: &RelPath) -> Vec<Evidence> {
        let names = self.lower.names(dir.as_bytes());
        let children: Vec<RelPath> = names.filter_map(|name| dir.join(name).ok()).collect();
        let mut classes: BTreeMap<&str, Vec<&RelPath>> = BTreeMap::new();
        for child in &children {
            if let Some(end) = suffix(child.name()) {
                classes.entry(end).or_default().push(child);
            }
        }
        classes.insert("", children.iter().collect());
        let mut found = Vec::new();
        for (end, class) in classes {
            let evidence = || class.iter().map(|path| (*path).clone()).collect();
            if let Some(what) = self.left_nothing(&class) {
                found.push((sweep(dir, what, end), evidence()));
            }
            for what in GIVEN {
                if self.gave_all(dir, &class, what) {
                    found.push((sweep(dir, what, end), evidence()));
                    found.extend(self.empty_given(&class, what));
                }
            }
        }
        found
    }

    /// Says whether nothing old is left of a class of names.
    fn left_nothing(&self, class: &[&RelPath]) -> Option<Swept> {
        let mut gone = 0;
        for path in class {
            let pre = self.lower.get(path.as_bytes())?;
            match self.post(path) {
                None => gone += 1,
                Some(post) if post.is_dir() || !differs(Swept::Contents, pre, post) => return None,
                Some(_) => {}
            }
        }
        match (gone, class.len()) {
            // One file is edited by its name.
            (0, 0 | 1) => None,
            (0, _) => Some(Swept::Contents),
            _ => Some(Swept::Removed),
        }
    }

    /// Says whether everything of a class has what some of it were given. A change of one file is
    /// evidence where its directory was changed too.
    fn gave_all(&self, dir: &RelPath, class: &[&RelPath], what: Swept) -> bool {
        let is_given = |path: &RelPath| {
            let change = self.changeset.get(path.as_bytes());
            let sides = change.and_then(|change| change.pre.as_ref().zip(change.post.as_ref()));
            sides.is_some_and(|(pre, post)| differs(what, pre, post))
        };
        // A link has no mode of its own.
        let counts = |path: &&&RelPath| {
            let link = matches!(
                self.post(path).map(|inode| &inode.node),
                Some(Node::Symlink { .. })
            );
            !(link && what == Swept::Mode)
        };
        let class: Vec<&RelPath> = class.iter().filter(counts).copied().collect();
        let (given, rest): (Vec<&RelPath>, Vec<&RelPath>) =
            class.into_iter().partition(|path| is_given(path));
        if given.is_empty() || given.len() == 1 && !is_given(dir) {
            return false;
        }
        rest.iter().all(|path| {
            self.post(path).is_none_or(|post| {
                given.iter().any(|other| {
                    let other = self.post(other);
                    other.is_some_and(|other| !differs(what, post, other))
                })
            })
        })
    }

    /// Says whether a path is gone, or another kind of thing.
    fn is_other(&self, path: &RelPath) -> bool {
        let (pre, post) = (self.lower.get(path.as_bytes()), self.post(path));
        pre.map(|inode| inode.node.kind()) != post.map(|inode| inode.node.kind())
    }

    /// Says what is given to directories of which nothing is left: what comes into them would get it
    /// too.
    fn empty_given(&self, class: &[&RelPath], what: Swept) -> Vec<Evidence> {
        let is_empty = |path: &&&RelPath| {
            let is_dir = self.post(path).is_some_and(Inode::is_dir);
            let mut children = self.lower.names(path.as_bytes());
            let is_left = |name: &[u8]| path.join(name).is_ok_and(|path| !self.is_other(&path));
            is_dir && !children.any(is_left)
        };
        let empty = class.iter().filter(is_empty);
        let changed = empty.filter(|path| self.changeset.get(path.as_bytes()).is_some());
        changed
            .map(|path| (sweep(path, what, ""), vec![(*path).clone()]))
            .collect()
    }

    /// Finds new directories that hold all of one that was there.
    fn copied(&self) -> Vec<Evidence> {
        let is_new = |path: &RelPath| {
            let change = self.changeset.get(path.as_bytes());
            let change = change.filter(|change| change.pre.is_none());
            change.is_some_and(|change| change.post.as_ref().is_some_and(Inode::is_dir))
        };
        let new = self.changeset.iter().map(|(path, _)| path);
        let new: Vec<&RelPath> = new.filter(|path| is_new(path)).collect();
        if new.is_empty() {
            return Vec::new();
        }
        let mut places: BTreeMap<ObjectId, Vec<&RelPath>> = BTreeMap::new();
        for (path, inode) in self.lower.iter() {
            if let Node::File { object, size: 1.. } = &inode.node {
                places.entry(*object).or_default().push(path);
            }
        }
        let mut found: Vec<Evidence> = Vec::new();
        for to in new {
            let is_within = |(sweep, _): &Evidence| {
                let above = sweep.to.as_ref();
                above.is_some_and(|above| to.starts_with(above.as_bytes()))
            };
            if !found.iter().any(is_within)
                && let Some((dir, paths)) = self.origin_of(to, &places)
            {
                let copy = Sweep {
                    own: self.besides(to, &paths),
                    to: Some(to.clone()),
                    ..sweep(&dir, Swept::Copied, "")
                };
                found.push((copy, paths));
            }
        }
        found
    }

    /// Returns the directory that `to` is a copy of, with the copied files.
    fn origin_of(
        &self,
        to: &RelPath,
        places: &BTreeMap<ObjectId, Vec<&RelPath>>,
    ) -> Option<(RelPath, Vec<RelPath>)> {
        let below = self.changeset.iter().filter(|(path, change)| {
            path.starts_with(to.as_bytes()) && change.post.as_ref().is_some_and(|p| !p.is_dir())
        });
        for (path, change) in below {
            let object = change.post.as_ref().and_then(Inode::object);
            let end = &path.as_bytes()[to.as_bytes().len()..];
            let origins = object.and_then(|object| places.get(&object));
            for origin in origins.into_iter().flatten() {
                let dir = origin.as_bytes().strip_suffix(end);
                let dir = dir.and_then(|dir| RelPath::new(dir).ok());
                if let Some(dir) = dir.filter(|dir| !dir.is_root() && self.is_copy(dir, to)) {
                    let exact = self.exact(&dir, to);
                    return Some((dir, exact));
                }
            }
        }
        None
    }

    /// Returns what the layer has below `to` besides the sorted exact `copies`.
    fn besides(&self, to: &RelPath, copies: &[RelPath]) -> Vec<RelPath> {
        let made = self.changeset.iter().filter(|(path, change)| {
            path.starts_with(to.as_bytes()) && *path != to && change.post.is_some()
        });
        let paths = made.map(|(path, _)| path);
        paths
            .filter(|path| copies.binary_search(path).is_err())
            .cloned()
            .collect()
    }

    /// Says whether all that was below `dir` stands below `to` too, as it was or as the build left
    /// it. What was moved may have been changed since.
    fn is_copy(&self, dir: &RelPath, to: &RelPath) -> bool {
        let is_moved = self.post(dir).is_none();
        let has_it = |(path, inode): (&RelPath, &Inode)| {
            let there = path.rebase(dir.as_bytes(), to.as_bytes());
            let left = self.post(path);
            match there.and_then(|there| self.post(&there)) {
                Some(copy) => {
                    let is_of = |origin: &Inode| origin.node == copy.node;
                    let is_changed = left.is_none_or(|left| left.node != inode.node);
                    is_moved || is_changed || is_of(inode)
                }
                None => left.is_none(),
            }
        };
        let mut below = self.lower.below(dir.as_bytes());
        !to.starts_with(dir.as_bytes()) && below.all(has_it)
    }

    /// Returns what stands below `to` exactly as below `dir`, sorted.
    fn exact(&self, dir: &RelPath, to: &RelPath) -> Vec<RelPath> {
        let below = self.lower.below(dir.as_bytes());
        let exact = below.filter_map(|(path, inode)| {
            let there = path.rebase(dir.as_bytes(), to.as_bytes())?;
            let copy = self.post(&there)?;
            let is_of = |origin: &Inode| origin.node == copy.node && origin.mode == copy.mode;
            (is_of(inode) || self.post(path).is_some_and(is_of)).then_some(there)
        });
        exact.collect()
    }
}

/// Returns what the lists of packages name that the build wrote, replaced or removed.
fn listed(
    lower: &Tree,
    changeset: &Changeset,
    blobs: &dyn Blobs,
) -> Result<BTreeSet<RelPath>, MergeError> {
    let mut found = BTreeSet::new();
    let mut dirs: BTreeMap<Vec<u8>, Option<RelPath>> = BTreeMap::new();
    for (path, change) in changeset.iter() {
        let is_info = path
            .parent()
            .is_some_and(|dir| dir.as_bytes() == dpkg::INFO.as_bytes());
        if !is_info || packages::package_of_list(path.name()).is_none() {
            continue;
        }
        for inode in [&change.pre, &change.post].into_iter().flatten() {
            let Some(object) = inode.object() else {
                continue;
            };
            for line in blobs.read(&object)?.split(|byte| *byte == b'\n') {
                let Ok(path) = RelPath::new(line.strip_prefix(b"/").unwrap_or(line)) else {
                    continue;
                };
                // Lists name directories as they were before /usr was merged.
                let dir = path.parent().unwrap_or_default();
                let real = dirs
                    .entry(dir.as_bytes().to_vec())
                    .or_insert_with(|| lower.resolve(dir.as_bytes()));
                let real = real.as_ref().and_then(|dir| dir.join(path.name()).ok());
                found.extend(real.into_iter().chain([path]));
            }
        }
    }
    Ok(found)
}
