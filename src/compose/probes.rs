//! Programs that maintainer scripts asked for when a layer was built, and that a layer beside it
//! brings: there, one installation of both could come out differently.

use super::composition::Composition;
use super::member::Member;
use super::packages::database;
use super::triggers::is_related;
use super::view::TreeView;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::packages::{self, Probe};
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{ImageView as _, ViewError};

/// Where programs are looked for by name.
const DIRECTORIES: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];
/// Programs whose work every composition repeats, or that only speak to a running system.
const REPEATED: [&str; 32] = [
    "apparmor_parser",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "depmod",
    "fc-cache",
    "gdk-pixbuf-query-loaders",
    "glib-compile-schemas",
    "gtk-update-icon-cache",
    "gtk-update-icon-cache-3.0",
    "install-info",
    "invoke-rc.d",
    "ldconfig",
    "lpadmin",
    "lpinfo",
    "lpstat",
    "mandb",
    "needrestart",
    "restorecon",
    "service",
    "start-stop-daemon",
    "systemctl",
    "systemd-hwdb",
    "udevadm",
    "update-ca-certificates",
    "update-desktop-database",
    "update-icon-caches",
    "update-info-dir",
    "update-menus",
    "update-mime",
    "update-mime-database",
    "update-motd",
    "update-rc.d",
];

/// Finds what the scripts of each layer's packages asked for and did not see, because a layer that
/// neither stands on it nor carries it brings it.
pub(super) fn asked_beside(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let tree = &composition.tree;
    let Some(info) = database(tree, "info") else {
        return Ok(Vec::new());
    };
    let mut problems = Vec::new();
    for member in members {
        let is_beside = |other: &Member| !is_related(member, other);
        if !members.iter().any(is_beside) {
            continue;
        }
        let changes = member.changeset.iter();
        for (path, change) in changes.filter(|(path, _)| path.starts_with(info.as_bytes())) {
            let name = path.name();
            let is_script = name.ends_with(b".postinst") || name.ends_with(b".preinst");
            let is_there = || {
                tree.get(path.as_bytes())
                    .is_some_and(|i| i.object().is_some())
            };
            let (true, true, Some(stem)) = (
                is_script && change.post.is_some(),
                is_there(),
                packages::stem(name),
            ) else {
                continue;
            };
            let stem = String::from_utf8_lossy(stem);
            let package = stem.split(':').next().unwrap_or(&stem);
            for probe in packages::probes(&view.read(path.as_bytes())?) {
                let brings = bringer(&probe, member, composition, members);
                let brings = brings.filter(|other| is_beside(other));
                if let Some(sibling) = brings {
                    problems.push(problem(member, package, &probe, sibling));
                }
            }
        }
    }
    Ok(problems)
}

fn problem(member: &Member, package: &str, probe: &Probe, sibling: &Member) -> Problem {
    let (layer, sibling) = (&member.layer.name, &sibling.layer.name);
    let program = match probe {
        Probe::Name(name) => name.clone(),
        Probe::Path(path) => format!("/{path}"),
    };
    Problem {
        id: FindingKind::Probe.at(format_args!("{layer}:{package}:{program}")),
        subject: Subject::Layer(layer.clone()),
        package: Some(package.to_owned()),
        other: None,
        weight: Weight::Minor,
        reason: format!(
            "installing '{package}' asked for '{program}', which only '{sibling}' brings: where \
             both are installed at once, '{package}' may come out differently"
        ),
        hint: format!(
            "where that matters, add '{sibling}' to `on` in layers/{layer}/layer.toml, and build again"
        ),
    }
}

/// Returns the layer that brings a program which the build of `member` did not see.
fn bringer<'m>(
    probe: &Probe,
    member: &Member,
    composition: &Composition,
    members: &'m [Member],
) -> Option<&'m Member> {
    let places: Vec<String> = match probe {
        Probe::Name(name) if REPEATED.contains(&name.as_str()) => return None,
        Probe::Name(name) => DIRECTORIES
            .iter()
            .map(|dir| format!("{dir}/{name}"))
            .collect(),
        Probe::Path(path) => {
            let name = path.rsplit('/').next().unwrap_or(path);
            if REPEATED.contains(&name) {
                return None;
            }
            vec![path.clone()]
        }
    };
    let found = places
        .iter()
        .find_map(|place| entry(place, &composition.tree))?;
    // Several layers may have it, and the last of them counts as its origin.
    let saw = |other: &Member| {
        let is_below = member.layer.name == other.layer.name || member.stands_on(&other.layer.name);
        let change = other.changeset.get(found.as_bytes());
        is_below && change.is_some_and(|change| change.post.is_some())
    };
    if members.iter().any(saw) {
        return None;
    }
    let target = composition.tree.resolve(found.as_bytes());
    // A link of alternatives is derived: it is of the layer that has what it leads to.
    let mut origins = [Some(found), target].into_iter().flatten();
    let number = origins.find_map(|path| composition.origin.get(&path).copied())?;
    members.get(number)
}

/// Returns the entry of a tree that a path names: directories above it may be links.
fn entry(place: &str, tree: &Tree) -> Option<RelPath> {
    let path = RelPath::from_text(place).ok()?;
    let dir = tree.resolve(path.parent()?.as_bytes())?;
    let found = dir.join(path.name()).ok()?;
    tree.get(found.as_bytes()).map(|_| found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compose::tests::member;
    use crate::durable::RealDisk;
    use crate::store::{Repository, RepositoryOptions};
    use crate::tree::{Changeset, Inode};

    fn path(text: &str) -> RelPath {
        RelPath::from_text(text).unwrap()
    }

    /// Examines 'proxy', whose package squid asks for setcap, beside 'dns', which has it.
    fn ids(proxy_on: &[(&str, &str)], script: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        let transaction = repository.begin().unwrap();
        let index = repository.index();
        let files = [
            ("usr/bin/true", "", 0),
            ("usr/bin/py3compile", "", 1),
            ("usr/bin/py3compile", "", 2),
            ("usr/sbin/setcap", "", 1),
            ("usr/bin/update-menus", "", 1),
            ("var/lib/dpkg/info/squid.postinst", script, 2),
        ];
        let mut composition = Composition::default();
        let mut trees = vec![Tree::new(); 3];
        for (place, text, number) in files {
            let object = transaction.put_object(text.as_bytes()).unwrap();
            let path = path(place);
            for dir in std::iter::successors(path.parent(), RelPath::parent) {
                composition.tree.insert(dir, Inode::directory(0o755));
            }
            let inode = Inode::file(object, text.len() as u64, 0o755);
            composition.tree.insert(path.clone(), inode.clone());
            trees[number].insert(path.clone(), inode);
            composition.origin.entry(path).or_insert(number);
        }
        let mut members = vec![
            member("base", "base", &[]),
            member("dns", "dns", &[("base", "base")]),
            member("proxy", "proxy", proxy_on),
        ];
        for (member, tree) in members.iter_mut().zip(trees) {
            member.changeset = Changeset::between(&Tree::new(), &tree);
        }
        let view = TreeView::new(&composition.tree, &transaction, &index);
        let found = asked_beside(&composition, &members, &view).unwrap();
        found.iter().map(|problem| problem.id.to_string()).collect()
    }

    #[test]
    fn a_program_that_a_script_asked_for_and_a_sibling_brings_is_told() {
        let script = "#!/bin/sh\nif command -v setcap >/dev/null; then setcap x; fi\n\
                      if command -v true || command -v none || command -v update-menus; then true; fi\n\
                      which py3compile\n";
        let beside = [("base", "base")];
        let above = [("base", "base"), ("dns", "dns")];
        assert_eq!(ids(&beside, script), ["probe:proxy:squid:setcap"]);
        assert!(ids(&above, script).is_empty());
        let by_path = "#!/bin/sh\n[ -x /sbin/setcap ] || test -x /usr/sbin/setcap\n";
        assert_eq!(
            ids(&beside, by_path),
            ["probe:proxy:squid:/usr/sbin/setcap"]
        );
    }
}
