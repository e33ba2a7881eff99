//! Writes the planned entries of a checkout; every path is opened below the destination and through
//! no symbolic link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::durable::write_program;
use crate::id::ObjectId;
use crate::materialise::copy::copy;
use crate::materialise::plan::{CheckoutItem, CheckoutPlan};
use crate::materialise::{MaterialiseError, ObjectSource, worker_count};
use crate::path::RelPath;
use crate::tree::{Inode, Node};

/// Who shall own what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The tree's owners; needs root unless they are the current user.
    #[default]
    Exact,
    /// The current user: owners, device nodes and privileged attributes are left out and counted.
    Current,
}

/// What a checkout wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckoutReport {
    /// Entries of all kinds.
    pub entries: usize,
    /// Regular files whose extents are shared with the objects.
    pub reflinked_files: usize,
    /// Regular files that were copied.
    pub copied_files: usize,
    /// Entries that do not have the tree's owner, attributes or kind, with [`Ownership::Current`]
    /// only.
    pub reduced_entries: usize,
}

/// Writes below one destination; shared by all threads of a checkout.
pub(super) struct Writer<'a> {
    dest: &'a Path,
    dest_fd: OwnedFd,
    objects: &'a dyn ObjectSource,
    ownership: Ownership,
    /// Set once the file system refused to share extents, so that it is asked only once.
    clone_refused: AtomicBool,
    reflinked: AtomicUsize,
    copied: AtomicUsize,
    reduced: AtomicUsize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        dest: &'a Path,
        dest_fd: OwnedFd,
        objects: &'a dyn ObjectSource,
        ownership: Ownership,
    ) -> Self {
        Self {
            dest,
            dest_fd,
            objects,
            ownership,
            clone_refused: AtomicBool::new(false),
            reflinked: AtomicUsize::new(0),
            copied: AtomicUsize::new(0),
            reduced: AtomicUsize::new(0),
        }
    }

    pub(super) fn report(&self) -> CheckoutReport {
        CheckoutReport {
            entries: 0,
            reflinked_files: self.reflinked.load(Ordering::Relaxed),
            copied_files: self.copied.load(Ordering::Relaxed),
            reduced_entries: self.reduced.load(Ordering::Relaxed),
        }
    }

    pub(super) fn write(&self, plan: &CheckoutPlan<'_>) -> Result<(), MaterialiseError> {
        for item in plan.directories.iter().filter(|i| !i.path.is_root()) {
            let above = self.open_directory(&item.path.parent().unwrap_or_default())?;
            rustix::fs::mkdirat(&above, name_of(&item.path), Mode::RWXU)
                .map_err(self.io("create", &item.path))?;
        }
        self.write_leaves(&plan.batches())?;
        for (first, path) in &plan.links {
            let open = |path: &RelPath| self.open_directory(&path.parent().unwrap_or_default());
            let (from, to) = (open(first)?, open(path)?);
            let (old, new) = (name_of(first), name_of(path));
            rustix::fs::linkat(&from, old, &to, new, AtFlags::empty())
                .map_err(self.io("link", path))?;
        }
        // Backwards: a directory that its owner may not write to gets that mode after everything
        // below is in place.
        for item in plan.directories.iter().rev() {
            self.finish_directory(item)?;
        }
        Ok(())
    }

    fn write_leaves(
        &self,
        batches: &[(&RelPath, &[CheckoutItem<'_>])],
    ) -> Result<(), MaterialiseError> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let Some((dir, items)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                self.write_batch(dir, items)
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        let threads = worker_count().min(batches.len());
        if threads < 2 {
            return work();
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let results = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn write_batch(
        &self,
        dir: &RelPath,
        items: &[CheckoutItem<'_>],
    ) -> Result<(), MaterialiseError> {
        let dir = self.open_directory(dir)?;
        items
            .iter()
            .try_for_each(|item| self.write_leaf(dir.as_fd(), item))
    }

    fn open_directory(&self, path: &RelPath) -> Result<OwnedFd, MaterialiseError> {
        let name = if path.is_root() {
            Path::new(".")
        } else {
            path.as_path()
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.dest_fd, name, flags, Mode::empty(), resolve)
            .map_err(self.io("open", path))
    }

    fn write_leaf(
        &self,
        dir: BorrowedFd<'_>,
        item: &CheckoutItem<'_>,
    ) -> Result<(), MaterialiseError> {
        use std::os::unix::ffi::OsStrExt;
        let name = Path::new(std::ffi::OsStr::from_bytes(item.path.name()));
        let special =
            |kind, device| rustix::fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device);
        let made = match &item.inode.node {
            Node::File { object, size } => {
                // Somebody may start it, in a view that a layer is built in.
                let _writes = write_program();
                let file = self.write_file(dir, name, &item.path, object, *size)?;
                return self.finish_file(file.as_fd(), item);
            }
            Node::Symlink { target } => {
                let target = Path::new(std::ffi::OsStr::from_bytes(target));
                rustix::fs::symlinkat(target, dir, name)
            }
            Node::CharDevice(device) => special(FileType::CharacterDevice, *device),
            Node::BlockDevice(device) => special(FileType::BlockDevice, *device),
            Node::Fifo => special(FileType::Fifo, 0),
            Node::Socket => special(FileType::Socket, 0),
            Node::Directory => Ok(()),
        };
        match made {
            Ok(()) => self.finish_at(dir, name, item),
            Err(Errno::PERM) if self.ownership == Ownership::Current => {
                self.reduced.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(errno) => Err(self.io("create", &item.path)(errno)),
        }
    }

    fn write_file(
        &self,
        dir: BorrowedFd<'_>,
        name: &Path,
        path: &RelPath,
        object: &ObjectId,
        size: u64,
    ) -> Result<File, MaterialiseError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(self.io("create", path))?;
        let mut file = File::from(file);
        if size == 0 {
            return Ok(file);
        }
        let damaged = |source| MaterialiseError::Object {
            path: path.clone(),
            object: *object,
            source,
        };
        let mut source = self.objects.open_object(object).map_err(damaged)?;
        let found = source.metadata().map_err(damaged)?.len();
        if found != size {
            return Err(damaged(io::Error::other(format!(
                "it has {found} bytes instead of {size}"
            ))));
        }
        if !self.clone_refused.load(Ordering::Relaxed) {
            match rustix::fs::ioctl_ficlone(&file, &source) {
                Ok(()) => {
                    self.reflinked.fetch_add(1, Ordering::Relaxed);
                    return Ok(file);
                }
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY) => {
                    self.clone_refused.store(true, Ordering::Relaxed);
                }
                Err(errno) => return Err(self.io("write", path)(errno)),
            }
        }
        copy(&mut source, &mut file, size)
            .map_err(|error| MaterialiseError::io("write", self.full(path))(error))?;
        self.copied.fetch_add(1, Ordering::Relaxed);
        Ok(file)
    }

    /// Sets owner, then mode (a change of owner clears setuid), then attributes (it clears
    /// capabilities too), then time.
    fn finish_file(
        &self,
        file: BorrowedFd<'_>,
        item: &CheckoutItem<'_>,
    ) -> Result<(), MaterialiseError> {
        let mut exact = self.owned(item, |uid, gid| rustix::fs::fchown(file, uid, gid))?;
        rustix::fs::fchmod(file, mode(item.inode))
            .map_err(self.io("set the mode of", &item.path))?;
        for (name, value) in &item.inode.xattrs {
            let set = rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty());
            exact &= self.attributed(item, set)?;
        }
        rustix::fs::futimens(file, &times(item.inode))
            .map_err(self.io("set the time of", &item.path))?;
        self.count(exact);
        Ok(())
    }

    fn finish_directory(&self, item: &CheckoutItem<'_>) -> Result<(), MaterialiseError> {
        let dir = self.open_directory(&item.path)?;
        self.finish_file(dir.as_fd(), item)
    }

    /// The same as [`Self::finish_file`] for what cannot be opened: links, devices, fifos, sockets.
    fn finish_at(
        &self,
        dir: BorrowedFd<'_>,
        name: &Path,
        item: &CheckoutItem<'_>,
    ) -> Result<(), MaterialiseError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let mut exact = self.owned(item, |uid, gid| {
            rustix::fs::chownat(dir, name, uid, gid, nofollow)
        })?;
        if !matches!(item.inode.node, Node::Symlink { .. }) {
            rustix::fs::chmodat(dir, name, mode(item.inode), AtFlags::empty())
                .map_err(self.io("set the mode of", &item.path))?;
        }
        if !item.inode.xattrs.is_empty() {
            let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
            for (name, value) in &item.inode.xattrs {
                let set = rustix::fs::lsetxattr(&path, name.as_slice(), value, XattrFlags::empty());
                exact &= self.attributed(item, set)?;
            }
        }
        rustix::fs::utimensat(dir, name, &times(item.inode), nofollow)
            .map_err(self.io("set the time of", &item.path))?;
        self.count(exact);
        Ok(())
    }

    fn owned(
        &self,
        item: &CheckoutItem<'_>,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    ) -> Result<bool, MaterialiseError> {
        let (uid, gid) = (item.uid, item.gid);
        if self.ownership == Ownership::Current {
            return Ok((
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ) == (uid, gid));
        }
        match chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            Ok(()) => Ok(true),
            Err(errno @ (Errno::PERM | Errno::INVAL)) => Err(MaterialiseError::OwnerRefused {
                path: item.path.clone(),
                uid,
                gid,
                source: errno.into(),
            }),
            Err(errno) => Err(self.io("set the owner of", &item.path)(errno)),
        }
    }

    fn attributed(
        &self,
        item: &CheckoutItem<'_>,
        set: rustix::io::Result<()>,
    ) -> Result<bool, MaterialiseError> {
        match set {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::OPNOTSUPP) if self.ownership == Ownership::Current => {
                Ok(false)
            }
            Err(errno) => Err(self.io("set an attribute of", &item.path)(errno)),
        }
    }

    fn count(&self, exact: bool) {
        if !exact {
            self.reduced.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn full(&self, path: &RelPath) -> PathBuf {
        self.dest.join(path.as_path())
    }

    fn io(&self, verb: &'static str, path: &RelPath) -> impl FnOnce(Errno) -> MaterialiseError {
        MaterialiseError::io(verb, self.full(path))
    }
}

fn name_of(path: &RelPath) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path.name()))
}

fn mode(inode: &Inode) -> Mode {
    Mode::from_raw_mode(u32::from(inode.mode))
}

fn times(inode: &Inode) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: inode.mtime.sec,
            tv_nsec: inode.mtime.nsec.into(),
        },
    }
}
