//! Copying a layer's own files into a view. Paths are resolved inside the view: its links cannot
//! lead out of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};

use super::BuildError;
use crate::durable::write_program;
use crate::materialise::{IdLookup as _, PasswdIds};
use crate::path::RelPath;
use crate::recipe::{Definition, FileContent, FileInput};
use crate::tree::Owner;

/// Says whether `path` is executable for anybody.
pub(super) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Copies `files` from the layer's folder to the view at `root`, dated `epoch`, owned by root.
pub(super) fn copy(
    files: &[FileInput],
    layer_dir: &Path,
    definition: &Definition,
    root: &Path,
    epoch: i64,
) -> Result<(), BuildError> {
    let Some(wanted) = definition.files() else {
        return Ok(());
    };
    let source_dir = layer_dir.join(wanted.source.as_path());
    let view = ViewWriter { root, epoch };
    // Directories come with their contents, so that a directory which is already there keeps its
    // mode.
    for file in files {
        match &file.content {
            FileContent::Directory => view.directory(file, wanted.mode.contains_key(&file.path))?,
            FileContent::Link(target) => view.link(file, target)?,
            FileContent::File(_) => view.file(file, &source_dir.join(file.path.as_path()))?,
        }
    }
    Ok(())
}

/// When owners are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerPass {
    /// Before scripts run: only users and groups that exist already.
    Known,
    /// After scripts ran, which may have created the others.
    All,
}

/// Gives files their owners; those that have them already are left alone, because a change of owner
/// takes privileges away that a script may have given since.
pub(super) fn own(
    owners: &BTreeMap<RelPath, (Owner, Owner)>,
    root: &Path,
    which: OwnerPass,
) -> Result<(), BuildError> {
    let read = |place| Ok::<_, BuildError>(fs::read(root.join(place)).unwrap_or_default());
    let ids = PasswdIds::read(read)?;
    for (path, (user, group)) in owners {
        let unknown = |what| BuildError::SourceKind {
            path: path.as_path().to_owned(),
            what,
        };
        let (uid, gid) = match (ids.uid(user), ids.gid(group), which) {
            (Some(uid), Some(gid), _) => (uid, gid),
            (_, _, OwnerPass::Known) => continue,
            (None, _, OwnerPass::All) => {
                return Err(unknown("given to a user that no layer creates"));
            }
            (_, None, OwnerPass::All) => {
                return Err(unknown("given to a group that no layer creates"));
            }
        };
        let fail = |verb| {
            let path = root.join(path.as_path());
            move |error: rustix::io::Errno| io(verb, &path)(error.into())
        };
        let (parent, name) = open_parent(root, path)?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fail("look at"))?;
        if (stat.st_uid, stat.st_gid) == (uid, gid) {
            continue;
        }
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(uid),
            rustix::fs::Gid::from_raw(gid),
        );
        rustix::fs::chownat(
            &parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(fail("give an owner to"))?;
        // The kernel clears setuid and setgid with a change of owner.
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::SUID | Mode::SGID) {
            rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())
                .map_err(fail("set the mode of"))?;
        }
    }
    Ok(())
}

struct ViewWriter<'a> {
    root: &'a Path,
    epoch: i64,
}

impl ViewWriter<'_> {
    fn directory(&self, file: &FileInput, has_mode: bool) -> Result<(), BuildError> {
        let path = self.place(&file.path)?;
        if path.is_dir() && !has_mode {
            return Ok(());
        }
        if !path.is_dir() {
            fs::create_dir(&path).map_err(io("make directory", &path))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode.into()))
            .map_err(io("set the mode of", &path))
    }

    fn link(&self, file: &FileInput, target: &[u8]) -> Result<(), BuildError> {
        let path = self.place(&file.path)?;
        self.clear(&path)?;
        symlink(OsStr::from_bytes(target), &path).map_err(io("make symlink", &path))
    }

    fn file(&self, file: &FileInput, source: &Path) -> Result<(), BuildError> {
        let path = self.place(&file.path)?;
        self.clear(&path)?;
        // A script of this layer may start it.
        let _writes = write_program();
        fs::copy(source, &path).map_err(io("copy to", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode.into()))
            .map_err(io("set the mode of", &path))?;
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(self.epoch).unwrap_or(0));
        let opened = File::options()
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        opened
            .set_times(FileTimes::new().set_modified(time))
            .map_err(io("set the time of", &path))
    }

    /// Removes what stands in the way of a file or link; a directory is in the way for good.
    fn clear(&self, path: &Path) -> Result<(), BuildError> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(BuildError::SourceKind {
                path: path.to_owned(),
                what: "a directory in the layers below",
            }),
            Ok(_) => fs::remove_file(path).map_err(io("replace", path)),
            Err(_) => Ok(()),
        }
    }

    /// Returns where `path` lies once the links above it are followed inside the view; parents are
    /// made as needed.
    fn place(&self, path: &RelPath) -> Result<PathBuf, BuildError> {
        let (parent, name) = open_parent(self.root, path)?;
        let dir = fs::read_link(format!("/proc/self/fd/{}", parent.as_raw_fd()))
            .map_err(io("find", self.root))?;
        Ok(dir.join(name))
    }
}

fn open_parent<'p>(root: &Path, path: &'p RelPath) -> Result<(OwnedFd, &'p OsStr), BuildError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |error: rustix::io::Errno| io("open", &path)(error.into())
    };
    let top = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(fail(root))?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let parent = path.parent().unwrap_or_default();
    let open = |dir: &Path| {
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        rustix::fs::openat2(&top, dir, flags, Mode::empty(), inside)
    };
    let mut at = PathBuf::new();
    for part in parent.as_path().components() {
        let above = open(&at).map_err(fail(&root.join(&at)))?;
        at.push(part);
        if open(&at).is_err() {
            rustix::fs::mkdirat(&above, part.as_os_str(), Mode::from_raw_mode(0o755))
                .map_err(|error| io("make directory", &root.join(&at))(error.into()))?;
        }
    }
    let opened = open(parent.as_path()).map_err(fail(&root.join(parent.as_path())))?;
    Ok((opened, OsStr::from_bytes(path.name())))
}

fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Source { verb, path, source }
}
