//! The engine for databases with one record per line.
//!
//! Comments are records keyed by their own text; blank lines stay where current has them, and those
//! directly before a new record of post come along with it.

use super::record::{self, MergedRecord, MergedRecords, Record, RecordMerge, Records, Sides};
use super::{Driver, DriverConflict, UnreadableRecord, parse_sides};
use std::borrow::Cow;

/// Finds the key in a line.
type Key = fn(&[u8]) -> Result<Cow<'_, [u8]>, String>;
/// Merges the three forms of a line.
type MergeLine = fn(Option<&[u8]>, &[u8], &[u8]) -> RecordMerge;

/// A database with one record per line, described by what its lines mean.
pub(super) struct LineFile {
    pub name: &'static str,
    /// Reads the key of a line, or says what is wrong with it.
    pub key: Key,
    /// Merges a line that both sides changed.
    pub both: MergeLine,
    /// Finds what is wrong with the result as a whole.
    pub check: fn(&[MergedRecord<'_>], &Sides<'_>) -> Vec<DriverConflict>,
    /// Whether a line may occur more than once, as in hand-kept sets.
    pub repeats: RepeatedLines,
    /// Tells the lines that must stay behind all new ones.
    pub last: fn(&[u8]) -> bool,
}

/// Whether a line may occur twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RepeatedLines {
    Refused,
    Tolerated,
}

impl LineFile {
    /// A set of lines: each line is its own key, so no line is ever merged.
    pub(super) const SET: LineFile = LineFile {
        name: "lines",
        key: |line| Ok(Cow::Borrowed(line)),
        both: |_, _, _| Err(vec!["changed differently in current and post".to_owned()]),
        check: |_, _| Vec::new(),
        repeats: RepeatedLines::Tolerated,
        last: |_| false,
    };
}

/// One line of the current file, as far as layout goes.
enum Item {
    Blank,
    Record(usize),
}

struct Lines<'a> {
    records: Records<'a>,
    layout: Vec<Item>,
}

impl LineFile {
    fn parse<'a>(&self, file: &'a [u8]) -> Result<Lines<'a>, Vec<UnreadableRecord>> {
        let mut lines = Lines {
            records: Records::default(),
            layout: Vec::new(),
        };
        let mut unreadable = Vec::new();
        for (at, raw) in split(file).enumerate() {
            let line = at + 1;
            if raw.trim_ascii().is_empty() {
                lines.layout.push(Item::Blank);
                continue;
            }
            let mut refuse = |reason: &str| unreadable.push(UnreadableRecord::at(line, reason));
            if raw.contains(&0) {
                refuse("a NUL byte");
                continue;
            }
            let comment = raw.starts_with(b"#");
            let key = if comment {
                Cow::Borrowed(raw)
            } else {
                match (self.key)(raw) {
                    Ok(key) => key,
                    Err(reason) => {
                        refuse(&reason);
                        continue;
                    }
                }
            };
            match lines.records.push(Record { key, raw, line }) {
                Ok(index) => lines.layout.push(Item::Record(index)),
                Err(index) => {
                    let first = &lines.records.list()[index];
                    let tolerated = comment || self.repeats == RepeatedLines::Tolerated;
                    if tolerated && first.raw == raw {
                        lines.layout.push(Item::Record(index));
                    } else {
                        let key = String::from_utf8_lossy(&first.key);
                        refuse(&format!("duplicate of '{key}' on line {}", first.line));
                    }
                }
            }
        }
        if unreadable.is_empty() {
            Ok(lines)
        } else {
            Err(unreadable)
        }
    }

    fn render(
        &self,
        merged: &MergedRecords<'_>,
        sides: &Sides<'_>,
        layout: [&[Item]; 2],
    ) -> Vec<u8> {
        let [current, post] = layout;
        let mut out = Vec::new();
        let is_last = |item: &Item| match item {
            Item::Blank => false,
            Item::Record(at) => (self.last)(sides.current.list()[*at].raw),
        };
        let split = current.iter().position(is_last).unwrap_or(current.len());
        let keep = |out: &mut Vec<u8>, items: &[Item]| {
            for item in items {
                match item {
                    Item::Blank => out.push(b'\n'),
                    Item::Record(at) => {
                        if let Some(raw) = &merged.kept[*at] {
                            out.extend_from_slice(raw);
                            out.push(b'\n');
                        }
                    }
                }
            }
        };
        keep(&mut out, &current[..split]);
        let mut blanks = 0;
        let mut added = merged.added.iter().copied().peekable();
        for item in post {
            match item {
                Item::Blank => blanks += 1,
                Item::Record(at) if added.peek() == Some(at) => {
                    out.resize(out.len() + blanks, b'\n');
                    out.extend_from_slice(sides.post.list()[*at].raw);
                    out.push(b'\n');
                    added.next();
                    blanks = 0;
                }
                Item::Record(_) => blanks = 0,
            }
        }
        keep(&mut out, &current[split..]);
        out
    }
}

impl Driver for LineFile {
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self, file: &[u8]) -> Result<(), Vec<UnreadableRecord>> {
        self.parse(file).map(drop)
    }

    fn merge_changed(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        let absent = current.is_none() || post.is_none();
        let [pre, current, post] = parse_sides([pre, current, post], |file| {
            self.parse(file.unwrap_or_default())
        })?;
        let sides = Sides {
            pre: pre.records,
            current: current.records,
            post: post.records,
        };
        let merged = record::merge(&sides, &self.both)?;
        let outcomes = merged.outcomes(&sides);
        let conflicts = (self.check)(&outcomes, &sides);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        if absent && outcomes.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.render(
            &merged,
            &sides,
            [&current.layout, &post.layout],
        )))
    }
}

/// Splits a file into its lines; a missing newline at the end makes no difference.
pub(super) fn split(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}
