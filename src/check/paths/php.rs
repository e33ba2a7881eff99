//! PHP's modules: a module that is enabled for one SAPI has to be enabled for all that are
//! installed.
//!
//! `phpenmod` links a module into `etc/php/VERSION/SAPI/conf.d` for the SAPIs that are there when
//! its package is installed. If one layer brings a SAPI and another one a module, nobody makes the
//! link.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::Tree;

/// The links of one version, by SAPI.
type Sapis<'a> = BTreeMap<&'a [u8], BTreeSet<&'a [u8]>>;

/// Finds modules that are enabled for one SAPI of a version and not for another:
/// `php:PATH:enabled`, by the path of the link that is missing.
pub fn php(tree: &Tree) -> Vec<Problem> {
    let mut enabled: BTreeMap<&[u8], Sapis<'_>> = BTreeMap::new();
    for (path, inode) in tree.below(b"etc/php") {
        let parts: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
        let [_, _, version, sapi, b"conf.d", rest @ ..] = parts.as_slice() else {
            continue;
        };
        let links = enabled.entry(version).or_default().entry(sapi).or_default();
        if let ([name], false) = (rest, inode.is_dir()) {
            links.insert(name);
        }
    }
    let mut problems = Vec::new();
    for (version, sapis) in enabled {
        let all: BTreeSet<&[u8]> = sapis.values().flatten().copied().collect();
        for (sapi, links) in &sapis {
            for name in all.difference(links) {
                let place =
                    |sapi| RelPath::new(&[b"etc/php", version, sapi, b"conf.d", *name].join(&b'/'));
                // The layer that brings the module is to blame.
                let other = sapis.iter().find(|(_, links)| links.contains(name));
                let (Ok(path), Some(Ok(there))) = (place(sapi), other.map(|(sapi, _)| place(sapi)))
                else {
                    continue;
                };
                problems.push(Problem {
                    id: FindingKind::Php.at(format_args!("{path}:enabled")),
                    reason: format!(
                        "'{}' is enabled for another SAPI of PHP {}, and not for '{}'",
                        escape(name),
                        escape(version),
                        escape(sapi)
                    ),
                    subject: Subject::Path(there),
                    package: None,
                    other: None,
                    weight: Weight::Grave,
                    hint: "build the layer of the module on the layer that brings this SAPI"
                        .to_owned(),
                });
            }
        }
    }
    problems
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::Inode;

    #[test]
    fn a_module_that_one_way_of_running_php_lacks_is_said() {
        let mut tree = Tree::new();
        for path in [
            "etc/php/8.4/cli/conf.d/20-xml.ini",
            "etc/php/8.4/cli/conf.d/20-json.ini",
            "etc/php/8.4/fpm/conf.d/20-json.ini",
            "etc/php/8.4/mods-available/xml.ini",
            "etc/php/8.2/cli/conf.d/20-old.ini",
        ] {
            tree.insert(RelPath::from_text(path).unwrap(), Inode::symlink("x"));
        }
        let ids = |tree: &Tree| -> Vec<String> {
            php(tree).into_iter().map(|p| p.id.to_string()).collect()
        };
        assert_eq!(
            ids(&tree),
            ["php:/etc/php/8.4/fpm/conf.d/20-xml.ini:enabled"]
        );
        let empty = RelPath::from_text("etc/php/8.2/fpm/conf.d").unwrap();
        tree.insert(empty, Inode::directory(0o755));
        assert_eq!(ids(&tree).len(), 2, "a directory without links lacks them");
    }
}
