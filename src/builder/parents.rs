//! Inodes with the directories above them.

use crate::path::RelPath;
use crate::tree::{Inode, Tree};

/// Puts an inode into a tree, and makes the directories above it that are not there.
pub(super) fn insert_with_parents(tree: &mut Tree, path: &RelPath, inode: Inode) {
    let mut missing = Vec::new();
    let mut above = path.parent();
    while let Some(dir) = above.filter(|dir| tree.get(dir.as_bytes()).is_none()) {
        above = dir.parent();
        missing.push(dir);
    }
    for dir in missing {
        tree.insert(
            dir,
            Inode {
                mtime: inode.mtime,
                ..Inode::directory(0o755)
            },
        );
    }
    tree.insert(path.clone(), inode);
}
