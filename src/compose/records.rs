//! Databases that cannot be read: reported as soon as a layer writes them, not only when a merge
//! needs them.

use super::view::TreeView;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::{SYSIMAGE, dpkg, join};
use crate::merge::drivers::{self, UnreadableRecord};
use crate::tree::Tree;
use crate::tree::view::{ImageView as _, ViewError};

/// Finds databases that their driver cannot read: a merge would refuse them, and so might their
/// programs.
pub(super) fn damaged(tree: &Tree, view: &TreeView<'_>) -> Result<Vec<Problem>, ViewError> {
    let databases = join(SYSIMAGE.as_bytes(), b"var");
    let files = [&b"etc"[..], &databases];
    let files = files.into_iter().flat_map(|place| tree.below(place));
    let mut problems = Vec::new();
    // The check of packages reads the status itself.
    let files = files.filter(|(path, inode)| {
        inode.object().is_some() && path.as_bytes() != dpkg::STATUS.as_bytes()
    });
    for (path, _) in files {
        let Some(driver) = drivers::driver_for(path.as_bytes()) else {
            continue;
        };
        let bytes = view.read(path.as_bytes())?;
        // An empty file has no records, so nothing in it is damaged.
        let unreadable = match driver.check(&bytes) {
            Err(unreadable) if !bytes.is_empty() => unreadable,
            _ => continue,
        };
        let first = unreadable.into_iter().min_by_key(|found| found.line);
        let Some(UnreadableRecord { line, reason }) = first else {
            continue;
        };
        problems.push(Problem {
            id: FindingKind::Record.at(format_args!("{path}:line-{line}")),
            subject: Subject::Path(path.clone()),
            package: None,
            other: None,
            weight: Weight::Minor,
            reason: format!("'{path}', line {line}: {reason}"),
            hint: "repair the file in the layer that wrote it: until then it cannot be merged with the records of other layers"
                .to_owned(),
        });
    }
    Ok(problems)
}
