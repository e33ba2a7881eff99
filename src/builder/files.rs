//! Copying a layer's own files into a view. Paths are resolved inside the view and by descriptor:
//! its links cannot lead out of it, neither on the way nor at the end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::BuildError;
use crate::durable::write_program;
use crate::materialise::{IdLookup as _, PasswdIds};
use crate::path::RelPath;
use crate::recipe::{Definition, FileContent, FileInput};
use crate::sandbox::ViewRoot;
use crate::tree::Owner;

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
    let view = ViewWriter {
        view: ViewRoot::open(root)?,
        root,
        epoch,
    };
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
    let view = ViewRoot::open(root)?;
    let ids = PasswdIds::read(|place| view.read(place))?;
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
        let (parent, name) = (view.make_parent(path)?, name(path));
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
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !is_link && mode.intersects(Mode::SUID | Mode::SGID) {
            let found = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&parent, name, found, Mode::empty());
            opened
                .and_then(|file| set_mode(&file, mode))
                .map_err(fail("set the mode of"))?;
        }
    }
    Ok(())
}

struct ViewWriter<'a> {
    view: ViewRoot,
    root: &'a Path,
    epoch: i64,
}

impl ViewWriter<'_> {
    fn directory(&self, file: &FileInput, has_mode: bool) -> Result<(), BuildError> {
        let (parent, name) = (self.view.make_parent(&file.path)?, name(&file.path));
        // A link at this place leads to a directory of the view.
        let is_new = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => true,
            found => found.map(|_| false).map_err(self.fail("look at", file))?,
        };
        let dir = self.view.make_dir(&file.path)?;
        if !is_new && !has_mode {
            return Ok(());
        }
        set_mode(&dir, Mode::from_raw_mode(file.mode.into()))
            .map_err(self.fail("set the mode of", file))
    }

    fn link(&self, file: &FileInput, target: &[u8]) -> Result<(), BuildError> {
        let parent = self.view.make_parent(&file.path)?;
        self.clear(&parent, file)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), &parent, name(&file.path))
            .map_err(self.fail("make symlink", file))
    }

    fn file(&self, file: &FileInput, source: &Path) -> Result<(), BuildError> {
        let parent = self.view.make_parent(&file.path)?;
        self.clear(&parent, file)?;
        let mut from = File::open(source).map_err(io("open", source))?;
        // A script of this layer may start it.
        let _writes = write_program();
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let place = self.root.join(file.path.as_path());
        let mut to: File =
            rustix::fs::openat(&parent, name(&file.path), new, Mode::from_raw_mode(0o600))
                .map_err(self.fail("make", file))?
                .into();
        std::io::copy(&mut from, &mut to).map_err(io("copy to", &place))?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(file.mode.into()))
            .map_err(self.fail("set the mode of", file))?;
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(self.epoch).unwrap_or(0));
        to.set_times(FileTimes::new().set_modified(time))
            .map_err(io("set the time of", &place))
    }

    /// Removes what stands in the way of a file or link; a directory is in the way for good.
    fn clear(&self, parent: &OwnedFd, file: &FileInput) -> Result<(), BuildError> {
        match rustix::fs::unlinkat(parent, name(&file.path), AtFlags::empty()) {
            Err(Errno::ISDIR) => Err(BuildError::SourceKind {
                path: self.root.join(file.path.as_path()),
                what: "a directory in the layers below",
            }),
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.fail("replace", file)(errno)),
        }
    }

    fn fail(&self, verb: &'static str, file: &FileInput) -> impl FnOnce(Errno) -> BuildError {
        let path = self.root.join(file.path.as_path());
        move |errno| io(verb, &path)(errno.into())
    }
}

fn name(path: &RelPath) -> &OsStr {
    OsStr::from_bytes(path.name())
}

/// Sets the mode of what an `O_PATH` descriptor holds, by its name in /proc, which leads to that
/// very file.
fn set_mode(held: &OwnedFd, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), mode)
}

fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Source { verb, path, source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "files_tests.rs"]
mod tests;
