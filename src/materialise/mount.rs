//! Mounts, by the kernel's file-descriptor API: nothing is visible before it is complete.
//!
//! A tree's mount is one overlayfs whose lower layer is the file-backed EROFS image and whose
//! data-only layer is the object directory (Linux 6.5 for data-only layers, 6.12 for EROFS from a
//! file). A writable view adds its upper directory to that same overlay, because the kernel stacks
//! overlays only two deep. `nosuid` is not set here: images hold setuid programs. What a target keeps
//! beside its current deployment gets it later, by `set_setuid`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::materialise::{MaterialiseError, private_namespace};

/// What to mount: where the read-only contents come from.
#[derive(Debug, Clone, Copy)]
pub enum MountSource<'a> {
    /// An EROFS image (see [`erofs_image`](super::erofs_image)) and the directory of the objects it
    /// points to.
    Image {
        /// The image file.
        image: &'a Path,
        /// The object directory.
        objects: &'a Path,
    },
    /// A checked-out directory.
    Directory(&'a Path),
}

impl<'a> MountSource<'a> {
    fn path(self) -> &'a Path {
        match self {
            Self::Image { image, .. } => image,
            Self::Directory(dir) => dir,
        }
    }
}

/// The writable part of an overlay; both directories lie on one file system.
#[derive(Debug, Clone, Copy)]
pub struct UpperDirs<'a> {
    /// Receives the changes. Its own mode and owner are those of the view's root.
    pub upper: &'a Path,
    /// Empty scratch directory of overlayfs.
    pub work: &'a Path,
    /// How long the changes are needed.
    pub lifetime: UpperLifetime,
}

/// How long the changes in an upper directory are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpperLifetime {
    /// They outlive the mount, and what was synced survives a crash.
    Persistent,
    /// They are read before the mount ends and then thrown away: overlayfs ignores every sync
    /// (`volatile`), which packages ask for thousands of times. The same upper and work directories
    /// cannot be mounted again.
    Build,
}

/// A mount that is complete but visible nowhere yet; dropping it unmounts it.
#[derive(Debug)]
#[must_use = "a detached mount vanishes when it is dropped"]
pub struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// Makes the read-only mount of an image; `name` becomes its source in the mount table.
    pub fn readonly(image: &Path, objects: &Path, name: &str) -> Result<Self, MaterialiseError> {
        overlay(MountSource::Image { image, objects }, None, name).map(Self)
    }

    /// Makes the writable view of `source` whose changes land in `upper`.
    pub fn writable(
        source: MountSource<'_>,
        upper: UpperDirs<'_>,
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
        .map_err(|errno| MaterialiseError::mount("attach a mount at", at, "", errno))
    }

    /// Makes a copy of the mount at `at` and of everything that is mounted below it.
    pub fn copy_of(at: &Path) -> Result<Self, MaterialiseError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        rustix::mount::open_tree(CWD, at, flags)
            .map(Self)
            .map_err(|errno| MaterialiseError::mount("copy the mount at", at, "", errno))
    }

    /// Attaches the mount beneath the one that is uppermost at `at`, which goes on hiding it (Linux
    /// 6.5).
    pub fn attach_beneath(self, at: &Path) -> Result<(), MaterialiseError> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_BENEATH;
        rustix::mount::move_mount(&self.0, "", CWD, at, flags)
            .map_err(|errno| MaterialiseError::mount("attach a mount beneath", at, "", errno))
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
    DetachedMount::readonly(image, objects, name)?.attach(at)
}

/// Mounts a writable view at `at`.
pub fn mount_writable(
    source: MountSource<'_>,
    upper: UpperDirs<'_>,
    at: &Path,
    name: &str,
) -> Result<(), MaterialiseError> {
    DetachedMount::writable(source, upper, name)?.attach(at)
}

/// A file system context: collects options, and the kernel's own words when it refuses them.
struct FsContext<'a> {
    fd: OwnedFd,
    verb: &'static str,
    path: &'a Path,
}

impl<'a> FsContext<'a> {
    fn open(kind: &str, verb: &'static str, path: &'a Path) -> Result<Self, MaterialiseError> {
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map(|fd| Self { fd, verb, path })
            .map_err(|errno| MaterialiseError::mount(verb, path, "", errno))
    }

    fn check(&self, result: rustix::io::Result<()>) -> Result<(), MaterialiseError> {
        result.map_err(|errno| MaterialiseError::mount(self.verb, self.path, &self.log(), errno))
    }

    fn set(&self, key: &str, value: &str) -> Result<(), MaterialiseError> {
        self.check(rustix::mount::fsconfig_set_string(&self.fd, key, value))
    }

    /// Names a directory by descriptor, or (before Linux 6.13) by the descriptor's name in /proc.
    fn set_dir(
        &self,
        key: &str,
        dir: BorrowedFd<'_>,
        by: DirNaming,
    ) -> Result<(), MaterialiseError> {
        match by {
            DirNaming::Descriptor => {
                self.check(rustix::mount::fsconfig_set_fd(&self.fd, key, dir.as_fd()))
            }
            DirNaming::Proc => self.set(key, &proc_name(dir)),
        }
    }

    fn create(self, attributes: MountAttrFlags) -> Result<OwnedFd, MaterialiseError> {
        self.check(rustix::mount::fsconfig_create(&self.fd))?;
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| MaterialiseError::mount(self.verb, self.path, &self.log(), errno))
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
enum DirNaming {
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
    let context = FsContext::open("erofs", "mount the image", image)?;
    context.check(rustix::mount::fsconfig_set_flag(&context.fd, "ro"))?;
    context.set("source", &proc_name(file.as_fd()))?;
    context.create(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

struct OverlayParts {
    lower: OwnedFd,
    data: Option<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd, UpperLifetime)>,
}

fn overlay(
    source: MountSource<'_>,
    upper: Option<UpperDirs<'_>>,
    name: &str,
) -> Result<OwnedFd, MaterialiseError> {
    let path = source.path();
    match assemble(
        &open_parts(source, upper)?,
        path,
        name,
        DirNaming::Descriptor,
    ) {
        // Before Linux 6.13 no descriptors are taken (those of mounts are no files then), before 6.15
        // no detached mount as a layer.
        Err(MaterialiseError::Mount { source: cause, .. })
            if [Errno::INVAL, Errno::BADF]
                .iter()
                .any(|errno| cause.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            assemble_attached(source, upper, name)
        }
        other => other,
    }
}

fn open_parts(
    source: MountSource<'_>,
    upper: Option<UpperDirs<'_>>,
) -> Result<OverlayParts, MaterialiseError> {
    let (lower, data) = match source {
        MountSource::Image { image, objects } => (erofs(image)?, Some(open_dir(objects)?)),
        MountSource::Directory(dir) => (open_dir(dir)?, None),
    };
    let upper = match upper {
        Some(dirs) => Some((open_dir(dirs.upper)?, open_dir(dirs.work)?, dirs.lifetime)),
        None => None,
    };
    Ok(OverlayParts { lower, data, upper })
}

fn assemble(
    parts: &OverlayParts,
    path: &Path,
    name: &str,
    by: DirNaming,
) -> Result<OwnedFd, MaterialiseError> {
    let context = FsContext::open("overlay", "mount an overlay of", path)?;
    context.set("source", name)?;
    for (key, value) in [("metacopy", "on"), ("redirect_dir", "on"), ("index", "off")] {
        context.set(key, value)?;
    }
    match (by, &parts.data) {
        (DirNaming::Descriptor, data) => {
            context.set_dir("lowerdir+", parts.lower.as_fd(), by)?;
            if let Some(data) = data {
                context.set_dir("datadir+", data.as_fd(), by)?;
            }
        }
        (DirNaming::Proc, data) => {
            let mut lowers = proc_name(parts.lower.as_fd());
            if let Some(data) = data {
                lowers.push_str("::");
                lowers.push_str(&proc_name(data.as_fd()));
            }
            context.set("lowerdir", &lowers)?;
        }
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    if let Some((upper, work, lifetime)) = &parts.upper {
        context.set_dir("upperdir", upper.as_fd(), by)?;
        context.set_dir("workdir", work.as_fd(), by)?;
        if *lifetime == UpperLifetime::Build {
            context.check(rustix::mount::fsconfig_set_flag(&context.fd, "volatile"))?;
        }
        attributes = MountAttrFlags::empty();
    }
    context.create(attributes)
}

/// Assembles the overlay in a mount namespace of its own, where the lower mount can be attached
/// unseen.
///
/// Older kernels take as layers only mounts of the caller's namespace: hence everything is opened
/// anew inside.
fn assemble_attached(
    source: MountSource<'_>,
    upper: Option<UpperDirs<'_>>,
    name: &str,
) -> Result<OwnedFd, MaterialiseError> {
    private_namespace(|| {
        let parts = open_parts(source, upper)?;
        if parts.data.is_some() {
            let at = Path::new("/");
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&parts.lower, "", CWD, at, flags)
                .map_err(|errno| MaterialiseError::mount("attach a mount at", at, "", errno))?;
        }
        assemble(&parts, source.path(), name, DirNaming::Proc)
    })
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
    fn the_route_for_older_kernels_gives_a_working_mount_too() {
        if !rustix::process::geteuid().is_root() {
            let text =
                b"SKIPPED the_route_for_older_kernels_gives_a_working_mount_too: needs root\n";
            let _ = rustix::io::write(rustix::stdio::stderr(), text);
            return;
        }
        use crate::materialise::{ObjectDir, PasswdIds, erofs_image};
        use crate::tree::{Inode, Tree};
        use crate::{id::ObjectId, path::RelPath};
        let dir = tempfile::tempdir().unwrap();
        let (image, objects) = (dir.path().join("image"), dir.path().join("objects"));
        let id = ObjectId::of(b"contents");
        let object = objects.join(ObjectDir::relative_path(&id));
        std::fs::create_dir_all(object.parent().unwrap()).unwrap();
        std::fs::write(object, "contents").unwrap();
        let tree: Tree = [
            (RelPath::root(), Inode::directory(0o755)),
            (RelPath::new(b"f").unwrap(), Inode::file(id, 8, 0o644)),
        ]
        .into_iter()
        .collect();
        std::fs::write(&image, erofs_image(&tree, &PasswdIds::default()).unwrap()).unwrap();
        let [upper, work, lower] = ["upper", "work", "lower"].map(|name| dir.path().join(name));
        for dir in [&upper, &work, &lower] {
            std::fs::create_dir(dir).unwrap();
        }
        std::fs::write(lower.join("f"), "contents").unwrap();
        let dirs = UpperDirs {
            upper: &upper,
            work: &work,
            lifetime: UpperLifetime::Persistent,
        };
        let from_image = MountSource::Image {
            image: &image,
            objects: &objects,
        };
        let cases = [
            (from_image, None),
            (from_image, Some(dirs)),
            (MountSource::Directory(&lower), Some(dirs)),
        ];
        for (source, upper) in cases {
            let mounted = assemble_attached(source, upper, "layerset:test").unwrap();
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&mounted, "f", flags, Mode::empty()).unwrap();
            let text = io::read_to_string(std::fs::File::from(file)).unwrap();
            assert_eq!(text, "contents");
        }
    }
}
