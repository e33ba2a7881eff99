//! Stanza databases (deb822(5) and debconf's dialect of it): an engine described by a [`Format`].
//!
//! A stanza that only one side changed is taken byte for byte. One that both changed is merged
//! field by field: each field that only one side changed keeps its bytes and its place, and a new
//! field follows the one that it follows in post.

use super::fields;
use super::record::{self, MergedRecord, Record, RecordMerge, Records, Sides};
use super::rules::{self, Refusal, Rule};
use super::{Driver, DriverConflict, UnreadableRecord, parse_sides};
use crate::deb822::{Field, Stanza, stanzas};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Compares the keys of two stanzas.
pub(super) type Order = fn(&[u8], &[u8]) -> Ordering;

/// A database of stanzas, described by what its fields mean.
pub(super) struct Format {
    pub name: &'static str,
    /// Reads the key of a stanza, or says what is missing in it.
    pub key: for<'a> fn(&Stanza<'a>) -> Result<Cow<'a, [u8]>, String>,
    /// How a field merges when both sides changed it, by its name in lower case.
    pub rule: fn(&[u8]) -> Rule,
    /// The order in which the database's own program writes it, kept where current has it.
    pub order: Option<Order>,
    /// Whether the merged stanza still stands for anything.
    pub alive: fn(&Stanza<'_>) -> bool,
    /// Finds what is wrong with the result as a whole.
    pub check: fn(&[MergedRecord<'_>], &Sides<'_>) -> Vec<DriverConflict>,
}

impl Format {
    /// A format whose fields are values and whose order is that of the file.
    pub(super) const PLAIN: Format = Format {
        name: "deb822",
        key: |stanza| stanza.require("Package").map(Cow::Borrowed),
        rule: |_| Rule::Value,
        order: None,
        alive: |_| true,
        check: |_, _| Vec::new(),
    };

    fn parse<'a>(&self, file: &'a [u8]) -> Result<Records<'a>, Vec<UnreadableRecord>> {
        let mut records = Records::default();
        let mut unreadable = Vec::new();
        for (raw, line, closed) in stanzas(file) {
            let mut refuse =
                |line, reason: String| unreadable.push(UnreadableRecord::at(line, reason));
            if !closed {
                refuse(line, "the stanza is truncated".to_owned());
                continue;
            }
            let stanza = match Stanza::parse(raw) {
                Ok(stanza) => stanza,
                Err((offset, reason)) => {
                    refuse(line + offset, reason);
                    continue;
                }
            };
            match (self.key)(&stanza) {
                Err(reason) => refuse(line, reason),
                Ok(key) => {
                    if let Err(first) = records.push(Record { key, raw, line }) {
                        let first = &records.list()[first];
                        let key = String::from_utf8_lossy(&first.key);
                        refuse(line, format!("duplicate of '{key}' on line {}", first.line));
                    }
                }
            }
        }
        if unreadable.is_empty() {
            Ok(records)
        } else {
            Err(unreadable)
        }
    }

    fn both(&self, pre: Option<&[u8]>, current: &[u8], post: &[u8]) -> RecordMerge {
        // All three were parsed before, so that a failure here has nothing to say.
        let parse = |raw| Stanza::parse(raw).map_err(|(_, reason)| vec![reason]);
        let pre = pre.map(parse).transpose()?.unwrap_or_default();
        let (current, post) = (parse(current)?, parse(post)?);
        let mut merged: Vec<Cow<'_, [u8]>> = Vec::with_capacity(current.fields.len() + 2);
        let mut reasons = Vec::new();
        for name in ordered(&current, &post) {
            let sides = [&pre, &current, &post].map(|side| side.get(name));
            match self.field(name, sides) {
                Ok(field) => merged.extend(field),
                Err(reason) => reasons.push(reason),
            }
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let raw = merged.join(&b'\n');
        let alive = (self.alive)(&parse(&raw)?);
        Ok(alive.then_some(raw))
    }

    /// Merges one field, with its name as written.
    fn field<'a>(
        &self,
        name: &[u8],
        sides: [Option<&Field<'a>>; 3],
    ) -> Result<Option<Cow<'a, [u8]>>, String> {
        let [was, now, then] = sides.map(|side| side.map(|field| field.raw));
        if let Ok(raw) = fields::three(was, now, then) {
            return Ok(raw.map(Cow::Borrowed));
        }
        let rule = (self.rule)(&name.to_ascii_lowercase());
        let values = sides.map(|side| side.map(Field::value));
        let label = || format!("field '{}'", String::from_utf8_lossy(name));
        let value = match rules::merge_value(rule, values) {
            Ok(value) => value,
            Err(Refusal::FieldConflict) => {
                return Err(fields::clash(
                    &label(),
                    rule == Rule::Secret,
                    values[1],
                    values[2],
                ));
            }
            Err(Refusal::Keys(keys)) => {
                return Err(format!(
                    "{}: {keys} changed differently in current and post",
                    label()
                ));
            }
        };
        Ok(value.map(|value| {
            let mut raw = name.to_vec();
            raw.push(b':');
            raw.extend_from_slice(&value);
            Cow::Owned(raw)
        }))
    }
}

/// Lists the fields of both stanzas: current's order, each new one behind its predecessor in post.
fn ordered<'a>(current: &Stanza<'a>, post: &Stanza<'a>) -> Vec<&'a [u8]> {
    let mut all: Vec<_> = current.fields.iter().map(|field| field.name).collect();
    let mut next = 0;
    for Field { name, .. } in &post.fields {
        match all
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
        {
            Some(at) => next = at + 1,
            None => {
                all.insert(next, *name);
                next += 1;
            }
        }
    }
    all
}

impl Driver for Format {
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
        let sides = Sides { pre, current, post };
        let merged = record::merge(&sides, &|pre, current, post| self.both(pre, current, post))?;
        let mut outcomes = merged.outcomes(&sides);
        let conflicts = (self.check)(&outcomes, &sides);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        if absent && outcomes.is_empty() {
            return Ok(None);
        }
        // A merge does not reorder a file that another program wrote in an order of its own.
        let keys = sides.current.list();
        if let Some(order) = self.order
            && keys.is_sorted_by(|a, b| order(&a.key, &b.key).is_le())
        {
            outcomes.sort_by(|a, b| order(a.key, b.key));
        }
        let mut out = Vec::with_capacity(outcomes.iter().map(|o| o.raw.len() + 2).sum());
        for outcome in outcomes {
            out.extend_from_slice(outcome.raw);
            out.extend_from_slice(b"\n\n");
        }
        Ok(Some(out))
    }
}

#[cfg(test)]
#[path = "deb822_tests.rs"]
mod tests;
