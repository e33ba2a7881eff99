//! A writable view of a tree for the length of one build: mounted in a private namespace, cleaned
//! up whatever happens.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, Mode, OFlags};

use crate::materialise::{
    IdLookup, MaterialiseError, MountSource, ObjectSource, Ownership, UpperDirs, UpperLifetime,
    checkout, checkout_subtree, erofs_image, mount_writable, private_namespace, unmount,
    unmount_lazily,
};
use crate::path::RelPath;
use crate::sandbox::SandboxError;
use crate::tree::Tree;

/// How the tree below a view gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowerKind<'a> {
    /// Mounted as a metadata image over this object directory.
    Image(&'a Path),
    /// Checked out into the work directory: where the kernel or the file system has no composefs.
    Checkout,
}

/// The tree below a view.
#[derive(Clone, Copy)]
pub struct LowerTree<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The numbers of its owners.
    pub ids: &'a dyn IdLookup,
    /// Its objects.
    pub objects: &'a dyn ObjectSource,
    /// How it gets there.
    pub kind: LowerKind<'a>,
}

/// A mounted view, inside the closure that [`BuildView::with`] runs.
#[derive(Debug)]
pub struct MountedView {
    merged: PathBuf,
    upper: PathBuf,
    scratch: PathBuf,
}

impl MountedView {
    /// Returns the root as commands see it. It is mounted for this thread and what it starts, for
    /// nobody else.
    pub fn merged(&self) -> &Path {
        &self.merged
    }

    /// Returns the directory that receives the changes.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Returns an empty directory for the sandbox's own files.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }
}

/// Makes views.
#[derive(Debug, Clone, Copy)]
pub struct BuildView;

/// Everything a view puts into its work directory.
const PARTS: [&str; 6] = [
    "image.erofs",
    "lower",
    "upper",
    "overlay",
    "merged",
    "scratch",
];

impl BuildView {
    /// Runs `build` with a writable view of `lower`, and removes everything from `work` afterwards.
    ///
    /// `build` runs on a thread of its own; threads and processes that it starts see the view too.
    /// Leftovers of a build that was killed are removed first. `work` must exist, on a file system
    /// that can hold an overlay's upper directory.
    pub fn with<T, E, F>(work: &Path, lower: LowerTree<'_>, build: F) -> Result<T, E>
    where
        T: Send,
        E: Send + From<SandboxError>,
        F: FnOnce(&MountedView) -> Result<T, E> + Send,
    {
        remove_parts(work)?;
        let result = private_namespace(|| mount_and_build(work, lower, build).map_err(CallerError));
        let cleaned = remove_parts(work);
        let value = result.map_err(|CallerError(error)| error)?;
        cleaned?;
        Ok(value)
    }
}

/// Carries the caller's error through a function whose own errors are those of `materialise`.
struct CallerError<E>(E);

impl<E: From<SandboxError>> From<MaterialiseError> for CallerError<E> {
    fn from(error: MaterialiseError) -> Self {
        Self(SandboxError::from(error).into())
    }
}

fn mount_and_build<T, E, F>(work: &Path, lower: LowerTree<'_>, build: F) -> Result<T, E>
where
    E: From<SandboxError>,
    F: FnOnce(&MountedView) -> Result<T, E>,
{
    // Entering the namespace gave this thread a umask of its own; what a build makes must not
    // depend on the caller's.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let view = mount(work, lower)?;
    let mounted = UnmountOnDrop(view.merged.clone());
    let result = build(&view);
    drop(mounted);
    result
}

/// Unmounts when the build is over, so that the work directory can be removed.
struct UnmountOnDrop(PathBuf);

impl Drop for UnmountOnDrop {
    fn drop(&mut self) {
        // Something may still have a file open. A lazy unmount is enough then, because the
        // namespace ends with this thread and takes the mount with it.
        if unmount(&self.0).is_err() {
            let _ = unmount_lazily(&self.0);
        }
    }
}

fn mount(work: &Path, lower: LowerTree<'_>) -> Result<MountedView, SandboxError> {
    let view = MountedView {
        merged: work.join("merged"),
        upper: work.join("upper"),
        scratch: work.join("scratch"),
    };
    let overlay = work.join("overlay");
    for dir in [&view.merged, &view.scratch, &overlay] {
        std::fs::create_dir(dir).map_err(SandboxError::io("create", dir))?;
    }
    // The merged root shows the upper directory's own owner, mode and time: they must be those of
    // the tree's root.
    let root: Tree = lower
        .tree
        .get(b"")
        .map(|inode| (RelPath::root(), inode.clone()))
        .into_iter()
        .collect();
    checkout(
        &root,
        lower.objects,
        &view.upper,
        lower.ids,
        Ownership::Exact,
    )?;
    let dirs = UpperDirs {
        upper: &view.upper,
        work: &overlay,
        lifetime: UpperLifetime::Build,
    };
    let name = "layerset:build";
    match lower.kind {
        LowerKind::Image(objects) => {
            let image = work.join("image.erofs");
            let bytes = erofs_image(lower.tree, lower.ids)?;
            std::fs::write(&image, bytes).map_err(SandboxError::io("write", &image))?;
            let source = MountSource::Image {
                image: &image,
                objects,
            };
            mount_writable(source, dirs, &view.merged, name)?;
        }
        LowerKind::Checkout => {
            let dir = work.join("lower");
            checkout_subtree(
                lower.tree,
                b"",
                lower.objects,
                &dir,
                lower.ids,
                Ownership::Exact,
            )?;
            mount_writable(MountSource::Directory(&dir), dirs, &view.merged, name)?;
        }
    }
    Ok(view)
}

fn remove_parts(work: &Path) -> Result<(), SandboxError> {
    for part in PARTS {
        remove(&work.join(part))?;
    }
    Ok(())
}

/// Removes a file or a directory with everything in it, including immutable files.
fn remove(path: &Path) -> Result<(), SandboxError> {
    let stat = match std::fs::symlink_metadata(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SandboxError::io("examine", path)(error)),
    };
    if !stat.is_dir() {
        return std::fs::remove_file(path).map_err(SandboxError::io("remove", path));
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            unlock(path);
            std::fs::remove_dir_all(path).map_err(SandboxError::io("remove", path))
        }
        other => other.map_err(SandboxError::io("remove", path)),
    }
}

/// Takes away immutable and append-only flags below `dir`, and the modes that keep a plain user out
/// of his own directories.
///
/// Errors are ignored: the removal that follows reports them with their paths.
fn unlock(dir: &Path) {
    let unlock_one = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(path, flags, Mode::empty())
            && let Ok(current) = rustix::fs::ioctl_getflags(&file)
        {
            let wanted = current - IFlags::IMMUTABLE - IFlags::APPEND;
            if wanted != current {
                let _ = rustix::fs::ioctl_setflags(&file, wanted);
            }
        }
    };
    unlock_one(dir);
    if let Ok(stat) = std::fs::symlink_metadata(dir)
        && stat.mode() & 0o700 != 0o700
    {
        let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    }
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => unlock(&entry.path()),
            Ok(kind) if kind.is_file() => unlock_one(&entry.path()),
            _ => {}
        }
    }
}
