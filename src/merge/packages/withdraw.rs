//! Makes one side look as if it had never touched some packages.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::arbitration::{Arbitration, Contest, SideView};
use super::edits::Edits;
use super::files::{source_of_bytecode, swap_interests};
use super::status::{PackageKey, PackageRecord};
use crate::id::ObjectId;
use crate::merge::MergeError;
use crate::packages;
use crate::path::RelPath;
use crate::tree::{Change, Inode, Node};

/// The size in bytes above which a file has no pre-image.
const PRE_IMAGE_LIMIT: u64 = 1 << 20;

type Paths = HashSet<RelPath>;

impl Arbitration<'_> {
    /// Takes packages out of the changeset, so that the layer looks as if it had never touched
    /// them.
    pub(super) fn take_out(
        &self,
        contests: &[Contest<'_, '_>],
        there: &mut SideView<'_, '_>,
        edits: &mut Edits,
    ) -> Result<(), MergeError> {
        let stems = stems_of(
            contests
                .iter()
                .flat_map(|c| c.pre.into_iter().chain([c.layer])),
        );
        let own = self.paths_of_layer(contests, there)?;
        self.drop_changes(&own, &stems, edits);
        let status = format!("{}/status", self.dpkg);
        let text = self.post.with(&groups(contests), &self.pre);
        self.rewrite(status.as_bytes(), &text, edits)?;
        self.restore_triggers_of_layer(&stems, edits)
    }

    /// Returns the paths that these packages have, and had before the layer was made, and that no
    /// other package of the layer has.
    fn paths_of_layer(
        &self,
        contests: &[Contest<'_, '_>],
        there: &mut SideView<'_, '_>,
    ) -> Result<Paths, MergeError> {
        let mut own = Paths::new();
        for contest in contests {
            there.paths(contest.layer, &mut |path, _| {
                own.insert(path);
            })?;
            let Some(pre) = contest.pre else {
                continue;
            };
            let change = self.changeset.get(&self.info(pre, "list"));
            let list = change.and_then(|change| change.pre.as_ref());
            let is_kept = |inode: &&Inode| matches!(inode.node, Node::File { size, .. } if size <= PRE_IMAGE_LIMIT);
            let list = self.read(list.filter(is_kept))?;
            there
                .locator
                .each(&list, pre.key.0.as_bytes(), &mut |path, _| {
                    own.insert(path);
                });
        }
        let ours: HashSet<PackageKey<'_>> = contests.iter().map(|c| c.layer.key).collect();
        there.without_others(&self.post, &ours, &mut own)?;
        Ok(own)
    }

    /// Drops the changes of the packages' paths, of their files below `info` and of their byte
    /// code. A directory stays where the tree lacks it and another change needs it.
    fn drop_changes(&self, own: &Paths, stems: &HashSet<Vec<u8>>, edits: &mut Edits) {
        let is_own = |path: &RelPath| {
            own.contains(path)
                || self.is_info(path, stems)
                || source_of_bytecode(path).is_some_and(|source| own.contains(&source))
        };
        let caches = bytecode_directories(own);
        // Last path first: what is in a directory comes before the directory, and shows whether
        // the directory is needed.
        let mut needed = Paths::new();
        let changes: Vec<_> = self.changeset.iter().collect();
        for (path, change) in changes.into_iter().rev() {
            let is_dir = |inode: Option<&Inode>| inode.is_some_and(Inode::is_dir);
            let is_needed = needed.contains(path)
                && is_dir(change.post.as_ref())
                && !is_dir(self.tree.get(path.as_bytes()));
            let is_cache = change.pre.is_none() && caches.contains(path);
            if !is_needed && (is_own(path) || is_cache) {
                edits.changes.push((path.clone(), None));
            } else if change.post.is_some() {
                needed.extend(path.parent());
            }
        }
    }

    /// Gives the packages the interests in triggers that they had before the layer was made.
    fn restore_triggers_of_layer(
        &self,
        stems: &HashSet<Vec<u8>>,
        edits: &mut Edits,
    ) -> Result<(), MergeError> {
        let directory = self.triggers();
        for (path, change) in self.changeset.iter() {
            let Some(post) = change
                .post
                .as_ref()
                .filter(|_| is_trigger(path, &directory))
            else {
                continue;
            };
            let (was, is) = (self.read(change.pre.as_ref())?, self.read(Some(post))?);
            let text = swap_interests(&is, &was, &|stem| stems.contains(stem));
            if text.is_empty() && change.pre.is_none() {
                edits.changes.push((path.clone(), None));
            } else if text != is {
                self.rewrite(path.as_bytes(), &text, edits)?;
            }
        }
        Ok(())
    }

    fn triggers(&self) -> Vec<u8> {
        format!("{}/triggers", self.dpkg).into_bytes()
    }

    /// Says whether `path` is a file below `info` of one of the packages.
    fn is_info(&self, path: &RelPath, stems: &HashSet<Vec<u8>>) -> bool {
        let name = path.as_bytes().strip_prefix(self.dpkg.as_bytes());
        let name = name.and_then(|rest| rest.strip_prefix(b"/info/"));
        name.and_then(packages::stem)
            .is_some_and(|stem| stems.contains(stem))
    }

    /// Gives the layer's file at `path` another content.
    fn rewrite(&self, path: &[u8], text: &[u8], edits: &mut Edits) -> Result<(), MergeError> {
        let Some((path, change)) = RelPath::new(path).ok().zip(self.changeset.get(path)) else {
            return Ok(());
        };
        if let Some(post) = &change.post {
            let post = Some(self.with_content(post, text)?);
            let pre = change.pre.clone();
            edits.changes.push((path, Some(Change { pre, post })));
        }
        Ok(())
    }

    fn with_content(&self, inode: &Inode, text: &[u8]) -> Result<Inode, MergeError> {
        let object: ObjectId = self.blobs.write(text)?;
        let size = text.len() as u64;
        let node = Node::File { object, size };
        Ok(Inode {
            node,
            hardlink: 0,
            ..inode.clone()
        })
    }

    /// Makes the tree what the layer was built on, as far as these packages go: their changes then
    /// apply without a conflict.
    pub(super) fn make_room(
        &self,
        contests: &[Contest<'_, '_>],
        here: &mut SideView<'_, '_>,
        there: &mut SideView<'_, '_>,
        edits: &mut Edits,
    ) -> Result<(), MergeError> {
        let stems = stems_of(
            contests
                .iter()
                .flat_map(|c| c.pre.into_iter().chain([c.layer, c.tree])),
        );
        let (mut old, mut new) = (Paths::new(), Paths::new());
        for contest in contests {
            here.paths(contest.tree, &mut |path, _| {
                old.insert(path);
            })?;
            there.paths(contest.layer, &mut |path, _| {
                new.insert(path);
            })?;
        }
        let ours: HashSet<PackageKey<'_>> = contests.iter().map(|c| c.tree.key).collect();
        here.without_others(&self.current, &ours, &mut old)?;
        self.add_bytecode(&mut old, &new, edits);
        for stem in &stems {
            old.extend(self.info_files(stem).iter().copied().cloned());
        }
        // Changes that `take_out` drops are not applied, so nothing has to make room for them.
        let dropped = edits.changes.iter().filter(|(_, change)| change.is_none());
        let dropped: Paths = dropped.map(|(path, _)| path.clone()).collect();
        self.remove_old_files(&old, &new, &dropped, edits);
        self.restore_missing_files(&new, &stems, &dropped, edits);
        self.restore_status_of_tree(contests, edits)?;
        self.restore_triggers_of_tree(contests, &stems, edits)
    }

    /// Adds the byte code of Python sources in `old` to it; its directories go if they end up
    /// empty.
    fn add_bytecode(&self, old: &mut Paths, new: &Paths, edits: &mut Edits) {
        for cache in bytecode_directories(old) {
            for (path, _) in self.tree.below(cache.as_bytes()) {
                if source_of_bytecode(path).is_some_and(|source| old.contains(&source)) {
                    old.insert(path.clone());
                }
            }
            if !new.contains(&cache) && self.tree.get(cache.as_bytes()).is_some() {
                edits.directories.insert(cache);
            }
        }
    }

    /// Gives each path of the tree's version what the layer found there, or nothing.
    fn remove_old_files(&self, old: &Paths, new: &Paths, dropped: &Paths, edits: &mut Edits) {
        for path in old {
            let Some(inode) = self.tree.get(path.as_bytes()) else {
                continue;
            };
            let change = self.changeset.get(path.as_bytes());
            match change.filter(|_| !dropped.contains(path)) {
                // Other packages may have files in a directory: it is never emptied.
                Some(change) if inode.is_dir() => match &change.post {
                    Some(post) if post.is_dir() => {
                        edits.inodes.push((path.clone(), Some(post.clone())));
                    }
                    Some(_) if change.pre.is_none() => {
                        edits.directories.insert(path.clone());
                    }
                    _ => {}
                },
                Some(change) => edits
                    .inodes
                    .push((path.clone(), change.pre.as_ref().map(alone))),
                None if new.contains(path) => {}
                None if inode.is_dir() => {
                    edits.directories.insert(path.clone());
                }
                None => edits.inodes.push((path.clone(), None)),
            }
        }
    }

    /// Puts back what the layer changes and the tree's version no longer has.
    fn restore_missing_files(
        &self,
        new: &Paths,
        stems: &HashSet<Vec<u8>>,
        dropped: &Paths,
        edits: &mut Edits,
    ) {
        for (path, change) in self.changeset.iter() {
            let is_ours =
                !dropped.contains(path) && (new.contains(path) || self.is_info(path, stems));
            if let Some(pre) = change.pre.as_ref().filter(|_| is_ours)
                && self.tree.get(path.as_bytes()).is_none()
            {
                edits.inodes.push((path.clone(), Some(alone(pre))));
            }
        }
    }

    /// Gives the packages the records in the tree's `status` that the layer found.
    fn restore_status_of_tree(
        &self,
        contests: &[Contest<'_, '_>],
        edits: &mut Edits,
    ) -> Result<(), MergeError> {
        let text = self.current.with(&groups(contests), &self.pre);
        let status = RelPath::new(format!("{}/status", self.dpkg).as_bytes()).unwrap_or_default();
        if let Some(inode) = self.tree.get(status.as_bytes()) {
            let inode = self.with_content(inode, &text)?;
            edits.inodes.push((status, Some(inode)));
        }
        Ok(())
    }

    /// Gives the packages the interests in triggers that the layer found.
    fn restore_triggers_of_tree(
        &self,
        contests: &[Contest<'_, '_>],
        stems: &HashSet<Vec<u8>>,
        edits: &mut Edits,
    ) -> Result<(), MergeError> {
        let directory = self.triggers();
        let fresh = contests.iter().filter(|contest| contest.pre.is_none());
        let fresh = stems_of(fresh.map(|contest| contest.tree));
        for (path, inode) in self.tree.below(&directory) {
            let change = self.changeset.get(path.as_bytes());
            if !is_trigger(path, &directory) {
                continue;
            }
            let is = self.read(Some(inode))?;
            let was = self.read(change.and_then(|change| change.pre.as_ref()))?;
            // Without a change there is no pre-image: only the lines of packages that are new in
            // the tree are known not to have been there.
            let text = match change {
                Some(_) => swap_interests(&is, &was, &|stem| stems.contains(stem)),
                None => swap_interests(&is, b"", &|stem| fresh.contains(stem)),
            };
            if text.is_empty() && change.is_none_or(|change| change.pre.is_none()) {
                edits.inodes.push((path.clone(), None));
            } else if text != is {
                edits
                    .inodes
                    .push((path.clone(), Some(self.with_content(inode, &text)?)));
            }
        }
        Ok(())
    }
}

/// Returns what the files of packages below `info` are named by.
fn stems_of<'r, 'a: 'r>(records: impl Iterator<Item = &'r PackageRecord<'a>>) -> HashSet<Vec<u8>> {
    records.map(|record| record.stem().into_bytes()).collect()
}

/// Numbers of groups of one package in all its records: it may have changed its architecture.
fn groups<'c>(contests: &'c [Contest<'_, '_>]) -> HashMap<PackageKey<'c>, usize> {
    let mut groups = HashMap::new();
    for (number, contest) in contests.iter().enumerate() {
        for record in contest.pre.into_iter().chain([contest.layer, contest.tree]) {
            groups.insert(record.key, number);
        }
    }
    groups
}

/// Drops the number of the hard-link group, which means nothing in another tree.
fn alone(inode: &Inode) -> Inode {
    Inode {
        hardlink: 0,
        ..inode.clone()
    }
}

/// Returns the directories that the byte code of Python sources is put into.
fn bytecode_directories(sources: &Paths) -> BTreeSet<RelPath> {
    let sources = sources.iter().filter(|path| path.name().ends_with(b".py"));
    let directories = sources.filter_map(|path| path.parent()?.join(b"__pycache__").ok());
    directories.collect()
}

fn is_trigger(path: &RelPath, directory: &[u8]) -> bool {
    path.parent()
        .is_some_and(|parent| parent.as_bytes() == directory)
        && !matches!(
            path.name(),
            b"Lock" | b"Unincorp" | b"File-old" | b"Unincorp-old"
        )
}
