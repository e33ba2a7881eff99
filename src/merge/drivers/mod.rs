//! Record-merge drivers: three-way merge of the shared databases whose record structure is known.
//!
//! A driver takes the changes of both sides, keyed by record and, where that is meaningful, field by
//! field. It is pure and it never guesses: what it cannot parse, or what both sides changed
//! differently, is a [`DriverConflict`]. If one side changed nothing the result is the other side,
//! byte for byte, and nothing is parsed at all: a file that is damaged but untouched stays as it is.
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

    fn unparsed(side: Side, line: usize, reason: impl std::fmt::Display) -> Self {
        Self {
            record: format!("line {line}"),
            line: Some(line),
            reason: format!("{}: {reason}", side.name()),
        }
    }
}

/// Merges one kind of database by its records.
pub trait Driver: Sync + Send {
    /// Returns the name of the driver, as findings show it.
    fn name(&self) -> &'static str;

    /// Merges by record; `None` means that the file is absent on that side, or in the result.
    fn merge(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>>;
}

/// Names one of the three inputs, in conflicts about a line that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Pre,
    Current,
    Post,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Pre => "pre",
            Side::Current => "current",
            Side::Post => "post",
        }
    }
}

/// Returns the result if no more than one side changed, or both made the same change.
fn unmerged<'a>(
    pre: Option<&'a [u8]>,
    current: Option<&'a [u8]>,
    post: Option<&'a [u8]>,
) -> Option<Option<&'a [u8]>> {
    if post == pre || current == post {
        Some(current)
    } else if current == pre {
        Some(post)
    } else {
        None
    }
}

/// Runs one parse per side, so that a caller sees the problems of all sides at once.
fn parse_sides<'a, T>(
    inputs: [Option<&'a [u8]>; 3],
    parse: impl Fn(&'a [u8], Side) -> Result<T, Vec<DriverConflict>>,
) -> Result<[T; 3], Vec<DriverConflict>> {
    let [pre, current, post] = inputs;
    let pre = parse(pre.unwrap_or_default(), Side::Pre);
    let current = parse(current.unwrap_or_default(), Side::Current);
    let post = parse(post.unwrap_or_default(), Side::Post);
    match (pre, current, post) {
        (Ok(pre), Ok(current), Ok(post)) => Ok([pre, current, post]),
        (pre, current, post) => Err([pre.err(), current.err(), post.err()]
            .into_iter()
            .flatten()
            .flatten()
            .collect()),
    }
}
