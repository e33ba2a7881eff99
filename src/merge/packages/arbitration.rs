//! The two sides, the packages that both brought, and which of these can be decided.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::edits::Edits;
use super::files::{self, FileLocator};
use super::status::{IndexedDatabase, PackageKey, PackageRecord};
use crate::merge::{Blobs, MergeError};
use crate::packages::{self, Diversions, digests};
use crate::path::RelPath;
use crate::tree::{Changeset, Inode, Tree};
use crate::version::Version;

/// Who brought the version that wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// The tree that the layer is applied to.
    Tree,
    /// The layer.
    Layer,
}

/// What was decided about one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageDecision {
    /// Its name.
    pub package: String,
    /// The architecture that the layer has it for.
    pub architecture: String,
    /// The version in the tree.
    pub tree_version: String,
    /// The version that the layer brings.
    pub layer_version: String,
    /// Whose version wins.
    pub winner: Winner,
}

/// One package that both sides brought.
pub(super) struct Contest<'c, 'a> {
    pub layer: &'c PackageRecord<'a>,
    pub tree: &'c PackageRecord<'a>,
    pub pre: Option<&'c PackageRecord<'a>>,
    pub winner: Winner,
}

impl Contest<'_, '_> {
    fn decision(&self) -> PackageDecision {
        let text = |record| version(record).map_or(String::new(), |version| version.to_string());
        PackageDecision {
            package: self.layer.key.0.to_owned(),
            architecture: self.layer.key.1.to_owned(),
            tree_version: text(self.tree),
            layer_version: text(self.layer),
            winner: self.winner,
        }
    }
}

fn version<'a>(record: &PackageRecord<'a>) -> Option<Version<'a>> {
    record.package.as_ref().map(|package| package.version)
}

/// The two sides and their databases.
pub(super) struct Arbitration<'c> {
    pub dpkg: &'c str,
    pub tree: &'c Tree,
    pub changeset: &'c Changeset,
    pub blobs: &'c dyn Blobs,
    /// The tree's files below `info`, by package.
    pub info: HashMap<&'c [u8], Vec<&'c RelPath>>,
    pub pre: IndexedDatabase<'c>,
    pub current: IndexedDatabase<'c>,
    pub post: IndexedDatabase<'c>,
}

impl<'c> Arbitration<'c> {
    /// Combines the databases with the sides that they are from.
    pub(super) fn new(
        dpkg: &'c str,
        (tree, changeset): (&'c Tree, &'c Changeset),
        blobs: &'c dyn Blobs,
        [pre, current, post]: [IndexedDatabase<'c>; 3],
    ) -> Self {
        let mut info: HashMap<&[u8], Vec<&RelPath>> = HashMap::new();
        for (path, _) in tree.below(format!("{dpkg}/info").as_bytes()) {
            let name = path.as_bytes().rsplit(|byte| *byte == b'/').next();
            if let Some(stem) = name.and_then(packages::stem) {
                info.entry(stem).or_default().push(path);
            }
        }
        Self {
            dpkg,
            tree,
            changeset,
            blobs,
            info,
            pre,
            current,
            post,
        }
    }
    /// Returns what to do, if there is anything.
    pub(super) fn decide(&self) -> Result<Option<(Edits, Vec<PackageDecision>)>, MergeError> {
        let mut contests = self.contests();
        if contests.is_empty() {
            return Ok(None);
        }
        let below = |path: &[u8]| self.tree.get(path);
        let above = |path: &[u8]| match self.changeset.get(path) {
            Some(change) => change.post.as_ref(),
            None => self.tree.get(path),
        };
        let path = format!("{}/diversions", self.dpkg);
        let texts = [
            self.read(below(path.as_bytes()))?,
            self.read(above(path.as_bytes()))?,
        ];
        let [Some(here), Some(there)] = texts.each_ref().map(|text| Diversions::read(text)) else {
            return Ok(None);
        };
        let mut here = SideView {
            arbitration: self,
            at: &below,
            locator: FileLocator::new(&below, &here),
        };
        let mut there = SideView {
            arbitration: self,
            at: &above,
            locator: FileLocator::new(&above, &there),
        };
        let mut knowable = Vec::new();
        for contest in &contests {
            knowable.push(contest.winner == Winner::Tree || self.is_known(contest, &mut there)?);
        }
        let mut known = knowable.into_iter();
        contests.retain(|_| known.next().unwrap_or(false));
        let decisions = contests.iter().map(Contest::decision).collect();
        let (kept, taken): (Vec<_>, Vec<_>) = contests
            .into_iter()
            .partition(|contest| contest.winner == Winner::Tree);
        let mut edits = Edits::default();
        if !kept.is_empty() {
            self.take_out(&kept, &mut there, &mut edits)?;
        }
        if !taken.is_empty() {
            self.make_room(&taken, &mut here, &mut there, &mut edits)?;
        }
        Ok((!kept.is_empty() || !taken.is_empty()).then_some((edits, decisions)))
    }

    /// Finds the packages that both sides brought, and says which version is newer.
    fn contests(&self) -> Vec<Contest<'_, '_>> {
        let contest = |layer| {
            let tree = self.current.counterpart(layer, &self.post)?;
            let pre = self.pre.counterpart(layer, &self.post);
            let (brought, present) = (version(layer)?, version(tree)?);
            let before = pre.and_then(version).map(|version| version.as_str());
            if before == Some(brought.as_str()) || before == Some(present.as_str()) {
                return None;
            }
            // Two spellings of one version need a winner, too: the same one whichever side is the
            // layer.
            let order = brought.cmp(&present);
            let winner = match order.then_with(|| brought.as_str().cmp(present.as_str())) {
                Ordering::Less => Winner::Tree,
                Ordering::Equal => return None,
                Ordering::Greater => Winner::Layer,
            };
            Some(Contest {
                layer,
                tree,
                pre,
                winner,
            })
        };
        self.post.records.iter().filter_map(contest).collect()
    }

    pub(super) fn read(&self, inode: Option<&Inode>) -> Result<Vec<u8>, MergeError> {
        let object = inode.and_then(Inode::object);
        object.map_or(Ok(Vec::new()), |id| self.blobs.read(&id))
    }

    /// Returns the path of one of the package's files below `info`.
    pub(super) fn info(&self, record: &PackageRecord<'_>, extension: &str) -> Vec<u8> {
        let stem = record.stem();
        [
            self.dpkg.as_bytes(),
            b"/info/",
            stem.as_bytes(),
            b".",
            extension.as_bytes(),
        ]
        .concat()
    }

    /// Says whether all files of the layer's version are known. Files that the layer did not change
    /// are only in the tree, where they may be of another version.
    fn is_known(
        &self,
        contest: &Contest<'_, '_>,
        there: &mut SideView<'_, '_>,
    ) -> Result<bool, MergeError> {
        let list = self.info(contest.layer, "list");
        if self
            .changeset
            .get(&list)
            .is_none_or(|change| change.post.is_none())
        {
            return Ok(false);
        }
        if contest.pre.is_none_or(|pre| pre.package.is_none()) {
            return Ok(true);
        }
        let stem = contest.tree.stem();
        let mut info = self.info_files(stem.as_bytes()).iter();
        if info.any(|path| self.changeset.get(path.as_bytes()).is_none()) {
            return Ok(false);
        }
        let sums = [
            self.read(self.tree.get(&self.info(contest.tree, "md5sums")))?,
            self.read((there.at)(&self.info(contest.layer, "md5sums")))?,
        ];
        let [ours, theirs] = sums.each_ref().map(|file| digests(file));
        let conffiles = [contest.tree.conffiles(), contest.layer.conffiles()];
        let mut is_known = true;
        there.paths(contest.layer, &mut |path, listed| {
            let same = |a: Option<&&[u8]>, b: Option<&&[u8]>| a.is_some() && a == b;
            let name = listed.strip_prefix(b"/").unwrap_or(listed);
            is_known &= self.changeset.get(path.as_bytes()).is_some()
                || match self.tree.get(path.as_bytes()) {
                    // A path below /var may be in one of several places.
                    None => listed.starts_with(b"/var/"),
                    Some(inode) if inode.is_dir() => true,
                    Some(_) => {
                        same(ours.get(name), theirs.get(name))
                            || same(conffiles[0].get(listed), conffiles[1].get(listed))
                    }
                };
        })?;
        Ok(is_known)
    }

    /// Returns the tree's files below `info` of one package.
    pub(super) fn info_files(&self, stem: &[u8]) -> &[&'c RelPath] {
        self.info.get(stem).map_or(&[][..], Vec::as_slice)
    }
}

/// One side, and where the files of packages are on it.
pub(super) struct SideView<'c, 's> {
    pub arbitration: &'c Arbitration<'c>,
    pub at: files::InodeLookup<'s>,
    pub locator: FileLocator<'s>,
}

impl SideView<'_, '_> {
    /// Calls `found` with each place of a package's files, and the path as listed.
    pub(super) fn paths(
        &mut self,
        record: &PackageRecord<'_>,
        found: &mut dyn FnMut(RelPath, &[u8]),
    ) -> Result<(), MergeError> {
        let list = self
            .arbitration
            .read((self.at)(&self.arbitration.info(record, "list")))?;
        self.locator.each(&list, record.key.0.as_bytes(), found);
        Ok(())
    }

    /// Removes from `paths` all that belong to other packages of `database`.
    pub(super) fn without_others(
        &mut self,
        database: &IndexedDatabase<'_>,
        ours: &HashSet<PackageKey<'_>>,
        paths: &mut HashSet<RelPath>,
    ) -> Result<(), MergeError> {
        let others = database.records.iter();
        for record in
            others.filter(|record| record.package.is_some() && !ours.contains(&record.key))
        {
            self.paths(record, &mut |path, _| {
                paths.remove(&path);
            })?;
        }
        Ok(())
    }
}
