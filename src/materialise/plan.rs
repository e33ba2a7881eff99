//! What a checkout writes, in the order of its phases.

use std::collections::{BTreeMap, HashMap};

use crate::materialise::erofs::numbers;
use crate::materialise::{IdLookup, MaterialiseError};
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

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
    pub(super) entries: usize,
}

impl<'a> CheckoutPlan<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        subtree: &[u8],
        ids: &dyn IdLookup,
    ) -> Result<Self, MaterialiseError> {
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
