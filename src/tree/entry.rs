//! What stands at one path: the inode, its kind and its owners by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::id::ObjectId;
use crate::layout::EntryKind;
use crate::time::Timestamp;

/// An owner or group: by name where the image has one, else by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A name from the image's `passwd` or `group`.
    Name(Arc<str>),
    /// A number that has no name there, written `#1234`.
    Number(u32),
}

impl Owner {
    /// Makes an owner from its text form: a name, or `#` and a number.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.strip_prefix('#') {
            Some(number) => {
                let value: u32 = number.parse().ok()?;
                (value.to_string() == number).then_some(Self::Number(value))
            }
            None => Self::name_is_valid(text).then(|| Self::Name(text.into())),
        }
    }

    /// Returns `root`.
    pub fn root() -> Self {
        static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| "root".into());
        Self::Name(ROOT.clone())
    }

    fn name_is_valid(name: &str) -> bool {
        !name.is_empty()
            && name.len() <= 255
            && !name.contains([':', '\n', '\0', ' ', '\t', '/', '#'])
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "#{number}"),
        }
    }
}

/// Extended attributes by full name (`security.capability`, `user.x`).
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The kind of an inode, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// The contents.
        object: ObjectId,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// The target, 1 to 4095 bytes without NUL.
        target: Box<[u8]>,
    },
    /// A character device, by its Linux `dev_t`.
    CharDevice(u64),
    /// A block device, by its Linux `dev_t`.
    BlockDevice(u64),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Node {
    /// Returns what it is to a path that is followed.
    pub fn entry_kind(&self) -> EntryKind<'_> {
        match self {
            Self::Directory => EntryKind::Directory,
            Self::Symlink { target } => EntryKind::Link((&**target).into()),
            _ => EntryKind::Other,
        }
    }

    /// Returns the word for this kind in messages and text twins.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory => "dir",
            Self::File { .. } => "file",
            Self::Symlink { .. } => "link",
            Self::CharDevice(_) => "char",
            Self::BlockDevice(_) => "block",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// Everything at one path but its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// ReleaseKind and contents.
    pub node: Node,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u16,
    /// The owning user.
    pub owner: Owner,
    /// The owning group.
    pub group: Owner,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// 0, or the number of the hard-link group within its tree.
    pub hardlink: u32,
}

impl Inode {
    /// Makes an inode owned by root, dated 0, without extended attributes.
    pub fn new(node: Node, mode: u16) -> Self {
        Self {
            node,
            mode,
            owner: Owner::root(),
            group: Owner::root(),
            mtime: Timestamp::default(),
            xattrs: Xattrs::new(),
            hardlink: 0,
        }
    }

    /// Makes a directory as [`Inode::new`] does.
    pub fn directory(mode: u16) -> Self {
        Self::new(Node::Directory, mode)
    }

    /// Makes a regular file as [`Inode::new`] does.
    pub fn file(object: ObjectId, size: u64, mode: u16) -> Self {
        Self::new(Node::File { object, size }, mode)
    }

    /// Makes a symbolic link as [`Inode::new`] does.
    pub fn symlink(target: &str) -> Self {
        Self::new(
            Node::Symlink {
                target: target.as_bytes().into(),
            },
            0o777,
        )
    }

    /// Returns the contents' id when this is a regular file.
    pub fn object(&self) -> Option<ObjectId> {
        match self.node {
            Node::File { object, .. } => Some(object),
            _ => None,
        }
    }

    /// Says whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.node, Node::Directory)
    }

    /// Says whether two inodes are the same but for time and hard-link numbering, which carry no
    /// meaning for a merge.
    pub fn same_content(&self, other: &Inode) -> bool {
        self.node == other.node
            && self.mode == other.mode
            && self.owner == other.owner
            && self.group == other.group
            && self.xattrs == other.xattrs
    }
}
