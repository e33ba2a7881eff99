//! Files of a view, by descriptor. Every path is resolved inside the view: an absolute link starts
//! at the view's root, `..` ends there, and nothing leads out to the machine that builds.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::path::RelPath;
use crate::sandbox::SandboxError;

/// How many links a path may lead through, as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;
const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The root of a view, held open.
#[derive(Debug)]
pub struct ViewRoot {
    top: OwnedFd,
    path: PathBuf,
}

impl ViewRoot {
    /// Opens the view at `root`.
    pub fn open(root: &Path) -> Result<Self, SandboxError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .map_err(SandboxError::io("open", root))?;
        Ok(Self {
            top,
            path: root.to_owned(),
        })
    }

    /// Says whether something is there, where links lead.
    pub fn has(&self, name: &str) -> Result<bool, SandboxError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.top, name, flags, Mode::empty(), resolve) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => Err(SandboxError::io::<Errno>("look at", self.path.join(name))(
                errno,
            )),
        }
    }

    /// Reads a file. A missing one is empty.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, SandboxError> {
        let fail = |verb| SandboxError::io::<Errno>(verb, self.path.join(name));
        // A pipe would make the build wait for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(&self.top, name, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(errno) => return Err(fail("open")(errno)),
        };
        let mut bytes = Vec::new();
        File::from(file)
            .read_to_end(&mut bytes)
            .map_err(SandboxError::io("read", self.path.join(name)))?;
        Ok(bytes)
    }

    /// Opens the directory above `path`, with the flag `O_PATH`. What is missing of it is made, also
    /// where a link leads to a directory that is not there.
    pub fn make_parent(&self, path: &RelPath) -> Result<OwnedFd, SandboxError> {
        self.make_dir(&path.parent().unwrap_or_default())
    }

    /// Opens the directory `path`, with the flag `O_PATH`, and makes what is missing of it, with
    /// mode 0755.
    pub fn make_dir(&self, path: &RelPath) -> Result<OwnedFd, SandboxError> {
        self.walk(path)
            .map_err(SandboxError::io("open", self.path.join(path.as_path())))
    }

    fn walk(&self, path: &RelPath) -> rustix::io::Result<OwnedFd> {
        let mut todo: VecDeque<OsString> = names(path.as_path()).collect();
        // The directories from the root down to where we are; a `..` takes one away.
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let at = way.last().unwrap_or(&self.top);
            match rustix::fs::openat(at, &name, DIRECTORY, Mode::empty()) {
                Ok(dir) => way.push(dir),
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(at, &name, Mode::from_raw_mode(0o755))?;
                    todo.push_front(name);
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = match rustix::fs::readlinkat(at, &name, Vec::new()) {
                        Err(Errno::INVAL) => return Err(Errno::NOTDIR),
                        target => OsString::from_vec(target?.into_bytes()),
                    };
                    if target.as_bytes().starts_with(b"/") {
                        way.clear();
                    }
                    for name in names(Path::new(&target)).rev() {
                        todo.push_front(name);
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
        match way.pop() {
            Some(dir) => Ok(dir),
            None => Ok(self.top.try_clone().map_err(|_| Errno::MFILE)?),
        }
    }
}

/// Returns the names in a path, `..` among them.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_of_a_view_leads_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (view, host) = (dir.path().join("view"), dir.path().join("host"));
        std::fs::create_dir_all(view.join("opt")).unwrap();
        std::fs::create_dir_all(host.join("there")).unwrap();
        std::fs::write(host.join("passwd"), "of the host").unwrap();
        symlink(&host, view.join("opt/absolute")).unwrap();
        symlink("../../../../host", view.join("opt/relative")).unwrap();
        symlink("loop", view.join("opt/loop")).unwrap();
        std::fs::write(view.join("opt/file"), "").unwrap();
        let root = ViewRoot::open(&view).unwrap();
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        for odd in ["opt/absolute/new", "opt/relative/new"] {
            let made = root.make_dir(&path(odd)).unwrap();
            rustix::fs::fstat(&made).unwrap();
        }
        assert!(view.join("host/new").is_dir());
        assert!(
            view.join(host.strip_prefix("/").unwrap())
                .join("new")
                .is_dir()
        );
        assert!(!host.join("new").exists());
        assert_eq!(root.read("opt/absolute/passwd").unwrap(), b"");
        for refused in ["opt/loop/x", "opt/file/x"] {
            root.make_dir(&path(refused)).unwrap_err();
        }
    }
}
