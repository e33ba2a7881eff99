//! How much a command in the sandbox may take: time, output and processes. What goes beyond is ended,
//! with all that it started, so that no script holds a build server for ever.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use std::os::unix::fs::MetadataExt as _;

/// How long a script may run, unless its layer says otherwise.
pub const DEFAULT_TIME: Duration = Duration::from_secs(60 * 60);
/// How often processes are counted.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// What a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its end.
    pub time: Duration,
    /// Of output, in bytes.
    pub output: u64,
    /// Of processes and threads at one time.
    pub tasks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: DEFAULT_TIME,
            output: 256 << 20,
            tasks: 8192,
        }
    }
}

/// The limits of one run, and what it took so far.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    started: Instant,
    counted: Instant,
    output: u64,
    /// The process of bubblewrap that waits outside of the sandbox.
    outside: u32,
}

impl Meter {
    /// Starts to measure the sandbox of bubblewrap's process.
    pub(super) fn start(limits: Limits, outside: u32) -> Self {
        let now = Instant::now();
        Self {
            limits,
            started: now,
            counted: now,
            output: 0,
            outside,
        }
    }

    /// Counts output.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.output = self.output.saturating_add(bytes as u64 + 1);
    }

    /// Says which limit is passed, in words that follow "it".
    pub(super) fn passed(&mut self) -> Option<String> {
        let Limits {
            time,
            output,
            tasks,
        } = self.limits;
        if self.started.elapsed() >= time {
            return Some(format!("ran longer than {}", words(time)));
        }
        if self.output > output {
            return Some(format!("wrote more than {output} bytes of output"));
        }
        if self.counted.elapsed() >= COUNT_EVERY {
            self.counted = Instant::now();
            if tasks_of(self.outside).is_some_and(|found| found > tasks) {
                return Some(format!("had more than {tasks} processes and threads"));
            }
        }
        None
    }
}

/// Counts the tasks of a sandbox, in the `/proc` that its first process sees. `None` where they
/// cannot be counted, as when it is over.
fn tasks_of(outside: u32) -> Option<u64> {
    let children = format!("/proc/{outside}/task/{outside}/children");
    let first = std::fs::read_to_string(children).ok()?;
    let first: u32 = first.split_whitespace().next()?.parse().ok()?;
    let seen = PathBuf::from(format!("/proc/{first}/root/proc"));
    let mut count = 0;
    for entry in std::fs::read_dir(&seen).ok()?.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            // Two names of its own, and one for each thread.
            let task = std::fs::symlink_metadata(entry.path().join("task"));
            count += task.map_or(1, |dir| dir.nlink().saturating_sub(2).max(1));
        }
    }
    Some(count)
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1 => "1 second".to_owned(),
        3600 => "1 hour".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{} hours", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
