//! dpkg's `status`: each record is read wholly, or named as unreadable.
//!
//! The words of a state are in dpkg(1) and dpkg's lib/dpkg/pkg-namevalue.c, those of relations in deb-control(5).

use std::collections::HashSet;

use super::relation;
use super::{Database, Fault, Key, MultiArch, Package, Record, State};
use crate::deb822::{Stanza, stanzas};
use crate::version::Version;

/// Reads a `status` file.
pub fn read(file: &[u8]) -> Database<'_> {
    let mut records = Vec::new();
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (raw, line, closed) in stanzas(file) {
        let fault = |package, line, reason: String| Fault {
            line,
            package,
            field: None,
            reason,
        };
        let stanza = match Stanza::parse(raw) {
            Ok(stanza) => stanza,
            Err((offset, reason)) => {
                let reason = if closed { &*reason } else { "it is cut off" };
                faults.push(fault(None, line + offset, reason.to_owned()));
                continue;
            }
        };
        let named = identity(&stanza);
        if !closed {
            faults.push(fault(named.ok(), line, "it is cut off".to_owned()));
            continue;
        }
        let key = match named {
            Ok(key) => key,
            Err(reason) => {
                faults.push(fault(None, line, reason));
                continue;
            }
        };
        if !seen.insert(key) {
            faults.push(fault(Some(key), line, "it is there twice".to_owned()));
            continue;
        }
        let mut unreadable = Vec::new();
        let value = |field: &[u8]| stanza.get(field).map(|field| field.value());
        match package(&stanza, key, &mut unreadable) {
            Ok(package) => records.push(Record {
                raw,
                key,
                package,
                is_same: value(b"Multi-Arch").map(<[u8]>::trim_ascii) == Some(b"same"),
                conffiles: value(b"Conffiles").unwrap_or_default(),
            }),
            Err(reason) => faults.push(fault(Some(key), line, reason)),
        }
        faults.extend(unreadable.into_iter().map(|(field, reason)| Fault {
            line,
            package: Some(key),
            field: Some(field),
            reason,
        }));
    }
    Database { records, faults }
}

/// Returns name and architecture; a package that is no more may have no architecture.
fn identity<'a>(stanza: &Stanza<'a>) -> Result<Key<'a>, String> {
    let word = |field, is_one: fn(&str) -> bool| {
        let value = stanza.require(field)?;
        let text = std::str::from_utf8(value).ok();
        text.filter(|text| is_one(text))
            .ok_or_else(|| format!("its {field} field is not a name"))
    };
    let architecture = match stanza.get(b"Architecture") {
        None => "",
        Some(_) => word("Architecture", relation::is_architecture)?,
    };
    Ok((word("Package", relation::is_name)?, architecture))
}

/// Reads a package that is there; a field of relations that cannot be read goes to `faults`, and counts as empty.
fn package<'a>(
    stanza: &Stanza<'a>,
    (name, architecture): Key<'a>,
    faults: &mut Vec<(&'static str, String)>,
) -> Result<Option<Package<'a>>, String> {
    let (Some(state), broken) = status(stanza.require("Status")?)? else {
        return Ok(None);
    };
    if architecture.is_empty() {
        return Err("no Architecture field".to_owned());
    }
    let version = Version::parse(stanza.require("Version")?).map_err(|error| error.to_string())?;
    let multi_arch = match stanza.get(b"Multi-Arch").map(|f| f.value().trim_ascii()) {
        None | Some(b"no") => MultiArch::No,
        Some(b"same") => MultiArch::Same,
        Some(b"foreign") => MultiArch::Foreign,
        Some(b"allowed") => MultiArch::Allowed,
        Some(_) => return Err("its Multi-Arch field has a word that means nothing".to_owned()),
    };
    let value = |field: &str| {
        let found = stanza.get(field.as_bytes());
        found.map_or(&b""[..], |field| field.value())
    };
    let mut keep = |field: &'static str, reason| {
        faults.push((field, format!("its {field} field holds {reason}")));
    };
    let mut depends = Vec::new();
    for field in ["Pre-Depends", "Depends"] {
        match relation::parse(value(field)) {
            Ok(clauses) => depends.extend(clauses),
            Err(reason) => keep(field, reason),
        }
    }
    let mut plain = |field: &'static str, parse: fn(&'a [u8]) -> Result<Vec<_>, &'static str>| {
        parse(value(field)).unwrap_or_else(|reason| {
            keep(field, reason);
            Vec::new()
        })
    };
    Ok(Some(Package {
        name,
        architecture,
        version,
        state,
        broken,
        multi_arch,
        depends,
        breaks: plain("Breaks", relation::parse_plain),
        conflicts: plain("Conflicts", relation::parse_plain),
        provides: plain("Provides", relation::parse_provides),
    }))
}

/// Reads a Status field: the state, if more than the configuration is there, and whether dpkg wants it installed again.
fn status(field: &[u8]) -> Result<(Option<State>, bool), String> {
    let words: Vec<_> = field
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .take(4)
        .collect();
    let [want, error, state] = words[..] else {
        return Err("its Status field is not three words".to_owned());
    };
    let known: [&[u8]; 5] = [b"unknown", b"install", b"hold", b"deinstall", b"purge"];
    let state = match state {
        b"not-installed" | b"config-files" => None,
        b"half-installed" => Some(State::HalfInstalled),
        b"unpacked" => Some(State::Unpacked),
        b"half-configured" => Some(State::HalfConfigured),
        b"triggers-awaited" | b"triggers-pending" => Some(State::Triggers),
        b"installed" => Some(State::Installed),
        _ => return Err("its Status field has no state that dpkg knows".to_owned()),
    };
    match error {
        _ if !known.contains(&want) => {
            Err("its Status field wants nothing that dpkg knows".to_owned())
        }
        b"ok" => Ok((state, false)),
        b"reinstreq" => Ok((state, true)),
        _ => Err("its Status field has an error flag that dpkg does not know".to_owned()),
    }
}
