//! Libraries of packages that the loader never takes, because another file of the same soname comes
//! first.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};

/// One line of the loader's cache, in the order in which the loader searches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedLibrary<'a> {
    /// The name that programs need.
    pub soname: &'a [u8],
    /// Where the loader finds it: an absolute path.
    pub path: &'a [u8],
    /// Which ABI it is for.
    pub flags: u32,
}

/// Says which package, and which version of it, the file at an absolute path belongs to.
pub type OwnerOf<'a> = dyn Fn(&[u8]) -> Option<(String, String)> + 'a;

/// Finds libraries of no package that hide one of a package: `shadow:library:PATH:VERSION`,
/// [`Minor`](Weight::Minor).
///
/// Such a copy keeps its faults when the package's library is patched: each version of that is a
/// problem of its own. `entries` are all lines of the cache in its order; `owner` gives package and
/// version of the file at an absolute path as the cache has it, links followed as it sees fit. A
/// line of a `glibc-hwcaps` directory hides others only on some machines, and is told all the same.
pub fn libraries<'a>(
    entries: impl IntoIterator<Item = CachedLibrary<'a>>,
    owner: &OwnerOf<'_>,
) -> Vec<Problem> {
    let mut strays: BTreeMap<(&[u8], u32), Vec<&[u8]>> = BTreeMap::new();
    let mut owned: BTreeSet<(&[u8], u32)> = BTreeSet::new();
    let mut problems: BTreeMap<_, Problem> = BTreeMap::new();
    for entry in entries {
        let key = (entry.soname, entry.flags);
        // What comes after a package's library is hidden itself.
        if owned.contains(&key) {
            continue;
        }
        let Some((package, version)) = owner(entry.path) else {
            strays.entry(key).or_default().push(entry.path);
            continue;
        };
        owned.insert(key);
        for stray in strays.remove(&key).unwrap_or_default() {
            let Some(problem) = problem(stray, &entry, &package, &version) else {
                continue;
            };
            problems.insert(problem.id.clone(), problem);
        }
    }
    problems.into_values().collect()
}

/// Says that a layer has a program or library of its own in the place of one of a package below it:
/// `shadow:file:PATH:VERSION`, [`Minor`](Weight::Minor).
pub fn replaced(path: &RelPath, package: &str, version: &str) -> Problem {
    Problem {
        id: FindingKind::Shadow.at(format_args!("file:{path}:{version}")),
        reason: format!(
            "'{path}' belongs to the layer itself and hides the file of {package} {version}"
        ),
        subject: Subject::Path(path.clone()),
        package: Some(package.to_owned()),
        other: None,
        weight: Weight::Minor,
        hint: format!("remove the copy, so that programs use the file of {package}"),
    }
}

fn problem(
    stray: &[u8],
    hidden: &CachedLibrary<'_>,
    package: &str,
    version: &str,
) -> Option<Problem> {
    let path = RelPath::new(stray.strip_prefix(b"/").unwrap_or(stray)).ok()?;
    Some(Problem {
        id: FindingKind::Shadow.at(format_args!("library:{path}:{version}")),
        reason: format!(
            "'{path}' belongs to no package, and is loaded instead of '{}' of {package} {version}",
            escape(hidden.path)
        ),
        subject: Subject::Path(path),
        package: None,
        other: None,
        weight: Weight::Minor,
        hint: format!(
            "remove the copy, so that programs use the library of {package}, or rebuild its layer"
        ),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::assert_ids;

    fn check(entries: &[(&str, &str, u32)], expect: &[&str]) -> Vec<Problem> {
        let entries = entries.iter().map(|(soname, path, flags)| CachedLibrary {
            soname: soname.as_bytes(),
            path: path.as_bytes(),
            flags: *flags,
        });
        let owner = |path: &[u8]| {
            path.starts_with(b"/lib/")
                .then(|| ("zlib1g".to_owned(), "1:1.3".to_owned()))
        };
        let problems = libraries(entries, &owner);
        assert_ids(&problems, expect);
        problems
    }

    #[test]
    fn a_copy_that_is_loaded_before_the_packages_library_is_said() {
        let problems = check(
            &[
                ("libz.so.1", "/usr/local/lib/libz.so.1", 3),
                ("libz.so.1", "/lib/libz.so.1", 3),
            ],
            &["shadow:library:/usr/local/lib/libz.so.1:1:1.3"],
        );
        assert_eq!(
            problems[0].reason,
            "'/usr/local/lib/libz.so.1' belongs to no package, and is loaded instead of '/lib/libz.so.1' of zlib1g 1:1.3"
        );
        let opt = ("libz.so.1", "/opt/glibc-hwcaps/x86-64-v3/libz.so.1", 3);
        let local = ("libz.so.1", "/usr/local/lib/libz.so.1", 3);
        let own = ("libz.so.1", "/lib/libz.so.1", 3);
        check(
            &[opt, local, own],
            &[
                "shadow:library:/opt/glibc-hwcaps/x86-64-v3/libz.so.1:1:1.3",
                "shadow:library:/usr/local/lib/libz.so.1:1:1.3",
            ],
        );
        let second = ("libz.so.1", "/lib/second/libz.so.1", 3);
        check(&[own, local, second], &[]);
        check(&[own, local], &[]);
        check(&[local], &[]);
        check(&[local, ("libz.so.1", "/lib/i386/libz.so.1", 4)], &[]);
        check(&[local, ("libx.so.1", "/lib/libx.so.1", 3)], &[]);
    }
}
