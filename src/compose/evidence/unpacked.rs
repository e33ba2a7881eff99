//! What was unpacked from an archive of the layers below, as a virtual environment's pip is from a
//! wheel.

use std::collections::{BTreeMap, BTreeSet};

use super::bound::common;
use super::candidates::Candidates;
use super::contents::Contents;
use super::ground::Ground;
use super::{Found, MIN_BYTES, origin_at};
use crate::compose::error::ComposeError;
use crate::id::ObjectId;
use crate::layout::within;
use crate::path::RelPath;

/// What archives are called that something is unpacked from.
const ARCHIVES: [&str; 10] = [
    ".deb", ".egg", ".jar", ".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tgz", ".whl", ".zip",
];

/// Adds, for each archive below, the files of the layer that are members of it: the directory that
/// holds them all.
pub(super) fn add(
    candidates: &Candidates,
    ground: &Ground<'_>,
    contents: &Contents<'_>,
    found: &mut Found,
) -> Result<(), ComposeError> {
    let mut wanted: BTreeMap<ObjectId, Vec<&RelPath>> = BTreeMap::new();
    for (path, object) in &candidates.files {
        if !found.files.contains_key(path) && !candidates.own.contains(object) {
            wanted.entry(*object).or_default().push(path);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    for (archive, object, size) in ground.files() {
        let is_archive = ARCHIVES
            .iter()
            .any(|suffix| archive.name().ends_with(suffix.as_bytes()));
        if !is_archive || size < MIN_BYTES || within(archive.as_bytes(), b"usr/share/doc") {
            continue;
        }
        let Some(held) = contents.of(&object, &contents.head(&object)?)? else {
            continue;
        };
        let members: BTreeSet<ObjectId> = held.members.iter().map(|member| member.id).collect();
        let paths: Vec<&RelPath> = members
            .iter()
            .filter_map(|id| wanted.remove(id))
            .flatten()
            .collect();
        if let Some(path) = common(&paths) {
            found.add(&path, vec![origin_at(archive, object, None)]);
        }
    }
    Ok(())
}
