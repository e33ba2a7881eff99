//! Files in directories that carry a version: configuration of a version that left is read by nobody.
//!
//! `/etc/php/8.2/fpm/pool.d` is of PHP 8.2. After a move of the base to PHP 8.4 a layer that ships a
//! pool there would make the directory again, and lose the pool without a word. What tells is that
//! no package and no program here is of that version, while a sibling directory has its package.
//! Below `/etc` that is grave: nothing there runs on its own. A virtual machine of Java may be
//! unpacked by hand, so below `/usr/lib/jvm` it is a note. Modules of languages have checks of their
//! own.

use std::collections::BTreeSet;

use super::member::Member;
use super::packages::database;
use crate::check::{Finding, FindingKind, Problem, Severity, Subject, Weight};
use crate::layout::{join, name, parent, within};
use crate::packages;
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

const SETTINGS: &[u8] = b"etc";
const JAVA: &[u8] = b"usr/lib/jvm";

/// Directories of programs that are not named by a version.
const PROGRAMS: [&[u8]; 4] = [b"usr/bin", b"usr/sbin", b"usr/local/bin", b"usr/local/sbin"];

/// Finds directories of a version that is not here, with files in them: `place:DIRECTORY`.
pub(super) fn stale(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let dirs = [SETTINGS, JAVA].into_iter().flat_map(|dir| tree.below(dir));
    let dirs = dirs.filter(|(_, inode)| inode.is_dir());
    let versioned: Vec<(&RelPath, Versioned<'_>)> = dirs
        .filter_map(|(path, _)| Some((path, Versioned::of(path.name())?)))
        .collect();
    if versioned.is_empty() {
        return Ok(Vec::new());
    }
    let known = KnownNames::of(tree, view)?;
    let mut problems = Vec::new();
    for (dir, version) in versioned {
        let words = words(dir.as_bytes(), &version);
        if known.has(&words, version.number) || has_programs(tree, dir) {
            continue;
        }
        let above = parent(dir.as_bytes());
        let is_here = |sibling: &[u8]| {
            let like = Versioned::of(sibling).filter(|like| like.is_like(&version));
            like.is_some_and(|like| known.has_package(&words, like.number))
        };
        let mut below = tree.below(dir.as_bytes());
        let file = below.find(|(_, inode)| !inode.is_dir());
        if let (true, Some((file, _))) = (tree.names(above).any(is_here), file) {
            problems.push(problem(tree, dir, file));
        }
    }
    Ok(problems)
}

fn problem(tree: &Tree, dir: &RelPath, file: &RelPath) -> Problem {
    let place = likely_place(tree, file, &|path| path != dir.as_bytes());
    let place = place.map_or("a directory of another version".to_owned(), |place| {
        format!("'{place}'")
    });
    Problem {
        id: FindingKind::Place.at(dir),
        subject: Subject::Path(file.clone()),
        package: None,
        other: None,
        weight: match within(dir.as_bytes(), SETTINGS) {
            true => Weight::Grave,
            false => Weight::Minor,
        },
        reason: format!(
            "'{file}' stands in '{dir}', whose version has no package here: {place} has one"
        ),
        hint: format!("put the file into {place}, or add the packages that read '{dir}'"),
    }
}

/// Makes the finding about a file whose directory `missing` is none in `tree` a question to people,
/// where building the layer again would only make the directory again.
pub(super) fn ask(finding: &mut Finding, member: &Member, missing: &RelPath, tree: &Tree) {
    let (layer, path) = (&member.layer.name, finding.path.clone().unwrap_or_default());
    let place = likely_place(tree, &path, &|_| true);
    if let Some(place) = &place {
        finding.reason.push_str(&format!(", and '{place}' is"));
    }
    if !member.baseline.files_only {
        return;
    }
    finding.severity = Severity::Refuse;
    let there = place.map_or("where it is read today".to_owned(), |place| {
        format!("to '{place}'")
    });
    finding.hint = format!(
        "'{missing}' has left the layers below: move the file in layers/{layer} {there}; where it is \
         right as it is, run `layerset build RECIPE --rebuild {layer}`"
    );
}

/// Returns the directory where a file that has no place at `path` is likely to belong in `tree`: its
/// own, with the newest versions that are there. `counts` says whether a directory may be used.
pub(super) fn likely_place(
    tree: &Tree,
    path: &RelPath,
    counts: &dyn Fn(&[u8]) -> bool,
) -> Option<RelPath> {
    let dir = path.parent()?;
    let parts: Vec<&[u8]> = dir.as_bytes().split(|byte| *byte == b'/').collect();
    let found = replaced(tree, Vec::new(), &parts, counts)?;
    RelPath::new(&found).ok().filter(|found| *found != dir)
}

/// Follows `parts` from `at`, a version in place of another one where that leads on.
fn replaced(
    tree: &Tree,
    at: Vec<u8>,
    parts: &[&[u8]],
    counts: &dyn Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    let Some((part, rest)) = parts.split_first() else {
        return Some(at);
    };
    let mut names: Vec<&[u8]> = vec![part];
    if let Some(version) = Versioned::of(part) {
        let is_like = |name: &&[u8]| {
            let like = Versioned::of(name);
            *name != *part && like.is_some_and(|like| like.is_like(&version))
        };
        let mut others: Vec<&[u8]> = tree.names(&at).filter(is_like).collect();
        others.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
        names.extend(others);
    }
    names.into_iter().find_map(|name| {
        let next = join(&at, name);
        let is_dir = tree.get(&next).is_some_and(Inode::is_dir);
        (is_dir && counts(&next)).then(|| replaced(tree, next, rest, counts))?
    })
}

/// Returns the numbers of a name, in which versions are compared.
fn numbers(name: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(name);
    let digits = text.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|part| part.parse().ok()).collect()
}

/// A name of a directory that is a version, or a word with one: `8.2`, `java-17-openjdk-amd64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Versioned<'a> {
    before: &'a str,
    number: &'a str,
    after: &'a str,
}

impl<'a> Versioned<'a> {
    fn of(name: &'a [u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let start = name.find(|c: char| c.is_ascii_digit())?;
        let (before, rest) = name.split_at(start);
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches('.');
        let after = &rest[number.len()..];
        let is_plain = before.is_empty() && after.is_empty();
        let is_word = before.ends_with('-') || !before.is_empty() && number.contains('.');
        (is_plain || is_word).then_some(Self {
            before,
            number,
            after,
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        self.before == other.before && self.after == other.after
    }
}

/// Returns the words that name what a directory is of: its own, and those of the directory above.
fn words<'a>(dir: &'a [u8], version: &Versioned<'a>) -> Vec<&'a str> {
    let above = std::str::from_utf8(name(parent(dir))).unwrap_or_default();
    let own = version.before.split('-').chain(version.after.split('-'));
    own.chain([above]).filter(|word| word.len() > 2).collect()
}

/// Says whether programs stand in a directory of their own version.
fn has_programs(tree: &Tree, dir: &RelPath) -> bool {
    let bin = join(dir.as_bytes(), b"bin");
    tree.below(&bin).any(|(_, inode)| !inode.is_dir())
}

/// The names of packages and programs that carry digits.
struct KnownNames {
    packages: BTreeSet<String>,
    programs: BTreeSet<String>,
}

impl KnownNames {
    fn of(tree: &Tree, view: &dyn ImageView) -> Result<Self, ViewError> {
        let has_digit = |name: &str| name.contains(|c: char| c.is_ascii_digit());
        let mut packages = BTreeSet::new();
        if let Some(status) = database(tree, "status") {
            let text = view.read(status.as_bytes())?;
            // A package that was removed may have left its settings.
            let database = packages::dpkg::read(&text);
            let names = database.packages().map(|package| package.name);
            packages.extend(names.filter(|name| has_digit(name)).map(str::to_owned));
        }
        let names = PROGRAMS.into_iter().flat_map(|dir| tree.names(dir));
        let names = names.filter_map(|name| std::str::from_utf8(name).ok());
        let programs = names.filter(|name| has_digit(name)).map(str::to_owned);
        Ok(Self {
            packages,
            programs: programs.collect(),
        })
    }

    fn has_package(&self, words: &[&str], number: &str) -> bool {
        self.packages.iter().any(|name| names(name, words, number))
    }

    fn has(&self, words: &[&str], number: &str) -> bool {
        let mut programs = self.programs.iter();
        self.has_package(words, number) || programs.any(|name| names(name, words, number))
    }
}

/// Says whether a name holds one of the words, and the version as a number of its own.
fn names(name: &str, words: &[&str], number: &str) -> bool {
    let is_number = |at: usize| {
        let (before, rest) = (&name[..at], &name[at + number.len()..]);
        let goes_on = |c: char| c.is_ascii_digit() || c == '.';
        !before.ends_with(goes_on)
            && !rest.starts_with(|c: char| c.is_ascii_digit())
            && !rest
                .strip_prefix('.')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    words.iter().any(|word| name.contains(word))
        && name.match_indices(number).any(|(at, _)| is_number(at))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::tree::testing::MemoryView;

    /// A tree with these packages, and these files.
    fn found(packages: &[&str], files: &[&str]) -> Vec<(String, Weight, String)> {
        let stanza = |name: &&str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
            )
        };
        let status: String = packages.iter().map(stanza).collect();
        let place = "usr/lib/sysimage/var/lib/dpkg/status";
        let view = MemoryView::new().file(place, status.as_bytes());
        let mut tree = Tree::new();
        for file in files.iter().chain([&place]) {
            let path = RelPath::from_text(file).unwrap();
            for dir in std::iter::successors(path.parent(), RelPath::parent) {
                tree.insert(dir, Inode::directory(0o755));
            }
            tree.insert(path, Inode::file(ObjectId::of(b""), 0, 0o644));
        }
        let problems = stale(&tree, &view).unwrap().into_iter();
        problems
            .map(|found| (found.id.to_string(), found.weight, found.reason))
            .collect()
    }

    fn ids(packages: &[&str], files: &[&str]) -> Vec<String> {
        let found = found(packages, files).into_iter();
        found.map(|(id, ..)| id).collect()
    }

    #[test]
    fn settings_of_a_version_that_left_are_found_with_their_place_of_today() {
        let pool = "etc/php/8.2/fpm/pool.d/shop.conf";
        let today = "etc/php/8.4/fpm/pool.d/www.conf";
        let all = found(&["php8.4-fpm", "php-common"], &[pool, today]);
        assert_eq!(all.len(), 1);
        let (id, weight, reason) = &all[0];
        assert_eq!(
            (id.as_str(), *weight),
            ("place:/etc/php/8.2", Weight::Grave)
        );
        assert!(
            reason.contains("'/etc/php/8.4/fpm/pool.d' has one"),
            "{reason}"
        );
        let cluster = [
            "etc/postgresql/15/main/conf.d/x",
            "etc/postgresql/17/main/y",
        ];
        let server = ["postgresql-17", "postgresql-common"];
        assert_eq!(ids(&server, &cluster), ["place:/etc/postgresql/15"]);
    }

    #[test]
    fn right_uses_of_a_version_are_left_alone() {
        let both = ["etc/php/8.2/fpm/x", "etc/php/8.4/fpm/y"];
        let check = |packages: &[&str], files: &[&str]| {
            assert_eq!(ids(packages, files), Vec::<String>::new(), "{files:?}");
        };
        // Both are installed, or one of them by hand.
        check(&["php8.2-cli", "php8.4-cli"], &both);
        check(
            &["php8.4-cli"],
            &[&both[..], &["usr/local/bin/php8.2"]].concat(),
        );
        check(
            &["php8.4-cli"],
            &[&both[..], &["etc/php/8.2/bin/php"]].concat(),
        );
        // Nobody has another version, or the directories are somebody's own.
        check(&["php8.4-cli"], &both[..1]);
        check(&[], &both);
        check(&["openssl"], &["etc/app/1.0/a", "etc/app/2.0/b"]);
        check(
            &["libx11-6"],
            &["etc/X11/a", "etc/X12/b", "etc/rc2.d/x", "etc/rc9.d/y"],
        );
        // 8.2 is no part of 18.2 or 8.20.
        let odd = ["php8.4-cli", "php18.2-cli", "php8.20-cli", "php8.2.1"];
        assert_eq!(ids(&odd, &both), ["place:/etc/php/8.2"]);
    }

    #[test]
    fn java_of_a_version_that_left_is_a_note() {
        let file = "usr/lib/jvm/java-17-openjdk-amd64/conf/x";
        let today = "usr/lib/jvm/java-21-openjdk-amd64/conf/y";
        let all = found(&["openjdk-21-jre-headless"], &[file, today]);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].1, Weight::Minor);
        let own = "usr/lib/jvm/java-17-openjdk-amd64/bin/java";
        assert!(found(&["openjdk-21-jre-headless"], &[file, own, today]).is_empty());
    }

    #[test]
    fn the_newest_version_that_leads_on_is_the_likely_place() {
        let mut tree = Tree::new();
        let dirs = [
            "etc/php/8.4/fpm",
            "etc/php/8.10/fpm",
            "etc/php/8.11",
            "etc/x",
        ];
        for dir in dirs {
            let path = RelPath::from_text(dir).unwrap();
            for dir in std::iter::successors(Some(path), RelPath::parent) {
                tree.insert(dir, Inode::directory(0o755));
            }
        }
        let place = |path: &str| {
            let path = RelPath::from_text(path).unwrap();
            likely_place(&tree, &path, &|_| true).map(|place| place.to_string())
        };
        assert_eq!(
            place("etc/php/8.2/fpm/a").as_deref(),
            Some("/etc/php/8.10/fpm")
        );
        assert_eq!(place("etc/php/8.2/cli/a"), None);
        assert_eq!(place("etc/x/a"), None);
        assert_eq!(place("etc/gone/a"), None);
    }
}
