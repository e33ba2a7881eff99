//! The exchange of the trees of a running machine, and the root that a soft reboot starts.
//!
//! ```text
//! private namespace   the new deployment is mounted; its /usr, /opt and /etc are copied, closed
//! that of PID 1       each copy is put beneath the old mount; then the old mounts are detached
//! each other one      allows again what it allowed before
//! ```
//!
//! There is no moment at which nothing is mounted, and each path shows the old tree or the new one.
//! `/` stays the deployment that the machine was started with: who calls this has seen that the two
//! differ nowhere else.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::Machine;
use super::error::MachineError;
use super::namespaces::{self, CLOSED, Namespace};
use super::{old, table};
use crate::materialise::{
    BindAccess, DetachedMount, bind, enter_namespace, is_mountpoint, mount_readonly,
    private_namespace, set_mount_flags, unmount_lazily,
};

/// What has a mount of its own from the start.
pub(super) const PLACES: [&str; 3] = ["/usr", "/opt", "/etc"];
/// The machine's own, which every root shows; `/var` is always there.
const STATE: [&str; 4] = ["var", "root", "home", "srv"];
/// Where a deployment is mounted, in a namespace of this process.
const NEW: &str = "/run/layerset/new";
/// Where systemd looks for the root that a soft reboot starts (systemd-soft-reboot.service(8)).
pub(super) const NEXT_ROOT: &str = "/run/nextroot";
/// How many files are looked at before an exchange: some 2 KB of memory each, until that is short.
const MOST_LOOKS: u32 = 50_000;
/// The mounts that everybody shares are those of PID 1.
const HOME: &str = "/proc/1";

/// What a deployment is mounted from.
#[derive(Debug)]
pub(in crate::deploy) struct NewRoot {
    pub(in crate::deploy) generation: u64,
    /// Its metadata.
    pub(in crate::deploy) image: PathBuf,
    pub(in crate::deploy) objects: PathBuf,
    pub(in crate::deploy) etc: PathBuf,
    pub(in crate::deploy) state: PathBuf,
}

/// What an exchange of the trees did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// How long old and new trees were seen side by side, in seconds.
    pub seconds: f64,
    /// How many mount namespaces of services were looked after.
    pub namespaces: usize,
    /// Those in which more is forbidden now than before, and why: their services may need a restart.
    pub closed: Vec<String>,
}

impl Machine {
    /// Puts the trees of another deployment beneath everything that runs.
    pub(in crate::deploy) fn exchange(&self, new: &NewRoot) -> Result<Exchange, MachineError> {
        let done = private_namespace(|| exchange(new))?;
        self.runs_now(new.generation);
        Ok(done)
    }

    /// Lays the root of a deployment where a soft reboot takes it from.
    pub(in crate::deploy) fn lay_next_root(&self, new: &NewRoot) -> Result<(), MachineError> {
        private_namespace(|| {
            new.mount()?;
            let at = Path::new(NEW);
            for dir in ["usr", "opt"].map(|dir| at.join(dir)) {
                if dir.is_dir() {
                    bind(&dir, &dir, BindAccess::ReadWrite)?;
                }
            }
            for name in STATE {
                let (from, to) = (new.state.join(name), at.join(name));
                if from.is_dir() && to.is_dir() {
                    bind(&from, &to, BindAccess::ReadWrite)?;
                }
            }
            let root = DetachedMount::copy_of(at)?;
            let home = open(&Path::new(HOME).join("ns/mnt"))?;
            enter_namespace(home.as_fd())?;
            let next = Path::new(NEXT_ROOT);
            crate::durable::make_dirs(next, 0o755)
                .map_err(|error| MachineError::io("make directory", next, error))?;
            // What an earlier command left.
            while is_mountpoint(next)? {
                unmount_lazily(next)?;
            }
            root.attach(next)?;
            // None of what runs now will run then.
            let _ = std::fs::remove_file(old::TREES);
            Ok(())
        })
    }
}

impl NewRoot {
    /// Mounts the deployment in the namespace of this thread: its tree, and its `/etc`.
    fn mount(&self) -> Result<(), MachineError> {
        let at = Path::new(NEW);
        crate::durable::make_dirs(at, 0o700)
            .map_err(|error| MachineError::io("make directory", at, error))?;
        let name = format!("layerset:{}", self.generation);
        mount_readonly(&self.image, &self.objects, at, &name)?;
        Ok(bind(&self.etc, &at.join("etc"), BindAccess::ReadWrite)?)
    }
}

fn open(path: &Path) -> Result<File, MachineError> {
    File::open(path).map_err(|error| MachineError::io("open", path, error))
}

fn exchange(new: &NewRoot) -> Result<Exchange, MachineError> {
    let home = open(&Path::new(HOME).join("ns/mnt"))?;
    let path = Path::new(HOME).join("mountinfo");
    let table = std::fs::read(&path).map_err(|error| MachineError::io("read", &path, error))?;
    let mut known = BTreeSet::new();
    known.extend(namespaces::number(Path::new(HOME)));
    known.extend(namespaces::number(Path::new("/proc/self")));
    known.extend(namespaces::number(Path::new("/proc/thread-self")));

    new.mount()?;
    look_through(&Path::new(NEW).join("usr"));
    let places = PLACES.map(Path::new);
    let at_home = namespaces::flags_at(&table, &places);
    let mut copies = Vec::new();
    for place in at_home.keys() {
        let dir = Path::new(NEW).join(place.strip_prefix("/").unwrap_or(place));
        // A mount of its own, which can be closed.
        bind(&dir, &dir, BindAccess::ReadWrite)?;
        set_mount_flags(&dir, CLOSED)?;
        copies.push((place.clone(), DetachedMount::copy_of(&dir)?));
    }
    note_trees(&table, new.generation)?;
    let others = namespaces::look(&mut known, &places);

    enter_namespace(home.as_fd())?;
    let started = Instant::now();
    for (place, copy) in copies {
        copy.attach_beneath(&place)?;
    }
    for place in at_home.keys() {
        unmount_lazily(place)?;
    }
    for (place, flags) in &at_home {
        set_mount_flags(place, *flags)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut closed: Vec<String> = others
        .iter()
        .filter_map(|one| one.restore().err())
        .collect();
    enter_namespace(home.as_fd())?;
    let late = namespaces::look(&mut known, &places);
    let is_late = |one: &&Namespace| one.is_closed(&at_home);
    closed.extend(late.iter().filter(is_late).map(|one| {
        let program = one.program();
        format!("{program}: it started while the trees were exchanged")
    }));
    Ok(Exchange {
        seconds,
        namespaces: others.len(),
        closed,
    })
}

/// Looks at each file of a tree once, so that services that restart find names and facts in memory.
fn look_through(tree: &Path) {
    let mut dirs = vec![tree.to_owned()];
    let mut left = MOST_LOOKS;
    while let Some(dir) = dirs.pop() {
        // What cannot be looked at now is looked at by whoever needs it.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|found| found.is_dir()) {
                dirs.push(entry.path());
            }
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }
}

/// Writes down on which devices the trees are that are there from now on.
fn note_trees(table: &[u8], generation: u64) -> Result<(), MachineError> {
    let old = table::top(table, b"/usr").and_then(|usr| usr.deployment());
    let pairs = [
        (old, Path::new(HOME).join("root/usr")),
        (Some(generation), Path::new(NEW).join("usr")),
    ];
    for (generation, at) in pairs {
        if let (Some(generation), Some(device)) = (generation, old::device(&at)) {
            old::note(&device, generation)?;
        }
    }
    Ok(())
}

/// Says what stands in the way of an exchange in a mount table: a place without a mount of its own, or
/// something that is mounted below one.
pub(super) fn obstacle(table: &[u8]) -> Option<String> {
    for place in PLACES {
        if let Some(found) = table::below(table, place.as_bytes()) {
            let found = String::from_utf8_lossy(&found).into_owned();
            return Some(format!("something is mounted at '{found}'"));
        }
    }
    let usr = table::top(table, b"/usr").and_then(|usr| usr.deployment());
    usr.is_none()
        .then(|| "'/usr' is no mount of its own".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_a_tree_stands_in_the_way() {
        let table = "\
21 1 0:20 / / ro - overlay layerset:2 ro
30 21 0:20 /usr /usr ro - overlay layerset:2 ro
31 21 254:3 /layerset/deployments/2/etc /etc rw - ext4 /dev/root rw
35 21 0:44 / /tmp rw - tmpfs tmpfs rw
";
        assert_eq!(obstacle(table.as_bytes()), None);
        let more = format!("{table}40 30 8:1 / /usr/local rw - ext4 /dev/sdb rw\n");
        assert_eq!(
            obstacle(more.as_bytes()).unwrap(),
            "something is mounted at '/usr/local'"
        );
        let plain = "21 1 0:20 / / ro - overlay layerset:2 ro\n";
        assert_eq!(
            obstacle(plain.as_bytes()).unwrap(),
            "'/usr' is no mount of its own"
        );
    }
}
