//! Files and folders of a FAT filesystem, each with its clusters.

use std::collections::BTreeSet;

use super::geometry::{FatKind, Geometry};
use super::names;
use super::{FatError, FatFile};

/// All folders and files. Clusters go to folders first, then to files, in the order given.
pub(super) struct Tree {
    /// The folders; the first is the root.
    pub(super) folders: Vec<Folder>,
    /// What was asked for, in its order; a folder has no clusters here.
    pub(super) files: Vec<File>,
    /// How many clusters are in use.
    pub(super) clusters: u64,
}

pub(super) struct Folder {
    /// The folder that it lies in; the root lies in none.
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<Child>,
    pub(super) first: u32,
    clusters: u32,
}

pub(super) struct File {
    /// Its index among what was asked for.
    pub(super) index: usize,
    pub(super) size: u64,
    /// Its first cluster; 0 where it has none.
    pub(super) first: u32,
    pub(super) clusters: u32,
}

pub(super) struct Child {
    pub(super) name: String,
    pub(super) short: [u8; 11],
    pub(super) node: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder(usize),
    File(usize),
}

impl Tree {
    pub(super) fn new(files: &[FatFile], geometry: &Geometry) -> Result<Self, FatError> {
        let mut tree = Self::named(files)?;
        let root = match geometry.kind {
            FatKind::Fat32 => None,
            FatKind::Fat16 => Some(u64::from(geometry.root_entries)),
        };
        tree.allocate(geometry.cluster_size(), root)?;
        Ok(tree)
    }

    /// Counts for FAT32 with clusters of a size.
    pub(super) fn with_clusters(files: &[FatFile], cluster: u64) -> Result<Self, FatError> {
        let mut tree = Self::named(files)?;
        tree.allocate(cluster, None)?;
        Ok(tree)
    }

    fn named(files: &[FatFile]) -> Result<Self, FatError> {
        let mut tree = Self {
            folders: vec![Folder::new(None)],
            files: Vec::new(),
            clusters: 0,
        };
        for (index, file) in files.iter().enumerate() {
            let size = file.size.unwrap_or(0);
            if size > u64::from(u32::MAX) {
                let path = file.path.clone();
                return Err(FatError::Large { path, size });
            }
            tree.files.push(File {
                index,
                size,
                first: 0,
                clusters: 0,
            });
            tree.insert(index, file)?;
        }
        for folder in &mut tree.folders {
            folder.children.sort_by(|a, b| a.name.cmp(&b.name));
            // A name that is short keeps it, whatever the long ones beside it would like.
            let short = folder
                .children
                .iter()
                .filter_map(|child| names::as_short(&child.name));
            let mut taken: BTreeSet<[u8; 11]> = short.collect();
            for child in &mut folder.children {
                let short = names::as_short(&child.name);
                child.short = short.unwrap_or_else(|| names::numbered(&child.name, &mut taken));
            }
        }
        Ok(tree)
    }

    fn insert(&mut self, index: usize, file: &FatFile) -> Result<(), FatError> {
        let parts: Vec<&str> = file.path.split('/').collect();
        let mut at = 0;
        for (depth, name) in parts.iter().enumerate() {
            names::check(&file.path, name)?;
            let is_last = depth + 1 == parts.len();
            let wants_file = is_last && file.size.is_some();
            let same = |child: &&Child| child.name.to_lowercase() == name.to_lowercase();
            match self.folders[at].children.iter().find(same) {
                Some(child) if child.name == *name && !wants_file => match child.node {
                    Node::Folder(folder) => at = folder,
                    Node::File(_) => return Err(twice(file)),
                },
                Some(_) => return Err(twice(file)),
                None => {
                    let node = match wants_file {
                        true => Node::File(index),
                        false => Node::Folder(self.folders.len()),
                    };
                    self.folders[at].children.push(Child {
                        name: (*name).to_owned(),
                        short: [b' '; 11],
                        node,
                    });
                    if let Node::Folder(folder) = node {
                        self.folders.push(Folder::new(Some(at)));
                        at = folder;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives clusters of `size` bytes to all but a root folder of `fixed_root` entries.
    fn allocate(&mut self, size: u64, fixed_root: Option<u64>) -> Result<(), FatError> {
        let mut next: u64 = 2;
        let mut take = |bytes: u64| {
            let (first, clusters) = (next, bytes.div_ceil(size));
            next += clusters;
            (
                u32::try_from(first).unwrap_or(u32::MAX),
                u32::try_from(clusters).unwrap_or(u32::MAX),
            )
        };
        for folder in &mut self.folders {
            let names = folder
                .children
                .iter()
                .map(|child| names::entries(&child.name));
            // A label in the root, `.` and `..` elsewhere, and one that stays zero: the end.
            let entries = names.sum::<u64>() + 3;
            match (folder.parent, fixed_root) {
                (None, Some(room)) if entries > room => {
                    return Err(FatError::Full {
                        needed: entries * names::ENTRY as u64,
                        free: room * names::ENTRY as u64,
                    });
                }
                (None, Some(_)) => {}
                _ => (folder.first, folder.clusters) = take(entries * names::ENTRY as u64),
            }
        }
        for file in &mut self.files {
            if file.size > 0 {
                (file.first, file.clusters) = take(file.size);
            }
        }
        self.clusters = next - 2;
        Ok(())
    }

    /// Returns the first cluster of the root folder of FAT32.
    pub(super) fn root_first(&self) -> u32 {
        self.folders.first().map_or(2, |root| root.first)
    }

    /// Returns all runs of clusters in order, each with its first one and its length.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let folders = self
            .folders
            .iter()
            .map(|folder| (folder.first, folder.clusters));
        folders.chain(self.files.iter().map(|file| (file.first, file.clusters)))
    }
}

impl Folder {
    fn new(parent: Option<usize>) -> Self {
        Self {
            parent,
            children: Vec::new(),
            first: 0,
            clusters: 0,
        }
    }
}

fn twice(file: &FatFile) -> FatError {
    FatError::Twice {
        path: file.path.clone(),
    }
}
