//! Sources of names of nsswitch.conf(5) whose module is not there.

use std::collections::BTreeSet;

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::shell::UNKNOWN;
use crate::check::{FindingKind, Weight};
use crate::layout::name;
use crate::path::RelPath;
use crate::tree::view::ViewError;

const FILE: &[u8] = b"etc/nsswitch.conf";

/// The databases that somebody looks into to log in, or to reach another machine. Debian names
/// absent modules for others.
const JUDGED: [&str; 6] = [
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "initgroups",
    "hosts",
];

/// What the C library has in itself.
const BUILT_IN: [&str; 2] = ["files", "dns"];

/// Where the loader finds modules.
const PLACES: [&str; 4] = [
    "/usr/lib/",
    "/usr/lib/*/",
    "/usr/local/lib/",
    "/usr/local/lib/*/",
];

/// Sources that only add names to those of others: without their module the C library goes on.
const ADDING: [&str; 9] = [
    "systemd",
    "mymachines",
    "myhostname",
    "resolve",
    "mdns",
    "mdns4",
    "mdns_minimal",
    "mdns4_minimal",
    "mdns6_minimal",
];

/// One source with what follows it in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source<'a> {
    name: &'a str,
    actions: &'a str,
}

/// Finds sources without a module: `nss:PATH:DATABASE:NAME`.
///
/// The C library skips such a source, so that the names of the others stay. It is grave where
/// accounts come from it, where the search ends with it, and where no source is left.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let Some(path) = image.file(FILE) else {
        return Ok(());
    };
    let text = image.text(path.as_bytes())?;
    let modules = Modules::of(image);
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((database, rest)) = line.split_once(':') else {
            continue;
        };
        if JUDGED.contains(&database.trim()) {
            judge(&modules, &path, database.trim(), &sources(rest), faults);
        }
    }
    Ok(())
}

fn judge(
    modules: &Modules,
    path: &RelPath,
    database: &str,
    sources: &[Source<'_>],
    faults: &mut Faults,
) {
    let is_left = sources.iter().any(|source| modules.has(source.name));
    for source in sources {
        if modules.has(source.name) {
            continue;
        }
        let name = source.name;
        let adds = ADDING.contains(&name) || database == "hosts";
        let weight = match adds && is_left && !ends_search(source.actions) {
            true => Weight::Minor,
            false => Weight::Grave,
        };
        faults.add(
            FindingKind::Nss,
            path,
            &format!("{database}:{name}"),
            weight,
            &format!("has {database} come from '{name}', and there is no libnss_{name}.so.2"),
            "add the package of the module, or take the name out of the file",
        );
    }
}

/// The modules of an image by the names of their sources.
struct Modules(BTreeSet<String>);

impl Modules {
    fn of(image: &Image<'_>) -> Self {
        let found = PLACES
            .iter()
            .flat_map(|dir| image.glob(&format!("{dir}libnss_*.so.2")));
        let source = |path: Vec<u8>| {
            let name = String::from_utf8_lossy(name(&path)).into_owned();
            let name = name.strip_prefix("libnss_")?.strip_suffix(".so.2")?;
            Some(name.to_owned())
        };
        Self(found.filter_map(source).collect())
    }

    fn has(&self, name: &str) -> bool {
        BUILT_IN.contains(&name) || name.contains(UNKNOWN) || self.0.contains(name)
    }
}

/// Says whether a source that is not available ends the search.
fn ends_search(actions: &str) -> bool {
    let actions = actions.to_ascii_lowercase();
    let mut words = actions
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    words.any(|(status, action)| {
        let is_it = match status.strip_prefix('!') {
            Some(other) => other != "unavail",
            None => status == "unavail",
        };
        is_it && action == "return"
    })
}

fn sources(text: &str) -> Vec<Source<'_>> {
    let mut found: Vec<Source<'_>> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = inside.find(']').unwrap_or(inside.len());
            if let Some(last) = found.last_mut() {
                last.actions = &inside[..end];
            }
            rest = inside.get(end + 1..).unwrap_or_default().trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '[');
            let (name, more) = rest.split_at(end.unwrap_or(rest.len()));
            found.push(Source { name, actions: "" });
            rest = more.trim_start();
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sources_are_read_with_what_is_done_after_them() {
        let read = |text| -> Vec<(&str, &str)> {
            let sources = sources(text).into_iter();
            sources
                .map(|source| (source.name, source.actions))
                .collect()
        };
        assert_eq!(
            read(" files mdns4[NOTFOUND=return] dns "),
            [("files", ""), ("mdns4", "NOTFOUND=return"), ("dns", "")]
        );
        assert_eq!(read("a [open"), [("a", "open")]);
        assert_eq!(read("[x] a"), [("a", "")]);
        for (actions, expect) in [
            ("NOTFOUND=return", false),
            ("!UNAVAIL=return", false),
            ("UNAVAIL=return", true),
            ("success=continue UnAvail=Return", true),
            ("!SUCCESS=return", true),
            ("UNAVAIL=continue", false),
        ] {
            assert_eq!(ends_search(actions), expect, "{actions}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "([a-z]|[\\[\\]=! ]|[^x])*") {
            for source in sources(&text) {
                ends_search(source.actions);
                prop_assert!(!source.name.is_empty());
            }
        }
    }
}
