//! Files and directories of packages that a layer above takes away, and that programs open by their
//! names: settings, modules, tables. Programs say these names, as constants.
//!
//! Scripts are not asked: most look first whether a file is there. Nor is anything said of what
//! programs do without: settings of shells and editors, greetings.

use std::collections::{BTreeMap, BTreeSet};

use super::composition::Composition;
use super::disabled::is_apart;
use super::member::Member;
use super::packages::{database, find_listed, place_of};
use super::view::TreeView;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::{parent, within};
use crate::packages::Diversions;
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{FileFacts, ImageView as _, ViewError};

/// The version of what [`read`] returns.
const KIND: &str = "paths-named-1";
/// Where programs and libraries are.
const CODE: [&[u8]; 4] = [b"usr/bin", b"usr/lib", b"usr/libexec", b"usr/sbin"];
const UNITS: [&[u8]; 2] = [b"etc/systemd/system", b"usr/lib/systemd/system"];
/// What a service of PAM is named after: whoever has none falls to `other`, which denies.
const PAM: &[u8] = b"etc/pam.d";
/// What programs do without.
const SPARE: [&[u8]; 16] = [
    b"etc/bash.bashrc",
    b"etc/debian_version",
    b"etc/default",
    b"etc/inputrc",
    b"etc/issue",
    b"etc/issue.net",
    b"etc/ldap/ldap.conf",
    b"etc/motd",
    b"etc/nanorc",
    b"etc/profile",
    b"etc/profile.d",
    b"etc/skel",
    b"etc/vim",
    b"etc/wgetrc",
    b"etc/zsh",
    b"usr/share/i18n",
];
/// The most names taken from one file, and the longest one.
const NAMES_LIMIT: usize = 4096;
const NAME_LIMIT: usize = 256;

/// Finds what layers have taken away of those below them although a program or a unit names it:
/// `disabled:PATH`. Only what an installed package lists counts.
pub(super) fn missed(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let tree = &composition.tree;
    let mut gone: BTreeMap<RelPath, &Member> = BTreeMap::new();
    for by in members.iter().skip(1) {
        for (path, change) in by.changeset.iter() {
            let bytes = path.as_bytes();
            let is_gone = change.pre.is_some() && tree.resolve(bytes).is_none();
            if is_gone && may_be_named(bytes) {
                gone.insert(path.clone(), by);
            }
        }
    }
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let mut owners: BTreeMap<RelPath, Option<String>> =
        gone.keys().map(|path| (path.clone(), None)).collect();
    find_listed(tree, view, &mut owners)?;
    let diverted = match database(tree, "diversions") {
        Some(at) => view.read(at.as_bytes())?,
        None => Vec::new(),
    };
    let diversions = Diversions::read(&diverted).unwrap_or_default();
    let brings = |by: &Member, package: &str| {
        let name = package.split(':').next().unwrap_or(package);
        by.layer.packages.iter().any(|own| own.name == name)
    };
    gone.retain(|path, by| {
        let absolute = [b"/", path.as_bytes()].concat();
        let package = owners.get(path).and_then(Option::as_deref);
        package.is_some_and(|package| !brings(by, package)) && diversions.by(&absolute).is_none()
    });
    let namers = match gone.is_empty() {
        true => BTreeMap::new(),
        false => namers(tree, view, &gone)?,
    };
    let problem = |path: &RelPath| {
        let package = owners.get(path).cloned().flatten()?;
        let by = match namers.get(path) {
            Some(namer) => format!("'{namer}' opens it by this name"),
            None if parent(path.as_bytes()) == PAM => {
                "nobody passes its service then, but where 'other' lets them".to_owned()
            }
            None => return None,
        };
        Some(problem(path, package, &by))
    };
    Ok(gone.keys().filter_map(problem).collect())
}

/// Says whether a path may be opened by name, and is looked at nowhere else.
fn may_be_named(path: &[u8]) -> bool {
    let is_spare = SPARE.iter().any(|spare| within(path, spare)) || is_apart(path);
    let is_program = [b"usr/bin", &b"usr/sbin"[..]].contains(&parent(path));
    let is_place = [b"etc", &b"usr/lib"[..], b"usr/libexec", b"usr/share"]
        .iter()
        .any(|dir| within(path, dir) && path != *dir);
    is_place && !is_spare && !is_program
}

/// Returns who names paths that are gone: a program or library by a constant, or a unit in a command.
fn namers(
    tree: &Tree,
    view: &TreeView<'_>,
    gone: &BTreeMap<RelPath, &Member>,
) -> Result<BTreeMap<RelPath, RelPath>, ViewError> {
    let mut found = BTreeMap::new();
    let mut add = |named: &[u8], by: &RelPath| {
        for named in named.split(|byte| *byte == b'\n') {
            let place = place_of(tree, named);
            let known = place.and_then(|place| gone.get_key_value(place.as_bytes()));
            if let Some((path, _)) = known {
                found.entry(path.clone()).or_insert_with(|| by.clone());
            }
        }
    };
    let code = CODE.iter().flat_map(|dir| tree.below(dir));
    for (path, _) in code.filter(|(_, inode)| inode.object().is_some()) {
        if matches!(view.facts(path.as_bytes())?, FileFacts::Elf(_)) {
            let compute = |bytes: &[u8]| read(bytes).join(&b'\n');
            add(&view.computed(path.as_bytes(), KIND, &compute)?, path);
        }
    }
    let units = UNITS.iter().flat_map(|dir| tree.below(dir));
    for (path, _) in units.filter(|(_, inode)| inode.object().is_some()) {
        let text = view.read(path.as_bytes())?;
        let lines = text.split(|byte| *byte == b'\n');
        let commands = lines
            .filter(|line| line.starts_with(b"ExecStart=") || line.starts_with(b"Environment="));
        let commands: Vec<&[u8]> = commands.collect();
        add(&read(&commands.join(&b'\n')).join(&b'\n'), path);
    }
    Ok(found)
}

/// Finds the absolute paths of the system that stand in some bytes; sorted.
fn read(bytes: &[u8]) -> Vec<&[u8]> {
    const STARTS: [&[u8]; 4] = [b"/etc/", b"/usr/", b"/lib/", b"/lib64/"];
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_+.-@".contains(byte);
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == b'/') {
        let start = at + next;
        let rest = &bytes[start..];
        let end = rest.iter().take(NAME_LIMIT).position(|b| !is_of_name(b));
        let end = end.unwrap_or(rest.len().min(NAME_LIMIT));
        at = start + end.max(1);
        let is_start = start == 0 || !is_of_name(&bytes[start - 1]) && bytes[start - 1] != b'%';
        // What is filled in later is no name yet.
        let is_whole = rest.get(end).is_none_or(|byte| *byte != b'%');
        let path = rest[..end].strip_suffix(b"/").unwrap_or(&rest[..end]);
        if is_start && is_whole && STARTS.iter().any(|start| path.starts_with(start)) {
            found.insert(path);
            if found.len() >= NAMES_LIMIT {
                break;
            }
        }
    }
    found.into_iter().collect()
}

fn problem(path: &RelPath, package: String, by: &str) -> Problem {
    Problem {
        id: FindingKind::Disabled.at(path),
        subject: Subject::Path(path.clone()),
        reason: format!("'{path}' of {package} is gone: {by}"),
        package: Some(package),
        other: None,
        weight: Weight::Grave,
        hint: "leave it as the layer below has it, put another one there, or remove its package"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::escape;

    #[test]
    fn paths_are_read_from_bytes_as_whole_constants() {
        let text = b"\0/etc/a.conf\0x/etc/no\0%s/etc/no\0in /usr/share/b/c;\0/usr/lib/%s\0/etc/d/\0/opt/x\0/etc";
        let found: Vec<String> = read(text).iter().map(|path| escape(path)).collect();
        assert_eq!(found, ["/etc/a.conf", "/etc/d", "/usr/share/b/c"]);
    }
}
