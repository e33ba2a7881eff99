//! Programs, libraries and directories that a layer below has, and that a layer above takes away or
//! makes useless: others start them without saying so anywhere.
//!
//! What a package promises is what other packages rely on. A program of a package that nothing
//! depends on may go, and is noted only.

use std::collections::{BTreeMap, BTreeSet};

use super::composition::Composition;
use super::cut::{is_cut, is_replaced};
use super::made::is_made;
use super::member::Member;
use super::packages::{database, find_listed};
use super::standard::{is_spare, is_standard};
use super::view::TreeView;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::accounts::{self, PASSWD};
use crate::layout::{name, parent, within};
use crate::packages::{self, Diversions};
use crate::path::RelPath;
use crate::tree::view::{ImageView as _, ViewError};
use crate::tree::{Inode, Node, Tree};

/// Where programs are started from by their names.
const PROGRAMS: [&[u8]; 2] = [b"usr/bin", b"usr/sbin"];
/// What everybody has to be able to enter; directories of libraries besides.
const DIRECTORIES: [&[u8]; 18] = [
    b"",
    b"etc",
    b"etc/alternatives",
    b"etc/ssl",
    b"etc/ssl/certs",
    b"home",
    b"usr",
    b"usr/bin",
    b"usr/lib",
    b"usr/lib64",
    b"usr/local",
    b"usr/local/bin",
    b"usr/local/lib",
    b"usr/local/share",
    b"usr/sbin",
    b"usr/share",
    b"var",
    b"var/lib",
];
/// What the C library, TLS and the like read for everybody.
const FILES: [&[u8]; 7] = [
    b"etc/group",
    b"etc/hosts",
    b"etc/ld.so.cache",
    b"etc/nsswitch.conf",
    b"etc/passwd",
    b"etc/services",
    b"etc/ssl/openssl.cnf",
];
/// Where what a package brings is for everybody.
const SHARED: [&[u8]; 3] = [b"usr/lib", b"usr/libexec", b"usr/share"];
/// What of it is for people and tools of packaging, is a copy of what stands elsewhere, or is closed
/// on purpose on some machines.
const APART: [&[u8]; 10] = [
    b"usr/lib/debug",
    b"usr/lib/modules",
    b"usr/lib/sysimage",
    b"usr/share/bug",
    b"usr/share/doc",
    b"usr/share/factory",
    b"usr/share/info",
    b"usr/share/lintian",
    b"usr/share/locale",
    b"usr/share/man",
];
/// Where services expect the directories of their packages.
const STATE: [&[u8]; 3] = [b"var/lib", b"var/log", b"var/spool"];
/// How the names of files end that programs load as code.
const CODE: [&[u8]; 7] = [b".jar", b".js", b".php", b".pl", b".pm", b".py", b".rb"];
/// How the names of program interpreters start.
const LOADERS: [&[u8]; 3] = [b"ld-linux", b"ld.so.", b"ld64.so."];

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Gone,
    NotExecutable,
    Empty,
    /// Perhaps: only its content tells.
    Cut,
    Unreadable,
    Closed,
    /// A directory is in its place.
    Covered,
    /// Perhaps: only what it was tells.
    Replaced,
}

impl Fault {
    fn words(self) -> &'static str {
        match self {
            Self::Gone => "is gone",
            Self::NotExecutable => "is not executable any more",
            Self::Empty => "is empty",
            Self::Cut => "is cut off: only the start of it is left",
            Self::Unreadable => "can be read by its owner only: programs of others cannot use it",
            Self::Covered => "is a directory now",
            Self::Replaced => "was a program and is no such file now",
            Self::Closed => "can be entered by its owner only: nothing in it is found by others",
        }
    }

    /// Says whether somebody may want it for a program that nobody relies on.
    fn is_wanted(self, path: &RelPath) -> bool {
        let is_off = matches!(
            self,
            Self::Gone | Self::NotExecutable | Self::Empty | Self::Replaced
        );
        is_off && PROGRAMS.contains(&parent(path.as_bytes()))
    }
}

/// A path that a layer changed, and what seems to be wrong with it.
struct Suspect<'a> {
    fault: Fault,
    /// Who changed it.
    by: &'a Member,
}

/// Finds what layers have disabled of those below them: `disabled:PATH`. Programs and libraries count
/// where an installed package lists them.
pub(super) fn disabled(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let tree = &composition.tree;
    let mut faults: BTreeMap<RelPath, Suspect<'_>> = BTreeMap::new();
    for by in members.iter().skip(1) {
        for (path, change) in by.changeset.iter() {
            let Some(before) = &change.pre else {
                continue;
            };
            let Some(fault) = fault(tree, path, before) else {
                continue;
            };
            if let Some(fault) = certain(fault, path, before, (tree, view))? {
                faults.insert(path.clone(), Suspect { fault, by });
            }
        }
    }
    if faults.is_empty() {
        return Ok(Vec::new());
    }
    let mut owners: BTreeMap<RelPath, Option<String>> =
        faults.keys().map(|path| (path.clone(), None)).collect();
    find_listed(tree, view, &mut owners)?;
    let diverted = match database(tree, "diversions") {
        Some(at) => view.read(at.as_bytes())?,
        None => Vec::new(),
    };
    let status = match database(tree, "status") {
        Some(at) => view.read(at.as_bytes())?,
        None => Vec::new(),
    };
    let relied_on = relied_on(&status);
    let diversions = Diversions::read(&diverted).unwrap_or_default();
    let problem = |(path, suspect): (RelPath, Suspect<'_>)| {
        let fault = suspect.fault;
        let package = owners.get(&path).cloned().flatten();
        if fault == Fault::Closed && is_common(path.as_bytes()) || FILES.contains(&path.as_bytes())
        {
            return Some(problem(&path, fault, None, Weight::Grave));
        }
        let package = package?;
        // Lists of some packages are named after their architecture as well.
        let name = package.split(':').next().unwrap_or(&package);
        let mut own = suspect.by.layer.packages.iter();
        if is_for_package(&path, fault) && own.any(|own| own.name == name) {
            return None;
        }
        // A package that diverts the file of another one says how programs go on.
        let absolute = [b"/", path.as_bytes()].concat();
        let is_local = diversions.by(&absolute).is_none_or(|by| by == b":");
        let weight = match !fault.is_wanted(&path) || relied_on.contains(name) {
            true => Weight::Grave,
            false => Weight::Minor,
        };
        is_local.then(|| problem(&path, fault, Some(package), weight))
    };
    Ok(faults.into_iter().filter_map(problem).collect())
}

/// Says what is wrong for certain, where a fault is one perhaps.
fn certain(
    fault: Fault,
    path: &RelPath,
    before: &Inode,
    (tree, view): (&Tree, &TreeView<'_>),
) -> Result<Option<Fault>, ViewError> {
    let replaced = || -> Result<Option<Fault>, ViewError> {
        let is_program = PROGRAMS.contains(&parent(path.as_bytes()));
        let is_so = is_program && is_replaced(path, before, view)?;
        Ok(is_so.then_some(Fault::Replaced))
    };
    match fault {
        Fault::Cut if !is_cut(path, before, view) => replaced(),
        Fault::Replaced => replaced(),
        Fault::Gone if before.is_dir() && is_made(path, tree, view)? => Ok(None),
        _ => Ok(Some(fault)),
    }
}

/// Says what is wrong with a path that was `before`.
fn fault(tree: &Tree, path: &RelPath, before: &Inode) -> Option<Fault> {
    let bytes = path.as_bytes();
    let dir = parent(bytes);
    let now = tree.get(bytes);
    let loses = |bits: u16| {
        let is_link = now.is_none_or(|now| matches!(now.node, Node::Symlink { .. }));
        !is_link && before.mode & bits == bits && now.is_some_and(|now| now.mode & bits != bits)
    };
    // Who gives it to a group says who is to have it.
    let is_for_all = is_shared(bytes) && now.is_some_and(|now| now.group == before.group);
    if before.is_dir() && now.is_none() {
        let is_state = STATE.contains(&dir);
        return is_state.then_some(Fault::Gone);
    }
    if before.is_dir() {
        let is_open = is_common(bytes) || is_for_all;
        return (is_open && now.is_some_and(Inode::is_dir) && loses(0o001))
            .then_some(Fault::Closed);
    }
    let starts = |inode: &Inode| inode.mode & 0o111 != 0;
    let is_file = |inode: &Inode| inode.object().is_some();
    let is_empty = |inode: &Inode| matches!(inode.node, Node::File { size: 0, .. });
    if PROGRAMS.contains(&dir) {
        let is_program = match &before.node {
            Node::Symlink { .. } => true,
            _ => is_file(before) && starts(before) && !is_empty(before),
        };
        let real = tree.resolve(bytes);
        let real = real.as_ref().and_then(|real| tree.get(real.as_bytes()));
        return match real {
            _ if !is_program => None,
            None => Some(Fault::Gone),
            // What a link leads to is another path.
            Some(_) if !is_file(before) => None,
            Some(real) if real.is_dir() => Some(Fault::Covered),
            Some(real) if !is_file(real) => Some(Fault::Gone),
            Some(real) if !starts(real) => Some(Fault::NotExecutable),
            Some(real) if is_empty(real) => Some(Fault::Empty),
            Some(real) if is_shorter(real, before) => Some(Fault::Cut),
            Some(real) if real.node != before.node => Some(Fault::Replaced),
            Some(_) => None,
        };
    }
    if is_file(before) && now.is_some_and(Inode::is_dir) {
        return (!is_apart(bytes)).then_some(Fault::Covered);
    }
    if now.is_none() {
        let is_lost = is_standard(bytes) || is_torn(tree, path);
        return (is_file(before) && is_lost).then_some(Fault::Gone);
    }
    let now = now.filter(|now| is_file(now) && is_file(before))?;
    if FILES.contains(&bytes) {
        return loses(0o004).then_some(Fault::Unreadable);
    }
    let is_library = bytes.starts_with(b"usr/lib") && is_library(path.name());
    if !is_library {
        let is_code = is_shared(bytes) && is_code(path.name());
        return match now {
            now if is_code && is_empty(now) && !is_empty(before) => Some(Fault::Empty),
            now if is_code && is_shorter(now, before) => Some(Fault::Cut),
            _ => (is_for_all && loses(0o004)).then_some(Fault::Unreadable),
        };
    }
    let is_loader = LOADERS.iter().any(|start| path.name().starts_with(start));
    if is_loader && starts(before) && !starts(now) {
        return Some(Fault::NotExecutable);
    }
    loses(0o004).then_some(Fault::Unreadable)
}

/// Says whether a directory is one that everybody has to be able to enter, whoever brings it.
fn is_common(path: &[u8]) -> bool {
    let is_triplet = || name(path).windows(7).any(|part| part == b"-linux-");
    DIRECTORIES.contains(&path) || parent(path) == b"usr/lib" && is_triplet()
}

fn is_shared(path: &[u8]) -> bool {
    SHARED.iter().any(|dir| within(path, dir)) && !is_apart(path)
}

pub(super) fn is_apart(path: &[u8]) -> bool {
    APART.iter().any(|dir| within(path, dir))
}

fn is_code(name: &[u8]) -> bool {
    CODE.iter().any(|end| name.ends_with(end))
}

/// Says whether a module that is gone was taken out of the middle of others. Who wants to be rid of a
/// part takes its whole directory.
fn is_torn(tree: &Tree, path: &RelPath) -> bool {
    let bytes = path.as_bytes();
    let is_module = |name: &[u8]| is_code(name) && !name.ends_with(b".jar");
    is_shared(bytes)
        && is_module(path.name())
        && !is_spare(bytes)
        && tree.names(parent(bytes)).any(is_module)
}

/// Says whether another version of the package may do this to one of its files.
fn is_for_package(path: &RelPath, fault: Fault) -> bool {
    let is_of_all = PROGRAMS.contains(&parent(path.as_bytes())) || is_library(path.name());
    matches!(fault, Fault::Cut | Fault::Covered | Fault::Replaced) || !is_of_all
}

fn is_shorter(now: &Inode, before: &Inode) -> bool {
    match (&now.node, &before.node) {
        (Node::File { size: now, .. }, Node::File { size: before, .. }) => now < before,
        _ => false,
    }
}

fn is_library(name: &[u8]) -> bool {
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}

/// Finds that the image has accounts and none of root, who nobody can be then.
pub(super) fn without_root(
    tree: &Tree,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Option<Problem>, ViewError> {
    let Some(path) = tree.resolve(PASSWD.as_bytes()) else {
        return Ok(None);
    };
    let first = members
        .iter()
        .find(|member| member.changeset.get(path.as_bytes()).is_some());
    let is_plain = tree.get(path.as_bytes()).and_then(Inode::object).is_some();
    let Some(first) = first.filter(|_| is_plain) else {
        return Ok(None);
    };
    let file = view.read(path.as_bytes())?;
    let mut names = accounts::numbers(&file).map(|(name, _)| name).peekable();
    if names.peek().is_none() || names.any(|name| name == "root") {
        return Ok(None);
    }
    Ok(Some(Problem {
        // Not `PATH:root`, which is about root's shell.
        id: FindingKind::Account.at(&path),
        // All layers write this file: it is about the accounts that were there first.
        subject: Subject::Layer(first.layer.name.clone()),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!("'{path}' has accounts, and none called root"),
        hint: "leave root in it; an account that nobody may log in to has '*' for its password"
            .to_owned(),
    }))
}

/// Returns the packages that all others may rely on, and those that an installed one asks for.
fn relied_on(status: &[u8]) -> BTreeSet<String> {
    let database = packages::dpkg::read(status);
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for record in &database.records {
        let Some(package) = &record.package else {
            continue;
        };
        let is_essential = |line: &[u8]| line.trim_ascii() == b"Essential: yes";
        if record.raw.split(|byte| *byte == b'\n').any(is_essential) {
            names.insert(package.name);
        }
        let wanted = package.depends.iter().flatten().map(|wanted| wanted.name);
        names.extend(wanted.filter(|wanted| *wanted != package.name));
    }
    let is_meant = |package: &&packages::Package<'_>| {
        let provides = package.provides.iter().map(|provided| provided.name);
        provides
            .chain([package.name])
            .any(|name| names.contains(name))
    };
    database
        .packages()
        .filter(is_meant)
        .map(|package| package.name.to_owned())
        .collect()
}

fn problem(path: &RelPath, fault: Fault, package: Option<String>, weight: Weight) -> Problem {
    let whose = match &package {
        Some(package) => format!("'{path}' of {package}"),
        None => format!("'{path}'"),
    };
    Problem {
        id: FindingKind::Disabled.at(path),
        subject: Subject::Path(path.clone()),
        package,
        other: None,
        weight,
        reason: format!("{whose} {}", fault.words()),
        hint: "leave it as the layer below has it, or remove its package there".to_owned(),
    }
}
