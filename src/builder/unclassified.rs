//! Files below `/var` that no rule classifies, by directory: whose they are, and what to write.
//!
//! A guess is only made where the answer is known: what a definition ships and what a package owns
//! changes with the image. A database is for its owner to decide, because each answer loses
//! something: `factory` copies it once, and later images never change that copy.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::rules::SettleRules;
use super::{BuildError, BuildSink};
use crate::layout::{dpkg, join};
use crate::packages::package_of_list;
use crate::path::RelPath;
use crate::recipe::StateClass;
use crate::tree::{Inode, Owner, Tree};

/// Files of one directory that have the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnclassifiedGroup {
    /// The pattern for `[state]`: the directory, or a file that stands alone.
    pub pattern: String,
    /// What becomes of them, where that is known.
    pub class: Option<StateClass>,
    /// Why.
    pub reason: &'static str,
    /// The packages that own a file or the directory, sorted.
    pub packages: Vec<String>,
    /// The files, sorted.
    pub paths: Vec<RelPath>,
}

impl UnclassifiedGroup {
    /// Returns the line of `[state]`; a comment where somebody has to decide.
    pub fn line(&self) -> String {
        let pattern = &self.pattern;
        match self.class {
            Some(class) => {
                let words = StateClass::SETTABLE.iter();
                let word = words.filter(|(_, known)| *known == class);
                let word: String = word.map(|(word, _)| *word).collect();
                format!("\"{pattern}\" = \"{word}\"  # {}", self.reason)
            }
            None => format!(
                "# \"{pattern}\" = …  # {}: \"drop\" where each machine makes its own, \
                 \"factory\" to copy it once to each machine",
                self.reason
            ),
        }
    }
}

/// What is known of one file.
struct Answer {
    class: Option<StateClass>,
    reason: &'static str,
    packages: BTreeSet<String>,
}

/// Groups files of `after`, the tree as a build left it.
pub(super) fn groups(
    rules: SettleRules<'_>,
    after: &Tree,
    paths: Vec<RelPath>,
    sink: &BuildSink<'_>,
) -> Result<Vec<UnclassifiedGroup>, BuildError> {
    let owners = owners(after, &paths, sink)?;
    let mut answers: BTreeMap<RelPath, Answer> = BTreeMap::new();
    for path in paths {
        let packages = owners.get(path.as_bytes()).cloned().unwrap_or_default();
        let Some(inode) = after.get(path.as_bytes()) else {
            continue;
        };
        let (class, reason) = if rules.ships(path.as_bytes()) {
            (Some(StateClass::Image), SHIPPED)
        } else if !packages.is_empty() {
            (Some(StateClass::Image), "a package brings it")
        } else if is_database(&path, inode, sink)? {
            (None, DATABASE)
        } else if is_of_root(&path, after) {
            (Some(StateClass::Image), "only root may change it")
        } else {
            (None, "a service may write it, for you to decide")
        };
        answers.insert(
            path,
            Answer {
                class,
                reason,
                packages,
            },
        );
    }
    join_databases(&mut answers);
    let mut found = Vec::new();
    gather(b"var", 1, &answers, &owners, &mut found);
    Ok(found)
}

const DATABASE: &str = "a database, for you to decide";

/// Says whether nobody but root can change a file, or put another one in its place.
fn is_of_root(path: &RelPath, after: &Tree) -> bool {
    let is_root = |path: &RelPath| {
        let inode = after.get(path.as_bytes());
        inode.is_none_or(|inode| inode.owner == Owner::root())
    };
    is_root(path) && path.parent().as_ref().is_none_or(is_root)
}

/// Gives what lies beside a database, or below its directory, the database's answer: its logs, its
/// tables and its marks make no sense without each other.
fn join_databases(answers: &mut BTreeMap<RelPath, Answer>) {
    let depth = |path: &RelPath| path.as_bytes().split(|byte| *byte == b'/').count();
    let databases = answers
        .iter()
        .filter(|(_, answer)| answer.reason == DATABASE);
    let dirs: BTreeSet<RelPath> = databases
        .filter_map(|(path, _)| path.parent())
        // `/var/lib` and the like are shared.
        .filter(|dir| depth(dir) > 2)
        .collect();
    for (path, answer) in answers.iter_mut() {
        let mut above = std::iter::successors(path.parent(), RelPath::parent);
        let is_known = !answer.packages.is_empty() || answer.reason == SHIPPED;
        if !is_known && above.any(|dir| dirs.contains(&dir)) {
            (answer.class, answer.reason) = (None, DATABASE);
        }
    }
}

const SHIPPED: &str = "the layer's [files] bring it";

/// Makes a group of each directory below `dir` whose files have the same answer. `depth` is how many
/// names `dir` has; `/var` and what lies directly in it are shared by too many.
fn gather(
    dir: &[u8],
    depth: usize,
    answers: &BTreeMap<RelPath, Answer>,
    owners: &BTreeMap<Vec<u8>, BTreeSet<String>>,
    found: &mut Vec<UnclassifiedGroup>,
) {
    let mut children: BTreeMap<Vec<u8>, Vec<(&RelPath, &Answer)>> = BTreeMap::new();
    for (path, answer) in answers.iter().filter(|(path, _)| path.starts_with(dir)) {
        let rest = path.as_bytes().get(dir.len() + 1..).unwrap_or_default();
        let name = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
        children
            .entry(join(dir, name))
            .or_default()
            .push((path, answer));
    }
    for (child, members) in children {
        let is_file = members.iter().any(|(path, _)| path.as_bytes() == child);
        let first = members
            .first()
            .map(|(_, answer)| (answer.class, answer.reason));
        let same = members
            .iter()
            .all(|(_, answer)| Some((answer.class, answer.reason)) == first);
        if let (Some((class, reason)), true) = (first, same && (is_file || depth >= 2)) {
            let of_files = members.iter().flat_map(|(_, answer)| &answer.packages);
            let of_dir = owners.get(child.as_slice()).into_iter().flatten();
            let packages: BTreeSet<&String> = of_files.chain(of_dir).collect();
            found.push(UnclassifiedGroup {
                pattern: String::from_utf8_lossy(&child).into_owned(),
                class,
                reason,
                packages: packages.into_iter().cloned().collect(),
                paths: members.iter().map(|(path, _)| (*path).clone()).collect(),
            });
        } else {
            gather(&child, depth + 1, answers, owners, found);
        }
    }
}

/// Returns the packages that own each of `paths`, and the directories above them.
fn owners(
    after: &Tree,
    paths: &[RelPath],
    sink: &BuildSink<'_>,
) -> Result<BTreeMap<Vec<u8>, BTreeSet<String>>, BuildError> {
    let above = |path: &RelPath| std::iter::successors(Some(path.clone()), RelPath::parent);
    let wanted: BTreeSet<RelPath> = paths.iter().flat_map(above).collect();
    let mut owners: BTreeMap<Vec<u8>, BTreeSet<String>> = BTreeMap::new();
    for dir in dpkg::DIRECTORIES {
        let info = join(dir.as_bytes(), b"info");
        for (path, inode) in after.below(&info) {
            let (Some(package), Some(object)) = (package_of_list(path.name()), inode.object())
            else {
                continue;
            };
            let package = String::from_utf8_lossy(package).into_owned();
            for line in sink.read(&object)?.split(|byte| *byte == b'\n') {
                let owned = line.strip_prefix(b"/").unwrap_or(line);
                if wanted.iter().any(|path| path.as_bytes() == owned) {
                    owners
                        .entry(owned.to_vec())
                        .or_default()
                        .insert(package.clone());
                }
            }
        }
    }
    Ok(owners)
}

/// How files of databases begin, and where in the file: SQLite (its file format), Berkeley DB
/// (magic(5)), LMDB, and names that PostgreSQL and InnoDB give.
const BEGINNINGS: [(usize, &[u8]); 4] = [
    (0, b"SQLite format 3\0"),
    (12, &[0x62, 0x31, 0x05, 0x00]),
    (12, &[0x61, 0x15, 0x06, 0x00]),
    (16, &[0xde, 0xc0, 0xef, 0xbe]),
];
const NAMES: [&[u8]; 3] = [b"PG_VERSION", b"ibdata1", b"aria_log_control"];

fn is_database(path: &RelPath, inode: &Inode, sink: &BuildSink<'_>) -> Result<bool, BuildError> {
    use std::os::unix::fs::FileExt as _;
    if NAMES.contains(&path.name()) {
        return Ok(true);
    }
    let Some(object) = inode.object() else {
        return Ok(false);
    };
    let file = sink.transaction().open_object(&object)?;
    let mut head = [0; 24];
    // What is shorter, or cannot be read here, does not begin like a database.
    let read = file.read_at(&mut head, 0).unwrap_or(0);
    let head = head.get(..read).unwrap_or_default();
    Ok(BEGINNINGS
        .iter()
        .any(|(at, magic)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::builder::fixture::{no_rules, repository};
    use crate::builder::parents::insert_with_parents;

    #[test]
    fn a_database_is_one_decision_and_what_its_owner_may_replace_is_no_part_of_the_image() {
        let (_dir, repository) = repository();
        let transaction = repository.begin().unwrap();
        let sink = BuildSink::new(&transaction);
        let path = |text: &str| RelPath::from_text(text).unwrap();
        let mut after = Tree::new();
        let mut put = |at: &str, owner: &str| {
            let object = sink.write(at.as_bytes()).unwrap();
            let inode = Inode {
                owner: Owner::Name(owner.into()),
                ..Inode::file(object, at.len() as u64, 0o600)
            };
            insert_with_parents(&mut after, &path(at), inode);
            path(at)
        };
        let paths = vec![
            put("var/lib/mysql/aria_log.00000001", "mysql"),
            // As Debian's scripts leave it.
            put("var/lib/mysql/debian-10.11.flag", "root"),
            put("var/lib/mysql/ibdata1", "mysql"),
            put("var/lib/mysql/sys/db.opt", "mysql"),
            put("var/lib/other/state", "root"),
            put("var/lib/spool/mark", "root"),
        ];
        let spool = after.get(b"var/lib/spool").unwrap().clone();
        let spool = Inode {
            owner: Owner::Name("daemon".into()),
            ..spool
        };
        after.insert(path("var/lib/spool"), spool);
        let found = groups(no_rules("x"), &after, paths, &sink).unwrap();
        let found: Vec<(&str, Option<StateClass>, &str)> = found
            .iter()
            .map(|group| (group.pattern.as_str(), group.class, group.reason))
            .collect();
        assert_eq!(
            found,
            [
                ("var/lib/mysql", None, DATABASE),
                (
                    "var/lib/other",
                    Some(StateClass::Image),
                    "only root may change it"
                ),
                (
                    "var/lib/spool",
                    None,
                    "a service may write it, for you to decide"
                ),
            ]
        );
    }
}
