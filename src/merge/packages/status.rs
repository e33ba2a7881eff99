//! The packages of one side, by name, and the counterpart of each on another side.

use std::collections::{HashMap, HashSet};

use crate::deb822::stanzas;
use crate::packages::dpkg;

pub(super) use crate::packages::{PackageKey, PackageRecord};

/// A whole database.
pub(super) struct IndexedDatabase<'a> {
    pub records: Vec<PackageRecord<'a>>,
    keys: HashMap<PackageKey<'a>, usize>,
    /// What is there, by name.
    names: HashMap<&'a str, Vec<usize>>,
}

impl<'a> IndexedDatabase<'a> {
    /// Reads a `status` file; `None` says that some record of it cannot be read.
    pub(super) fn read(file: &'a [u8]) -> Option<Self> {
        let read = dpkg::read(file);
        if !read.is_whole() {
            return None;
        }
        let mut keys = HashMap::new();
        let mut names: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, record) in read.records.iter().enumerate() {
            keys.insert(record.key, at);
            if record.package.is_some() {
                names.entry(record.key.0).or_default().push(at);
            }
        }
        Some(Self {
            records: read.records,
            keys,
            names,
        })
    }

    /// Returns the record of exactly this package.
    pub(super) fn get(&self, key: PackageKey<'_>) -> Option<&PackageRecord<'a>> {
        self.keys.get(&key).map(|at| &self.records[*at])
    }

    /// Returns the installed package that stands where `record`, one of `side`, stands: of the same
    /// architecture, or the only one of the name where there cannot be two.
    pub(super) fn counterpart(
        &self,
        record: &PackageRecord<'_>,
        side: &IndexedDatabase<'_>,
    ) -> Option<&PackageRecord<'a>> {
        let exact = self.get(record.key);
        if exact.is_some_and(|found| found.package.is_some()) {
            return exact;
        }
        let is_alone = side
            .names
            .get(record.key.0)
            .is_some_and(|all| all.len() == 1);
        match self.names.get(record.key.0)?.as_slice() {
            [at] if is_alone => {
                let found = &self.records[*at];
                (!(found.is_same && record.is_same)).then_some(found)
            }
            _ => None,
        }
    }

    /// Writes the database with the records of some groups of packages replaced by those that
    /// `from` has of them.
    ///
    /// `groups` says which group a package is in.
    pub(super) fn with(
        &self,
        groups: &HashMap<PackageKey<'_>, usize>,
        from: &IndexedDatabase<'_>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |raw: &[u8]| {
            out.extend_from_slice(raw);
            out.extend_from_slice(b"\n\n");
        };
        let mut replacements: HashMap<usize, Vec<&[u8]>> = HashMap::new();
        for record in &from.records {
            if let Some(group) = groups.get(&record.key) {
                replacements.entry(*group).or_default().push(record.raw);
            }
        }
        for record in &self.records {
            match groups.get(&record.key) {
                None => put(record.raw),
                // All records of a group stand where its first one was.
                Some(group) => {
                    let all = replacements.remove(group).unwrap_or_default();
                    all.into_iter().for_each(&mut put);
                }
            }
        }
        out
    }
}

/// Says whether some package may have a record on both sides that `pre` lacks. It is cheap; only a
/// yes can be wrong.
pub(super) fn may_collide(pre: &[u8], current: &[u8], post: &[u8]) -> bool {
    let before: HashSet<&[u8]> = stanzas(pre).map(|(raw, ..)| raw).collect();
    let new = |file| stanzas(file).filter(|(raw, ..)| !before.contains(raw));
    // Every program that writes these files begins a record with its package.
    let name = |raw: &'_ [u8]| -> Option<Vec<u8>> {
        let line = raw.split(|byte| *byte == b'\n').next()?;
        Some(line.strip_prefix(b"Package:")?.trim_ascii().to_vec())
    };
    let here: HashSet<_> = new(current).map(|(raw, ..)| name(raw)).collect();
    here.contains(&None)
        || new(post).any(|(raw, ..)| {
            let name = name(raw);
            name.is_none() || here.contains(&name)
        })
}
