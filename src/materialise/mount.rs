//! Mounts, by the kernel's file-descriptor API: nothing is visible before it is complete.
//!
//! A tree's mount is one overlayfs whose lower layer is the file-backed EROFS image and whose data-only layer is the object
//! directory (Linux 6.5 for data-only layers, 6.12 for EROFS from a file). A writable view adds its upper directory to that same
//! overlay, because the kernel stacks overlays only two deep. `nosuid` is never set: images hold setuid programs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::materialise::MaterialiseError;

/// What to mount: where the read-only contents come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// An EROFS image (see [`erofs_image`](super::erofs_image)) and the directory of the objects it points to.
    Image {
        /// The image file.
        image: &'a Path,
        /// The object directory.
        objects: &'a Path,
    },
    /// A checked-out directory.
    Directory(&'a Path),
}

impl<'a> Source<'a> {
    fn path(self) -> &'a Path {
        match self {
            Self::Image { image, .. } => image,
            Self::Directory(dir) => dir,
        }
    }
}

/// The writable part of an overlay; both directories lie on one file system.
#[derive(Debug, Clone, Copy)]
pub struct Upper<'a> {
    /// Receives the changes. Its own mode and owner are those of the view's root.
    pub upper: &'a Path,
    /// Empty scratch directory of overlayfs.
    pub work: &'a Path,
}

/// A mount that is complete but visible nowhere yet; dropping it unmounts it.
#[derive(Debug)]
#[must_use = "a detached mount vanishes when it is dropped"]
pub struct Mounted(OwnedFd);

impl Mounted {
    /// Makes the read-only mount of an image; `name` becomes its source in the mount table.
    pub fn readonly(image: &Path, objects: &Path, name: &str) -> Result<Self, MaterialiseError> {
        overlay(Source::Image { image, objects }, None, name).map(Self)
    }

    /// Makes the writable view of `source` whose changes land in `upper`.
    pub fn writable(
        source: Source<'_>,
        upper: Upper<'_>,
        name: &str,
    ) -> Result<Self, MaterialiseError> {
        overlay(source, Some(upper), name).map(Self)
    }

    /// Attaches the mount at `at`.
    pub fn attach(self, at: &Path) -> Result<(), MaterialiseError> {
        rustix::mount::move_mount(
            &self.0,
            "",
            CWD,
            at,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|errno| failure("attach a mount at", at, "", errno))
    }

    /// Returns the mount's root, from which its files can be opened.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Mounts an image read-only at `at`.
pub fn mount_readonly(
    image: &Path,
    objects: &Path,
    at: &Path,
    name: &str,
) -> Result<(), MaterialiseError> {
    Mounted::readonly(image, objects, name)?.attach(at)
}

/// Mounts a writable view at `at`.
pub fn mount_writable(
    source: Source<'_>,
    upper: Upper<'_>,
    at: &Path,
    name: &str,
) -> Result<(), MaterialiseError> {
    Mounted::writable(source, upper, name)?.attach(at)
}

fn failure(verb: &'static str, path: &Path, log: &str, source: Errno) -> MaterialiseError {
    MaterialiseError::Mount {
        verb,
        path: path.to_owned(),
        log: log.to_owned(),
        source: source.into(),
    }
}

/// A file system context: collects options, and the kernel's own words when it refuses them.
struct Context<'a> {
    fd: OwnedFd,
    verb: &'static str,
    path: &'a Path,
}

impl<'a> Context<'a> {
    fn open(kind: &str, verb: &'static str, path: &'a Path) -> Result<Self, MaterialiseError> {
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map(|fd| Self { fd, verb, path })
            .map_err(|errno| failure(verb, path, "", errno))
    }

    fn check(&self, result: rustix::io::Result<()>) -> Result<(), MaterialiseError> {
        result.map_err(|errno| failure(self.verb, self.path, &self.log(), errno))
    }

    fn set(&self, key: &str, value: &str) -> Result<(), MaterialiseError> {
        self.check(rustix::mount::fsconfig_set_string(&self.fd, key, value))
    }

    /// Names a directory by descriptor, or (before Linux 6.13) by the descriptor's name in /proc.
    fn set_dir(&self, key: &str, dir: BorrowedFd<'_>, by: Naming) -> Result<(), MaterialiseError> {
        match by {
            Naming::Descriptor => {
                self.check(rustix::mount::fsconfig_set_fd(&self.fd, key, dir.as_fd()))
            }
            Naming::Proc => self.set(key, &proc_name(dir)),
        }
    }

    fn create(self, attributes: MountAttrFlags) -> Result<OwnedFd, MaterialiseError> {
        self.check(rustix::mount::fsconfig_create(&self.fd))?;
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| failure(self.verb, self.path, &self.log(), errno))
    }

    /// Reads the pending messages; each read gives one, as `e text`.
    fn log(&self) -> String {
        let mut text = String::new();
        let mut buffer = [0u8; 512];
        while let Ok(count @ 1..) = rustix::io::read(&self.fd, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..count]);
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(line.trim_end().trim_start_matches(['e', 'w', 'i']).trim());
        }
        text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Descriptor,
    Proc,
}

fn proc_name(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open_dir(path: &Path) -> Result<OwnedFd, MaterialiseError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(MaterialiseError::io("open", path))
}

/// Mounts an EROFS image from its file, detached.
fn erofs(image: &Path) -> Result<OwnedFd, MaterialiseError> {
    let file = rustix::fs::open(image, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(MaterialiseError::io("open", image))?;
    let context = Context::open("erofs", "mount the image", image)?;
    context.check(rustix::mount::fsconfig_set_flag(&context.fd, "ro"))?;
    context.set("source", &proc_name(file.as_fd()))?;
    context.create(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

struct Parts {
    lower: OwnedFd,
    data: Option<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
}

fn overlay(
    source: Source<'_>,
    upper: Option<Upper<'_>>,
    name: &str,
) -> Result<OwnedFd, MaterialiseError> {
    let path = source.path();
    match assemble(&open_parts(source, upper)?, path, name, Naming::Descriptor) {
        // Before Linux 6.13 no descriptors are taken, before 6.15 no detached mount as a layer.
        Err(MaterialiseError::Mount { source: cause, .. })
            if cause.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
        {
            assemble_attached(source, upper, name)
        }
        other => other,
    }
}

fn open_parts(source: Source<'_>, upper: Option<Upper<'_>>) -> Result<Parts, MaterialiseError> {
    let (lower, data) = match source {
        Source::Image { image, objects } => (erofs(image)?, Some(open_dir(objects)?)),
        Source::Directory(dir) => (open_dir(dir)?, None),
    };
    let upper = match upper {
        Some(dirs) => Some((open_dir(dirs.upper)?, open_dir(dirs.work)?)),
        None => None,
    };
    Ok(Parts { lower, data, upper })
}

fn assemble(
    parts: &Parts,
    path: &Path,
    name: &str,
    by: Naming,
) -> Result<OwnedFd, MaterialiseError> {
    let context = Context::open("overlay", "mount an overlay of", path)?;
    context.set("source", name)?;
    for (key, value) in [("metacopy", "on"), ("redirect_dir", "on"), ("index", "off")] {
        context.set(key, value)?;
    }
    match (by, &parts.data) {
        (Naming::Descriptor, data) => {
            context.set_dir("lowerdir+", parts.lower.as_fd(), by)?;
            if let Some(data) = data {
                context.set_dir("datadir+", data.as_fd(), by)?;
            }
        }
        (Naming::Proc, data) => {
            let mut lowers = proc_name(parts.lower.as_fd());
            if let Some(data) = data {
                lowers.push_str("::");
                lowers.push_str(&proc_name(data.as_fd()));
            }
            context.set("lowerdir", &lowers)?;
        }
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    if let Some((upper, work)) = &parts.upper {
        context.set_dir("upperdir", upper.as_fd(), by)?;
        context.set_dir("workdir", work.as_fd(), by)?;
        attributes = MountAttrFlags::empty();
    }
    context.create(attributes)
}

/// Assembles the overlay in a mount namespace of its own, where the lower mount can be attached unseen.
///
/// Older kernels take as layers only mounts of the caller's namespace: hence everything is opened anew inside.
fn assemble_attached(
    source: Source<'_>,
    upper: Option<Upper<'_>>,
    name: &str,
) -> Result<OwnedFd, MaterialiseError> {
    private_namespace(|| {
        let parts = open_parts(source, upper)?;
        if parts.data.is_some() {
            let at = Path::new("/");
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&parts.lower, "", CWD, at, flags)
                .map_err(|errno| failure("attach a mount at", at, "", errno))?;
        }
        assemble(&parts, source.path(), name, Naming::Proc)
    })
}

/// Runs `work` on a thread with a mount namespace of its own, in which mounts neither come in nor go out.
///
/// The kernel drops the namespace with its last process, however that ends: no mount survives a `kill -9`.
pub fn private_namespace<T, E, F>(work: F) -> Result<T, E>
where
    T: Send,
    E: Send + From<MaterialiseError>,
    F: FnOnce() -> Result<T, E> + Send,
{
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_namespace()?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn enter_namespace() -> Result<(), MaterialiseError> {
    let root = Path::new("/");
    // The safe name is deprecated for CLONE_FILES' sake; a mount namespace concerns this thread and its children only.
    #[allow(deprecated)]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)
        .map_err(|errno| failure("make a mount namespace for", root, "", errno))?;
    rustix::mount::mount_change(
        root,
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|errno| failure("make private", root, "", errno))
}

/// Whether a bind mount may be written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only reading.
    ReadOnly,
    /// Reading and writing, as the source allows.
    ReadWrite,
}

/// Binds `source` at `at`, with everything mounted below it.
///
/// Read-only holds for the bound mount itself; mounts below keep their own flags, as with `mount --rbind`.
pub fn bind(source: &Path, at: &Path, access: Access) -> Result<(), MaterialiseError> {
    let fail = |verb, path: &Path| {
        let path = path.to_owned();
        move |errno| failure(verb, &path, "", errno)
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, source, flags).map_err(fail("bind", source))?;
    rustix::mount::move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(fail("attach a mount at", at))?;
    if access == Access::ReadOnly {
        rustix::mount::mount_remount(at, MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(fail("make read-only", at))
            .inspect_err(|_| {
                // The error that is reported is the first one; a half-made bind must not stay.
                let _ = unmount_lazily(at);
            })?;
    }
    Ok(())
}

/// Unmounts what is mounted at `at`; fails while it is in use.
pub fn unmount(at: &Path) -> Result<(), MaterialiseError> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW)
        .map_err(|errno| failure("unmount", at, "", errno))
}

/// Detaches what is mounted at `at`: gone from the tree at once, freed when its last user is done.
pub fn unmount_lazily(at: &Path) -> Result<(), MaterialiseError> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
        .map_err(|errno| failure("unmount", at, "", errno))
}

/// Says whether something is mounted exactly at `at`; a path that does not exist is no mount point.
pub fn is_mountpoint(at: &Path) -> Result<bool, MaterialiseError> {
    match rustix::fs::statx(CWD, at, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(MaterialiseError::io("examine", at)(errno)),
    }
}

/// Returns the source name of the uppermost mount at `at`, e.g. `layerset:<image id>`; `None` when nothing is mounted there.
pub fn mount_source(at: &Path) -> Result<Option<String>, MaterialiseError> {
    if !is_mountpoint(at)? {
        return Ok(None);
    }
    // The thread's table, not the process's: a build thread lives in a namespace of its own.
    let table = Path::new("/proc/thread-self/mountinfo");
    let text = std::fs::read(table).map_err(MaterialiseError::io("read", table))?;
    let at: PathBuf = std::fs::canonicalize(at).map_err(MaterialiseError::io("resolve", at))?;
    Ok(source_of(&text, &at))
}

/// Finds the source in a mount table (`proc_pid_mountinfo(5)`); of several mounts at one place the last line is the uppermost.
fn source_of(table: &[u8], at: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let wanted = at.as_os_str().as_bytes();
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|b| *b == b' ');
            let point = fields.nth(4)?;
            if unescape_octal(point) != wanted {
                return None;
            }
            fields.find(|field| *field == b"-")?;
            let source = fields.nth(1)?;
            Some(String::from_utf8_lossy(&unescape_octal(source)).into_owned())
        })
        .next_back()
}

/// Undoes the table's `\040` escapes.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let value = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// Returns the system's error of a refused mount.
pub(super) fn refusal(error: &MaterialiseError) -> String {
    use std::error::Error;
    let mut text = error.to_string();
    if let Some(source) = error.source().and_then(|s| s.downcast_ref::<io::Error>()) {
        text.push_str(&format!(": {source}"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_mount_at_a_place_names_its_source() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/vda rw\n\
            9 1 0:5 / /a\\040b rw,relatime shared:4 master:2 - overlay layerset:one ro\n\
            10 9 0:6 / /a\\040b rw - overlay layerset:t\\040wo ro\n";
        assert_eq!(
            source_of(table, Path::new("/a b")).unwrap(),
            "layerset:t wo"
        );
        assert_eq!(source_of(table, Path::new("/")).unwrap(), "/dev/vda");
        assert_eq!(source_of(table, Path::new("/a")), None);
    }
}
