//! Running a command in the current deployment, as a service of it would see its surroundings.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::record::DeploymentDir;
use super::{DeployError, Target};

/// Where programs are looked for.
pub const RUN_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a running system makes for itself.
const OWN: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Creates what `tmpfiles.d` of the image asks for below `/run` and `/tmp`, as a boot does, then runs
/// the command.
const START: &str =
    "systemd-tmpfiles --create --prefix=/run --prefix=/tmp >/dev/null 2>&1; exec \"$@\"";

/// How to run a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// In the network of the caller.
    #[default]
    Shared,
    /// With a loopback device and nothing else.
    Private,
}

impl Target {
    /// Returns the arguments for bubblewrap (bwrap(1)) that run `command` in the current deployment:
    /// its tree read-only, its `/etc` and the shared `/var`, and a `/dev`, `/proc`, `/run` and
    /// `/tmp` of its own. It keeps to that deployment, whatever becomes current meanwhile.
    pub fn run_arguments(
        &self,
        command: &[OsString],
        network: RunNetwork,
    ) -> Result<Vec<OsString>, DeployError> {
        let Some(current) = self.current()? else {
            return Err(DeployError::NothingDeployed);
        };
        let deployment = self.deployment(current)?;
        if !self.is_mounted(&deployment)? {
            return Err(DeployError::NotMounted {
                generation: current,
            });
        }
        if let Some(program) = command.first().filter(|name| lacks(&deployment, name)) {
            return Err(DeployError::NoProgram {
                generation: current,
                program: program.to_string_lossy().into_owned(),
            });
        }
        let root = deployment.root();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&std::ffi::OsStr]| {
            arguments.extend(words.iter().map(|word| (*word).to_owned()));
        };
        add(&["--die-with-parent".as_ref(), "--unshare-pid".as_ref()]);
        if network == RunNetwork::Private {
            add(&["--unshare-net".as_ref()]);
        }
        // Piece by piece: in a copy, `/etc` and `/var` may be links that lead out of the root.
        for name in names(&root)? {
            let (from, to) = (root.join(&name), Path::new("/").join(&name));
            let joined = name == "etc" && deployment.facts.has_etc
                || name == "var" && deployment.facts.has_var;
            if OWN.iter().any(|own| name == *own) || joined {
                continue;
            }
            match std::fs::read_link(&from) {
                Ok(link) => add(&["--symlink".as_ref(), link.as_ref(), to.as_ref()]),
                Err(_) => add(&["--ro-bind".as_ref(), from.as_ref(), to.as_ref()]),
            }
        }
        if deployment.facts.has_etc {
            add(&[
                "--bind".as_ref(),
                deployment.etc().as_ref(),
                "/etc".as_ref(),
            ]);
        }
        if deployment.facts.has_var {
            add(&["--bind".as_ref(), self.var_dir().as_ref(), "/var".as_ref()]);
        }
        for word in [
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--ro-bind-try",
            "/sys",
            "/sys",
            "--perms",
            "1777",
            "--tmpfs",
            "/tmp",
            "--perms",
            "0755",
            "--tmpfs",
            "/run",
            "--clearenv",
            "--setenv",
            "PATH",
            RUN_PATH,
            "--setenv",
            "HOME",
            "/root",
            "--setenv",
            "LANG",
            "C.UTF-8",
            "--chdir",
            "/",
        ] {
            add(&[word.as_ref()]);
        }
        if let Some(term) = std::env::var_os("TERM") {
            add(&["--setenv".as_ref(), "TERM".as_ref(), term.as_ref()]);
        }
        add(&["--".as_ref()]);
        let has = |path: &str| std::fs::symlink_metadata(root.join(path)).is_ok();
        let is_root = rustix::process::geteuid().is_root();
        if is_root && has("usr/bin/systemd-tmpfiles") && has("usr/bin/sh") {
            for word in ["/usr/bin/sh", "-c", START, "sh"] {
                add(&[word.as_ref()]);
            }
        }
        arguments.extend(command.iter().cloned());
        Ok(arguments)
    }
}

/// Says whether a deployment certainly has no such program: what bwrap(1) says of that is meant for
/// whoever wrote its arguments.
fn lacks(deployment: &DeploymentDir, program: &OsStr) -> bool {
    let root = deployment.root();
    let is_joined = |name: &str| std::fs::read_link(root.join(name)).is_err();
    if !is_joined("etc") || !is_joined("var") {
        // Links of the image may lead through a copy's `/etc`, which is not below the root.
        return false;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, &root, flags, Mode::empty()) else {
        return false;
    };
    let is_absent = |path: &Path| {
        let found = openat2(
            &root,
            path,
            OFlags::PATH,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        );
        matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
    };
    let path = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        let mut names = path.components().filter(|name| *name != Component::RootDir);
        let is_own = names
            .next()
            .is_none_or(|first| OWN.iter().any(|own| first.as_os_str() == *own));
        return !is_own && is_absent(path);
    }
    RUN_PATH
        .split(':')
        .all(|dir| is_absent(&Path::new(dir).join(path)))
}

/// Returns the names in a directory, sorted.
fn names(dir: &Path) -> Result<Vec<OsString>, DeployError> {
    let fail = |error| DeployError::io("list", dir, error);
    let entries = std::fs::read_dir(dir).map_err(fail)?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}
