//! Evidence of derivation: what of a layer was made of files of the layers below.
//!
//! Nobody declares it. It is computed when a layer is built, and kept in its baseline: a file that
//! is the same as one of a lower layer elsewhere; an archive, such as an initramfs, with such a
//! member; what was unpacked from an archive of a lower layer; what a script edited or put together;
//! a kernel module and the headers that it was built against; a virtual environment and its Python. A check then only compares ids ([`moved`]).
//!
//! What a package of the layer brings is no evidence, for to build again installs the same bytes.
//! Nor is what says the same everywhere: small files, licences and documentation.

mod bound;
mod candidates;
mod carried;
mod contents;
mod edited;
mod ground;
mod made_for;
mod moved;
mod origins;
mod unpacked;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeSet;

use super::composition::Composition;
use super::error::ComposeError;
use super::member::Member;
use crate::format::{DerivedFile, Origin};
use crate::id::ObjectId;
use crate::path::{RelPath, escape};
use crate::store::{Index, Transaction};
use crate::tree::view::ViewError;

use candidates::Candidates;
use contents::Contents;
use ground::Ground;
use origins::Origins;

pub use moved::moved;

/// Smaller files say the same by chance, in bytes.
const MIN_BYTES: u64 = 256;

/// What the evidence of a layer is computed from. The layer is the last of the members.
pub struct Evidence<'a> {
    /// The layer composed with those that it was built on.
    pub composition: &'a Composition,
    /// These layers, lowest first.
    pub members: &'a [Member],
    /// What earlier builds of the layer, or earlier checks of it, knew.
    pub earlier: Vec<&'a [DerivedFile]>,
    /// What the layer's definition brings as it is; `None` where the definition is not at hand.
    pub brought: Option<&'a BTreeSet<ObjectId>>,
    /// Reads contents.
    pub transaction: &'a Transaction<'a>,
    /// Remembers what archives hold.
    pub index: &'a Index,
}

/// Computes what of a layer was made of files of the layers below, sorted by path.
pub fn derived(evidence: &Evidence<'_>) -> Result<Vec<DerivedFile>, ComposeError> {
    let Some((member, below)) = evidence.members.split_last() else {
        return Ok(Vec::new());
    };
    let ground = Ground::new(evidence.composition, evidence.members, below.len());
    if ground.is_empty() {
        return Ok(Vec::new());
    }
    let candidates = Candidates::of(evidence, member, &ground)?;
    let contents = Contents::new(evidence.transaction, evidence.index);
    let mut found = Found::default();
    if !candidates.files.is_empty() {
        let origins = Origins::of(&ground, evidence.composition);
        for (path, object) in &candidates.files {
            let held = what_it_holds(path, object, &candidates, &origins, &contents)?;
            found.add(path, held);
        }
        for (path, object) in &candidates.files {
            let made_for = made_for::origins(path, object, &ground, &contents)?;
            found.add(path, made_for);
        }
        unpacked::add(&candidates, &ground, &contents, &mut found)?;
        let below = (&ground, &origins);
        edited::add(evidence, member, &candidates, below, &contents, &mut found)?;
    }
    carried::add(evidence, member, ground, &candidates, &contents, &mut found)?;
    contents.remember();
    let mut files = bound::directories(found.files);
    origins::name_packages(evidence, &mut files)?;
    bound::limit(&mut files, evidence)?;
    for file in &mut files {
        file.is_brought = is_brought(evidence, member, file);
    }
    Ok(files)
}

/// Finds the files below that a candidate is a copy of, or holds copies of.
fn what_it_holds(
    path: &RelPath,
    object: &ObjectId,
    candidates: &Candidates,
    origins: &Origins<'_>,
    contents: &Contents<'_>,
) -> Result<Vec<Origin>, ComposeError> {
    if candidates.own.contains(object) {
        return Ok(Vec::new());
    }
    if let Some(origin) = origins.same(object, path.as_bytes()) {
        return Ok(vec![origin_at(origin, *object, None)]);
    }
    if let Some(origin) = origins.derived_from(object, None) {
        return Ok(vec![origin]);
    }
    let mut found = Vec::new();
    let head = contents.head(object)?;
    if let Some(build_id) = crate::elf::build_id(&head) {
        let origin = origins.same_build(path.name(), &build_id, contents)?;
        found.extend(origin.map(|(origin, object)| origin_at(origin, object, None)));
    }
    let Some(held) = contents.of(object, &head)? else {
        return Ok(found);
    };
    for member in &held.members {
        let name = member.name.rsplit('!').find(|name| !name.is_empty());
        let name = name.unwrap_or_default();
        if candidates.own.contains(&member.id) || candidates::is_paper(name.as_bytes()) {
            continue;
        }
        let shown = Some(member.name.clone()).filter(|name| !name.is_empty());
        if let Some(origin) = origins.same(&member.id, name.as_bytes()) {
            found.push(origin_at(origin, member.id, shown));
        } else if let Some((origin, object)) = origins.packed(name, &member.id, contents)? {
            found.push(origin_at(origin, object, shown));
        } else if let Some(origin) = origins.derived_from(&member.id, shown.clone()) {
            found.push(origin);
        } else if let Some(build_id) = &member.build_id {
            let last = crate::layout::name(name.as_bytes());
            let origin = origins.same_build(last, build_id, contents)?;
            found.extend(origin.map(|(origin, object)| origin_at(origin, object, shown)));
        }
    }
    // What is in it nobody knows: it may be all that programs are made of.
    if !held.is_whole && candidates::is_initramfs(path) {
        found.extend(origins.directory("usr", None));
    }
    Ok(found)
}

fn origin_at(path: &RelPath, object: ObjectId, member: Option<String>) -> Origin {
    Origin {
        path: path.clone(),
        object: Some(object),
        is_directory: false,
        is_stale: false,
        package: None,
        member,
    }
}

/// Says whether the layer's definition brings a file as it is. Where nobody has the definition at
/// hand, what earlier checks said of the file counts.
fn is_brought(evidence: &Evidence<'_>, member: &Member, file: &DerivedFile) -> bool {
    let object = |path: &[u8]| member.changeset.get(path)?.post.as_ref()?.object();
    let Some(brought) = evidence.brought else {
        let mut earlier = evidence.earlier.iter().flat_map(|files| files.iter());
        return earlier.any(|known| known.path == file.path && known.is_brought);
    };
    let is_it = |object: Option<ObjectId>| object.is_some_and(|object| brought.contains(&object));
    match object(file.path.as_bytes()) {
        Some(own) => is_it(Some(own)),
        None => file.origins.iter().all(|origin| {
            let member = origin.member.as_deref().and_then(crate::path::unescape);
            is_it(member.and_then(|name| object(&crate::layout::join(file.path.as_bytes(), &name))))
        }),
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    files: std::collections::BTreeMap<RelPath, Vec<Origin>>,
}

impl Found {
    /// Adds origins of a file; a second one at the same path is none.
    fn add(&mut self, path: &RelPath, origins: Vec<Origin>) {
        if origins.is_empty() {
            return;
        }
        let known = self.files.entry(path.clone()).or_default();
        known.extend(origins);
        known.sort();
        known.dedup_by(|a, b| a.path == b.path && a.object == b.object);
    }
}

fn unreadable(object: &ObjectId, error: std::io::Error) -> ComposeError {
    let source = ViewError::Read {
        path: escape(object.to_hex().as_bytes()),
        source: Box::new(error),
    };
    ComposeError::Check { source }
}
