//! Runs the checks over a composition, and says whose each problem is.

use super::{ComposeError, Composition, Member, TreeView, packages};
use crate::check::{self, Problem, Subject, Weight};
use crate::format::{Baseline, LayerPackage};
use crate::merge::derive::ldsocache::CacheEntry;
use crate::merge::drivers;
use crate::path::RelPath;
use crate::store::{Index, Transaction};
use crate::tree::view::{ImageView as _, ViewError};
use crate::tree::{Node, Tree};

/// Interests of triggers whose work is done anew with every composition, or is a running system's: they reload a daemon,
/// or fill a cache that an image does not keep. Directories of one architecture are written without it.
const DERIVED: &[&[u8]] = &[
    b"etc/dbus-1",
    b"etc/php",
    b"usr/lib/binfmt.d",
    b"usr/lib/gdk-pixbuf-2.0",
    b"usr/lib/gio",
    b"usr/lib/gtk-2.0",
    b"usr/lib/gtk-3.0",
    b"usr/lib/gtk-4.0",
    b"usr/lib/mime",
    b"usr/lib/sysctl.d",
    b"usr/lib/systemd/catalog",
    b"usr/lib/udev/hwdb.d",
    b"usr/share/applications",
    b"usr/share/dbus-1",
    b"usr/share/fonts",
    b"usr/share/ghostscript/fonts",
    b"usr/share/glib-2.0/schemas",
    b"usr/share/icons",
    b"usr/share/info",
    b"usr/share/man",
    b"usr/share/mime",
    b"usr/share/texmf/fonts",
];
/// The package database, as programs know it.
const STATUS: &[u8] = b"var/lib/dpkg/status";
/// Where an image keeps it.
const STATUS_FILE: &[u8] = b"usr/lib/sysimage/var/lib/dpkg/status";
/// Links of alternatives, and where the database is that each is a function of.
const LINKS: &[u8] = b"etc/alternatives";
const ALTERNATIVES: &[u8] = b"usr/lib/sysimage/var/lib/dpkg/alternatives";

/// A problem with the number of the member that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The problem.
    pub problem: Problem,
    /// Whose it is.
    pub member: usize,
}

impl Found {
    /// Says whether it was so, and as bad, when a layer was built.
    pub(super) fn is_listed(&self, baseline: &Baseline) -> bool {
        baseline.lists(&self.problem.id, self.problem.weight == Weight::Grave)
    }

    /// Says whether it is grave, and was not so when the layers were built.
    pub fn is_grave_news(&self, members: &[Member]) -> bool {
        let mut baselines = members.iter().map(|member| &member.layer.baseline);
        self.problem.weight == Weight::Grave && !baselines.any(|baseline| self.is_listed(baseline))
    }
}

/// Looks for everything that is wrong with a composed tree, whether or not it is news; sorted by id.
pub fn examine(
    composition: &Composition,
    members: &[Member],
    transaction: &Transaction<'_>,
    index: &Index,
) -> Result<Vec<Found>, ComposeError> {
    let view = TreeView::new(&composition.tree, transaction, index);
    let problems = problems(composition, members, &view)?;
    view.remember();
    let mut found: Vec<Found> = problems
        .into_iter()
        .map(|problem| Found {
            member: owner(&problem, composition, members),
            problem,
        })
        .collect();
    found.sort_by(|a, b| a.problem.id.cmp(&b.problem.id));
    found.dedup_by(|a, b| a.problem.id == b.problem.id);
    Ok(found)
}

fn problems(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ComposeError> {
    let fail = |source: ViewError| ComposeError::Check { source };
    let tree = &composition.tree;
    let mut problems = Vec::new();
    if let Some(status) = tree.resolve(STATUS) {
        let native = members.first().map_or("", |base| &base.layer.architecture);
        let text = view.read(status.as_bytes()).map_err(fail)?;
        let mut found = check::dpkg::problems(&text, native);
        // What cannot be read makes much else look missing.
        if found.iter().any(is_unreadable) {
            found.retain(is_unreadable);
        }
        problems.extend(found);
    }
    let cache: Vec<check::elf::Library> = composition.libraries.iter().map(library).collect();
    problems.extend(check::elf::problems(tree, view, &cache).map_err(fail)?);
    problems.extend(check::paths::problems(tree, view).map_err(fail)?);
    problems.extend(packages::hidden_libraries(composition, view).map_err(fail)?);
    problems.extend(packages::replaced_files(composition, members, view).map_err(fail)?);
    problems.extend(damaged_records(tree, view).map_err(fail)?);
    problems.extend(unheard(tree, members, view).map_err(fail)?);
    Ok(problems)
}

fn is_unreadable(problem: &Problem) -> bool {
    problem.id.starts_with("dpkg:unreadable:")
}

/// Finds databases that their driver cannot read: a merge would refuse them, and so might their programs.
fn damaged_records(tree: &Tree, view: &TreeView<'_>) -> Result<Vec<Problem>, ViewError> {
    let places: [&[u8]; 2] = [b"etc", b"usr/lib/sysimage/var"];
    let files = places.into_iter().flat_map(|place| tree.below(place));
    let mut problems = Vec::new();
    for (path, inode) in files.filter(|(_, inode)| inode.object().is_some()) {
        let Some(driver) = drivers::driver_for(path.as_bytes()) else {
            continue;
        };
        if inode.object().is_none() || path.as_bytes() == STATUS_FILE {
            continue;
        }
        let bytes = view.read(path.as_bytes())?;
        // Both sides differ from an absent file, so that the driver has to read them.
        let Err(conflicts) = driver.merge(None, Some(&bytes), Some(b"")) else {
            continue;
        };
        let first = conflicts
            .iter()
            .filter(|conflict| conflict.reason.starts_with("current: "))
            .min_by_key(|conflict| conflict.line);
        let Some((conflict, line)) = first.and_then(|found| Some((found, found.line?))) else {
            continue;
        };
        let reason = conflict.reason.trim_start_matches("current: ");
        problems.push(Problem {
            id: format!("record:{path}:line-{line}"),
            subject: Subject::Path(path.clone()),
            package: None,
            other: None,
            weight: Weight::Minor,
            reason: format!("'{path}', line {line}: {reason}"),
            hint: "repair the file in the layer that wrote it: a merge with another layer's records would be refused"
                .to_owned(),
        });
    }
    Ok(problems)
}

fn library(entry: &CacheEntry) -> check::elf::Library {
    check::elf::Library {
        soname: entry.soname.clone(),
        path: entry.path.clone(),
        flags: entry.flags,
        hwcaps: entry.hwcaps.clone(),
    }
}

/// Finds, for each layer, the packages that want to be told of files that it has: what they then do has been done in the
/// build, unless they came later.
fn unheard(
    tree: &Tree,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let files = check::paths::interest_files();
    let Some(file) = files.into_iter().find_map(|path| tree.resolve(path)) else {
        return Ok(Vec::new());
    };
    let check::paths::Interests {
        mut interests,
        mut problems,
    } = check::paths::interests(&view.read(file.as_bytes())?);
    interests.retain(|interest| !is_derived(interest.path.as_bytes()));
    for member in members {
        let posts = member
            .changeset
            .iter()
            .filter(|(_, change)| change.post.is_some());
        let mut paths = posts.map(|(path, _)| path);
        for interest in check::paths::touched(&interests, &mut paths, &[]) {
            let (package, place, layer) = (&interest.package, &interest.path, &member.layer.name);
            problems.push(Problem {
                id: format!("trigger:{layer}:{package}:{place}"),
                subject: Subject::Layer(layer.clone()),
                package: Some(package.clone()),
                other: None,
                weight: Weight::Grave,
                reason: format!(
                    "'{package}' wants to be told of files below '{place}', which the layer has"
                ),
                hint: format!(
                    "rebuild '{layer}', so that the trigger of '{package}' sees its files"
                ),
            });
        }
    }
    Ok(problems)
}

/// Says whether what happens for files below a path is derived, or a running system's business.
fn is_derived(path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let is_triplet = |part: &&[u8]| part.windows(10).any(|window| window == b"-linux-gnu");
    let plain: Vec<&[u8]> = parts.into_iter().filter(|part| !is_triplet(part)).collect();
    let mut plain = plain.join(&b'/');
    if plain.starts_with(b"lib/") {
        plain = [b"usr/".as_slice(), &plain].concat();
    }
    let below = |dir: &&[u8]| {
        let rest = plain.strip_prefix(*dir);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    DERIVED.iter().any(below)
}

/// Returns the number of the member that has the subject.
fn owner(problem: &Problem, composition: &Composition, members: &[Member]) -> usize {
    let of_package = |name: &str, architecture: Option<&str>| {
        let is_it = |package: &LayerPackage| {
            package.name == name && architecture.is_none_or(|wanted| package.architecture == wanted)
        };
        members
            .iter()
            .rposition(|member| member.layer.packages.iter().any(is_it))
            .unwrap_or(0)
    };
    match &problem.subject {
        Subject::Path(path) => owner_of_path(path, composition),
        Subject::Layer(name) => members
            .iter()
            .position(|member| member.layer.name == *name)
            .unwrap_or(0),
        // The last layer that wrote the database.
        Subject::Package { .. } if is_unreadable(problem) => members
            .iter()
            .rposition(|member| member.changeset.get(STATUS_FILE).is_some())
            .unwrap_or(0),
        Subject::Package { name, architecture } => {
            // Of two that do not go together, the upper one has to give way: the lower one was there before it.
            let other = problem.other.as_deref().map_or(0, |other| {
                let (name, architecture) = other
                    .split_once(':')
                    .map_or((other, None), |(n, a)| (n, Some(a)));
                of_package(name, architecture)
            });
            of_package(name, Some(architecture)).max(other)
        }
    }
}

fn owner_of_path(path: &RelPath, composition: &Composition) -> usize {
    let known = |path: &[u8]| composition.origin.get(path).copied();
    let of_alternative = |path: &[u8]| {
        let name = path.strip_prefix(LINKS)?.strip_prefix(b"/")?;
        known(&[ALTERNATIVES, b"/", name].concat())
    };
    let of_target = || match &composition.tree.get(path.as_bytes())?.node {
        Node::Symlink { target } => of_alternative(target.strip_prefix(b"/")?),
        _ => None,
    };
    // Derived files have no origin of their own.
    known(path.as_bytes())
        .or_else(|| of_alternative(path.as_bytes()))
        .or_else(of_target)
        .unwrap_or(0)
}
