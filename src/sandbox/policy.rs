//! Keeps packages from starting services while they are installed.
//!
//! `invoke-rc.d` and `deb-systemd-invoke` ask `/usr/sbin/policy-rc.d`, whose exit status 101 means
//! "forbidden". The answer is a script of the sandbox, bound over that path for the run only. A
//! bind needs a file to cover: where the image has none, an empty one is made in the view and
//! removed after the run, which leaves nothing in the upper directory but the time of `/usr/sbin`
//! (see [`capture`](super::capture), which does not report times of directories). What starts
//! daemons without asking (`start-stop-daemon`) is harmless: they die with the sandbox's process
//! namespace. `systemctl` sees no `/run/systemd/system` and `SYSTEMD_OFFLINE=1`, so it changes
//! links and starts nothing.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::durable::write_program;
use crate::sandbox::SandboxError;

/// Where packages ask.
pub(super) const ASKED_AT: &str = "/usr/sbin/policy-rc.d";
const DIRECTORY: &str = "usr/sbin";
const NAME: &str = "policy-rc.d";
const ANSWER: &[u8] = b"#!/bin/sh\nexit 101\n";

/// The answer in place for one run. Dropping it removes the answer.
pub(super) struct ServicePolicy {
    script: PathBuf,
    /// The view's directory in which an empty file was made to be covered.
    made_in: Option<OwnedFd>,
}

impl ServicePolicy {
    /// Writes the script into `scratch` and makes sure that `root` has a file to cover; `None`
    /// without `/usr/sbin`.
    pub(super) fn install(root: &Path, scratch: &Path) -> Result<Option<Self>, SandboxError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .map_err(SandboxError::io("open", root))?;
        // The path is resolved as inside the image: a link there cannot lead out of it.
        let dir = match rustix::fs::openat2(
            &root_fd,
            DIRECTORY,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(SandboxError::io("open", root.join(DIRECTORY))(errno)),
        };
        let script = scratch.join(NAME);
        write_script(&script).map_err(SandboxError::io("write", &script))?;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made_in = match rustix::fs::openat(&dir, NAME, create, Mode::from_raw_mode(0o755)) {
            Ok(_) => Some(dir),
            Err(Errno::EXIST) => None,
            Err(errno) => return Err(SandboxError::io("create", root.join(&ASKED_AT[1..]))(errno)),
        };
        Ok(Some(Self { script, made_in }))
    }

    /// Returns the script to bind.
    pub(super) fn script(&self) -> &Path {
        &self.script
    }

    /// Removes the covered file, unless a package has put its own there.
    pub(super) fn remove(mut self) -> Result<(), SandboxError> {
        self.uncover().map_err(SandboxError::io("remove", ASKED_AT))
    }

    fn uncover(&mut self) -> rustix::io::Result<()> {
        let Some(dir) = self.made_in.take() else {
            return Ok(());
        };
        let stat = match rustix::fs::statat(&dir, NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0 {
            rustix::fs::unlinkat(&dir, NAME, AtFlags::empty())?;
        }
        Ok(())
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        // Without a call of `remove` the run has failed, and the view is thrown away anyway.
        let _ = self.uncover();
    }
}

fn write_script(path: &Path) -> std::io::Result<()> {
    let _writes = write_program();
    let mut file = File::create(path)?;
    file.write_all(ANSWER)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755))?;
    Ok(())
}
