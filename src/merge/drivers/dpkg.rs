//! Stanza databases of packages: dpkg's `status` and `available`, apt's `extended_states`.
//!
//! dpkg writes its databases sorted by package name, then by architecture, both in byte order
//! (`writedb_records` in lib/dpkg/dump.c sorts with `pkg_sorter_by_nonambig_name_arch`), with a
//! blank line after each stanza. apt keeps `extended_states` in the order of events.

use super::DriverConflict;
use super::deb822::Format;
use super::record::{MergedRecord, Sides};
use super::rules::Rule;
use crate::deb822::Stanza;
use crate::packages::dpkg::is_gone;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Merges `/var/lib/dpkg/status`.
pub(super) static STATUS: Format = Format {
    name: "dpkg-status",
    key: |stanza| {
        let installed = state(stanza.require("Status")?)?;
        if installed != b"not-installed" {
            stanza.require("Version")?;
            stanza.require("Architecture")?;
        }
        key(stanza)
    },
    rule: |field| match field {
        b"status" => Rule::Places,
        b"conffiles" => Rule::Conffiles,
        b"triggers-pending" | b"triggers-awaited" => Rule::Words,
        _ => Rule::Value,
    },
    order: Some(by_name),
    check: twice,
    ..Format::PLAIN
};

/// Merges `/var/lib/dpkg/available`.
pub(super) static AVAILABLE: Format = Format {
    name: "dpkg-available",
    key,
    order: Some(by_name),
    ..Format::PLAIN
};

/// Merges `/var/lib/apt/extended_states`.
pub(super) static EXTENDED_STATES: Format = Format {
    name: "apt-extended-states",
    key,
    ..Format::PLAIN
};

/// Returns `name:architecture`, or the name alone where a stanza has no architecture.
fn key<'a>(stanza: &Stanza<'a>) -> Result<Cow<'a, [u8]>, String> {
    let word = |name: &str| {
        let value = stanza.require(name)?;
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
        if value.iter().all(plain) {
            Ok(value)
        } else {
            Err(format!("the {name} field is not a name"))
        }
    };
    let package = word("Package")?;
    Ok(match stanza.get(b"Architecture") {
        None => Cow::Borrowed(package),
        Some(_) => Cow::Owned([package, b":", word("Architecture")?].concat()),
    })
}

/// Reads the third word of a Status field.
fn state(status: &[u8]) -> Result<&[u8], String> {
    let words: Vec<_> = status.split(|&byte| byte == b' ').collect();
    match words[..] {
        [_, _, state] if !words.contains(&&b""[..]) => Ok(state),
        _ => Err("the Status field is not three words".to_owned()),
    }
}

fn name(key: &[u8]) -> &[u8] {
    key.split(|&byte| byte == b':').next().unwrap_or_default()
}

/// A plain comparison of keys would put `a-b` before `a`, because ':' follows '-'.
fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    name(a).cmp(name(b)).then_with(|| a.cmp(b))
}

/// Finds packages installed for two architectures that may not be, as when one side installed
/// `foo:all` and the other `foo:amd64`.
fn twice(outcomes: &[MergedRecord<'_>], sides: &Sides<'_>) -> Vec<DriverConflict> {
    let mut first: HashMap<&[u8], &MergedRecord<'_>> = HashMap::with_capacity(outcomes.len());
    let mut conflicts = Vec::new();
    for outcome in outcomes {
        let Some(other) = first.get(name(outcome.key)) else {
            first.insert(name(outcome.key), outcome);
            continue;
        };
        let pair = [*other, outcome];
        let both =
            |side: &super::record::Records<'_>| pair.iter().all(|o| side.get(o.key).is_some());
        if both(&sides.current) || both(&sides.post) || !pair.iter().any(|o| is_alone(o.raw)) {
            continue;
        }
        let other = String::from_utf8_lossy(other.key);
        let reason = format!("'{other}' is installed, and the two are not Multi-Arch: same");
        conflicts.push(DriverConflict::on(outcome.key, Some(outcome.line), reason));
    }
    conflicts
}

/// Tells whether a package is on the system in a way that excludes other architectures.
fn is_alone(raw: &[u8]) -> bool {
    let Ok(stanza) = Stanza::parse(raw) else {
        return false;
    };
    let gone = stanza.require("Status").and_then(state).is_ok_and(is_gone);
    !gone && stanza.require("Multi-Arch") != Ok(b"same")
}
