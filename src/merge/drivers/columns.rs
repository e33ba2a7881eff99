//! Field-by-field merge of a line that is split into named columns.

use super::fields::{self, FieldConflict};
use super::record::RecordMerge;

/// A named column and how it merges.
pub(super) struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

/// How a column merges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// One value, changed by one side or to the same value by both.
    Value,
    /// One value that must not be quoted in a message.
    Secret,
    /// A decimal number.
    Number,
    /// A comma-separated set of names.
    Names,
    /// The day of the last change of the secret in column 1.
    Changed,
}

impl Column {
    pub(super) const fn new(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind }
    }
}

/// Splits a line at `delimiter` and holds it to the number and the kinds of its columns.
pub(super) fn split<'a>(
    columns: &[Column],
    delimiter: u8,
    what: &str,
    line: &'a [u8],
) -> Result<Vec<&'a [u8]>, String> {
    let parts: Vec<_> = line.split(|&byte| byte == delimiter).collect();
    if parts.len() != columns.len() {
        let (found, wanted) = (parts.len(), columns.len());
        return Err(format!("{found} fields, {what} has {wanted}"));
    }
    for (column, part) in columns.iter().zip(&parts) {
        if column.kind == ColumnKind::Number && fields::number::<u32>(part).is_none() {
            let part = String::from_utf8_lossy(part);
            return Err(format!("{} '{part}' is not a number", column.name));
        }
    }
    Ok(parts)
}

/// Merges a line of columns that both sides changed.
pub(super) fn merge(
    columns: &[Column],
    delimiter: u8,
    pre: Option<&[u8]>,
    current: &[u8],
    post: &[u8],
) -> RecordMerge {
    // Each side went through `split`, so that all have the same columns.
    let parts = |line| <[u8]>::split(line, |&byte| byte == delimiter).collect::<Vec<_>>();
    let (pre, current, post) = (pre.map(parts), parts(current), parts(post));
    let mut merged = Vec::new();
    let mut reasons = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            merged.push(delimiter);
        }
        let was = pre.as_ref().map(|pre| pre[at]);
        let (now, then) = (current[at], post[at]);
        if column.kind == ColumnKind::Names {
            let names = |list| fields::members(list, b',');
            let set = fields::set(&names(was.unwrap_or_default()), &names(now), &names(then));
            merged.extend_from_slice(&set.join(&b','));
            continue;
        }
        match fields::three(was, Some(now), Some(then)) {
            Ok(value) => merged.extend_from_slice(value.unwrap_or_default()),
            Err(FieldConflict) => match later(column.kind, &current, &post, at) {
                Some(value) => merged.extend_from_slice(value),
                None => {
                    let secret = column.kind == ColumnKind::Secret;
                    reasons.push(fields::clash(column.name, secret, Some(now), Some(then)));
                }
            },
        }
    }
    if reasons.is_empty() {
        Ok(Some(merged))
    } else {
        Err(reasons)
    }
}

/// Chooses the later of two days on which both sides set one and the same password.
///
/// Two layers that each create the same locked system account on different days do not disagree
/// about anything. Day 0 is not a date ("must change it at the next login"), so it never gives way.
fn later<'a>(
    kind: ColumnKind,
    current: &[&'a [u8]],
    post: &[&'a [u8]],
    at: usize,
) -> Option<&'a [u8]> {
    if kind != ColumnKind::Changed || current[1] != post[1] {
        return None;
    }
    let day = |text| fields::number::<u64>(text).filter(|&day| day > 0);
    let (now, then) = (day(current[at])?, day(post[at])?);
    Some(if now >= then { current[at] } else { post[at] })
}
