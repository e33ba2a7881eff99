//! Programs, libraries and directories that a layer below has, and that a layer above takes away or
//! makes useless: others start them without saying so anywhere.
//!
//! What a package promises is what other packages rely on. A program of a package that nothing
//! depends on may go, and is noted only; but not one that a unit or a health check starts.

mod everybody;
mod fault;

use std::collections::{BTreeMap, BTreeSet};

use everybody::{FILES, PROGRAMS, is_common};
use fault::{Fault, fault, is_for_package};

pub(super) use everybody::is_apart;

use super::composition::Composition;
use super::cut::{is_cut, is_replaced};
use super::made::is_made;
use super::member::Member;
use super::packages::{database, find_listed};
use super::view::TreeView;
use crate::check::{self, FindingKind, Problem, Subject, Weight};
use crate::format::Probe;
use crate::layout::parent;
use crate::packages::{self, Diversions};
use crate::path::RelPath;
use crate::tree::view::{ImageView as _, ViewError};
use crate::tree::{Inode, Tree};

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
    let started = started(composition, members, view)?;
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
        let is_needed = relied_on.contains(name) || started.contains(path.as_bytes());
        let weight = match !fault.is_wanted(&path) || is_needed {
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

/// Returns the programs that units and health checks start. A unit that is skipped without its program
/// starts it as well: nobody is told that it does not any more.
fn started(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<BTreeSet<Vec<u8>>, ViewError> {
    let tree = &composition.tree;
    let mut started = check::paths::started_by_units(tree, view)?;
    for check in members
        .iter()
        .flat_map(|member| &member.layer.health.checks)
    {
        if let Probe::Run(command) = &check.probe {
            started.extend(check::paths::started_by_shell(tree, command));
        }
    }
    Ok(started)
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
