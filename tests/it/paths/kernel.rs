//! What the kernel says inside a root: where links lead, and which scripts can be started.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use layerset::check::{Problem, paths};
use layerset::tree::Tree;

use super::view::{DirView, tree_of};
use crate::debian::{PATH, inside};
use crate::support::wait_until;

/// The file is open for writing somewhere.
const ETXTBSY: i32 = 26;

/// How the start of a program ended: its exit status, or the number of the kernel's error.
pub type Started = Result<i32, i32>;

/// Follows each of these absolute paths inside `root`, and returns the number of the kernel's error where it leads nowhere.
pub fn follow(root: &Path, paths: &[String]) -> Vec<Result<(), i32>> {
    let one = |path: &String| fs::metadata(path).map(drop).map_err(number);
    inside(root, || paths.iter().map(one).collect())
}

/// Starts each of these absolute paths inside `root`, in its root directory, with Debian's PATH and nothing else.
pub fn start(root: &Path, paths: &[String]) -> Vec<Started> {
    // There may be no such device inside.
    let nothing = File::options().read(true).write(true).open("/dev/null");
    let nothing = nothing.unwrap();
    let once = |path: &String| {
        let status = Command::new(path)
            .env_clear()
            .env("PATH", PATH)
            .stdin(nothing.try_clone().unwrap())
            .stdout(nothing.try_clone().unwrap())
            .stderr(nothing.try_clone().unwrap())
            .status();
        let status = status.map_err(number)?;
        Ok(status.code().unwrap_or(-1))
    };
    let one = |path: &String| {
        let mut started = once(path);
        // A child that another test starts may hold, for a moment, the descriptor it was written by.
        wait_until("a program stays open for writing", || {
            if started == Err(ETXTBSY) {
                started = once(path);
            }
            started != Err(ETXTBSY)
        });
        started
    };
    inside(root, || paths.iter().map(one).collect())
}

fn number(error: io::Error) -> i32 {
    error.raw_os_error().unwrap()
}

/// What the checks say of a root, by absolute path.
pub struct Said {
    pub tree: Tree,
    pub links: BTreeSet<String>,
    pub scripts: BTreeSet<String>,
}

impl Said {
    pub fn of(root: &Path) -> Self {
        let (tree, view) = (tree_of(root), DirView(root.into()));
        let ids = |problems: Vec<Problem>, kind: &str| {
            let ids = problems.into_iter();
            ids.map(|problem| problem.id.as_str().strip_prefix(kind).unwrap().to_owned())
                .collect()
        };
        Self {
            links: ids(paths::links(&tree), "link:"),
            scripts: ids(paths::scripts(&tree, &view).unwrap(), "script:"),
            tree,
        }
    }
}
