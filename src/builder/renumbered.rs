//! Accounts that an image numbers differently from the image before it.

use super::BuildError;
use crate::check::{Finding, renumbered};
use crate::compose::Member;
use crate::format::Image;
use crate::id::ImageId;
use crate::layout::accounts::{GROUP, PASSWD};
use crate::path::RelPath;
use crate::store::Repository;
use crate::tree::{Inode, Tree};

/// Reads a file of an image. A missing file is empty.
pub(super) type ReadImageFile<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, BuildError>;

/// Finds accounts whose numbers differ from those in the image `before`. Such a change would give
/// files in a machine's `/var` to somebody else, because they keep their numbers.
///
/// `read` reads a file of the new image; `members` are its layers.
pub(super) fn renumbered_since(
    repository: &Repository,
    before: Option<&str>,
    members: &[Member],
    read: ReadImageFile<'_>,
) -> Result<Vec<Finding>, BuildError> {
    let id = before.and_then(|text| text.parse::<ImageId>().ok());
    // Nothing can be compared with an image that is damaged or gone.
    let image = id.and_then(|id| repository.read_image(&id).ok());
    let is_same = |image: &Image| {
        let layers = image.layers.iter().map(|layer| Some(layer.id));
        layers.eq(members.iter().map(|member| member.id))
    };
    // The same layers number everybody the same.
    if image.as_ref().is_some_and(is_same) {
        return Ok(Vec::new());
    }
    let Some(tree) = image.and_then(|image| repository.read_tree(&image.tree).ok()) else {
        return Ok(Vec::new());
    };
    let mut findings = Vec::new();
    for (path, is_user) in [(PASSWD, true), (GROUP, false)] {
        let old = read_file(repository, &tree, path.as_bytes())?;
        for account in renumbered(&old, &read(path.as_bytes())?) {
            let layer = maker_of(repository, members, path, &account.name)?;
            findings.push(account.finding(is_user, RelPath::from_text(path).ok(), layer));
        }
    }
    Ok(findings)
}

/// Returns the lowest layer whose database has the account.
fn maker_of(
    repository: &Repository,
    members: &[Member],
    path: &str,
    account: &str,
) -> Result<String, BuildError> {
    for member in members {
        let change = member.changeset.get(path.as_bytes());
        let Some(object) = change.and_then(|change| change.post.as_ref()?.object()) else {
            continue;
        };
        let text = repository.read_object(&object)?;
        let is_it = |line: &[u8]| {
            let rest = line.strip_prefix(account.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b":"))
        };
        if text.split(|byte| *byte == b'\n').any(is_it) {
            return Ok(member.layer.name.clone());
        }
    }
    Ok(String::new())
}

/// Reads a file of a stored tree. A missing file is empty.
pub(super) fn read_file(
    repository: &Repository,
    tree: &Tree,
    path: &[u8],
) -> Result<Vec<u8>, BuildError> {
    let object = tree.get(path).and_then(Inode::object);
    Ok(object
        .map(|id| repository.read_object(&id))
        .transpose()?
        .unwrap_or_default())
}
