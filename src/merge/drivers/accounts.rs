//! Account databases: `passwd`, `group`, `shadow`, `gshadow`, `subuid` and `subgid`.
//!
//! Formats: passwd(5), group(5), shadow(5), gshadow(5), subuid(5). Lines of the NIS compatibility
//! scheme (`+`, `-`, `+@netgroup`) are opaque and stay behind all new records, where shadow-utils
//! keeps them too: what follows such a line may be overruled by it.

use super::DriverConflict;
use super::columns::{self, Column, ColumnKind};
use super::fields;
use super::linefile::{LineFile, RepeatedLines};
use super::record::{MergedRecord, Records, Sides};
use std::borrow::Cow;
use std::collections::BTreeMap;

const PASSWD: [Column; 7] = [
    Column::new("name", ColumnKind::Value),
    Column::new("password", ColumnKind::Secret),
    Column::new("uid", ColumnKind::Number),
    Column::new("gid", ColumnKind::Number),
    Column::new("gecos", ColumnKind::Value),
    Column::new("home", ColumnKind::Value),
    Column::new("shell", ColumnKind::Value),
];
const GROUP: [Column; 4] = [
    Column::new("name", ColumnKind::Value),
    Column::new("password", ColumnKind::Secret),
    Column::new("gid", ColumnKind::Number),
    Column::new("members", ColumnKind::Names),
];
const SHADOW: [Column; 9] = [
    Column::new("name", ColumnKind::Value),
    Column::new("password", ColumnKind::Secret),
    Column::new("last change", ColumnKind::Changed),
    Column::new("minimum age", ColumnKind::Value),
    Column::new("maximum age", ColumnKind::Value),
    Column::new("warning period", ColumnKind::Value),
    Column::new("inactivity period", ColumnKind::Value),
    Column::new("expiration", ColumnKind::Value),
    Column::new("reserved", ColumnKind::Value),
];
const GSHADOW: [Column; 4] = [
    Column::new("name", ColumnKind::Value),
    Column::new("password", ColumnKind::Secret),
    Column::new("administrators", ColumnKind::Names),
    Column::new("members", ColumnKind::Names),
];
const SUBID: [Column; 3] = [
    Column::new("name", ColumnKind::Value),
    Column::new("start", ColumnKind::Number),
    Column::new("count", ColumnKind::Number),
];

const ACCOUNTS: LineFile = LineFile {
    repeats: RepeatedLines::Refused,
    last: is_compat,
    ..LineFile::SET
};

/// Merges `/etc/passwd`.
pub(super) static PASSWD_FILE: LineFile = LineFile {
    name: "passwd",
    key: |line| name(&PASSWD, "passwd", line),
    both: |pre, current, post| columns::merge(&PASSWD, b':', pre, current, post),
    check: |outcomes, sides| shared_numbers("uid", outcomes, sides),
    ..ACCOUNTS
};

/// Merges `/etc/group`.
pub(super) static GROUP_FILE: LineFile = LineFile {
    name: "group",
    key: |line| name(&GROUP, "group", line),
    both: |pre, current, post| columns::merge(&GROUP, b':', pre, current, post),
    check: |outcomes, sides| shared_numbers("gid", outcomes, sides),
    ..ACCOUNTS
};

/// Merges `/etc/shadow`.
pub(super) static SHADOW_FILE: LineFile = LineFile {
    name: "shadow",
    key: |line| name(&SHADOW, "shadow", line),
    both: |pre, current, post| columns::merge(&SHADOW, b':', pre, current, post),
    ..ACCOUNTS
};

/// Merges `/etc/gshadow`.
pub(super) static GSHADOW_FILE: LineFile = LineFile {
    name: "gshadow",
    key: |line| name(&GSHADOW, "gshadow", line),
    both: |pre, current, post| columns::merge(&GSHADOW, b':', pre, current, post),
    ..ACCOUNTS
};

/// Merges `/etc/subuid`.
pub(super) static SUBUID_FILE: LineFile = LineFile {
    name: "subuid",
    ..SUBID_FILE
};

/// Merges `/etc/subgid`.
pub(super) static SUBGID_FILE: LineFile = LineFile {
    name: "subgid",
    ..SUBID_FILE
};

/// One name may own several ranges, so the key is the name and the start of the range.
const SUBID_FILE: LineFile = LineFile {
    key: |line| {
        let parts = columns::split(&SUBID, b':', "a subordinate id range", line)?;
        if parts[0].is_empty() {
            return Err("the name is empty".to_owned());
        }
        Ok(Cow::Borrowed(&line[..parts[0].len() + 1 + parts[1].len()]))
    },
    both: |pre, current, post| columns::merge(&SUBID, b':', pre, current, post),
    check: |outcomes, sides| overlaps(outcomes, sides),
    last: |_| false,
    ..ACCOUNTS
};

fn is_compat(line: &[u8]) -> bool {
    line.starts_with(b"+") || line.starts_with(b"-")
}

fn name<'a>(columns: &[Column], what: &str, line: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    if is_compat(line) {
        return Ok(Cow::Borrowed(line));
    }
    let parts = columns::split(columns, b':', what, line)?;
    if parts[0].is_empty() {
        return Err("the name is empty".to_owned());
    }
    Ok(Cow::Borrowed(parts[0]))
}

fn number(line: &[u8]) -> Option<u32> {
    let text = line.split(|&byte| byte == b':').nth(2);
    text.filter(|_| !is_compat(line)).and_then(fields::number)
}

/// Finds names that share a number only because of the merge.
///
/// Two names that share one on one side (`root` and `toor`) were made to by someone who saw both.
fn shared_numbers(
    what: &str,
    outcomes: &[MergedRecord<'_>],
    sides: &Sides<'_>,
) -> Vec<DriverConflict> {
    let mut owners: BTreeMap<u32, Vec<&MergedRecord<'_>>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|o| !o.raw.starts_with(b"#")) {
        if let Some(number) = number(outcome.raw) {
            owners.entry(number).or_default().push(outcome);
        }
    }
    let on = |side: &Records<'_>, key: &[u8]| side.get(key).and_then(|record| number(record.raw));
    let mut conflicts = Vec::new();
    for (id, owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
        let known = |side: &Records<'_>| owners.iter().all(|o| on(side, o.key) == Some(*id));
        if known(&sides.current) || known(&sides.post) {
            continue;
        }
        // The names that current does not have with this number are the ones that came in.
        let (old, new): (Vec<&MergedRecord<'_>>, Vec<&MergedRecord<'_>>) = owners
            .iter()
            .copied()
            .partition(|o| on(&sides.current, o.key) == Some(*id));
        let (owner, rest): (&MergedRecord<'_>, &[_]) = match (old.first(), new.split_first()) {
            (Some(owner), _) => (*owner, &new[..]),
            (None, Some((owner, rest))) => (*owner, rest),
            (None, None) => continue,
        };
        let owner = String::from_utf8_lossy(owner.key);
        for outcome in rest {
            let reason = format!("{what} {id} already belongs to '{owner}'");
            conflicts.push(DriverConflict::on(outcome.key, Some(outcome.line), reason));
        }
    }
    conflicts
}

/// Finds ranges that overlap only because of the merge.
fn overlaps(outcomes: &[MergedRecord<'_>], sides: &Sides<'_>) -> Vec<DriverConflict> {
    let mut ranges: Vec<(u64, u64, &MergedRecord<'_>)> = outcomes
        .iter()
        .filter_map(|outcome| {
            let mut parts = outcome.raw.split(|&byte| byte == b':').skip(1);
            let start: u64 = fields::number(parts.next()?)?;
            let count: u64 = fields::number(parts.next()?)?;
            (count > 0).then_some((start, start + count, outcome))
        })
        .collect();
    ranges.sort_by_key(|(start, end, outcome)| (*start, *end, outcome.key));
    let holds =
        |side: &Records<'_>, o: &MergedRecord<'_>| side.get(o.key).is_some_and(|r| r.raw == o.raw);
    let mut conflicts = Vec::new();
    // The range that reaches furthest so far, apart for each group: those that only current holds,
    // that only post holds, that are merged and known to neither, that both hold. An overlap within
    // one side is that side's own business and must not hide another.
    let mut furthest: [Option<(u64, &MergedRecord<'_>)>; 4] = [None; 4];
    for (start, end, outcome) in ranges {
        let (now, then) = (holds(&sides.current, outcome), holds(&sides.post, outcome));
        let (slot, rivals): (usize, &[usize]) = match (now, then) {
            (true, false) => (0, &[1, 2]),
            (false, true) => (1, &[0, 2]),
            (false, false) => (2, &[0, 1, 2, 3]),
            (true, true) => (3, &[2]),
        };
        let rival = rivals
            .iter()
            .filter_map(|&at| furthest[at])
            .max_by_key(|(end, _)| *end);
        if let Some((_, other)) = rival.filter(|(end, _)| *end > start) {
            let other = String::from_utf8_lossy(other.raw);
            let reason = format!("the range overlaps '{other}'");
            conflicts.push(DriverConflict::on(outcome.key, Some(outcome.line), reason));
        }
        if furthest[slot].is_none_or(|(reach, _)| reach < end) {
            furthest[slot] = Some((end, outcome));
        }
    }
    conflicts
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
