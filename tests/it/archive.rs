//! Archives in which packages have moved, made by `fixtures/update-archive.py` from packages that a test has locked.
//!
//! What Debian's archive offers today is nobody's promise: a test that needs a base to move makes it move.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An archive to be made from a workspace: its locks, and the package files in its repository.
pub struct UpdateArchive {
    command: Command,
}

impl UpdateArchive {
    /// Starts from the locks of `recipes/web.toml` and of the packages that tests add, in `workspace`.
    pub fn from(workspace: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/update-archive.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script);
        command.arg("--debs").arg(workspace.join("repo/cache/debs"));
        for lock in ["web", "extras"] {
            let lock = workspace.join(format!("recipes/{lock}.lock"));
            command.arg("--lock").arg(lock);
        }
        Self { command }
    }

    /// Gives packages, and all others of their sources, a newer version with other content that works as before.
    pub fn bump(mut self, packages: &[&str]) -> Self {
        for package in packages {
            self.command.args(["--bump", package]);
        }
        self
    }

    /// The same for every package.
    pub fn bump_all(mut self) -> Self {
        self.command.arg("--bump-all");
        self
    }

    /// Gives the libraries of a package another SONAME.
    pub fn soname(mut self, package: &str) -> Self {
        self.command.args(["--soname", package]);
        self
    }

    /// Makes a package give an account this number.
    pub fn user(mut self, package: &str, name: &str, number: u32) -> Self {
        let change = format!("{package}:{name}={number}");
        self.command.args(["--user", &change]);
        self
    }

    /// Makes the archive at `out`, and returns the sources file that leads there and what moved: name, old and new version.
    pub fn make(mut self, out: &Path) -> (PathBuf, Vec<[String; 3]>) {
        let output = self.command.arg(out).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let moved = String::from_utf8(output.stdout).unwrap();
        let row = |line: &str| -> [String; 3] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            words.try_into().unwrap()
        };
        (out.join("sources.list"), moved.lines().map(row).collect())
    }
}
