//! Factory content that changed in the image, while the machine keeps its own copy: told, and taken
//! where somebody decides so.
//!
//! [`super::var`] adds only what is absent: a page that a machine got once would stay for ever,
//! without a word. So a plan compares what the image before and the new one have below
//! `usr/share/factory/var/`, and looks at the machine only where they differ, or where somebody wants
//! the image's. How that is taken, and given back, is in [`super::taken`].
//!
//! A unit (see [`super::var`]) is told and taken as one directory: files of two databases are no
//! database. Whoever names a path inside it decides for the files there.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use serde::Serialize;

use super::decide::Decisions;
use super::var::{FACTORY_VAR, units_of, wanted};
use crate::id::ObjectId;
use crate::materialise::hash_file;
use crate::path::RelPath;
use crate::tree::{Node, Tree};

/// Factory content of an image that the machine has its own copy of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VarReport {
    /// What the machine keeps, though the image has another one now.
    pub kept: Vec<KeptContent>,
    /// What becomes the image's, as somebody decided.
    pub taken: Vec<RelPath>,
    /// Decisions without effect.
    pub unused: Vec<RelPath>,
}

/// A file, a link or a directory of the machine that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptContent {
    /// Where it is.
    pub path: RelPath,
    /// What the machine has there.
    pub own: OwnCopy,
    /// Whether it is a directory that is taken as a whole.
    pub whole: bool,
    /// Whether the image has nothing there any more.
    pub gone: bool,
    /// Whether somebody decided that it stays.
    pub decided: bool,
}

/// What a machine has in the place of factory content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnCopy {
    /// What an image of a deployment that is still there brought.
    Unedited,
    /// Something else.
    Edited,
    /// What something else than a directory above it leads to.
    Elsewhere,
}

/// What becomes of factory content, with paths below `var`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FactoryPlan {
    /// What is taken, and the directories above it.
    pub(super) tree: Tree,
    /// The tops of what is taken; those that the tree does not have are taken away.
    pub(super) taken: Vec<RelPath>,
    kept: Vec<KeptContent>,
    unused: Vec<RelPath>,
}

impl FactoryPlan {
    pub(super) fn report(&self) -> VarReport {
        VarReport {
            kept: self.kept.clone(),
            taken: self.taken.iter().filter_map(shown).collect(),
            unused: self.unused.clone(),
        }
    }

    fn take(&mut self, top: RelPath, full: &Tree) {
        if full.get(top.as_bytes()).is_some() {
            let above = std::iter::successors(top.parent(), RelPath::parent);
            let below = full.subtree(top.as_bytes()).map(|(path, _)| path.clone());
            for path in above.chain(below).collect::<Vec<_>>() {
                if let Some(inode) = full.get(path.as_bytes()) {
                    self.tree.insert(path, inode.clone());
                }
            }
        }
        self.taken.push(top);
    }

    fn find_unused(&mut self, decisions: &Decisions) {
        let taken = self.report().taken;
        let takes = |named: &RelPath| {
            let mut taken = taken.iter();
            taken.any(|path| {
                path.starts_with(named.as_bytes()) || named.starts_with(path.as_bytes())
            })
        };
        let keeps = |named: &RelPath| {
            let mut kept = self.kept.iter();
            kept.any(|kept| kept.path.starts_with(named.as_bytes()))
        };
        let take = decisions.take.iter().filter(|named| !takes(named));
        let keep = decisions.keep.iter().filter(|named| !keeps(named));
        self.unused = take.chain(keep).cloned().collect();
    }
}

/// Plans what becomes of the factory content that `image` has otherwise than the image `before`.
/// `known` returns the trees of the images on the target, which tell copies from edits.
pub(super) fn plan(
    image: &Tree,
    before: Option<&Tree>,
    state: &Path,
    decisions: &Decisions,
    known: &dyn Fn() -> Vec<Tree>,
) -> FactoryPlan {
    let decisions = decisions.of_var();
    let mut plan = FactoryPlan::default();
    let tops = tops(image, before, &decisions.take);
    if !tops.is_empty() {
        let full = wanted(image);
        let own = Own::open(state);
        let images = OnceCell::new();
        for (top, files) in tops {
            let Some(path) = shown(&top) else { continue };
            let is_of = |image: &Tree| files.iter().all(|file| own.is(file, node(image, file)));
            let found = own.look(&top);
            let is_elsewhere = matches!(found, Found::Elsewhere);
            // What is absent is added, or somebody removed it from a unit.
            if matches!(found, Found::Nothing) || (!is_elsewhere && is_of(image)) {
                continue;
            }
            if is_below(&path, &decisions.take) && !is_elsewhere {
                plan.take(top, &full);
                continue;
            }
            let images = || images.get_or_init(known).iter();
            plan.kept.push(KeptContent {
                own: if is_elsewhere {
                    OwnCopy::Elsewhere
                } else if before.is_some_and(is_of) || images().any(is_of) {
                    OwnCopy::Unedited
                } else {
                    OwnCopy::Edited
                },
                whole: matches!(node(image, &top), Some(Node::Directory)),
                gone: node(image, &top).is_none(),
                decided: is_below(&path, &decisions.keep),
                path,
            });
        }
    }
    plan.tree.canonicalize_hardlinks();
    plan.find_unused(&decisions);
    plan
}

/// Finds what two images have otherwise, and what somebody wants: the files, by what is taken as one.
fn tops(
    image: &Tree,
    before: Option<&Tree>,
    take: &BTreeSet<RelPath>,
) -> BTreeMap<RelPath, Vec<RelPath>> {
    let mut units = units_of(image);
    units.extend(before.into_iter().flat_map(units_of));
    let both = || before.into_iter().chain([image]);
    let paths: BTreeSet<RelPath> = both()
        .flat_map(|tree| tree.below(FACTORY_VAR))
        .filter_map(|(path, _)| path.rebase(FACTORY_VAR, b""))
        .collect();
    let was = |path: &RelPath| before.and_then(|before| node(before, path));
    let is_dir = |node: Option<&Node>| matches!(node, Some(Node::Directory));
    let mut tops: BTreeMap<RelPath, Vec<RelPath>> = BTreeMap::new();
    for path in paths {
        let (old, new) = (was(&path), node(image, &path));
        // A directory alone is nothing that is kept.
        let is_content = [old, new]
            .iter()
            .any(|node| node.is_some() && !is_dir(*node));
        let wants = |at: &RelPath| shown(at).is_some_and(|at| is_below(&at, take));
        let is_changed = before.is_some() && old != new;
        if !is_content || !(is_changed || wants(&path)) {
            continue;
        }
        let above = std::iter::successors(path.parent(), RelPath::parent);
        let is_whole = |dir: &RelPath| {
            let (old, new) = (was(dir), node(image, dir));
            let other_kind = old.is_some() && new.is_some() && is_dir(old) != is_dir(new);
            other_kind || (units.contains(dir) && (wants(dir) || !wants(&path)))
        };
        let top = above.filter(is_whole).last();
        tops.entry(top.unwrap_or_else(|| path.clone()))
            .or_default()
            .push(path);
    }
    tops
}

/// Returns the path in the image of a path below `var`.
fn shown(path: &RelPath) -> Option<RelPath> {
    path.rebase(b"", b"var")
}

fn is_below(path: &RelPath, named: &BTreeSet<RelPath>) -> bool {
    named.iter().any(|named| path.starts_with(named.as_bytes()))
}

fn node<'t>(image: &'t Tree, path: &RelPath) -> Option<&'t Node> {
    let path = path.rebase(b"", FACTORY_VAR)?;
    Some(&image.get(path.as_bytes())?.node)
}

/// What the machine has. What cannot be read is no copy of anything: it must not stop an update.
struct Own {
    state: Option<OwnedFd>,
    hashes: RefCell<BTreeMap<RelPath, Option<ObjectId>>>,
}

enum Found {
    Nothing,
    Elsewhere,
    Directory,
    File(u64),
    Link(Vec<u8>),
    Other(FileType),
}

impl Own {
    fn open(state: &Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            state: openat(CWD, state, flags, Mode::empty()).ok(),
            hashes: RefCell::default(),
        }
    }

    /// Looks at a path, through no link: what a service moved elsewhere is its own.
    fn look(&self, path: &RelPath) -> Found {
        let dir = match self.dir_of(path) {
            None | Some(Err(Errno::NOENT)) => return Found::Nothing,
            Some(Err(Errno::LOOP | Errno::NOTDIR)) => return Found::Elsewhere,
            Some(Err(_)) => return Found::Other(FileType::Unknown),
            Some(Ok(dir)) => dir,
        };
        let stat = match statat(&dir, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Found::Nothing,
            Err(_) => return Found::Other(FileType::Unknown),
            Ok(stat) => stat,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::RegularFile => Found::File(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Symlink => match readlinkat(&dir, path.name(), Vec::new()) {
                Ok(target) => Found::Link(target.into_bytes()),
                Err(_) => Found::Other(FileType::Unknown),
            },
            kind => Found::Other(kind),
        }
    }

    fn dir_of(&self, path: &RelPath) -> Option<Result<OwnedFd, Errno>> {
        let parent = path.parent()?;
        let parent = match parent.is_root() {
            true => Path::new("."),
            false => parent.as_path(),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let state = self.state.as_ref()?;
        Some(openat2(state, parent, flags, Mode::empty(), inside))
    }

    /// Says whether the machine has exactly this.
    fn is(&self, path: &RelPath, node: Option<&Node>) -> bool {
        match (self.look(path), node) {
            // Below what is no directory there is nothing.
            (Found::Nothing | Found::Elsewhere, None) => true,
            (Found::Directory, Some(Node::Directory)) => true,
            (Found::File(bytes), Some(Node::File { object, size })) => {
                bytes == *size && self.hash(path, bytes) == Some(*object)
            }
            (Found::Link(own), Some(Node::Symlink { target })) => *own == **target,
            (Found::Other(FileType::Fifo), Some(Node::Fifo)) => true,
            (Found::Other(FileType::Socket), Some(Node::Socket)) => true,
            _ => false,
        }
    }

    fn hash(&self, path: &RelPath, bytes: u64) -> Option<ObjectId> {
        if let Some(known) = self.hashes.borrow().get(path) {
            return *known;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || openat(self.dir_of(path)?.ok()?, path.name(), flags, Mode::empty()).ok();
        let hash = open().and_then(|file| hash_file(&mut File::from(file), bytes).ok());
        self.hashes.borrow_mut().insert(path.clone(), hash);
        hash
    }
}
