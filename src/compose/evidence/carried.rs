//! What a layer still holds although it was built again: a stale copy that no rebuild replaces.

use super::candidates::Candidates;
use super::contents::Contents;
use super::ground::Ground;
use super::moved::Today;
use super::{Evidence, Found};
use crate::compose::error::ComposeError;
use crate::compose::member::Member;
use crate::format::{DerivedFile, Origin};
use crate::id::ObjectId;
use crate::layout::join;
use crate::path::{RelPath, unescape};

/// Adds what earlier builds were made of, where it is another one now and the layer holds the old
/// one all the same. A rebuild does not make that normal.
pub(super) fn add(
    evidence: &Evidence<'_>,
    member: &Member,
    ground: Ground<'_>,
    candidates: &Candidates,
    contents: &Contents<'_>,
    found: &mut Found,
) -> Result<(), ComposeError> {
    let today = Today::new(ground, []);
    let earlier = evidence.earlier.iter().flat_map(|files| files.iter());
    for file in earlier {
        for origin in &file.origins {
            let Some(object) = origin.object.filter(|_| !origin.is_directory) else {
                continue;
            };
            if candidates.own.contains(&object) || today.what_became_of(origin).is_none() {
                continue;
            }
            if let Some(path) = holder(member, file, origin, &object, contents)? {
                let origin = Origin {
                    is_stale: true,
                    ..origin.clone()
                };
                found.add(&path, vec![origin]);
            }
        }
    }
    Ok(())
}

/// Returns the file of the layer that is, or holds, the old object.
fn holder(
    member: &Member,
    file: &DerivedFile,
    origin: &Origin,
    object: &ObjectId,
    contents: &Contents<'_>,
) -> Result<Option<RelPath>, ComposeError> {
    let post = |path: &[u8]| member.changeset.get(path)?.post.as_ref()?.object();
    if let Some(own) = post(file.path.as_bytes()) {
        if own == *object {
            return Ok(Some(file.path.clone()));
        }
        let held = contents.of(&own, &contents.head(&own)?)?;
        let holds = held.is_some_and(|held| held.members.iter().any(|m| m.id == *object));
        return Ok(holds.then(|| file.path.clone()));
    }
    let name = origin.member.as_deref().and_then(unescape);
    let Some(name) = name else { return Ok(None) };
    let path = join(file.path.as_bytes(), &name);
    let is_it = post(&path) == Some(*object);
    Ok(RelPath::new(&path).ok().filter(|_| is_it))
}
