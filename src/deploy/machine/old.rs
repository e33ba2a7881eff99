//! Programs that still run from trees that were current before: what would have to be restarted so that
//! all of the machine is what it says it is.
//!
//! Each mount of a deployment is a device of its own, and `/proc/<pid>/maps` names the device of what a
//! program has in memory. A program that was left alone is told only where a file of it is another one
//! now: from which tree it has the same file makes no difference.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use serde::Serialize;

use super::error::MachineError;
use super::table;
use crate::deploy::{DeployError, Target};
use crate::path::RelPath;
use crate::store::Repository;
use crate::tree::Tree;

/// Which deployment is on which device, since the machine was started: a line for each.
pub(super) const TREES: &str = "/run/layerset/trees";

/// A program that has something in memory that is another file now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OldProgram {
    /// The unit that it belongs to.
    pub unit: String,
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub program: String,
    /// The first such file.
    pub file: RelPath,
    /// The deployment that it has it from.
    pub generation: u64,
}

/// A device as `/proc/<pid>/maps` writes it.
pub(super) fn device(at: &Path) -> Option<String> {
    let stat = rustix::fs::stat(at).ok()?;
    Some(format!(
        "{:02x}:{:02x}",
        major(stat.st_dev),
        minor(stat.st_dev)
    ))
}

/// Writes down which deployment is on which device.
pub(super) fn note(device: &str, generation: u64) -> Result<(), MachineError> {
    let path = Path::new(TREES);
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{device} {generation}"))
        .map_err(|error| MachineError::io("write", path, error))
}

fn known() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(TREES).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let (device, generation) = line.split_once(' ')?;
        Some((device.to_owned(), generation.parse().ok()?))
    });
    lines.collect()
}

impl Target {
    /// Lists the programs that have files of earlier deployments in memory, sorted by unit. Empty where
    /// no machine runs from this target.
    pub fn old_programs(&self, repository: &Repository) -> Result<Vec<OldProgram>, DeployError> {
        let Some(machine) = &self.machine else {
            return Ok(Vec::new());
        };
        let running = machine.running();
        let earlier: BTreeMap<String, u64> = known()
            .into_iter()
            .filter(|(_, generation)| *generation != running)
            .collect();
        if earlier.is_empty() {
            return Ok(Vec::new());
        }
        let tree_of = |generation: u64| -> Result<Tree, DeployError> {
            let image = repository.read_image(&self.image_id_of(generation)?)?;
            Ok(repository.read_tree(&image.tree)?)
        };
        let now = tree_of(running)?;
        // What cannot be compared any more says nothing.
        let mut trees: BTreeMap<u64, Tree> = BTreeMap::new();
        for generation in earlier.values() {
            if let Ok(tree) = tree_of(*generation) {
                trees.insert(*generation, tree);
            }
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let (process, name) = (entry.path(), entry.file_name());
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let maps = std::fs::read_to_string(process.join("maps")).unwrap_or_default();
            let differs = mapped(&maps).find_map(|(device, path)| {
                let generation = *earlier.get(device)?;
                let file = changed_file(trees.get(&generation)?, &now, path)?;
                Some((generation, file))
            });
            if let Some((generation, file)) = differs.filter(|_| is_ours(&process)) {
                found.push(OldProgram {
                    unit: unit_of(&process),
                    pid,
                    program: read_line(&process.join("comm")),
                    file,
                    generation,
                });
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Reads the files of a `/proc/<pid>/maps`, each with its device.
fn mapped(maps: &str) -> impl Iterator<Item = (&str, &str)> {
    maps.lines().filter_map(|line| {
        let device = line.split_ascii_whitespace().nth(3)?;
        let path = line.find('/').map(|at| &line[at..])?;
        Some((device, path.trim_end_matches(" (deleted)")))
    })
}

/// Returns the file at a path, if it is another one now. The mount that it was found in may be
/// detached: then the path begins below the place where that was.
fn changed_file(before: &Tree, now: &Tree, path: &str) -> Option<RelPath> {
    let path = path.trim_start_matches('/');
    let names = ["".to_owned(), "usr/".to_owned(), "opt/".to_owned()];
    let mut names = names.into_iter().map(|above| above + path);
    let found = names.find_map(|name| before.resolve(name.as_bytes()))?;
    let old = before.get(found.as_bytes())?;
    let is_same = now
        .get(found.as_bytes())
        .is_some_and(|new| new.object() == old.object());
    (!is_same && old.object().is_some()).then_some(found)
}

/// Says whether a process has the root of the machine; a container has one of its own.
fn is_ours(process: &Path) -> bool {
    let table = std::fs::read(process.join("mountinfo")).unwrap_or_default();
    let root = table::top(&table, b"/");
    root.is_some_and(|root| root.deployment().is_some())
}

fn read_line(path: &PathBuf) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim_end().to_owned()
}

/// Returns the unit of a process: the last part of its control group that is one.
fn unit_of(process: &Path) -> String {
    let group = read_line(&process.join("cgroup"));
    let mut parts = group.rsplit('/');
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    parts.find(is_unit).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::tree::Inode;

    #[test]
    fn a_file_in_memory_is_compared_with_what_is_there_now() {
        let maps = "\
55d0-55d1 r--p 00000000 00:1f 4711                       /sbin/nginx
7f00-7f01 r-xp 00000000 00:1f 12                         /usr/lib/libc.so (deleted)
7ffd-7ffe rw-p 00000000 00:00 0                          [stack]
";
        let found: Vec<_> = mapped(maps).collect();
        assert_eq!(
            found,
            [("00:1f", "/sbin/nginx"), ("00:1f", "/usr/lib/libc.so")]
        );
        let tree = |nginx: &str| -> Tree {
            let file = |text: &str| Inode::file(ObjectId::of(text.as_bytes()), 1, 0o755);
            let path = |text: &str| RelPath::from_text(text).unwrap();
            [
                (path("usr"), Inode::directory(0o755)),
                (path("usr/sbin"), Inode::directory(0o755)),
                (path("usr/sbin/nginx"), file(nginx)),
            ]
            .into_iter()
            .collect()
        };
        let changed = |path: &str, now: &str| changed_file(&tree("1"), &tree(now), path);
        let nginx = RelPath::from_text("usr/sbin/nginx").unwrap();
        assert_eq!(changed("/sbin/nginx", "2"), Some(nginx.clone()));
        assert_eq!(changed("/usr/sbin/nginx", "2"), Some(nginx));
        assert_eq!(changed("/sbin/nginx", "1"), None);
        assert_eq!(changed("/sbin/other", "2"), None);
    }
}
