//! Which old files may be the base of a new one: by name, version numbers aside.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::DeltaItem;

/// Finds bases by name.
pub(super) struct NameIndex<'a> {
    items: Vec<&'a DeltaItem>,
    by_path: HashMap<&'a [u8], usize>,
    by_pattern: HashMap<Vec<u8>, Vec<usize>>,
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    by_folder: HashMap<Vec<u8>, Vec<usize>>,
}

/// A file that may be a base.
#[derive(Debug, Clone, Copy)]
pub(super) struct BaseCandidate<'a> {
    pub(super) item: &'a DeltaItem,
    pub(super) reason: BaseReason,
}

/// Why it may be one, the best reason first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BaseReason {
    /// It has the same path.
    Path,
    /// It has the same path but for version numbers.
    Pattern,
    /// It has the same name elsewhere, version numbers aside.
    Name,
    /// It is in the same folder and about as large.
    Folder,
}

/// How many candidates are looked at.
const MANY: usize = 1024;
/// The most candidates for one file.
const CANDIDATES: usize = 3;

impl<'a> NameIndex<'a> {
    pub(super) fn new(items: impl Iterator<Item = &'a DeltaItem>) -> Self {
        let mut names = Self {
            items: items.collect(),
            by_path: HashMap::new(),
            by_pattern: HashMap::new(),
            by_name: HashMap::new(),
            by_folder: HashMap::new(),
        };
        for (n, item) in names.items.iter().enumerate() {
            for path in &item.paths {
                names.by_path.entry(path.as_bytes()).or_insert(n);
                let pattern = pattern(path.as_bytes());
                let (folder, name) = split(&pattern);
                names.by_name.entry(name.to_vec()).or_default().push(n);
                names.by_folder.entry(folder.to_vec()).or_default().push(n);
                names.by_pattern.entry(pattern).or_default().push(n);
            }
        }
        names
    }

    /// Returns up to three candidates, the likeliest first. Several may have the same path but for
    /// version numbers (`libx0.so.1` and `libx1.so.1`): names say little then, and contents have to
    /// be looked at.
    pub(super) fn candidates(&self, item: &DeltaItem) -> Vec<BaseCandidate<'a>> {
        let mut found: Vec<(usize, BaseReason)> = Vec::new();
        for path in &item.paths {
            let path = path.as_bytes();
            if let Some(n) = self.by_path.get(path) {
                add(&mut found, &[*n], BaseReason::Path);
            }
            let pattern = pattern(path);
            if let Some(alike) = self.by_pattern.get(&pattern) {
                add(
                    &mut found,
                    &self.nearest(alike, item, path),
                    BaseReason::Pattern,
                );
            }
        }
        for path in &item.paths {
            let path = path.as_bytes();
            let pattern = pattern(path);
            let (folder, name) = split(&pattern);
            if !found.is_empty() {
                break;
            }
            if let Some(alike) = self.by_name.get(name) {
                add(
                    &mut found,
                    &self.nearest(alike, item, path),
                    BaseReason::Name,
                );
            }
            if let Some(alike) = self.by_folder.get(folder) {
                let is_alike = |n: &usize| {
                    let size = self.items[*n].size;
                    size >= item.size / 2 && size / 2 <= item.size
                };
                let alike: Vec<usize> = alike.iter().copied().filter(is_alike).collect();
                add(
                    &mut found,
                    &self.nearest(&alike, item, path),
                    BaseReason::Folder,
                );
            }
        }
        found.sort_by_key(|(_, reason)| *reason);
        let candidates = found.into_iter().map(|(n, reason)| BaseCandidate {
            item: self.items[n],
            reason,
        });
        candidates.collect()
    }

    /// Returns those whose names, and then sizes, are nearest.
    fn nearest(&self, candidates: &[usize], item: &DeltaItem, path: &[u8]) -> Vec<usize> {
        let mut sorted: Vec<usize> = candidates.iter().copied().take(MANY).collect();
        sorted.sort_by_cached_key(|n| {
            let other = self.items[*n];
            let alike = other.paths.iter().map(|p| common(p.as_bytes(), path));
            (
                Reverse(alike.max()),
                other.size.abs_diff(item.size),
                other.id,
            )
        });
        sorted.truncate(CANDIDATES);
        sorted
    }
}

fn add(found: &mut Vec<(usize, BaseReason)>, candidates: &[usize], reason: BaseReason) {
    for n in candidates {
        if found.len() < CANDIDATES && !found.iter().any(|(known, _)| known == n) {
            found.push((*n, reason));
        }
    }
}

/// Returns how many bytes two paths have in common at their ends, and their names at their starts.
fn common(a: &[u8], b: &[u8]) -> usize {
    let pairs = a.iter().rev().zip(b.iter().rev());
    let end = pairs.take_while(|(a, b)| a == b).count();
    let pairs = split(a).1.iter().zip(split(b).1);
    end + pairs.take_while(|(a, b)| a == b).count()
}

/// Returns the path with each version number as `#`: `lib/modules/6.12.9+deb13/x.ko` is
/// `lib/modules/#+deb#/x.ko`.
pub(super) fn pattern(path: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        if !path[at].is_ascii_digit() {
            pattern.push(path[at]);
            at += 1;
            continue;
        }
        pattern.push(b'#');
        while at < path.len() {
            let is_inner_dot = path[at] == b'.' && path.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !path[at].is_ascii_digit() && !is_inner_dot {
                break;
            }
            at += 1;
        }
    }
    pattern
}

/// Cuts a path into its folder and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let name = slash.map_or(0, |slash| slash + 1);
    (&path[..slash.unwrap_or(0)], &path[name..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::path::RelPath;

    #[test]
    fn versioned_names_find_their_base() {
        let item = |path: &str| DeltaItem {
            id: ObjectId::of(path.as_bytes()),
            size: 10,
            paths: vec![RelPath::new(path.as_bytes()).unwrap()],
        };
        let old: Vec<DeltaItem> = [
            "usr/lib/modules/6.12.107+deb13-cloud-amd64/kernel/fs/xfs.ko.xz",
            "usr/lib/modules/6.12.107+deb13-cloud-amd64/kernel/net/xfs.ko.xz",
            "usr/lib/libssl.so.3",
            "usr/lib/libfoo.so.1.2.3",
            "usr/lib/postgresql/17/bin/psql",
            "usr/share/doc/a/copyright",
        ]
        .map(item)
        .to_vec();
        let names = NameIndex::new(old.iter());
        for (new, expected) in [
            (
                "usr/lib/modules/6.12.117+deb13-cloud-amd64/kernel/fs/xfs.ko.xz",
                Some(0),
            ),
            ("usr/lib/libssl.so.3", Some(2)),
            ("usr/lib/libssl.so.4", Some(2)),
            ("usr/lib/libfoo.so.1.3", Some(3)),
            ("usr/lib/postgresql/18/bin/psql", Some(4)),
            ("opt/elsewhere/psql", Some(4)),
            ("usr/bin/unheard-of", None),
            ("usr/share/doc/a/authors", Some(5)),
        ] {
            let found = names.candidates(&item(new));
            let found = found.first().map(|candidate| candidate.item.id);
            assert_eq!(found, expected.map(|n: usize| old[n].id), "{new}");
        }
    }
    #[test]
    fn of_names_that_differ_in_several_numbers_the_nearest_come_first() {
        let item = |path: &str, size| DeltaItem {
            id: ObjectId::of(path.as_bytes()),
            size,
            paths: vec![RelPath::new(path.as_bytes()).unwrap()],
        };
        let old: Vec<DeltaItem> = (0..40)
            .map(|n| item(&format!("usr/lib/libx{n}.so.1.3"), 1000 + n))
            .collect();
        let names = NameIndex::new(old.iter());
        // All have one pattern, and the sizes are misleading.
        let found = names.candidates(&item("usr/lib/libx27.so.1.4", 1003));
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].item.id, old[27].id);
        assert!(
            found
                .iter()
                .all(|found| found.reason == BaseReason::Pattern)
        );
    }
}
