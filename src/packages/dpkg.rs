//! dpkg's `status`: each record is read wholly, or named as unreadable.
//!
//! The words of a state are in dpkg(1) and dpkg's lib/dpkg/pkg-namevalue.c, those of relations in
//! deb-control(5).

use std::collections::HashSet;

use super::relation;
use super::{
    InstallState, MultiArch, Package, PackageDatabase, PackageKey, PackageRecord, RecordFault,
};
use crate::deb822::{Stanza, stanzas};
use crate::version::Version;

/// Reads a `status` file.
pub fn read(file: &[u8]) -> PackageDatabase<'_> {
    let mut records = Vec::new();
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (raw, line, closed) in stanzas(file) {
        let fault = |package, line, reason: String| RecordFault {
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
            Ok(package) => records.push(PackageRecord {
                raw,
                key,
                package,
                is_same: value(b"Multi-Arch").map(<[u8]>::trim_ascii) == Some(b"same"),
                maintainer: value(b"Maintainer").unwrap_or_default().trim_ascii(),
                conffiles: value(b"Conffiles").unwrap_or_default(),
            }),
            Err(reason) => faults.push(fault(Some(key), line, reason)),
        }
        faults.extend(unreadable.into_iter().map(|(field, reason)| RecordFault {
            line,
            package: Some(key),
            field: Some(field),
            reason,
        }));
    }
    PackageDatabase { records, faults }
}

/// Returns name and architecture; a removed package may have no architecture.
fn identity<'a>(stanza: &Stanza<'a>) -> Result<PackageKey<'a>, String> {
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

/// Reads a package that is there; a field of relations that cannot be read goes to `faults`, and
/// counts as empty.
fn package<'a>(
    stanza: &Stanza<'a>,
    (name, architecture): PackageKey<'a>,
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
        Some(_) => return Err("its Multi-Arch field has an unknown value".to_owned()),
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

/// Says whether a state leaves nothing of a package but its configuration, if that.
pub fn is_gone(state: &[u8]) -> bool {
    matches!(state, b"not-installed" | b"config-files")
}

/// Reads a Status field: the state, if more than the configuration is there, and whether dpkg wants
/// it installed again.
fn status(field: &[u8]) -> Result<(Option<InstallState>, bool), String> {
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
        gone if is_gone(gone) => None,
        b"half-installed" => Some(InstallState::HalfInstalled),
        b"unpacked" => Some(InstallState::Unpacked),
        b"half-configured" => Some(InstallState::HalfConfigured),
        b"triggers-awaited" | b"triggers-pending" => Some(InstallState::Triggers),
        b"installed" => Some(InstallState::Installed),
        _ => return Err("its Status field has a state that dpkg does not know".to_owned()),
    };
    match error {
        _ if !known.contains(&want) => {
            Err("its Status field asks for an action that dpkg does not know".to_owned())
        }
        b"ok" => Ok((state, false)),
        b"reinstreq" => Ok((state, true)),
        _ => Err("its Status field has an error flag that dpkg does not know".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n\
        Version: 1:2-3\nDepends: b | c (>= 2)\nConffiles:\n /etc/a 00ff\n /etc/old 11 obsolete\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n";

    #[test]
    fn a_record_says_what_a_package_is_wants_and_has() {
        let database = read(STATUS.as_bytes());
        assert!(database.is_whole() && database.faults.is_empty());
        let [a, gone] = &database.records[..] else {
            panic!("{:?}", database.records)
        };
        let package = a.package.as_ref().unwrap();
        assert_eq!((package.name, package.version.as_str()), ("a", "1:2-3"));
        assert!(package.state.is_configured() && package.multi_arch == MultiArch::Same);
        assert_eq!(package.depends.concat().len(), 2);
        assert_eq!(a.stem(), "a:amd64");
        let digests = a.conffiles();
        assert_eq!(digests.get(&b"/etc/a"[..]), Some(&&b"00ff"[..]));
        assert_eq!(digests.len(), 2);
        // The records make up the file again.
        assert!(gone.package.is_none() && gone.key == ("gone", "amd64"));
        let raw: Vec<u8> = database
            .records
            .iter()
            .flat_map(|r| [r.raw, b"\n\n"].concat())
            .collect();
        assert_eq!(raw, STATUS.as_bytes());
        assert_eq!(database.packages().count(), 1);
    }

    #[test]
    fn a_field_that_cannot_be_read_is_told_from_a_record() {
        let with = |from: &str, to: &str| STATUS.replace(from, to);
        for (text, is_whole, records) in [
            (with("(>= 2)", "(2)"), true, 2),
            (with("ok installed", "ok weird"), false, 1),
            (with("Version: 1\n\n", "Version: 1\n"), false, 1),
            (with("Package: gone", "Package: a"), false, 1),
        ] {
            let database = read(text.as_bytes());
            assert_eq!(database.faults.len(), 1, "{text}");
            assert_eq!(database.is_whole(), is_whole, "{text}");
            assert_eq!(database.records.len(), records, "{text}");
        }
    }
}
