//! What a filesystem is made of: options, entries, and where contents come from.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::id::ObjectId;
use crate::path::RelPath;
use crate::time::Timestamp;

/// The generation of the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without journal, extents and checksums.
    Ext2,
    /// Ext2 with a journal.
    Ext3,
    /// With journal, extents, 64-bit block numbers and checksums of all metadata.
    Ext4,
}

/// How long the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// What `mke2fs` takes for the size: none below 8 MiB, 64 MiB for 2 GiB.
    Auto,
    /// No journal.
    None,
    /// So many bytes: from 4 MiB to 40 GB, in whole blocks.
    Bytes(u64),
}

/// What a filesystem is like, apart from its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsOptions {
    /// The generation.
    pub kind: Kind,
    /// The room that the filesystem may take, in bytes. Less than a block is left over; so is a
    /// last group that is too small for its own metadata (below 3 MB).
    pub size: u64,
    /// The label, at most 16 bytes.
    pub label: String,
    /// The UUID, in the order of its text. It is also the seed of all checksums.
    pub uuid: [u8; 16],
    /// The seed of the hashes by which large directories are sorted.
    pub hash_seed: [u8; 16],
    /// The moment of creation, in seconds since 1970: in the superblock, and of `lost+found`.
    pub epoch: i64,
    /// The journal; `Ext2` has none, whatever this says.
    pub journal: Journal,
    /// The percentage of blocks that only root may fill, at most 50.
    pub reserved_percent: u8,
    /// One inode for so many bytes, or more where the entries need more.
    pub bytes_per_inode: u64,
    /// Inodes that must be left over: this many, or an eighth of what is used.
    pub spare_inodes: u32,
}

impl FsOptions {
    /// Returns what `mke2fs` takes by default, without label, identifiers and date.
    pub fn new(kind: Kind, size: u64) -> Self {
        Self {
            kind,
            size,
            label: String::new(),
            uuid: [0; 16],
            hash_seed: [0; 16],
            epoch: 0,
            journal: Journal::Auto,
            reserved_percent: 5,
            bytes_per_inode: 16_384,
            spare_inodes: 64,
        }
    }
}

/// A path and the inode behind it, or one more path of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path; empty for the root.
    pub path: RelPath,
    /// The permissions, with set-user-ID, set-group-ID and the sticky bit (`07777`).
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last change; the inode's three other times are the same. Kept from 1901 to
    /// 2446; moments beyond become the nearest one.
    pub mtime: Timestamp,
    /// The extended attributes, by full name such as `user.note`, with values as `getxattr` gives
    /// them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory. What it holds are the entries below its path.
    Directory,
    /// A regular file.
    File {
        /// Where its bytes come from.
        content: Content,
        /// How many there are.
        size: u64,
    },
    /// A symbolic link to these bytes, from 1 to 4,095.
    Symlink(Box<[u8]>),
    /// A character device, by its Linux `dev_t`.
    CharDevice(u64),
    /// A block device, by its Linux `dev_t`.
    BlockDevice(u64),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// One more path of an entry that came earlier and is no directory. The entry's own owner,
    /// mode, time and attributes do not count.
    HardLink(RelPath),
}

/// Where the bytes of a file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// They are here.
    Bytes(Arc<[u8]>),
    /// [`Contents`] gives them.
    Object(ObjectId),
    /// [`Contents`] gives them, and at least so many of their blocks of 4,096 bytes hold only
    /// zeros. Any file may have such blocks; those that are told count as free in the plan. Where
    /// there are fewer, the disk may end while it is written.
    Sparse(ObjectId, u64),
}

/// Where the contents of files come from.
pub trait Contents {
    /// Opens an object for one reading from start to end.
    fn open(&self, object: &ObjectId) -> io::Result<Box<dyn Read + '_>>;
}
