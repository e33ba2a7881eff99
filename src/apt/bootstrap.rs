//! Makes a base root from locked packages, offline, by mmdebstrap.
//!
//! The result depends on the lock, the architecture and the epoch only: there is no network, the
//! host's name and resolver are hidden, the environment is empty, and neither the local archive nor
//! any path of this machine is left in the root. `/dev` comes out empty; logs, caches of apt and
//! machine-id are left out as mmdebstrap does.

use super::command::tail;
use super::error::AptError;
use super::installed::status_differences;
use super::meter::BootstrapMeter;
use super::package::LockedPackage;
use super::repo::LocalRepo;
use crate::layout::dpkg;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Sets a fixed host name, then becomes what follows. The namespaces keep the host's own name and
/// network out, and none of the processes outlives this program, whatever kills it: the first of a
/// process namespace takes all others along.
const ISOLATED: [&str; 10] = [
    "--pdeathsig=KILL",
    "unshare",
    "--net",
    "--uts",
    "--pid",
    "--mount-proc",
    "--kill-child",
    "sh",
    "-c",
    r#"hostname localhost && exec "$@""#,
];

/// How often the cancel flag is polled.
const POLL: Duration = Duration::from_millis(50);

/// Undoes what mmdebstrap copies from the host "to allow network access from within".
const HIDE_HOST: &str = r#"rm -f "$1/etc/resolv.conf" && echo localhost > "$1/etc/hostname""#;

/// Removes what stems from how the root was made. The lock files are recreated by apt when it needs
/// them.
const LEAVE_NO_TRACE: &str =
    r#"rm -f "$1/etc/hostname" "$1/etc/apt/sources.list" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap""#;

/// Lock files that apt leaves behind, here and in the image.
const LOCK_FILES: [&str; 2] = ["var/cache/apt/archives/lock", "var/lib/apt/lists/lock"];

/// Describes one bootstrap.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrapper<'a> {
    /// The new root: a directory that does not exist, or is empty.
    pub root: &'a Path,
    /// An archive with at least `packages`.
    pub repo: &'a LocalRepo,
    /// The packages to install, all of them and no others.
    pub packages: &'a [LockedPackage],
    /// Debian's name of the architecture.
    pub arch: &'a str,
    /// The time that package scripts see as source date, in seconds since 1970.
    pub epoch: i64,
    /// Where all output goes.
    pub log: &'a Path,
    /// Set by the caller to stop the bootstrap.
    pub cancel: &'a AtomicBool,
}

impl Bootstrapper<'_> {
    /// Makes the root, and then proves that exactly the locked packages are in it.
    ///
    /// `progress` gets the phase in words and the fraction done, from 0 to 1. On failure the
    /// directory may hold a part of a root, for the caller to inspect or remove.
    pub fn run(&self, progress: &dyn Fn(&str, f64)) -> Result<(), AptError> {
        self.mmdebstrap(progress)?;
        self.mark_automatic()?;
        self.tidy()?;
        let path = self.root.join(dpkg::LINK).join("status");
        let status = fs::read_to_string(&path).map_err(AptError::io("read", &path))?;
        let differences = status_differences(&status, self.packages);
        if differences.is_empty() {
            progress("done", 1.0);
            return Ok(());
        }
        Err(AptError::NotAsLocked {
            root: self.root.to_path_buf(),
            differences,
        })
    }

    fn mmdebstrap(&self, progress: &dyn Fn(&str, f64)) -> Result<(), AptError> {
        let mut command = Command::new("setpriv");
        command.args(ISOLATED).args([
            "sh",
            "mmdebstrap",
            "--mode=root",
            "--format=directory",
            "--verbose",
        ]);
        // mmdebstrap installs essential packages first, by dpkg alone and in an order that it
        // knows, then the rest by apt. Every package is named with its version: what is not locked
        // cannot be chosen, nor can any be left out.
        command
            .arg("--variant=essential")
            .arg(format!("--architectures={}", self.arch));
        let names: Vec<String> = self
            .packages
            .iter()
            .map(|p| format!("{}={}", p.name, p.version))
            .collect();
        command.arg(format!("--include={}", names.join(",")));
        // Nothing needs to survive a crash in here: a half-made root is thrown away. Saves a sixth
        // of the time.
        command.arg("--dpkgopt=force-unsafe-io");
        command
            .arg(format!("--setup-hook={HIDE_HOST}"))
            .arg(format!("--customize-hook={LEAVE_NO_TRACE}"));
        command.arg("").arg(self.root);
        command.arg(format!(
            "deb [trusted=yes] copy://{} ./",
            self.repo.path().display()
        ));
        command.env_clear().env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
            .env("LC_ALL", "C.UTF-8")
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        let mut log = File::create(self.log).map_err(AptError::io("create", self.log))?;
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|source| AptError::Spawn {
            program: "setpriv".to_owned(),
            source,
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if self.cancel.load(Ordering::Relaxed) {
                        // The child is reaped after this thread, so the number is still its own.
                        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
                        break;
                    }
                    std::thread::sleep(POLL);
                }
            });
            let result = self.follow(child.stderr.take(), &mut log, progress);
            over.store(true, Ordering::Relaxed);
            result
        })?;
        let status = child
            .wait()
            .map_err(AptError::io("wait for mmdebstrap in", self.root))?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read(self.log).map_err(AptError::io("read", self.log))?;
        Err(AptError::Bootstrap {
            root: self.root.to_path_buf(),
            log: self.log.to_path_buf(),
            reason: tail(&String::from_utf8_lossy(&text), 20),
        })
    }

    /// Copies the output to the log until it ends.
    fn follow(
        &self,
        output: Option<ChildStderr>,
        log: &mut File,
        progress: &dyn Fn(&str, f64),
    ) -> Result<(), AptError> {
        let Some(output) = output else { return Ok(()) };
        let mut meter = BootstrapMeter::new(self.packages.len());
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .map_err(AptError::io("read the output for", self.log))?
            > 0
        {
            log.write_all(&line)
                .map_err(AptError::io("write", self.log))?;
            if meter.see(&String::from_utf8_lossy(&line)) {
                progress(meter.phase(), meter.fraction());
            }
            line.clear();
        }
        Ok(())
    }

    /// Writes down which packages were only pulled in: all were named to apt, so it took all for
    /// wanted.
    fn mark_automatic(&self) -> Result<(), AptError> {
        let path = self.root.join("var/lib/apt/extended_states");
        let mut names: Vec<&str> = self
            .packages
            .iter()
            .filter(|p| !p.manual)
            .map(|p| p.name.as_str())
            .collect();
        names.sort_unstable();
        let mut text = String::new();
        for name in names {
            // apt files packages for all architectures under the native one.
            let _ = write!(
                text,
                "Package: {name}\nArchitecture: {}\nAuto-Installed: 1\n\n",
                self.arch
            );
        }
        fs::write(&path, text).map_err(AptError::io("write", &path))?;
        // It goes into a layer, so the caller's umask has no say.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(AptError::io("set the mode of", &path))
    }

    /// Removes device nodes, which a running system makes for itself, and stray lock files.
    fn tidy(&self) -> Result<(), AptError> {
        let dev = self.root.join("dev");
        for entry in fs::read_dir(&dev).map_err(AptError::io("list", &dev))? {
            let entry = entry.map_err(AptError::io("list", &dev))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(AptError::io("inspect", &path))?;
            let removed = if kind.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(AptError::io("remove", &path))?;
        }
        for file in LOCK_FILES {
            let path = self.root.join(file);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(AptError::io("remove", &path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
