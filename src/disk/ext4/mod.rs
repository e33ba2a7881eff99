//! An ext2, ext3 or ext4 filesystem with content, written as bytes.
//!
//! [`plan`] checks the entries and says how much room they need; [`Plan::write`] reads their
//! contents, each once, and writes the filesystem. The same entries and options give the same
//! bytes: identifiers and times are options, and nothing is random.
//!
//! Source of the format: the kernel's `Documentation/filesystems/ext4`, and what `mke2fs` writes.
//! Blocks have 4,096 bytes, inodes 256, groups 32,768 blocks.
//!
//! # Layout
//! ```text
//! each group:   [superblock, descriptors, room for more] bitmaps, inode table, data
//! data:         resize inode · directories, with slack · files in the order given · journal
//! ```
//! The superblock's copies are in few groups (`sparse_super`). A group keeps its own bitmaps and
//! table, though `flex_bg` would let them lie together: so the place of a file does not depend on
//! how many groups there are. An extent cannot be longer than a group anyway.
//!
//! **What comes later never moves what comes earlier.** Inode numbers and the blocks of files follow
//! the order of the entries, so a change of a late file leaves the early ones where they are.
//! Directories have a region of their own. It has an eighth of slack, so that a new directory moves
//! no file. What lies beside a file's data (blocks of an extent tree, of attributes) follows it.
//!
//! A block of a file that is all zeros becomes a hole.

mod checksum;
mod directory;
mod error;
mod extent;
mod geometry;
mod group;
mod hash;
mod htree;
mod indirect;
mod inode;
mod mapping;
mod model;
mod plan;
mod special;
mod stream;
mod superblock;
mod table;
mod tree;
mod write;
mod xattr;

#[cfg(test)]
mod testing;

pub use error::Ext4Error;
pub use model::{Content, Contents, Entry, EntryKind, FsOptions, Journal, Kind};
pub use plan::{Plan, Survey, minimum_size, plan};
