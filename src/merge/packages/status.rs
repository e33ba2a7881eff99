//! The records of a dpkg `status` file as far as arbitration needs them: which package, and at which version.

use std::collections::{HashMap, HashSet};

use crate::deb822::{Stanza, stanzas};
use crate::version::Version;

/// Name and architecture; the latter is empty for what is long gone.
pub(super) type Key<'a> = (&'a [u8], &'a [u8]);

/// One package of a database.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub raw: &'a [u8],
    pub key: Key<'a>,
    /// The version, where more than its configuration is on the system.
    pub version: Option<Version<'a>>,
    /// Whether it may be there for several architectures at once.
    is_same: bool,
    /// The digests of its configuration files, by absolute path.
    pub conffiles: HashMap<&'a [u8], &'a [u8]>,
}

impl<'a> Record<'a> {
    /// Reads one stanza; `None` says that it cannot be.
    fn read(raw: &'a [u8]) -> Option<Self> {
        let stanza = Stanza::parse(raw).ok()?;
        let architecture = stanza.get(b"Architecture");
        let architecture = architecture.map(|field| field.value().trim_ascii());
        let words: Vec<_> = stanza
            .require("Status")
            .ok()?
            .split(|byte| *byte == b' ')
            .collect();
        let [_, _, state] = words[..] else {
            return None;
        };
        let version = match state {
            b"not-installed" | b"config-files" => None,
            _ => Some(Version::parse(stanza.require("Version").ok()?).ok()?),
        };
        if version.is_some() && architecture.is_none_or(<[u8]>::is_empty) {
            return None;
        }
        let conffiles = stanza.get(b"Conffiles").map(|field| field.value());
        let conffiles = conffiles.unwrap_or_default().split(|byte| *byte == b'\n');
        Some(Self {
            raw,
            key: (
                stanza.require("Package").ok()?,
                architecture.unwrap_or_default(),
            ),
            version,
            is_same: stanza.require("Multi-Arch") == Ok(b"same"),
            conffiles: conffiles
                .filter_map(|line| {
                    let mut words = line.trim_ascii().split(|byte| *byte == b' ');
                    Some((words.next()?, words.next()?))
                })
                .collect(),
        })
    }

    /// Returns what the package's files below `info` are named by.
    ///
    /// The source is `pkg_infodb_get_file` in dpkg's lib/dpkg.
    pub fn stem(&self) -> Vec<u8> {
        let (name, architecture) = self.key;
        if self.is_same {
            [name, b":", architecture].concat()
        } else {
            name.to_vec()
        }
    }
}

/// A whole database.
pub(super) struct Database<'a> {
    pub records: Vec<Record<'a>>,
    keys: HashMap<Key<'a>, usize>,
    /// What is there, by name.
    names: HashMap<&'a [u8], Vec<usize>>,
}

impl<'a> Database<'a> {
    /// Reads a `status` file; `None` says that some record of it cannot be read.
    pub fn read(file: &'a [u8]) -> Option<Self> {
        let mut database = Self {
            records: Vec::new(),
            keys: HashMap::new(),
            names: HashMap::new(),
        };
        for (raw, _, closed) in stanzas(file) {
            let record = Record::read(raw).filter(|_| closed)?;
            let at = database.records.len();
            if database.keys.insert(record.key, at).is_some() {
                return None;
            }
            if record.version.is_some() {
                database.names.entry(record.key.0).or_default().push(at);
            }
            database.records.push(record);
        }
        Some(database)
    }

    /// Returns the record of exactly this package.
    pub fn get(&self, key: Key<'_>) -> Option<&Record<'a>> {
        self.keys.get(&key).map(|at| &self.records[*at])
    }

    /// Returns the installed package that stands where `record`, one of `side`, stands: of the same architecture, or
    /// the only one of the name where there cannot be two.
    pub fn counterpart(&self, record: &Record<'_>, side: &Database<'_>) -> Option<&Record<'a>> {
        let exact = self.get(record.key);
        if exact.is_some_and(|found| found.version.is_some()) {
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

    /// Writes the database with the records of some groups of packages replaced by those that `from` has of them.
    ///
    /// `groups` says which group a package is in.
    pub fn with(&self, groups: &HashMap<Key<'_>, usize>, from: &Database<'_>) -> Vec<u8> {
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
                // At the first one of the group stand all.
                Some(group) => {
                    let all = replacements.remove(group).unwrap_or_default();
                    all.into_iter().for_each(&mut put);
                }
            }
        }
        out
    }
}

/// Says whether some package has a record on both sides that `pre` does not have; cheap, and wrong only by saying yes.
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
