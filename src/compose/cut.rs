//! What became of a file's content: whether only the start of it is left, or something else stands in
//! its place.

use super::view::TreeView;
use crate::path::RelPath;
use crate::tree::Inode;
use crate::tree::view::{FileFacts, ImageView as _, ViewError};

/// Says whether a file starts as it did before, and ends early. Where nobody has what it was, nobody
/// knows.
pub(super) fn is_cut(path: &RelPath, before: &Inode, view: &TreeView<'_>) -> bool {
    let objects = before.object().zip(view.object_at(path.as_bytes()));
    let Some((before, now)) = objects else {
        return false;
    };
    let key = [before.as_bytes().as_slice(), now.as_bytes()].concat();
    let said = view.concluded("cut", &key, &mut || {
        let before = view.read_object(path.as_bytes(), &before)?;
        let now = view.read_object(path.as_bytes(), &now)?;
        Ok(vec![u8::from(before.starts_with(&now))])
    });
    said.is_ok_and(|said| said == [1])
}

/// Says whether a compiled program has given way to something else that does not start what it was.
/// Where nobody has what it was, nobody knows.
pub(super) fn is_replaced(
    path: &RelPath,
    before: &Inode,
    view: &TreeView<'_>,
) -> Result<bool, ViewError> {
    const ELF: &[u8] = b"\x7fELF";
    let bytes = path.as_bytes();
    let objects = before.object().zip(view.object_at(bytes));
    let Some((before, now)) = objects else {
        return Ok(false);
    };
    if matches!(view.facts(bytes)?, FileFacts::Elf(_)) {
        return Ok(false);
    }
    let key = [before.as_bytes().as_slice(), now.as_bytes()].concat();
    let said = view.concluded("replaced-1", &key, &mut || {
        let before = view.read_object(bytes, &before)?;
        let now = view.read_object(bytes, &now)?;
        // One that calls itself by another name starts the program that was there.
        let wraps = now.windows(path.name().len() + 1).any(|part| {
            part.strip_prefix(path.name())
                .is_some_and(|after| b".-_".contains(&after[0]))
        });
        Ok(vec![u8::from(before.starts_with(ELF) && !wraps)])
    });
    Ok(said.is_ok_and(|said| said == [1]))
}
