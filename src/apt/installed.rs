//! Compares the installed packages of a root with the locked ones.

use super::deb822;
use super::package::LockedPackage;
use std::collections::{BTreeMap, BTreeSet};

/// Compares a dpkg status file's text with the packages of all layers; one line per difference,
/// sorted by name.
///
/// Each package must be installed and configured, in exactly the locked version and architecture,
/// and no other may be.
pub fn status_differences<'a>(
    status: &str,
    locked: impl IntoIterator<Item = &'a LockedPackage>,
) -> Vec<String> {
    let expected: BTreeMap<String, String> = locked
        .into_iter()
        .map(|p| (p.name.clone(), format!("{} {}", p.version, p.architecture)))
        .collect();
    let mut found = BTreeMap::new();
    for stanza in deb822::parse(status) {
        let field = |name: &str| stanza.get(name).unwrap_or_default().to_owned();
        let mut state = format!("{} {}", field("Version"), field("Architecture"));
        match stanza.get("Status") {
            Some("install ok installed") => {}
            other => state = format!("{state} ({})", other.unwrap_or("without status")),
        }
        found.insert(field("Package"), state);
    }
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let line = |name: &String| match (expected.get(name), found.get(name)) {
        (Some(e), Some(f)) if e == f => None,
        (Some(e), Some(f)) => Some(format!("{name} is {f}, locked {e}")),
        (Some(e), None) => Some(format!("{name} {e} is not installed")),
        (None, Some(f)) => Some(format!("{name} {f} is not locked")),
        (None, None) => None,
    };
    names.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::Sha256;

    #[test]
    fn every_kind_of_difference_is_named() {
        let package = |name: &str, version: &str| LockedPackage {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            sha256: Sha256::from_bytes([0; 32]),
            size: 0,
            pool_path: String::new(),
            archive: String::new(),
            manual: true,
        };
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
                      Package: b\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 1\n\n\
                      Package: c\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n";
        let locked = [package("a", "1"), package("b", "1"), package("d", "2")];
        assert_eq!(
            status_differences(status, &locked),
            [
                "b is 1 amd64 (install ok unpacked), locked 1 amd64",
                "c 1 all is not locked",
                "d 2 amd64 is not installed"
            ]
        );
    }
}
