//! dpkg's `diversions` and `statoverride`.
//!
//! `diversions` has three lines a record: the diverted path, where it goes, and the package that
//! asked for it (`:` for the admin). `statoverride` has `owner group mode path`. dpkg keeps no
//! order in either.

use super::columns::{self, Column, ColumnKind};
use super::fields::{self, FieldConflict};
use super::linefile::{self, LineFile, RepeatedLines};
use super::record::{self, MergedRecord, Record, RecordMerge, Records, Sides};
use super::{Driver, DriverConflict, UnreadableRecord, parse_sides};
use std::borrow::Cow;
use std::collections::HashMap;

/// Merges `/var/lib/dpkg/statoverride`.
pub(super) static STATOVERRIDE: LineFile = LineFile {
    name: "dpkg-statoverride",
    key: |line| Ok(Cow::Borrowed(override_parts(line)?.1)),
    both: |pre, current, post| {
        let parts = |line| override_parts(line).map_err(|reason| vec![reason]);
        let pre = pre.map(parts).transpose()?;
        let ((now, path), (then, _)) = (parts(current)?, parts(post)?);
        let was = pre.map(|(was, _)| was);
        let merged = columns::merge(&OVERRIDE, b' ', was, now, then)?;
        Ok(merged.map(|merged| [&merged, path].join(&b' ')))
    },
    repeats: RepeatedLines::Refused,
    ..LineFile::SET
};

const OVERRIDE: [Column; 3] = [
    Column::new("owner", ColumnKind::Value),
    Column::new("group", ColumnKind::Value),
    Column::new("mode", ColumnKind::Value),
];

/// Splits an override into `owner group mode` and the path, which may hold blanks.
fn override_parts(line: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let mut blanks = line.iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let third = blanks.nth(2).map(|(at, _)| at);
    let (head, path) = line.split_at(third.unwrap_or(line.len()));
    let path = path.get(1..).unwrap_or_default();
    let words = columns::split(&OVERRIDE, b' ', "an override", head);
    let octal =
        |mode: &[u8]| !mode.is_empty() && mode.iter().all(|byte| (b'0'..=b'7').contains(byte));
    match words {
        Ok(words)
            if path.starts_with(b"/")
                && octal(words[2])
                && !words[0].is_empty()
                && !words[1].is_empty() =>
        {
            Ok((head, path))
        }
        _ => Err("not an owner, a group, an octal mode and a path".to_owned()),
    }
}

/// Merges `/var/lib/dpkg/diversions`.
pub(super) static DIVERSIONS: DiversionsDriver = DiversionsDriver;

/// The driver of `diversions`.
pub(super) struct DiversionsDriver;

fn parse(file: &[u8]) -> Result<Records<'_>, Vec<UnreadableRecord>> {
    let mut records = Records::default();
    let mut unreadable = Vec::new();
    let mut rest = file;
    let mut line = 1;
    while !rest.is_empty() {
        // A record ends with the third newline: what has fewer is cut off.
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let Some((end, _)) = ends.into_iter().nth(2) else {
            unreadable.push(UnreadableRecord::at(line, "the diversion is truncated"));
            break;
        };
        let (raw, tail) = (&rest[..end], &rest[end + 1..]);
        let [from, to, package] = parts(raw);
        let path = |path: &[u8]| path.starts_with(b"/") && !path.contains(&0);
        if !path(from) || !path(to) || package.is_empty() || package.contains(&b'/') {
            // After one record with a wrong number of lines, the rest cannot be read.
            let reason = "not two absolute paths and a package";
            unreadable.push(UnreadableRecord::at(line, reason));
            break;
        }
        let key = Cow::Borrowed(from);
        if let Err(first) = records.push(Record { key, raw, line }) {
            let first = records.list()[first].line;
            let from = String::from_utf8_lossy(from);
            let reason = format!("duplicate of '{from}' on line {first}");
            unreadable.push(UnreadableRecord::at(line, reason));
        }
        rest = tail;
        line += 3;
    }
    if unreadable.is_empty() {
        Ok(records)
    } else {
        Err(unreadable)
    }
}

fn parts(raw: &[u8]) -> [&[u8]; 3] {
    let mut lines = linefile::split(raw);
    [(); 3].map(|()| lines.next().unwrap_or_default())
}

fn both(pre: Option<&[u8]>, current: &[u8], post: &[u8]) -> RecordMerge {
    let (pre, current, post) = (pre.map(parts), parts(current), parts(post));
    let mut merged = vec![current[0]];
    let mut reasons = Vec::new();
    for (at, name) in [(1, "target"), (2, "package")] {
        let (now, then) = (Some(current[at]), Some(post[at]));
        match fields::three(pre.map(|pre| pre[at]), now, then) {
            Ok(value) => merged.extend(value),
            Err(FieldConflict) => reasons.push(fields::clash(name, false, now, then)),
        }
    }
    if reasons.is_empty() {
        Ok(Some(merged.join(&b'\n')))
    } else {
        Err(reasons)
    }
}

/// Finds paths that two diversions claim, which dpkg would refuse to load.
fn contested(outcomes: &[MergedRecord<'_>], sides: &Sides<'_>) -> Vec<DriverConflict> {
    let mut claims: HashMap<&[u8], &MergedRecord<'_>> = HashMap::new();
    let mut conflicts = Vec::new();
    for outcome in outcomes {
        let [from, to, _] = parts(outcome.raw);
        for path in [from, to] {
            let Some(other) = claims.insert(path, outcome) else {
                continue;
            };
            let pair = [other, outcome];
            let both = |side: &Records<'_>| {
                let same = |o: &&MergedRecord<'_>| side.get(o.key).is_some_and(|r| r.raw == o.raw);
                pair.iter().all(same)
            };
            if both(&sides.current) || both(&sides.post) {
                continue;
            }
            let path = String::from_utf8_lossy(path);
            let other = String::from_utf8_lossy(other.key);
            let reason = format!("'{path}' also belongs to the diversion of '{other}'");
            conflicts.push(DriverConflict::on(outcome.key, Some(outcome.line), reason));
        }
    }
    conflicts
}

impl Driver for DiversionsDriver {
    fn name(&self) -> &'static str {
        "dpkg-diversions"
    }

    fn check(&self, file: &[u8]) -> Result<(), Vec<UnreadableRecord>> {
        parse(file).map(drop)
    }

    fn merge_changed(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        let absent = current.is_none() || post.is_none();
        let [pre, current, post] =
            parse_sides([pre, current, post], |file| parse(file.unwrap_or_default()))?;
        let sides = Sides { pre, current, post };
        let merged = record::merge(&sides, &both)?;
        let outcomes = merged.outcomes(&sides);
        let conflicts = contested(&outcomes, &sides);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        if absent && outcomes.is_empty() {
            return Ok(None);
        }
        let mut out = Vec::new();
        for outcome in outcomes {
            out.extend_from_slice(outcome.raw);
            out.push(b'\n');
        }
        Ok(Some(out))
    }
}

#[cfg(test)]
#[path = "diversions_tests.rs"]
mod tests;
