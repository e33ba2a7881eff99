//! Sorts what a build left behind: payload goes into the layer, the rest is handled by kind.
//!
//! In order: caches, logs and backups go; files below `/var` are sorted by their class (image
//! content moves below `/usr/lib/sysimage` and is linked, factory content moves below
//! `/usr/share/factory`, unclassified content fails); derived links go; secrets become first-boot
//! work; account numbers come from the ids table; times are clamped to the epoch. The result
//! depends on the inputs alone.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::{self, CreatedNames};
use super::below::LayersBelow;
use super::first_boot::{FirstBootWork, unmade};
use super::parents::insert_with_parents;
use super::rules::SettleRules;
use super::secrets;
use super::{BuildError, BuildSink, transient, unclassified, undeclared};
use crate::compose::TreeView;
use crate::format::{PublicSecret, Sweep};
use crate::id::ObjectId;
use crate::layout::{ALTERNATIVES, FACTORY, SYSIMAGE, dpkg, join};
use crate::merge::derive::{alternatives, generators, javacerts};
use crate::merge::{Blobs, MergeError, drivers, sweeps};
use crate::path::RelPath;
use crate::recipe::{FileContent, IdTable, StateClass, StateClassifier};
use crate::tree::{Change, Changeset, Inode, Node, Tree, diff};

/// Pre-images up to this size are kept for text merges, in bytes.
const PRE_IMAGE_LIMIT: u64 = 1 << 20;

/// What a layer holds.
#[derive(Debug, Clone, Default)]
pub(super) struct SettledLayer {
    /// The changes.
    pub changeset: Changeset,
    /// Contents that a merge may need to see again.
    pub pre_images: Vec<ObjectId>,
    /// Work left for the first boot.
    pub first_boot: Vec<FirstBootWork>,
    /// Users and groups with their numbers.
    pub created: CreatedNames,
    /// What the build did to all that directories of the layers below held.
    pub sweeps: Vec<Sweep>,
    /// What the definition ships in the place of files and links of the layers below.
    pub shipped: BTreeMap<RelPath, ObjectId>,
    /// What looks like a secret and was let in.
    pub public_secrets: BTreeMap<RelPath, PublicSecret>,
    /// What somebody should know, one line each: data of services that nobody makes on a machine,
    /// and rules without use.
    pub notes: Vec<String>,
}

/// Settles what a build made of `ground`.
///
/// Changes are written against the layers below without their derived files, because layers never
/// carry those, and the next composition applies changes before it derives. `after` is the tree as
/// the build left it; contents are read and written through `sink`; `ids` gains the numbers of new
/// names.
pub(super) fn settle(
    rules: SettleRules<'_>,
    ground: &LayersBelow,
    after: Tree,
    epoch: i64,
    ids: &mut IdTable,
    sink: &BuildSink<'_>,
) -> Result<SettledLayer, BuildError> {
    let lower = &ground.lower;
    let mut work = Settler {
        lower,
        after,
        by_hand: BTreeSet::new(),
    };
    transient::drop(rules, lower, &mut work.after, sink)?;
    let dropped = work.sort_var(rules, sink)?;
    // Before the links go: a program may be one of them, as java is.
    work.drop_generated();
    work.drop_java_certificates(&ground.merged, epoch, sink)?;
    work.drop_derived_links(sink)?;
    let first_boot = secrets::take_out(rules, lower, &mut work.after, &dropped, sink)?;
    let searched = undeclared::refuse(rules, lower, &work.after, sink)?;
    let mut notes = unmade(rules, &dropped, &first_boot, &work.after, sink)?;
    notes.extend(searched.notes);
    let created = accounts::renumber(lower, &mut work.after, ids, sink)?;
    let mut settled = SettledLayer {
        changeset: work.changes(&ground.merged, epoch),
        pre_images: Vec::new(),
        first_boot,
        created,
        sweeps: Vec::new(),
        shipped: shipped(rules, &ground.merged),
        public_secrets: searched.public,
        notes,
    };
    settled.sweeps = sweeps(&ground.merged, &settled.changeset, &SinkBlobs(sink))
        .map_err(|source| BuildError::Compose(source.into()))?;
    settled.pre_images = pre_images(&settled.changeset, sink)?;
    Ok(settled)
}

struct Settler<'a> {
    lower: &'a Tree,
    after: Tree,
    /// Links that this layer chose by hand. They may lead where a derived one below leads, which
    /// makes them no less its decision.
    by_hand: BTreeSet<RelPath>,
}

impl Settler<'_> {
    /// Puts a path back to what it was.
    fn revert(&mut self, path: &RelPath) {
        match self.lower.get(path.as_bytes()) {
            Some(inode) => drop(self.after.insert(path.clone(), inode.clone())),
            None => drop(self.after.remove(path.as_bytes())),
        }
    }

    fn is_changed(&self, path: &RelPath, inode: &Inode) -> bool {
        self.lower
            .get(path.as_bytes())
            .is_none_or(|before| !before.same_content(inode))
    }

    fn changed(&self, below: &[u8]) -> Vec<RelPath> {
        let changed = self
            .after
            .below(below)
            .filter(|(path, inode)| self.is_changed(path, inode));
        changed.map(|(path, _)| path.clone()).collect()
    }

    /// Returns the content that was dropped.
    fn sort_var(
        &mut self,
        rules: SettleRules<'_>,
        sink: &BuildSink<'_>,
    ) -> Result<BTreeMap<RelPath, Inode>, BuildError> {
        let classifier = StateClassifier::new(rules.state);
        let mut dropped = BTreeMap::new();
        let mut unclassified = Vec::new();
        for path in self.changed(b"var") {
            let Some(inode) = self.after.get(path.as_bytes()).cloned() else {
                continue;
            };
            let is_content = !inode.is_dir() && !matches!(inode.node, Node::Symlink { .. });
            match (
                region(&classifier, &path),
                classifier.classify(path.as_bytes()),
            ) {
                (_, StateClass::Drop) if is_content => {
                    self.revert(&path);
                    dropped.insert(path, inode);
                }
                (Some((StateClass::Image, root)), _) => {
                    // A directory that lower layers have stays one: only what is new in it is
                    // linked.
                    if let Some(root) = self.first_new(&root, &path) {
                        self.move_to_image(&path, &root, inode)?;
                    }
                }
                (Some((StateClass::Factory, _)), _) => {
                    self.after.remove(path.as_bytes());
                    insert_with_parents(&mut self.after, &below(FACTORY, &path)?, inode);
                }
                (None, StateClass::Drop) if is_below_own_drop(rules, &path) => self.revert(&path),
                (None, StateClass::Unclassified) if is_content => unclassified.push(path),
                _ => {}
            }
        }
        if unclassified.is_empty() {
            Ok(dropped)
        } else {
            Err(BuildError::Unclassified {
                layer: rules.layer.to_owned(),
                has_rules: !rules.state.is_empty(),
                groups: unclassified::groups(rules, &self.after, unclassified, sink)?,
            })
        }
    }

    /// Puts back links that are derived from the alternatives database: layers carry the database,
    /// and the links that somebody chose.
    fn drop_derived_links(&mut self, sink: &BuildSink<'_>) -> Result<(), BuildError> {
        let index = sink.transaction().repository().index();
        let view = TreeView::new(&self.after, sink.transaction(), &index);
        let found = alternatives::derive(&view).map_err(|source| BuildError::View { source })?;
        let changed = self.changed(b"etc/alternatives");
        let mut derived: Vec<RelPath> = changed
            .into_iter()
            .filter(|path| found.derived.contains(path.as_bytes()))
            .collect();
        for path in &found.public {
            let Ok(path) = RelPath::new(path) else {
                continue;
            };
            let parent = path
                .parent()
                .and_then(|parent| self.after.resolve(parent.as_bytes()));
            let Some(path) = parent.and_then(|parent| parent.join(path.name()).ok()) else {
                continue;
            };
            let points_there = |inode: &Inode| matches!(&inode.node, Node::Symlink { target } if target.starts_with(b"/etc/alternatives/"));
            if self.after.get(path.as_bytes()).is_some_and(points_there) {
                derived.push(path);
            }
        }
        for path in &derived {
            self.revert(path);
        }
        for name in &found.manual {
            let database = path_in(dpkg::ALTERNATIVES, name)?;
            let now = self.after.get(database.as_bytes());
            if now.is_some_and(|now| self.is_changed(&database, now)) {
                let link = path_in(ALTERNATIVES, name)?;
                self.by_hand.insert(link);
            }
        }
        // What this layer removed from the links is derived anew as well.
        for path in &found.derived {
            if let (None, Some(before)) = (self.after.get(path), self.lower.get(path).cloned())
                && let Ok(path) = RelPath::new(path)
            {
                self.after.insert(path, before);
            }
        }
        Ok(())
    }

    /// Puts back what programs of the image make from the rest of it, as if none had run in this
    /// build.
    fn drop_generated(&mut self) {
        for job in generators::jobs(&self.after) {
            for path in job.outputs(&self.after) {
                self.revert(&path);
            }
        }
    }

    /// Leaves of Java's certificates those that do not follow the system's.
    fn drop_java_certificates(
        &mut self,
        merged: &Tree,
        epoch: i64,
        sink: &BuildSink<'_>,
    ) -> Result<(), BuildError> {
        let index = sink.transaction().repository().index();
        let view = TreeView::new(&self.after, sink.transaction(), &index);
        let is_derived =
            javacerts::is_derived(&view).map_err(|source| BuildError::View { source })?;
        let found = self.after.get(javacerts::CACERTS).cloned();
        let (Some(inode), Ok(path)) = (found, RelPath::new(javacerts::CACERTS)) else {
            return Ok(());
        };
        let Some(object) = inode.object().filter(|_| is_derived) else {
            return Ok(());
        };
        let own = |object: &ObjectId| {
            let bytes = sink.read(object)?;
            Ok::<_, BuildError>(javacerts::own_entries(&bytes, epoch))
        };
        let Ok(kept) = own(&object)? else {
            return Ok(());
        };
        let before = match merged.get(javacerts::CACERTS).and_then(Inode::object) {
            Some(object) => own(&object)?.unwrap_or_default(),
            None => None,
        };
        match kept {
            kept if kept == before => self.revert(&path),
            None => drop(self.after.remove(path.as_bytes())),
            Some(bytes) => {
                let object = sink.write(&bytes)?;
                let size = bytes.len() as u64;
                let node = Node::File { object, size };
                self.after.insert(path, Inode { node, ..inode });
            }
        }
        Ok(())
    }

    /// Returns the first path from `root` down to `path` that is not a directory in the layers
    /// below, or `None` when all are.
    fn first_new(&self, root: &RelPath, path: &RelPath) -> Option<RelPath> {
        let mut ancestors: Vec<RelPath> =
            std::iter::successors(Some(path.clone()), RelPath::parent)
                .take_while(|above| above.starts_with(root.as_bytes()))
                .collect();
        ancestors.reverse();
        ancestors
            .into_iter()
            .find(|at| !self.lower.get(at.as_bytes()).is_some_and(Inode::is_dir))
    }

    fn move_to_image(
        &mut self,
        path: &RelPath,
        root: &RelPath,
        inode: Inode,
    ) -> Result<(), BuildError> {
        let home = below(SYSIMAGE, root)?;
        let is_link_already = |inode: &Inode| matches!(&inode.node, Node::Symlink { target } if target.ends_with(home.as_bytes()));
        if path == root && is_link_already(&inode) {
            return Ok(());
        }
        self.after.remove(path.as_bytes());
        let mtime = inode.mtime;
        insert_with_parents(&mut self.after, &below(SYSIMAGE, path)?, inode);
        if self.after.get(root.as_bytes()).is_none() {
            let depth = root.as_bytes().iter().filter(|byte| **byte == b'/').count();
            let target = format!("{}{SYSIMAGE}/", "../".repeat(depth)).into_bytes();
            let target = [target.as_slice(), root.as_bytes()].concat();
            let link = Inode {
                mtime,
                ..Inode::new(
                    Node::Symlink {
                        target: target.into(),
                    },
                    0o777,
                )
            };
            self.after.insert(root.clone(), link);
        }
        Ok(())
    }

    /// Returns what differs from below, with times clamped and hard links numbered within the
    /// layer.
    fn changes(mut self, merged: &Tree, epoch: i64) -> Changeset {
        let derived: Vec<RelPath> = diff(merged, self.lower)
            .map(|(path, _)| path.clone())
            .collect();
        for path in derived {
            let (here, below) = (
                self.after.get(path.as_bytes()),
                self.lower.get(path.as_bytes()),
            );
            let is_untouched = match (here, below) {
                (Some(here), Some(below)) => here.same_content(below),
                (here, below) => here.is_none() && below.is_none(),
            };
            if is_untouched && !self.by_hand.contains(&path) {
                match merged.get(path.as_bytes()) {
                    Some(inode) => drop(self.after.insert(path, inode.clone())),
                    None => drop(self.after.remove(path.as_bytes())),
                }
            }
        }
        self.after.canonicalize_hardlinks();
        let mut members: BTreeMap<u32, Vec<RelPath>> = BTreeMap::new();
        let mut changeset = Changeset::new();
        for (path, mut change) in Changeset::between(merged, &self.after) {
            if let (Some(pre), Some(post)) = (&change.pre, &change.post)
                && pre.same_content(post)
            {
                continue;
            }
            if let Some(pre) = &mut change.pre {
                pre.hardlink = 0;
            }
            if let Some(post) = &mut change.post {
                post.mtime = post.mtime.clamp_to(epoch);
                if post.hardlink != 0 {
                    members.entry(post.hardlink).or_default().push(path.clone());
                }
            }
            changeset.insert(path, change);
        }
        let groups: BTreeSet<Vec<RelPath>> = members.into_values().collect();
        let mut number = 0;
        for paths in groups {
            number += u32::from(paths.len() > 1);
            for path in &paths {
                if let Some(Change {
                    pre,
                    post: Some(mut post),
                }) = changeset.remove(path.as_bytes())
                {
                    post.hardlink = if paths.len() > 1 { number } else { 0 };
                    changeset.insert(
                        path.clone(),
                        Change {
                            pre,
                            post: Some(post),
                        },
                    );
                }
            }
        }
        changeset
    }
}

struct SinkBlobs<'a, 'r>(&'a BuildSink<'r>);

impl Blobs for SinkBlobs<'_, '_> {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        self.0.read(id).map_err(|error| MergeError {
            object: id.to_string(),
            source: Box::new(error),
        })
    }

    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        self.0.write(bytes).map_err(|error| MergeError {
            object: "a file of a layer".to_owned(),
            source: Box::new(error),
        })
    }
}

/// Returns what the definition ships where the layers below have a file or link, with what it holds:
/// it stays the same, whatever becomes of that.
fn shipped(rules: SettleRules<'_>, merged: &Tree) -> BTreeMap<RelPath, ObjectId> {
    let shipped = rules.files.iter().filter_map(|file| {
        let content = match &file.content {
            FileContent::File(object) => *object,
            FileContent::Link(target) => ObjectId::of(target),
            FileContent::Directory => return None,
        };
        let dir = merged.resolve(file.path.parent()?.as_bytes())?;
        let path = dir.join(file.path.name()).ok()?;
        let below = merged.get(path.as_bytes())?;
        (!below.is_dir()).then_some((path, content))
    });
    shipped.collect()
}

/// Says whether one of the layer's own rules drops a directory above `path`. Then `path` goes too.
fn is_below_own_drop(rules: SettleRules<'_>, path: &RelPath) -> bool {
    path.parent().is_some_and(|dir| rules.drops(&dir))
}

fn path_in(dir: &str, name: &[u8]) -> Result<RelPath, BuildError> {
    RelPath::new(&join(dir.as_bytes(), name)).map_err(|source| BuildError::Path { source })
}

fn below(dir: &str, path: &RelPath) -> Result<RelPath, BuildError> {
    let bytes = [dir.as_bytes(), b"/", path.as_bytes()].concat();
    RelPath::new(&bytes).map_err(|source| BuildError::Path { source })
}

/// Returns the nearest-to-root ancestor (or the path itself) that a rule makes image or factory
/// content.
fn region(classifier: &StateClassifier, path: &RelPath) -> Option<(StateClass, RelPath)> {
    let bytes = path.as_bytes();
    let ends = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at)
        .chain([bytes.len()]);
    for end in ends {
        let class = classifier.classify(&bytes[..end]);
        if matches!(class, StateClass::Image | StateClass::Factory) {
            return RelPath::new(&bytes[..end]).ok().map(|root| (class, root));
        }
    }
    None
}

fn pre_images(changeset: &Changeset, sink: &BuildSink<'_>) -> Result<Vec<ObjectId>, BuildError> {
    let mut kept = BTreeSet::new();
    for (path, change) in changeset.iter() {
        let (Some(pre), true) = (
            &change.pre,
            change
                .post
                .as_ref()
                .is_some_and(|post| post.object().is_some()),
        ) else {
            continue;
        };
        let Node::File { object, size } = pre.node else {
            continue;
        };
        let has_driver = drivers::driver_for(path.as_bytes()).is_some();
        if has_driver || size <= PRE_IMAGE_LIMIT && !sink.read(&object)?.contains(&0) {
            kept.insert(object);
        }
    }
    Ok(kept.into_iter().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "settle_tests.rs"]
mod tests;
