//! Which old file is the base of a new one: by name, version numbers aside.

use std::collections::HashMap;

use super::Item;
use crate::path::RelPath;

/// Finds bases by name.
pub(super) struct Names<'a> {
    items: Vec<&'a Item>,
    by_path: HashMap<&'a [u8], usize>,
    by_pattern: HashMap<Vec<u8>, Vec<usize>>,
    by_name: HashMap<Vec<u8>, Vec<usize>>,
}

/// How many of many candidates are looked at.
const MANY: usize = 64;

impl<'a> Names<'a> {
    pub(super) fn new(items: impl Iterator<Item = &'a Item>) -> Self {
        let mut names = Self {
            items: items.collect(),
            by_path: HashMap::new(),
            by_pattern: HashMap::new(),
            by_name: HashMap::new(),
        };
        for (n, item) in names.items.iter().enumerate() {
            for path in &item.paths {
                names.by_path.entry(path.as_bytes()).or_insert(n);
                let pattern = pattern(path.as_bytes());
                let last = file_name(&pattern).to_vec();
                names.by_name.entry(last).or_default().push(n);
                names.by_pattern.entry(pattern).or_default().push(n);
            }
        }
        names
    }

    /// Returns up to three candidates, the likeliest first: those of the same path, of the same path but for version
    /// numbers, of the same name; among equals those whose size is nearest.
    pub(super) fn candidates(&self, item: &Item) -> Vec<&'a Item> {
        let mut found: Vec<usize> = Vec::new();
        let add = |found: &mut Vec<usize>, candidates: &[usize], path: &RelPath| {
            let mut sorted: Vec<usize> = candidates.iter().copied().take(MANY).collect();
            sorted.sort_by_key(|n| {
                let other = self.items[*n];
                let common = other
                    .paths
                    .iter()
                    .map(|p| common_suffix(p.as_bytes(), path.as_bytes()));
                (
                    std::cmp::Reverse(common.max()),
                    other.size.abs_diff(item.size),
                )
            });
            for n in sorted {
                if found.len() < 3 && !found.contains(&n) {
                    found.push(n);
                }
            }
        };
        for path in &item.paths {
            if let Some(n) = self.by_path.get(path.as_bytes()) {
                add(&mut found, &[*n], path);
            }
        }
        for path in &item.paths {
            let pattern = pattern(path.as_bytes());
            if let Some(candidates) = self.by_pattern.get(&pattern) {
                add(&mut found, candidates, path);
            }
        }
        if found.is_empty() {
            for path in &item.paths {
                let pattern = pattern(path.as_bytes());
                if let Some(candidates) = self.by_name.get(file_name(&pattern)) {
                    add(&mut found, candidates, path);
                }
            }
        }
        found.into_iter().map(|n| self.items[n]).collect()
    }
}

/// Returns the path with each version number as `#`: `lib/modules/6.12.9+deb13/x.ko` is `lib/modules/#+deb#/x.ko`.
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

/// Returns the last part of a path.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let pairs = a.iter().rev().zip(b.iter().rev());
    pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;

    #[test]
    fn versioned_names_find_their_base() {
        let item = |path: &str| Item {
            id: ObjectId::of(path.as_bytes()),
            size: 10,
            paths: vec![RelPath::new(path.as_bytes()).unwrap()],
        };
        let old: Vec<Item> = [
            "usr/lib/modules/6.12.107+deb13-cloud-amd64/kernel/fs/xfs.ko.xz",
            "usr/lib/modules/6.12.107+deb13-cloud-amd64/kernel/net/xfs.ko.xz",
            "usr/lib/libssl.so.3",
            "usr/lib/libfoo.so.1.2.3",
            "usr/lib/postgresql/17/bin/psql",
            "usr/share/doc/a/copyright",
        ]
        .map(item)
        .to_vec();
        let names = Names::new(old.iter());
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
        ] {
            let found = names.candidates(&item(new));
            let found = found.first().map(|item| item.id);
            assert_eq!(found, expected.map(|n: usize| old[n].id), "{new}");
        }
    }
}
