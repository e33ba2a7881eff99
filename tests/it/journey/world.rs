//! One test's own copy of everything, and what it asks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::session::{Ran, Session};
use crate::support::PATIENCE;

/// A test's own copy of everything; what is mounted in it goes with it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub session: Session,
}

/// The files below a directory, and the mounts of the world, at one moment.
pub struct Stamps {
    name: String,
    files: BTreeMap<PathBuf, (u64, u64, i64, i64)>,
    mounts: Vec<PathBuf>,
}

impl Drop for World {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}

/// Returns the mount points below `dir`, deepest last.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(1));
    let below = points.map(PathBuf::from).filter(|p| p.starts_with(dir));
    below.collect()
}

pub fn unmount_below(dir: &Path) {
    for point in mounts_below(dir).iter().rev() {
        let _ = unmount(point, UnmountFlags::DETACH);
    }
}

impl World {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn run(&self, line: &str) -> Ran {
        self.session.run(line)
    }

    pub fn json(&self, line: &str) -> Value {
        self.run(line).expect(0).json()
    }

    pub fn build(&self) -> Value {
        self.json("build recipes/web.toml --json")
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a text that is there exactly once.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert_eq!(text.matches(from).count(), 1, "'{from}' in {name}");
        self.write(name, &text.replace(from, to));
    }

    pub fn append(&self, name: &str, line: &str) {
        self.write(name, &(self.read(name) + line));
    }

    /// Reads a file of the current deployment of the target `t`.
    pub fn current(&self, name: &str) -> String {
        self.read(&format!("t/layerset/current/root/{name}"))
    }

    pub fn layer_ref(&self, layer: &str) -> String {
        let text = self.read(&format!("repo/refs/layers/web/{layer}"));
        text.trim_end().to_owned()
    }

    /// Makes the next build build a layer again, as a lost cache would.
    pub fn forget(&self, layer: &str) {
        let manifest = self
            .session
            .run_words(&["show", "--json", &self.layer_ref(layer)])
            .expect(0);
        let key = text(&manifest.json()["build"]["key"]);
        let file = self.path(&format!(
            "repo/cache/keys/{}",
            key.trim_start_matches("b3:")
        ));
        fs::remove_file(&file).unwrap();
    }

    pub fn chroot(&self, command: &[&str]) -> String {
        let root = self.path("t/layerset/current/root");
        let output = Command::new("chroot").arg(root).args(command).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails unless a build left nothing but what it committed.
    #[track_caller]
    pub fn is_clean(&self) {
        assert_eq!(mounts_below(self.dir.path()), Vec::<PathBuf>::new());
        self.is_clean_but_mounted();
    }

    /// Fails unless a build left nothing below `tmp/`.
    #[track_caller]
    pub fn is_clean_but_mounted(&self) {
        let left: Vec<_> = fs::read_dir(self.path("repo/tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "tmp/ holds {left:?}");
    }

    /// Remembers every file below `name` by what a write to it would change.
    pub fn stamps(&self, name: &str) -> Stamps {
        let mut files = BTreeMap::new();
        let mut pending = vec![self.path(name)];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let facts = fs::symlink_metadata(&path).unwrap();
                if facts.is_dir() {
                    // What is mounted is another filesystem's business.
                    if !path.ends_with("root") {
                        pending.push(path);
                    }
                } else if !path.ends_with("lock") && !path.parent().unwrap().ends_with("locks") {
                    let stamp = (facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec());
                    files.insert(path, stamp);
                }
            }
        }
        Stamps {
            name: name.to_owned(),
            files,
            mounts: mounts_below(self.dir.path()),
        }
    }

    /// Returns the files that were made, written or removed since.
    pub fn touched(&self, since: &Stamps) -> Vec<PathBuf> {
        let (before, now) = (&since.files, self.stamps(&since.name).files);
        let paths: BTreeSet<&PathBuf> = before.keys().chain(now.keys()).collect();
        let touched = paths
            .into_iter()
            .filter(|path| before.get(*path) != now.get(*path));
        touched.cloned().collect()
    }

    /// Fails when a file was made, written or removed since, or the mounts changed.
    #[track_caller]
    pub fn is_untouched(&self, since: &Stamps) {
        assert_eq!(self.touched(since), Vec::<PathBuf>::new());
        assert_eq!(mounts_below(self.dir.path()), since.mounts);
    }

    pub fn spawn(&self, line: &str) -> Child {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.session
            .command(&words)
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts a build, and waits until dpkg unpacks packages of the base.
    pub fn spawn_bootstrap(&self) -> Child {
        let log = self.path("repo/cache/logs/web.debian.log");
        let _ = fs::remove_file(&log);
        let child = self.spawn("build recipes/web.toml");
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(&log).is_ok_and(|text| text.contains("Unpacking ")) {
            assert!(Instant::now() < deadline, "no package was unpacked");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

pub fn layer_ids(report: &Value) -> BTreeMap<String, String> {
    let layers = report["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|l| (text(&l["name"]), text(&l["id"])))
        .collect()
}

/// Returns what became of each layer: name, action, bytes written.
pub fn actions(report: &Value) -> Vec<(String, String, u64)> {
    let layers = report["layers"].as_array().unwrap().iter();
    let row = |l: &Value| {
        (
            text(&l["name"]),
            text(&l["action"]),
            l["bytes_written"].as_u64().unwrap(),
        )
    };
    layers.map(row).collect()
}

pub fn row(name: &str, action: &str, bytes: u64) -> (String, String, u64) {
    (name.to_owned(), action.to_owned(), bytes)
}

pub fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Waits for a child that must end by itself soon.
#[track_caller]
pub fn ends_within(mut child: Child, limit: Duration) -> Output {
    let deadline = Instant::now() + limit;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = kill_process_group(pid(&child), Signal::KILL);
            let _ = child.wait();
            panic!("it still ran after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

pub const PAGE: &str = "layers/hello/files/usr/share/hello/page.html";

pub const SITE: &str = "layers/hello/files/etc/nginx/sites-available/hello";
