//! What is checked before the first write: room on the filesystem, and every object of the image.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::DeployError;
use super::error::HarmedObject;
use crate::id::ObjectId;
use crate::store::{Repository, StoreError};
use crate::tree::{Node, Tree};

/// Filesystems give out space in blocks; most use this size.
const BLOCK_BYTES: u64 = 4096;
/// The small files and directories of any deployment, and the filesystem's own bookkeeping.
const SLACK_BYTES: u64 = 256 << 10;
const SLACK_INODES: u64 = 32;

/// Room that a deployment needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpaceRequirement {
    bytes: u64,
    inodes: u64,
}

impl SpaceRequirement {
    pub(super) fn new() -> Self {
        Self {
            bytes: SLACK_BYTES,
            inodes: SLACK_INODES,
        }
    }

    pub(super) fn add_file(&mut self, bytes: u64) {
        self.inodes += 1;
        self.bytes = self
            .bytes
            .saturating_add(bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES));
    }

    /// Adds a tree that is written as plain files; hard links count once a name, which errs on the
    /// safe side.
    pub(super) fn add_tree(&mut self, tree: &Tree) {
        for (_, inode) in tree.iter() {
            match &inode.node {
                Node::File { size, .. } => self.add_file(*size),
                Node::Directory => self.add_file(BLOCK_BYTES),
                _ => self.add_file(0),
            }
        }
    }

    /// Refuses when the filesystem of `dir` has less than this.
    pub(super) fn require(self, dir: &Path) -> Result<(), DeployError> {
        let stat = rustix::fs::statvfs(dir)
            .map_err(|error| DeployError::io("measure the free space of", dir, error.into()))?;
        let available_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        // A filesystem that makes inodes as it needs them says that it has none at all.
        let available_inodes = if stat.f_files == 0 {
            u64::MAX
        } else {
            stat.f_favail
        };
        if available_bytes < self.bytes || available_inodes < self.inodes {
            return Err(DeployError::NoSpace {
                path: dir.to_owned(),
                needed_bytes: self.bytes,
                available_bytes,
                needed_inodes: self.inodes,
                available_inodes,
            });
        }
        Ok(())
    }
}

/// Refuses a tree with a missing or damaged object, and names each with its paths.
pub(super) fn check_objects(repository: &Repository, tree: &Tree) -> Result<(), DeployError> {
    let sizes: HashMap<ObjectId, u64> = tree
        .iter()
        .filter_map(|(_, inode)| match inode.node {
            Node::File { object, size } => Some((object, size)),
            _ => None,
        })
        .collect();
    // In the order of the object directories, so that names which lie together are looked up
    // together.
    let mut objects: Vec<(ObjectId, u64)> = sizes.into_iter().collect();
    objects.sort_unstable();
    let next = AtomicUsize::new(0);
    let harmed: Mutex<HashMap<ObjectId, StoreError>> = Mutex::default();
    let work = || {
        // Batches, so that threads do not fight over the counter.
        while let Some(batch) = objects.chunks(64).nth(next.fetch_add(1, Ordering::Relaxed)) {
            for (object, size) in batch {
                if let Err(error) = repository.check_object(object, *size) {
                    let mut harmed = harmed
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    harmed.insert(*object, error);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let harmed = harmed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if harmed.is_empty() {
        return Ok(());
    }
    let mut found: Vec<HarmedObject> = harmed
        .into_iter()
        .map(|(object, error)| HarmedObject {
            object,
            paths: tree
                .iter()
                .filter(|(_, inode)| inode.object() == Some(object))
                .map(|(path, _)| path.clone())
                .collect(),
            reason: error.to_string(),
        })
        .collect();
    found.sort_by(|a, b| a.paths.cmp(&b.paths));
    Err(DeployError::Objects(found))
}
