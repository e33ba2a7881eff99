//! Stanza databases (deb822(5) and debconf's dialect of it): an engine described by a [`Format`].
//!
//! A stanza that only one side changed is taken byte for byte. One that both changed is merged
//! field by field: each field that only one side changed keeps its bytes and its place, and a new
//! field follows the one that it follows in post.

use super::fields::{self, Clash};
use super::linefile;
use super::record::{self, BothResult, Outcome, Record, Records, Sides};
use super::{Driver, DriverConflict, Side, parse_sides, unmerged};
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
    /// The order in which the database's own program writes it.
    pub order: Option<Order>,
    /// Whether the merged stanza still stands for anything.
    pub alive: fn(&Stanza<'_>) -> bool,
    /// Finds what is wrong with the result as a whole.
    pub check: fn(&[Outcome<'_>], &Sides<'_>) -> Vec<DriverConflict>,
}

/// How one field merges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// As one value.
    Value,
    /// As one value that must not be quoted in a message.
    Secret,
    /// Blank-separated words, each in its own place, such as `install ok installed`.
    Places,
    /// A set of blank-separated words.
    Words,
    /// A sorted set, separated by commas.
    Names,
    /// One ` path digest [flag]` per line, by path.
    Conffiles,
    /// One ` name = value` per line, sorted, not to be quoted.
    Variables,
}

/// More than any package or template has; the scans over one stanza stay short by it.
const MAX_FIELDS: usize = 4096;

/// One field with its continuation lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub name: &'a [u8],
    /// All bytes of the field without the last newline.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// The bytes behind the colon.
    pub fn value(&self) -> &'a [u8] {
        &self.raw[self.name.len() + 1..]
    }
}

/// The fields of one stanza in file order.
#[derive(Debug, Default)]
pub(super) struct Stanza<'a> {
    pub fields: Vec<Field<'a>>,
}

impl<'a> Stanza<'a> {
    /// Cuts a stanza into fields; the error counts lines from 0.
    pub fn parse(raw: &'a [u8]) -> Result<Self, (usize, String)> {
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(24);
        let mut start = 0;
        for (at, line) in linefile::split(raw).enumerate() {
            let end = start + line.len();
            let fault = |reason: &str| Err((at, reason.to_owned()));
            if line.contains(&0) {
                return fault("a NUL byte");
            }
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                let Some(field) = fields.last_mut() else {
                    return fault("a continuation line without a field");
                };
                if line.trim_ascii().is_empty() {
                    return fault("a continuation line without content");
                }
                let from = start - field.raw.len() - 1;
                field.raw = &raw[from..end];
            } else {
                let colon = line.iter().position(|&byte| byte == b':');
                let name = &line[..colon.unwrap_or(0)];
                let bad = |byte: &u8| !byte.is_ascii_graphic();
                if name.is_empty() || name[0] == b'#' || name.iter().any(bad) {
                    return fault("not a field");
                }
                if fields.len() == MAX_FIELDS {
                    return fault("too many fields");
                }
                fields.push(Field { name, raw: line });
            }
            start = end + 1;
        }
        let stanza = Stanza { fields };
        match stanza.repeated() {
            Some(name) => Err((
                0,
                format!("field '{}' twice", String::from_utf8_lossy(name)),
            )),
            None => Ok(stanza),
        }
    }

    fn repeated(&self) -> Option<&'a [u8]> {
        let mut names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
        let lower = |name: &'a [u8]| name.iter().map(u8::to_ascii_lowercase);
        names.sort_by(|a, b| lower(a).cmp(lower(b)));
        let mut pairs = names.windows(2);
        pairs
            .find(|pair| pair[0].eq_ignore_ascii_case(pair[1]))
            .map(|pair| pair[0])
    }

    /// Finds a field by its name in any case.
    pub fn get(&self, name: &[u8]) -> Option<&Field<'a>> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Returns the trimmed value of a field that must be there and not be empty.
    pub fn require(&self, name: &str) -> Result<&'a [u8], String> {
        match self
            .get(name.as_bytes())
            .map(|field| field.value().trim_ascii())
        {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(format!("no {name} field")),
        }
    }
}

impl Format {
    /// A format whose fields are values and whose order is that of the file.
    pub const PLAIN: Format = Format {
        name: "deb822",
        key: |stanza| stanza.require("Package").map(Cow::Borrowed),
        rule: |_| Rule::Value,
        order: None,
        alive: |_| true,
        check: |_, _| Vec::new(),
    };

    fn parse<'a>(&self, file: &'a [u8], side: Side) -> Result<Records<'a>, Vec<DriverConflict>> {
        let mut records = Records::default();
        let mut conflicts = Vec::new();
        for (raw, line, closed) in stanzas(file) {
            let mut refuse = |line, reason: String| {
                conflicts.push(DriverConflict::unparsed(side, line, reason));
            };
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
        if conflicts.is_empty() {
            Ok(records)
        } else {
            Err(conflicts)
        }
    }

    fn both(&self, pre: Option<&[u8]>, current: &[u8], post: &[u8]) -> BothResult {
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
        let value = match merge_value(rule, values) {
            Ok(value) => value,
            Err(Refusal::Clash) => {
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

enum Refusal {
    Clash,
    Keys(String),
}

impl From<Clash> for Refusal {
    fn from(_: Clash) -> Self {
        Refusal::Clash
    }
}

/// Merges the bytes behind the colon by the rule of the field; `Ok(None)` drops an empty field.
fn merge_value(rule: Rule, sides: [Option<&[u8]>; 3]) -> Result<Option<Vec<u8>>, Refusal> {
    let [pre, current, post] = sides.map(Option::unwrap_or_default);
    let join = |set: &[&[u8]], by: &[u8]| {
        (!set.is_empty()).then(|| [b" ".as_slice(), &set.join(by)].concat())
    };
    match rule {
        Rule::Value | Rule::Secret => Err(Refusal::Clash),
        Rule::Places => {
            let [pre, current, post] = [pre, current, post].map(|side| fields::members(side, b' '));
            if current.len() != post.len() {
                return Err(Refusal::Clash);
            }
            let words = (0..current.len())
                .map(|at| fields::three(pre.get(at), Some(&current[at]), Some(&post[at])))
                .map(|word| word.map(|word| word.copied().unwrap_or_default()));
            Ok(join(&words.collect::<Result<Vec<_>, _>>()?, b" "))
        }
        Rule::Words => {
            let [pre, current, post] = [pre, current, post].map(|side| {
                let words = side.split(u8::is_ascii_whitespace);
                words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
            });
            Ok(join(&fields::set(&pre, &current, &post), b" "))
        }
        Rule::Names => {
            let [pre, current, post] = [pre, current, post].map(|side| fields::members(side, b','));
            let mut set = fields::set(&pre, &current, &post);
            set.sort_unstable();
            Ok(join(&set, b", "))
        }
        Rule::Conffiles => lines(sides, conffile, false),
        Rule::Variables => lines(sides, variable, true),
    }
}

/// Merges a field whose lines are a map, by the function that finds where the key of a line ends.
fn lines(
    sides: [Option<&[u8]>; 3],
    key: fn(&[u8]) -> Option<usize>,
    sorted: bool,
) -> Result<Option<Vec<u8>>, Refusal> {
    let mut maps = [const { Vec::new() }; 3];
    for (side, map) in sides.iter().zip(&mut maps) {
        // The first line is what stands beside the name of the field: nothing.
        for line in linefile::split(side.unwrap_or_default()).skip(1) {
            map.push(line.split_at(key(line).ok_or(Refusal::Clash)?));
        }
        let mut keys: Vec<_> = map.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refusal::Clash);
        }
    }
    let [pre, current, post] = &maps;
    let mut merged = fields::map(pre, current, post).map_err(|keys| {
        let quote = |key: &&[u8]| format!("'{}'", String::from_utf8_lossy(key.trim_ascii()));
        Refusal::Keys(keys.iter().map(quote).collect::<Vec<_>>().join(", "))
    })?;
    if sorted {
        merged.sort_unstable();
    }
    let mut value = Vec::new();
    for (key, rest) in &merged {
        value.push(b'\n');
        value.extend_from_slice(key);
        value.extend_from_slice(rest);
    }
    Ok((!merged.is_empty()).then_some(value))
}

/// Finds the end of the path in ` path digest [flag]`: paths hold blanks, so it is read from behind.
fn conffile(line: &[u8]) -> Option<usize> {
    let mut end = line.len();
    loop {
        let at = line[..end].iter().rposition(|&byte| byte == b' ')?;
        let word = &line[at + 1..end];
        if at == 0 {
            return None;
        }
        if !matches!(word, b"obsolete" | b"remove-on-upgrade") {
            return Some(at);
        }
        end = at;
    }
}

fn variable(line: &[u8]) -> Option<usize> {
    line.windows(2)
        .position(|pair| pair == b" =")
        .filter(|&at| at > 0)
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

/// Cuts a file at its blank lines into stanzas, each with its first line and whether it is whole.
///
/// Every program that writes these databases closes each stanza, the last one too, with a blank
/// line: where that is missing, the file has been cut off.
fn stanzas(file: &[u8]) -> impl Iterator<Item = (&[u8], usize, bool)> {
    let mut at = 0;
    let mut line = 1;
    std::iter::from_fn(move || {
        while file.get(at) == Some(&b'\n') {
            at += 1;
            line += 1;
        }
        let (start, first) = (at, line);
        while at < file.len() {
            let Some(end) = file[at..].iter().position(|&byte| byte == b'\n') else {
                at = file.len();
                return Some((&file[start..], first, false));
            };
            at += end + 1;
            line += 1;
            if file.get(at) == Some(&b'\n') {
                return Some((&file[start..at - 1], first, true));
            }
        }
        (start < at).then(|| (&file[start..at - 1], first, false))
    })
}

impl Driver for Format {
    fn name(&self) -> &'static str {
        self.name
    }

    fn merge(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        if let Some(same) = unmerged(pre, current, post) {
            return Ok(same.map(<[u8]>::to_vec));
        }
        let absent = current.is_none() || post.is_none();
        let [pre, current, post] =
            parse_sides([pre, current, post], |file, side| self.parse(file, side))?;
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
        if let Some(order) = self.order {
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
