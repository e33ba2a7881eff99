//! Who holds a lock, as the kernel knows it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{major, minor};

use crate::time::rfc3339;

/// How much of a command line is shown, in characters.
const SHOWN: usize = 120;

/// Returns command, process and start of those who hold the `flock(2)` of a file; nothing where the
/// kernel does not say: it tells of processes of this machine and of this container only.
///
/// `/proc/locks` is described in proc_locks(5), `/proc/<pid>/stat` in proc_pid_stat(5).
pub(super) fn holders(path: &Path) -> Vec<String> {
    let Ok(meta) = fs::metadata(path) else {
        return Vec::new();
    };
    let dev = meta.dev();
    let file = format!("{:02x}:{:02x}:{}", major(dev), minor(dev), meta.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut pids: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Those who wait stand behind an arrow.
            match words[..] {
                [_, "FLOCK", _, _, pid, at, ..] if at == file => pid.parse().ok(),
                _ => None,
            }
        })
        .filter(|pid| *pid > 0)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter_map(describe).collect()
}

/// Describes a process: `layerset build recipes/web.toml (process 412, since 2026-11-28T04:00:05Z)`.
fn describe(pid: u32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let mut words: Vec<String> = words
        .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
        .collect();
    let program = words.first_mut()?;
    if let Some((_, name)) = program.rsplit_once('/') {
        *program = name.to_owned();
    }
    let command = words.join(" ");
    let mut shown: String = command.chars().take(SHOWN).collect();
    if shown.len() < command.len() {
        shown.push('…');
    }
    let since = started(pid).map_or(String::new(), |at| format!(", since {}", rfc3339(at)));
    Some(format!("{shown} (process {pid}{since})"))
}

/// Returns when a process started, in seconds since 1970.
fn started(pid: u32) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, and ends with the last parenthesis; field 22 is the start.
    let after = stat.rsplit_once(')')?.1;
    let ticks: u64 = after.split_whitespace().nth(19)?.parse().ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: i64 = boot.trim().parse().ok()?;
    let second = ticks.checked_div(rustix::param::clock_ticks_per_second())?;
    boot.checked_add(i64::try_from(second).ok()?)
}
