//! Running the tools that read disks, and loop devices for those that take no files.

use std::path::{Path, PathBuf};
use std::process::Command;

use layerset::disk::FileMedium;

use crate::support;

/// A sparse file as a disk, in a folder that goes away.
pub fn disk(dir: &Path, name: &str, size: u64) -> (PathBuf, FileMedium) {
    let path = dir.join(name);
    let file = std::fs::File::create(&path).unwrap();
    (path, FileMedium::new(file, size).unwrap())
}

/// Says whether a tool is there; records the test as skipped when not.
pub fn has(test: &str, tool: &str) -> bool {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = places
        .iter()
        .any(|place| Path::new(place).join(tool).exists());
    if !found {
        support::skip(test, &format!("needs {tool}"));
    }
    found
}

/// Runs a tool that must succeed, and returns what it prints.
#[track_caller]
pub fn run(tool: &str, arguments: &[&str]) -> String {
    let (text, is_good) = try_run(tool, arguments);
    assert!(is_good, "{tool} {arguments:?}: {text}");
    text
}

/// Runs a tool; returns what it prints, errors included, and whether it succeeded.
pub fn try_run(tool: &str, arguments: &[&str]) -> (String, bool) {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .env("MTOOLS_SKIP_CHECK", "0")
        .env("TZ", "UTC");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&text).into_owned(),
        output.status.success(),
    )
}

/// A loop device over a file until it is dropped.
pub struct Loop(String);

impl Loop {
    /// Attaches `file` with sectors of a size; records the test as skipped where that is impossible.
    pub fn new(test: &str, file: &Path, sector: u64) -> Option<Self> {
        if !support::is_root(test) || !has(test, "losetup") {
            return None;
        }
        let sector = sector.to_string();
        let arguments = [
            "--find",
            "--show",
            "--sector-size",
            &sector,
            file.to_str().unwrap(),
        ];
        let (text, is_good) = try_run("losetup", &arguments);
        if !is_good {
            support::skip(test, &format!("needs a loop device: {}", text.trim()));
            return None;
        }
        Some(Self(text.trim().to_owned()))
    }

    pub fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        try_run("losetup", &["--detach", &self.0]);
    }
}
