//! Runs commands in a view by bubblewrap: no network but loopback, own processes, a declared
//! environment and a log.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::durable;
use crate::path::escape;
use crate::sandbox::SandboxError;
use crate::sandbox::confine;
use crate::sandbox::devices::Devices;
use crate::sandbox::limits::{Limits, Meter};
use crate::sandbox::policy::{ASKED_AT, ServicePolicy};

/// How many lines of output an error carries.
const LAST_LINES: usize = 20;
/// How long a request to cancel may go unnoticed while the command is silent.
const POLL: Duration = Duration::from_millis(100);
/// A line without an end (a progress bar, binary output) is cut here, so that no output fills the
/// memory.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A directory or file of the host that commands may read, as `/run/layerset/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnlyBind {
    /// What to show.
    pub source: PathBuf,
    /// Its name below `/run/layerset`.
    pub name: OsString,
}

/// A place to run commands: a root directory and what every command in it sees.
#[derive(Debug, Clone)]
pub struct Sandbox {
    root: PathBuf,
    scratch: PathBuf,
    binds: Vec<ReadOnlyBind>,
    environment: Vec<(OsString, OsString)>,
    limits: Limits,
}

/// One command to run, and where its output goes.
pub struct SandboxRun<'a> {
    /// Program and arguments.
    pub command: &'a [&'a OsStr],
    /// Receives the output; appended to.
    pub log: &'a Path,
    /// Called with every line of output, without its end.
    pub on_line: &'a mut dyn FnMut(&str),
    /// Polled; when set, the command and all that it started is killed.
    pub cancel: &'a AtomicBool,
}

impl Sandbox {
    /// Makes a sandbox of `root`; `scratch` is an existing directory for the sandbox's own files.
    ///
    /// `epoch` becomes `SOURCE_DATE_EPOCH`.
    pub fn new(root: &Path, scratch: &Path, epoch: i64) -> Self {
        let epoch = epoch.to_string();
        let environment = [
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("SOURCE_DATE_EPOCH", &epoch),
            ("SYSTEMD_OFFLINE", "1"),
            ("TERM", "dumb"),
        ];
        Self {
            root: root.to_owned(),
            scratch: scratch.to_owned(),
            binds: Vec::new(),
            limits: Limits::default(),
            environment: environment
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// Shows a part of the host at `/run/layerset/<name>`, read-only.
    #[must_use]
    pub fn with_bind(mut self, bind: ReadOnlyBind) -> Self {
        self.binds.push(bind);
        self
    }

    /// Sets a variable in every command's environment.
    #[must_use]
    pub fn with_variable(mut self, name: &OsStr, value: &OsStr) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives every command other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs one command to its end. An exit status other than 0 is an error.
    pub fn run(&self, run: SandboxRun<'_>) -> Result<(), SandboxError> {
        let policy = ServicePolicy::install(&self.root, &self.scratch)?;
        let result = self.run_with(run, policy.as_ref());
        match policy {
            Some(policy) if result.is_ok() => policy.remove(),
            _ => result,
        }
    }

    fn run_with(
        &self,
        run: SandboxRun<'_>,
        policy: Option<&ServicePolicy>,
    ) -> Result<(), SandboxError> {
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(run.log)
            .map_err(SandboxError::io("open", run.log))?;
        let (reader, writer) =
            std::io::pipe().map_err(SandboxError::io("make a pipe for", run.log))?;
        let errors = writer
            .try_clone()
            .map_err(SandboxError::io("make a pipe for", run.log))?;
        let devices = Devices::make(&self.scratch)?;
        let filter = confine::filter().map_err(SandboxError::io("make a filter for", run.log))?;
        let mut command = self.bwrap(policy, devices.as_ref());
        if let Some(filter) = &filter {
            let number = filter.as_raw_fd().to_string();
            command.arg("--seccomp").arg(number);
        }
        command
            .arg("--")
            .args(run.command)
            .env_clear()
            .envs(self.environment.iter().map(|(n, v)| (n, v)))
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .process_group(0);
        let spawned = match &filter {
            Some(filter) => durable::spawn_with(&mut command, filter),
            None => durable::spawn(&mut command),
        };
        let child = spawned.map_err(|source| SandboxError::Missing {
            program: "bwrap",
            source,
        })?;
        // The command holds the pipe's write ends: they must go, or the reader would never see the
        // end.
        drop(command);
        let mut meter = Meter::start(self.limits, child.id());
        let mut child = KillOnDrop(child);
        let lines = read_lines(reader);
        let mut last = VecDeque::with_capacity(LAST_LINES);
        let finished = follow(run.cancel, &lines, &mut meter, |bytes| {
            log.write_all(bytes)?;
            log.write_all(b"\n")?;
            let line = String::from_utf8_lossy(bytes);
            (run.on_line)(&line);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.into_owned());
            Ok(())
        });
        let finished = finished.map_err(SandboxError::io("write", run.log))?;
        let text = display(run.command);
        let log = run.log.to_owned();
        match finished {
            End::OfOutput => {}
            End::Cancelled => return Err(SandboxError::Cancelled { command: text, log }),
            End::Limit(reason) => {
                return Err(SandboxError::Limit {
                    command: text,
                    reason,
                    last_lines: last.into(),
                    log,
                });
            }
        }
        let status = child
            .0
            .wait()
            .map_err(SandboxError::io("wait for", run.log))?;
        if !status.success() {
            return Err(SandboxError::Failed {
                command: text,
                status,
                last_lines: last.into(),
                log: run.log.to_owned(),
            });
        }
        Ok(())
    }

    fn bwrap(&self, policy: Option<&ServicePolicy>, devices: Option<&Devices>) -> Command {
        let mut command = Command::new("bwrap");
        command.arg("--bind").arg(&self.root).arg("/");
        command.args(["--dev", "/dev", "--proc", "/proc"]);
        command.args(confine::arguments());
        for (own, place) in devices.iter().flat_map(|all| all.places()) {
            command.arg("--dev-bind").arg(own).arg(place);
        }
        command.args(["--perms", "1777", "--tmpfs", "/dev/shm"]);
        command.args(["--perms", "1777", "--tmpfs", "/tmp"]);
        command.args(["--perms", "0755", "--tmpfs", "/run"]);
        for bind in &self.binds {
            let at = Path::new("/run/layerset").join(&bind.name);
            command.arg("--ro-bind").arg(&bind.source).arg(at);
        }
        if let Some(policy) = policy {
            command.arg("--ro-bind").arg(policy.script()).arg(ASKED_AT);
        }
        command.args([
            "--unshare-net",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--hostname",
            "localhost",
            "--die-with-parent",
            "--new-session",
            "--chdir",
            "/",
        ]);
        command
    }
}

/// Why there are no more lines.
enum End {
    OfOutput,
    Cancelled,
    /// A limit was passed, in words that follow "it".
    Limit(String),
}

/// Passes lines on until the output ends, the caller cancels or a limit is passed.
fn follow(
    cancel: &AtomicBool,
    lines: &Receiver<std::io::Result<Vec<u8>>>,
    meter: &mut Meter,
    mut on_line: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<End> {
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Ok(End::Cancelled);
        }
        if let Some(reason) = meter.passed() {
            return Ok(End::Limit(reason));
        }
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                let line = line?;
                meter.wrote(line.len());
                on_line(&line)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(End::OfOutput),
        }
    }
}

/// A child that does not outlive this value. Dropping it kills the process group, and with it the
/// sandbox's process namespace.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Not reaped yet means that the number still belongs to this child, so no stranger can be
        // hit.
        if let Ok(None) = self.0.try_wait() {
            let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

/// Reads lines on a thread of its own, so that waiting for output can be interrupted.
fn read_lines(reader: PipeReader) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        use std::io::Read;
        let mut reader = BufReader::new(reader);
        loop {
            let mut line = Vec::new();
            let result = reader
                .by_ref()
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line);
            let message = match result {
                Ok(0) => break,
                Ok(_) => {
                    line.pop_if(|byte| *byte == b'\n');
                    line.pop_if(|byte| *byte == b'\r');
                    Ok(line)
                }
                Err(error) => Err(error),
            };
            let stop = message.is_err();
            if sender.send(message).is_err() || stop {
                break;
            }
        }
    });
    receiver
}

fn display(command: &[&OsStr]) -> String {
    let words: Vec<_> = command
        .iter()
        .map(|word| escape(word.as_encoded_bytes()))
        .collect();
    words.join(" ")
}
