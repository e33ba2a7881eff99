//! Which package a file belongs to, looked up only where the answer matters.

use std::collections::BTreeMap;

use super::composition::Composition;
use super::examine::MemberProblem;
use super::member::Member;
use super::view::TreeView;
use crate::check::{FindingId, Problem, Subject, paths};
use crate::layout::{dpkg, join, name, parent};
use crate::packages::{self, Package};
use crate::path::RelPath;
use crate::tree::view::{FileFacts, ImageView, ViewError};
use crate::tree::{Inode, Tree};

/// Finds libraries of packages that the loader never takes, because a file of no package comes
/// first.
pub(super) fn hidden_libraries(
    composition: &Composition,
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let mut places: BTreeMap<(&[u8], u32), Vec<&[u8]>> = BTreeMap::new();
    for entry in &composition.libraries {
        let key = (entry.soname.as_slice(), entry.flags);
        places.entry(key).or_default().push(&entry.path);
    }
    places.retain(|_, paths| paths.len() > 1);
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let tree = &composition.tree;
    let mut wanted: BTreeMap<RelPath, Option<String>> = BTreeMap::new();
    for path in places.values().flatten() {
        wanted.insert(tree.resolve(path).unwrap_or_default(), None);
    }
    find_owners(tree, view, &mut wanted)?;
    let versions = versions(tree, view)?;
    let owner = |path: &[u8]| {
        let package = wanted.get(&tree.resolve(path)?)?.clone()?;
        let version = versions.get(&package)?.clone();
        Some((package, version))
    };
    let entries = composition.libraries.iter();
    let several =
        entries.filter(|entry| places.contains_key(&(entry.soname.as_slice(), entry.flags)));
    let lines = several.map(|entry| paths::CachedLibrary {
        soname: &entry.soname,
        path: &entry.path,
        flags: entry.flags,
    });
    Ok(paths::libraries(lines, &owner))
}

/// Finds programs and libraries of packages that a layer has replaced by files of its own.
pub(super) fn replaced_files(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let tree = &composition.tree;
    let mut candidates: Vec<(RelPath, &Member)> = Vec::new();
    for (number, member) in members.iter().enumerate() {
        for (path, change) in member.changeset.iter() {
            let object = |inode: &Option<Inode>| inode.as_ref().and_then(Inode::object);
            let (pre, post) = (object(&change.pre), object(&change.post));
            let is_own = pre.is_some() && post.is_some() && pre != post;
            if is_own
                && composition.origin.get(path) == Some(&number)
                && tree.get(path.as_bytes()).and_then(Inode::object) == post
                && matches!(view.facts(path.as_bytes())?, FileFacts::Elf(_))
            {
                candidates.push((path.clone(), member));
            }
        }
    }
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted: BTreeMap<RelPath, Option<String>> = candidates
        .iter()
        .map(|(path, _)| (path.clone(), None))
        .collect();
    find_owners(tree, view, &mut wanted)?;
    let versions = versions(tree, view)?;
    let problem = |(path, member): (RelPath, &Member)| {
        let package = wanted.get(&path)?.as_ref()?;
        // The layer's own packages may replace a version from below.
        let brings = member.layer.packages.iter().any(|own| own.name == *package);
        let version = versions.get(package).filter(|_| !brings)?;
        Some(paths::replaced(&path, package, version))
    };
    Ok(candidates.into_iter().filter_map(problem).collect())
}

/// Returns which of some problems are with a file below `/usr` that a package brought, in the layer
/// that the package came with; by id, the package.
///
/// A package says what it needs, and dpkg's relations are checked. What its files lack besides is
/// an extra that it is made to live without. Files in `/etc` may be somebody's own settings, and
/// do not count.
pub fn extras<'f>(
    problems: impl Iterator<Item = &'f MemberProblem>,
    tree: &Tree,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<BTreeMap<FindingId, String>, ViewError> {
    let mut wanted: BTreeMap<RelPath, Option<String>> = BTreeMap::new();
    let mut asked = Vec::new();
    for found in problems {
        if let Subject::Path(path) = &found.problem.subject
            && path.starts_with(b"usr")
        {
            wanted.insert(path.clone(), None);
            asked.push((found, path));
        }
    }
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    find_owners(tree, view, &mut wanted)?;
    let extra = |(found, path): (&MemberProblem, &RelPath)| {
        let package = wanted.get(path)?.as_ref()?;
        let name = package.split(':').next().unwrap_or(package);
        let mut own = members.get(found.owner)?.layer.packages.iter();
        own.any(|own| own.name == name)
            .then(|| (found.problem.id.clone(), name.to_owned()))
    };
    Ok(asked.into_iter().filter_map(extra).collect())
}

/// Looks up the packages of some files, by the lists that dpkg keeps.
pub(super) fn find_owners(
    tree: &Tree,
    view: &TreeView<'_>,
    wanted: &mut BTreeMap<RelPath, Option<String>>,
) -> Result<(), ViewError> {
    find(tree, view, wanted, &|line| tree.resolve(line))
}

/// Looks up the packages that list some paths, whether these are there or not. The last part of a
/// path is not followed.
pub(super) fn find_listed(
    tree: &Tree,
    view: &TreeView<'_>,
    wanted: &mut BTreeMap<RelPath, Option<String>>,
) -> Result<(), ViewError> {
    find(tree, view, wanted, &|line| place_of(tree, line))
}

/// Returns where a listed path is, or would be: what of its directories is gone is taken as it is
/// written.
pub(super) fn place_of(tree: &Tree, line: &[u8]) -> Option<RelPath> {
    let dir = parent(line);
    let dir = match tree.resolve(dir) {
        None if !dir.is_empty() => place_of(tree, dir)?,
        found => found?,
    };
    RelPath::new(&join(dir.as_bytes(), name(line))).ok()
}

fn find(
    tree: &Tree,
    view: &TreeView<'_>,
    wanted: &mut BTreeMap<RelPath, Option<String>>,
    place: &dyn Fn(&[u8]) -> Option<RelPath>,
) -> Result<(), ViewError> {
    let Some(info) = database(tree, "info") else {
        return Ok(());
    };
    // Lists name directories as they were before /usr was merged, so that only their last part
    // tells most of them apart.
    let names: std::collections::BTreeSet<Vec<u8>> =
        wanted.keys().map(|path| path.name().to_vec()).collect();
    for name in tree.names(info.as_bytes()) {
        let Some(package) = packages::package_of_list(name) else {
            continue;
        };
        let list = view.read(&[info.as_bytes(), b"/", name].concat())?;
        for line in list.split(|byte| *byte == b'\n') {
            let last = line.rsplit(|byte| *byte == b'/').next().unwrap_or(line);
            if !names.contains(last) {
                continue;
            }
            if let Some(found) = place(line).and_then(|path| wanted.get_mut(&path)) {
                *found = Some(String::from_utf8_lossy(package).into_owned());
            }
        }
    }
    Ok(())
}

/// Returns where a part of dpkg's database is.
pub(super) fn database(tree: &Tree, part: &str) -> Option<RelPath> {
    let place = |dir: &str| tree.resolve(format!("{dir}/{part}").as_bytes());
    dpkg::DIRECTORIES.into_iter().find_map(place)
}

fn versions(tree: &Tree, view: &TreeView<'_>) -> Result<BTreeMap<String, String>, ViewError> {
    let Some(status) = database(tree, "status") else {
        return Ok(BTreeMap::new());
    };
    let text = view.read(status.as_bytes())?;
    let database = packages::dpkg::read(&text);
    let version = |package: &Package<'_>| (package.name.to_owned(), package.version.to_string());
    Ok(database.packages().map(version).collect())
}
