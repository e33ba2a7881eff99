//! Reads one inode: kind, owners by name, attributes and, for regular files, contents through a
//! sink.
//!
//! Everything is opened below a directory descriptor and never through a symbolic link, so a tree
//! that changes underneath can give an error or odd contents, but never a file from outside.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::id::ObjectId;
use crate::materialise::{FileMeta, MaterialiseError, ObjectSink, PasswdIds};
use crate::path::RelPath;
use crate::time::Timestamp;
use crate::tree::{Inode, Node, Xattrs};

/// One inode of a file system, by which hard links are recognised.
pub(super) type LinkKey = (u32, u32, u64);

/// What was found at one path.
pub(super) struct ScannedInode {
    pub(super) inode: Inode,
    /// Set when the inode has more than one name.
    pub(super) link: Option<LinkKey>,
}

pub(super) struct Inspector<'a> {
    ids: &'a PasswdIds,
    sink: &'a dyn ObjectSink,
    /// Contents of inodes with several names: the first name that comes gives them to the sink, the
    /// others wait for its answer.
    linked: Mutex<HashMap<LinkKey, Arc<Mutex<Option<ObjectId>>>>>,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(ids: &'a PasswdIds, sink: &'a dyn ObjectSink) -> Self {
        Self {
            ids,
            sink,
            linked: Mutex::new(HashMap::new()),
        }
    }

    /// Reads what `name` is in `dir`; `path` is the same place as seen from the root. `None` when
    /// there is nothing.
    pub(super) fn read(
        &self,
        dir: BorrowedFd<'_>,
        name: &Path,
        path: &RelPath,
        hint: FileType,
    ) -> Result<Option<ScannedInode>, MaterialiseError> {
        let io = |verb| MaterialiseError::io::<Errno>(verb, path.as_path());
        if hint == FileType::RegularFile {
            // One open instead of two path walks; a device or fifo put here meanwhile neither
            // blocks nor reacts.
            match open_file(dir, name) {
                Ok(file) => {
                    let stat = statx(file.as_fd(), Path::new("")).map_err(io("examine"))?;
                    return self.regular(file, &stat, path).map(Some);
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NXIO) => {}
                Err(errno) => return Err(io("open")(errno)),
            }
        }
        let stat = match statx(dir, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(io("examine")(errno)),
        };
        let mode = u32::from(stat.stx_mode);
        let device = || rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
        let node = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => {
                let file = open_file(dir, name).map_err(io("open"))?;
                let stat = statx(file.as_fd(), Path::new("")).map_err(io("examine"))?;
                return self.regular(file, &stat, path).map(Some);
            }
            FileType::Directory => Node::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(io("read"))?;
                Node::Symlink {
                    target: target.into_bytes().into(),
                }
            }
            FileType::CharacterDevice => Node::CharDevice(device()),
            FileType::BlockDevice => Node::BlockDevice(device()),
            FileType::Fifo => Node::Fifo,
            _ => Node::Socket,
        };
        let xattrs = path_xattrs(dir, name).map_err(io("read the attributes of"))?;
        Ok(Some(self.found(node, &stat, xattrs)))
    }

    fn regular(
        &self,
        file: OwnedFd,
        stat: &Statx,
        path: &RelPath,
    ) -> Result<ScannedInode, MaterialiseError> {
        if FileType::from_raw_mode(u32::from(stat.stx_mode)) != FileType::RegularFile {
            return Err(MaterialiseError::Changed {
                path: path.as_path().to_owned(),
            });
        }
        let xattrs = fd_xattrs(file.as_fd()).map_err(MaterialiseError::io(
            "read the attributes of",
            path.as_path(),
        ))?;
        let put = || {
            self.sink
                .put_file(File::from(file), &meta(stat), path.as_path())
                .map_err(|error| put_error(error, path))
        };
        let object = match link_key(stat) {
            None => put()?,
            Some(key) => {
                let slot = Arc::clone(lock(&self.linked).entry(key).or_default());
                let mut object = lock(&slot);
                match *object {
                    Some(known) => known,
                    None => *object.insert(put()?),
                }
            }
        };
        let size = stat.stx_size;
        Ok(self.found(Node::File { object, size }, stat, xattrs))
    }

    fn found(&self, node: Node, stat: &Statx, xattrs: Xattrs) -> ScannedInode {
        let link = match node {
            Node::Directory => None,
            _ => link_key(stat),
        };
        let inode = Inode {
            node,
            mode: stat.stx_mode & 0o7777,
            owner: self.ids.user(stat.stx_uid),
            group: self.ids.group(stat.stx_gid),
            mtime: mtime(stat),
            xattrs,
            hardlink: 0,
        };
        ScannedInode { inode, link }
    }
}

/// Locks what holds finished facts only: a panic elsewhere cannot have left it half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_error(error: std::io::Error, path: &RelPath) -> MaterialiseError {
    let path = path.as_path();
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return MaterialiseError::Changed { path: path.into() };
    }
    MaterialiseError::io("store", path)(error)
}

fn link_key(stat: &Statx) -> Option<LinkKey> {
    (stat.stx_nlink > 1).then_some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

fn mtime(stat: &Statx) -> Timestamp {
    Timestamp {
        sec: stat.stx_mtime.tv_sec,
        nsec: stat.stx_mtime.tv_nsec,
    }
}

fn meta(stat: &Statx) -> FileMeta {
    FileMeta {
        size: stat.stx_size,
        mode: stat.stx_mode & 0o7777,
        mtime: mtime(stat),
        links: stat.stx_nlink,
    }
}

fn statx(dir: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

fn open_file(dir: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only a file's owner and root may leave its access time alone.
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        other => other,
    }
}

fn fd_xattrs(file: BorrowedFd<'_>) -> rustix::io::Result<Xattrs> {
    collect(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// Reads attributes of what is no regular file, by way of /proc since there is no `lgetxattrat`
/// before Linux 6.13.
fn path_xattrs(dir: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<Xattrs> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str()));
    collect(
        |buffer| rustix::fs::llistxattr(path.as_slice(), buffer),
        |name, buffer| rustix::fs::lgetxattr(path.as_slice(), name, buffer),
    )
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Xattrs> {
    let mut xattrs = Xattrs::new();
    let names = match with_buffer(&list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(xattrs),
        Err(errno) => return Err(errno),
    };
    // What overlayfs keeps for itself it does not list, so that an attribute called as its own are
    // is one of the image's.
    for name in names.split(|b| *b == 0) {
        if name.is_empty() {
            continue;
        }
        match with_buffer(|buffer| get(name, buffer)) {
            Ok(value) => xattrs.insert(name.to_vec(), value),
            Err(Errno::NODATA) => None,
            Err(errno) => return Err(errno),
        };
    }
    Ok(xattrs)
}

/// Asks with a small buffer first: nearly every inode has no attribute, or a short one.
fn with_buffer(
    ask: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0u8; 256];
    match ask(&mut small) {
        Ok(count) => Ok(small[..count].to_vec()),
        Err(Errno::RANGE) => {
            // 64 KiB is the kernel's limit for both lists and values.
            let mut large = vec![0u8; 65_536];
            let count = ask(&mut large)?;
            large.truncate(count);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}
