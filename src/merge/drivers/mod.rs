//! Record-merge drivers: three-way merge of the shared databases whose record structure is known.
//!
//! A driver takes the changes of both sides, keyed by record and, where that is meaningful, field
//! by field. It is pure and it never guesses: what it cannot parse, or what both sides changed
//! differently, is a [`DriverConflict`]. If one side changed nothing the result is the other side,
//! byte for byte, and nothing is parsed at all: a file that is damaged but untouched stays as it
//! is.
//!
//! An absent file counts as a file without records, so removing a database removes the records the
//! layer saw in it and keeps those that others added.

mod accounts;
pub(in crate::merge) mod alternatives;
mod catalogs;
mod columns;
mod deb822;
mod debconf;
mod diversions;
mod dpkg;
mod fields;
mod keystore;
mod linefile;
mod lines;
mod record;
mod registry;
mod rules;
mod ucf;

#[cfg(test)]
mod laws;

pub use registry::{driver_for, is_backup};

/// One problem that a driver will not guess about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("record '{record}': {reason}")]
pub struct DriverConflict {
    /// The key of the record, or `line N` where no key could be read.
    pub record: String,
    /// The line, counted from 1, where the record begins on the side that the reason names
    /// (the current file where it names both).
    pub line: Option<usize>,
    /// What is wrong. Passwords and debconf answers are never quoted here.
    pub reason: String,
}

impl DriverConflict {
    fn on(key: &[u8], line: Option<usize>, reason: impl Into<String>) -> Self {
        Self {
            record: String::from_utf8_lossy(key).into_owned(),
            line,
            reason: reason.into(),
        }
    }

    fn unparsed(side: &str, unreadable: UnreadableRecord) -> Self {
        let UnreadableRecord { line, reason } = unreadable;
        Self {
            record: format!("line {line}"),
            line: Some(line),
            reason: format!("{side}: {reason}"),
        }
    }
}

/// What of a file a driver cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRecord {
    /// The line, counted from 1, where the record begins.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl UnreadableRecord {
    fn at(line: usize, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
        }
    }
}

/// Merges one kind of database by its records.
///
/// Where only one side changed, nothing is read: a file that is damaged but untouched stays as it
/// is.
pub trait Driver: Sync + Send {
    /// Returns the name of the driver, as findings show it.
    fn name(&self) -> &'static str;

    /// Names the records of a file that cannot be read: a merge that has to read them fails.
    fn check(&self, file: &[u8]) -> Result<(), Vec<UnreadableRecord>>;

    /// Merges by record a file that both sides changed, differently.
    fn merge_changed(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>>;

    /// Merges by record; `None` means that the file is absent on that side, or in the result.
    fn merge(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        if post == pre || current == post {
            Ok(current.map(<[u8]>::to_vec))
        } else if current == pre {
            Ok(post.map(<[u8]>::to_vec))
        } else {
            self.merge_changed(pre, current, post)
        }
    }
}

/// Runs one parse per side, so that a caller sees the problems of all sides at once.
fn parse_sides<'a, T>(
    inputs: [Option<&'a [u8]>; 3],
    parse: impl Fn(Option<&'a [u8]>) -> Result<T, Vec<UnreadableRecord>>,
) -> Result<[T; 3], Vec<DriverConflict>> {
    let names = ["pre", "current", "post"];
    let mut parsed = Vec::with_capacity(3);
    let mut conflicts = Vec::new();
    for (input, side) in inputs.into_iter().zip(names) {
        match parse(input) {
            Ok(records) => parsed.push(records),
            Err(all) => conflicts.extend(
                all.into_iter()
                    .map(|unreadable| DriverConflict::unparsed(side, unreadable)),
            ),
        }
    }
    match <[T; 3]>::try_from(parsed) {
        Ok(parsed) => Ok(parsed),
        Err(_) => Err(conflicts),
    }
}
