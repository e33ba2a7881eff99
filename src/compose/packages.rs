//! Which package a file belongs to, asked only where the answer matters.

use std::collections::BTreeMap;

use super::{Composition, TreeView};
use crate::check::{Problem, paths};
use crate::deb822::{Stanza, stanzas};
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// The package database, as programs know it.
const DATABASE: &[u8] = b"var/lib/dpkg";

/// Finds libraries of packages that the loader does not take, for a file of no package comes first.
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

/// Looks up the packages of some files, by the lists that dpkg keeps.
fn find_owners(
    tree: &Tree,
    view: &TreeView<'_>,
    wanted: &mut BTreeMap<RelPath, Option<String>>,
) -> Result<(), ViewError> {
    let Some(info) = tree.resolve(&[DATABASE, b"/info"].concat()) else {
        return Ok(());
    };
    // Lists name directories as they were before /usr was merged, so that only their last part tells most of them apart.
    let names: std::collections::BTreeSet<Vec<u8>> =
        wanted.keys().map(|path| path.name().to_vec()).collect();
    for name in tree.names(info.as_bytes()) {
        let Some(package) = name.strip_suffix(b".list") else {
            continue;
        };
        let package = package
            .split(|byte| *byte == b':')
            .next()
            .unwrap_or(package);
        let list = view.read(&[info.as_bytes(), b"/", name].concat())?;
        for line in list.split(|byte| *byte == b'\n') {
            let last = line.rsplit(|byte| *byte == b'/').next().unwrap_or(line);
            if !names.contains(last) {
                continue;
            }
            if let Some(found) = tree.resolve(line).and_then(|path| wanted.get_mut(&path)) {
                *found = Some(String::from_utf8_lossy(package).into_owned());
            }
        }
    }
    Ok(())
}

fn versions(tree: &Tree, view: &TreeView<'_>) -> Result<BTreeMap<String, String>, ViewError> {
    let Some(status) = tree.resolve(&[DATABASE, b"/status"].concat()) else {
        return Ok(BTreeMap::new());
    };
    let text = view.read(status.as_bytes())?;
    let record = |raw| {
        let stanza = Stanza::parse(raw).ok()?;
        let field = |name| Some(String::from_utf8_lossy(stanza.require(name).ok()?).into_owned());
        Some((field("Package")?, field("Version")?))
    };
    Ok(stanzas(&text)
        .filter_map(|(raw, _, _)| record(raw))
        .collect())
}
