//! What can go wrong.

use std::io;

use crate::path::RelPath;

/// Why there is no filesystem.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// The content does not fit.
    #[error("the content does not fit: it needs {needs} bytes, and there are {has}")]
    TooSmall {
        /// The smallest size that would do, in bytes.
        needs: u64,
        /// The size asked for, in bytes.
        has: u64,
    },
    /// The size is beyond what this writer makes.
    #[error(
        "{size} bytes are too large for a filesystem with blocks of 4096 bytes: 16 TiB is the limit"
    )]
    TooLarge {
        /// The size asked for, in bytes.
        size: u64,
    },
    /// The label is too long, or holds a NUL byte.
    #[error("'{label}' is not a label: at most 16 bytes fit, none of them NUL")]
    Label {
        /// The label.
        label: String,
    },
    /// An option is outside its range.
    #[error("{option} cannot be {value}: {allowed}")]
    Option {
        /// Which option, as a noun.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What it can be.
        allowed: &'static str,
    },
    /// There are entries, but no root.
    #[error("the root directory is missing among the entries")]
    NoRoot,
    /// A path occurs twice.
    #[error("'{path}' occurs twice")]
    Twice {
        /// The path.
        path: RelPath,
    },
    /// What should be a directory is missing, or is something else.
    #[error("'{path}' has no directory to lie in")]
    NoParent {
        /// The path whose parent is missing.
        path: RelPath,
    },
    /// The root or `lost+found` is no directory.
    #[error("'{path}' must be a directory")]
    NotADirectory {
        /// The path.
        path: RelPath,
    },
    /// A hard link leads to nothing that came before it, or to a directory.
    #[error("'{path}' cannot be a hard link to '{target}', which is no earlier file")]
    BadLink {
        /// The link.
        path: RelPath,
        /// Where it leads.
        target: RelPath,
    },
    /// More links to one inode than the format counts.
    #[error("'{path}' has {links} links, and the limit is 65000")]
    TooManyLinks {
        /// The first path of the inode.
        path: RelPath,
        /// How many links it would have.
        links: u32,
    },
    /// A directory has more names than its index holds.
    #[error("'{path}' holds too many names for the index of a directory")]
    DirectoryTooLarge {
        /// The directory.
        path: RelPath,
    },
    /// A file is larger than the format maps.
    #[error("'{path}' is too large: it has {size} bytes, and the limit is {limit}")]
    FileTooLarge {
        /// The file.
        path: RelPath,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A symbolic link is empty or too long.
    #[error("'{path}' cannot be a symbolic link to {length} bytes: 1 to 4095 are possible")]
    BadSymlink {
        /// The link.
        path: RelPath,
        /// The length of its target in bytes.
        length: usize,
    },
    /// A device number that Linux does not have.
    #[error(
        "'{path}' has device number {device:#x}: 12 bits for the major and 20 for the minor are the limit"
    )]
    BadDevice {
        /// The device file.
        path: RelPath,
        /// The number.
        device: u64,
    },
    /// The attributes of a file fit neither its inode nor a block.
    #[error(
        "the extended attributes of '{path}' do not fit: one block of 4096 bytes holds them all"
    )]
    XattrsTooLarge {
        /// The file.
        path: RelPath,
    },
    /// An attribute that the format cannot hold.
    #[error("'{path}' has the extended attribute '{name}': {reason}")]
    BadXattr {
        /// The file.
        path: RelPath,
        /// The attribute, escaped.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A content has another length than its entry says.
    #[error("the content of '{path}' has {comparison} than the {size} bytes that are expected")]
    WrongLength {
        /// The file.
        path: RelPath,
        /// The size that was expected, in bytes.
        size: u64,
        /// "fewer bytes" or "more bytes".
        comparison: &'static str,
    },
    /// A content cannot be read.
    #[error("cannot read the content of '{path}'")]
    Read {
        /// The file.
        path: RelPath,
        /// Why.
        source: io::Error,
    },
    /// The medium cannot be written.
    #[error("cannot write the filesystem")]
    Write(#[from] io::Error),
    /// The caller wants no more.
    #[error("writing the filesystem was cancelled")]
    Cancelled,
}
