//! The packages that a `status` file lists, each read wholly or named as unreadable.

use std::collections::HashSet;

use super::relation::{self, Relation};
use crate::deb822::{Stanza, stanzas};
use crate::version::Version;

/// How far the installation of a package got (dpkg(1); the words are in dpkg's lib/dpkg/pkg-namevalue.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Only its configuration is left, or nothing.
    Absent,
    HalfInstalled,
    Unpacked,
    HalfConfigured,
    /// Installed; it or another waits for triggers.
    Triggers,
    Installed,
}

impl State {
    /// Says whether others may rely on the package.
    pub fn is_configured(self) -> bool {
        self >= Self::Triggers
    }

    /// Returns dpkg's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "not-installed",
            Self::HalfInstalled => "half-installed",
            Self::Unpacked => "unpacked",
            Self::HalfConfigured => "half-configured",
            Self::Triggers => "triggers-pending",
            Self::Installed => "installed",
        }
    }
}

/// What a package may be to those of other architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MultiArch {
    No,
    Same,
    Foreign,
    Allowed,
}

/// A package of which something is on the system.
#[derive(Debug)]
pub(super) struct Package<'a> {
    pub name: &'a str,
    pub architecture: &'a str,
    pub version: Version<'a>,
    pub state: State,
    /// dpkg wants it installed again, because something went wrong.
    pub broken: bool,
    pub multi_arch: MultiArch,
    /// `Pre-Depends` and `Depends`.
    pub depends: Vec<Vec<Relation<'a>>>,
    pub breaks: Vec<Relation<'a>>,
    pub conflicts: Vec<Relation<'a>>,
    pub provides: Vec<Relation<'a>>,
}

/// A record, or a field of one, that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault<'a> {
    /// Counted from 1.
    pub line: usize,
    /// Name and architecture, where they can be read.
    pub package: Option<(&'a str, &'a str)>,
    /// The field, where it is one that the rest can be read without.
    pub field: Option<&'static str>,
    pub reason: String,
}

/// Reads a `status` file: the packages that are not absent, and what cannot be read.
pub(super) fn read(file: &[u8]) -> (Vec<Package<'_>>, Vec<Fault<'_>>) {
    let mut packages = Vec::new();
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
        let (name, architecture) = match named {
            Ok(named) => named,
            Err(reason) => {
                faults.push(fault(None, line, reason));
                continue;
            }
        };
        if !seen.insert((name, architecture)) {
            let reason = "it is there twice".to_owned();
            faults.push(fault(Some((name, architecture)), line, reason));
            continue;
        }
        let mut unreadable = Vec::new();
        match package(&stanza, name, architecture, &mut unreadable) {
            Ok(package) => packages.extend(package),
            Err(reason) => faults.push(fault(Some((name, architecture)), line, reason)),
        }
        faults.extend(unreadable.into_iter().map(|(field, reason)| Fault {
            line,
            package: Some((name, architecture)),
            field: Some(field),
            reason,
        }));
    }
    (packages, faults)
}

/// Returns name and architecture; a package that is no more may have no architecture.
fn identity<'a>(stanza: &Stanza<'a>) -> Result<(&'a str, &'a str), String> {
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

/// Reads a package that is not absent; a field of relations that cannot be read goes to `faults`, and counts as empty.
fn package<'a>(
    stanza: &Stanza<'a>,
    name: &'a str,
    architecture: &'a str,
    faults: &mut Vec<(&'static str, String)>,
) -> Result<Option<Package<'a>>, String> {
    let (state, broken) = status(stanza.require("Status")?)?;
    if state == State::Absent {
        return Ok(None);
    }
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

/// Reads a Status field: what is wanted, whether dpkg wants it installed again, and the state.
fn status(field: &[u8]) -> Result<(State, bool), String> {
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
        b"not-installed" | b"config-files" => State::Absent,
        b"half-installed" => State::HalfInstalled,
        b"unpacked" => State::Unpacked,
        b"half-configured" => State::HalfConfigured,
        b"triggers-awaited" | b"triggers-pending" => State::Triggers,
        b"installed" => State::Installed,
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
