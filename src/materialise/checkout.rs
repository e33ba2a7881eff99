//! Writes a tree as plain files: shared extents where the file system can, else copied in the kernel, on all processors.
//!
//! Order matters and is fixed: directories (open to the owner only), files, further names of hard links, then the directories'
//! own modes and times from the deepest up. What is exact: owners, modes, times, attributes, links, devices.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::materialise::erofs::numbers;
use crate::materialise::write::Writer;
use crate::materialise::{IdLookup, MaterialiseError, ObjectSource};
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// Who shall own what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The tree's owners; needs root unless they are the current user.
    #[default]
    Exact,
    /// The current user: owners, device nodes and privileged attributes are left out and counted.
    Current,
}

/// What a checkout wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckoutReport {
    /// Entries of all kinds.
    pub entries: usize,
    /// Regular files whose extents are shared with the objects.
    pub reflinked_files: usize,
    /// Regular files that were copied.
    pub copied_files: usize,
    /// Entries that do not have the tree's owner, attributes or kind, with [`Ownership::Current`] only.
    pub reduced_entries: usize,
}

/// Writes the whole of `tree` into `dest`, an empty directory or one that does not exist yet.
pub fn checkout(
    tree: &Tree,
    objects: &dyn ObjectSource,
    dest: &Path,
    ids: &dyn IdLookup,
    ownership: Ownership,
) -> Result<CheckoutReport, MaterialiseError> {
    checkout_subtree(tree, b"", objects, dest, ids, ownership)
}

/// Writes what lies at `subtree`, a directory of `tree`, as the directory `dest`.
///
/// Hard links to names outside of the subtree become files of their own.
pub fn checkout_subtree(
    tree: &Tree,
    subtree: &[u8],
    objects: &dyn ObjectSource,
    dest: &Path,
    ids: &dyn IdLookup,
    ownership: Ownership,
) -> Result<CheckoutReport, MaterialiseError> {
    let plan = CheckoutPlan::new(tree, subtree, ids)?;
    let dest_fd = open_dest(dest)?;
    let writer = Writer::new(dest, dest_fd, objects, ownership);
    writer.write(&plan)?;
    Ok(CheckoutReport {
        entries: plan.entries,
        ..writer.report()
    })
}

fn open_dest(dest: &Path) -> Result<OwnedFd, MaterialiseError> {
    match rustix::fs::mkdir(dest, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(MaterialiseError::io("create", dest)(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dest, flags, Mode::empty()).map_err(MaterialiseError::io("open", dest))
}

/// An entry to write: where, below the destination, and with which numbers.
pub(super) struct CheckoutItem<'a> {
    pub(super) path: RelPath,
    pub(super) inode: &'a Inode,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// All there is to write, in the order of the phases.
pub(super) struct CheckoutPlan<'a> {
    /// Parents before children.
    pub(super) directories: Vec<CheckoutItem<'a>>,
    /// Everything else, by the directory that holds it.
    leaves: Vec<(RelPath, Vec<CheckoutItem<'a>>)>,
    /// Further names of hard links: (first name, this name).
    pub(super) links: Vec<(RelPath, RelPath)>,
    entries: usize,
}

impl<'a> CheckoutPlan<'a> {
    fn new(tree: &'a Tree, subtree: &[u8], ids: &dyn IdLookup) -> Result<Self, MaterialiseError> {
        tree.validate()?;
        let mut plan = Self {
            directories: Vec::new(),
            leaves: Vec::new(),
            links: Vec::new(),
            entries: 0,
        };
        let mut leaves: BTreeMap<RelPath, Vec<CheckoutItem<'a>>> = BTreeMap::new();
        let mut first_names: HashMap<u32, RelPath> = HashMap::new();
        let base: Box<[u8]> = subtree.into();
        if !tree.get(&base).is_some_and(Inode::is_dir) {
            return Err(MaterialiseError::Unrepresentable {
                path: RelPath::new(subtree).unwrap_or_default(),
                reason: "it is not a directory of the tree",
            });
        }
        let own = tree.get(&base).map(|inode| (RelPath::root(), inode));
        let below = tree
            .below(&base)
            .filter_map(|(path, inode)| Some((path.rebase(&base, b"")?, inode)));
        for (path, inode) in own.into_iter().chain(below) {
            plan.entries += 1;
            let (uid, gid) = numbers(ids, &path, inode)?;
            if inode.hardlink != 0 {
                if let Some(first) = first_names.get(&inode.hardlink) {
                    plan.links.push((first.clone(), path));
                    continue;
                }
                first_names.insert(inode.hardlink, path.clone());
            }
            let parent = path.parent().unwrap_or_default();
            let item = CheckoutItem {
                path,
                inode,
                uid,
                gid,
            };
            match item.inode.node {
                Node::Directory => plan.directories.push(item),
                _ => leaves.entry(parent).or_default().push(item),
            }
        }
        plan.leaves = leaves.into_iter().collect();
        Ok(plan)
    }

    /// Splits the leaves so that one huge directory still occupies every thread.
    pub(super) fn batches(&self) -> Vec<(&RelPath, &[CheckoutItem<'a>])> {
        self.leaves
            .iter()
            .flat_map(|(dir, items)| items.chunks(64).map(move |chunk| (dir, chunk)))
            .collect()
    }
}
