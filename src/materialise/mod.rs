//! Trees on real file systems: mounted without a copy (EROFS metadata over the object directory),
//! checked out, and read back.
//!
//! Nothing here decides *what* a tree holds; every function writes exactly the tree that it is
//! given, or fails and names the path. Owners are names in trees and numbers on disk: [`IdLookup`]
//! and [`PasswdIds`] are the only place where the two meet.

mod attach;
mod checkout;
mod copy;
mod erofs;
mod hash;
mod ids;
mod inspect;
mod metadata;
mod mount;
mod plan;
mod probe;
mod queue;
mod scan;
mod write;

pub use attach::{
    BindAccess, SetuidPrograms, bind, enter_namespace, enter_private_namespace, is_mountpoint,
    mount_source, private_namespace, set_mount_flags, set_setuid, unmount, unmount_lazily,
};
pub use checkout::{checkout, checkout_subtree};
pub use erofs::erofs_image;
pub use hash::{HashSink, hash_file};
pub use ids::{IdLookup, PasswdIds};
pub use metadata::MetadataImage;
pub use mount::{
    DetachedMount, MountSource, UpperDirs, UpperLifetime, mount_readonly, mount_writable,
};
pub use probe::{Capabilities, Support};
pub use scan::{ScanDepth, ScanOptions, Selection, scan, scan_selected};
pub use write::{CheckoutReport, Ownership};

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::id::ObjectId;
use crate::path::RelPath;
use crate::time::Timestamp;
use crate::tree::{Owner, TreeError};

/// Opens objects for reading; the repository is one, a plain object directory another
/// ([`ObjectDir`]).
pub trait ObjectSource: Sync {
    /// Opens the contents of `id`, positioned at the start.
    fn open_object(&self, id: &ObjectId) -> io::Result<File>;
}

/// Takes the contents of regular files while a directory is read.
///
/// Returning an id means that the contents are stored (or were at least read) under this id.
pub trait ObjectSink: Sync {
    /// Takes one file, opened read-only at its start; `path` is relative to the directory that is
    /// read.
    fn put_file(&self, file: File, meta: &FileMeta, path: &Path) -> io::Result<ObjectId>;
}

/// What is known of a regular file before its contents are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeta {
    /// Size in bytes.
    pub size: u64,
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
    /// Last modification.
    pub mtime: Timestamp,
    /// How many names the file has.
    pub links: u32,
}

/// A directory of objects in the layout `ab/cdef…`.
#[derive(Debug, Clone)]
pub struct ObjectDir(PathBuf);

impl ObjectDir {
    /// Names the directory; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns where `id` lies, relative to any object directory.
    pub fn relative_path(id: &ObjectId) -> PathBuf {
        let hex = id.to_hex();
        Path::new(&hex[..2]).join(&hex[2..])
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl ObjectSource for ObjectDir {
    fn open_object(&self, id: &ObjectId) -> io::Result<File> {
        File::open(self.0.join(Self::relative_path(id)))
    }
}

/// Why a tree could not be written, mounted or read.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// The tree that was given, or the directory that was read, is not a file system.
    #[error("the tree is not a file system")]
    Tree(#[from] TreeError),
    /// A name has no number in the image's passwd or group.
    #[error("'{path}' belongs to '{owner}', which the image's {database} does not list")]
    UnknownOwner {
        /// The first path with this owner.
        path: RelPath,
        owner: Owner,
        /// `passwd` or `group`.
        database: &'static str,
    },
    /// The target cannot express this inode.
    #[error("'{path}' cannot be represented: {reason}")]
    Unrepresentable {
        path: RelPath,
        /// What it is that does not fit.
        reason: &'static str,
    },
    /// The process may not give a file its owner: run as root, or check out for the current user.
    #[error("cannot give '{path}' to {uid}:{gid}, which needs root")]
    OwnerRefused {
        path: RelPath,
        uid: u32,
        gid: u32,
        source: io::Error,
    },
    /// An object is missing or has another size than the tree says: the repository needs `fsck`.
    #[error("object {object} of '{path}' is missing or damaged")]
    Object {
        path: RelPath,
        object: ObjectId,
        source: io::Error,
    },
    /// A file changed while it was read: stop whoever writes there and try again.
    #[error("'{path}' changed while it was read")]
    Changed { path: PathBuf },
    /// The kernel refused a mount.
    #[error("cannot {verb} '{path}'{}", if .log.is_empty() { String::new() } else { format!(": {}", .log) })]
    Mount {
        verb: &'static str,
        path: PathBuf,
        /// What the kernel logged for this mount, if anything.
        log: String,
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("cannot {verb} '{path}'")]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl MaterialiseError {
    /// Makes the error of a mount that the kernel refused with `log` as its explanation.
    pub(crate) fn mount(verb: &'static str, path: &Path, log: &str, errno: Errno) -> Self {
        Self::Mount {
            verb,
            path: path.to_owned(),
            log: log.to_owned(),
            source: errno.into(),
        }
    }

    /// Makes the mapper for `map_err` that adds verb and path.
    pub(crate) fn io<E: Into<io::Error>>(
        verb: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            verb,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}

/// Returns how many threads file work uses: the machine's, at most 16, because beyond that the file
/// system is the limit.
pub(crate) fn worker_count() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(16))
}
