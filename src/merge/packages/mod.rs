//! Arbitration: one side wins for each package that the tree and a layer both brought at different
//! versions.
//!
//! The newer version wins (deb-version(7)), not the later layer: all files of the package, its
//! records in dpkg's `status` and `triggers`, and its files below `info` are those of one side. The
//! other side is made to look as if it had never touched the package; then [`apply`](super::apply)
//! has nothing to decide. Where that is impossible, because the bytes of some file are unknown or a
//! database cannot be read, nothing is done: the versions in `status` then make a conflict.
//!
//! Left to their drivers, which keep the records of both sides: `diversions` and `statoverride`
//! (the files that they moved belong to others, and stay where they were moved), alternatives,
//! debconf, ucf and `extended_states` (none has a version). `available` is empty where apt
//! installs.

mod arbitration;
mod edits;
mod files;
mod status;
mod withdraw;

#[cfg(test)]
mod tests;

use self::arbitration::Arbitration;
pub use self::arbitration::{PackageDecision, Winner};
use self::status::{IndexedDatabase, may_collide};
use super::{Blobs, MergeError};
use crate::layout::dpkg;
use crate::tree::{Changeset, Inode, Tree};

/// Decides every package that `tree` and `changeset` both brought at different versions, each since
/// the tree that the changeset was made on. To be called before `changeset` is applied.
///
/// If the tree's version wins, the package leaves `changeset`; if the layer's wins, the tree gets
/// what the layer was built on. The decisions come in the order of the layer's database. Nothing is
/// read where no package database was changed on both sides.
pub fn arbitrate(
    tree: &mut Tree,
    changeset: &mut Changeset,
    blobs: &dyn Blobs,
) -> Result<Vec<PackageDecision>, MergeError> {
    for dpkg in dpkg::DIRECTORIES {
        let status = format!("{dpkg}/status");
        let object = |inode: Option<&Inode>| inode.and_then(Inode::object);
        let Some(change) = changeset.get(status.as_bytes()) else {
            continue;
        };
        let sides = [
            change.pre.as_ref(),
            tree.get(status.as_bytes()),
            change.post.as_ref(),
        ];
        let [pre, Some(current), Some(post)] = sides.map(object) else {
            continue;
        };
        if pre == Some(current) || pre == Some(post) || current == post {
            continue;
        }
        let pre = pre.map_or(Ok(Vec::new()), |id| blobs.read(&id))?;
        let (current, post) = (blobs.read(&current)?, blobs.read(&post)?);
        if !may_collide(&pre, &current, &post) {
            continue;
        }
        let all = [&pre, &current, &post].map(|file| IndexedDatabase::read(file));
        let [Some(pre), Some(current), Some(post)] = all else {
            continue;
        };
        let databases = [pre, current, post];
        let arbitration = Arbitration::new(dpkg, (tree, changeset), blobs, databases);
        let Some((edits, decisions)) = arbitration.decide()? else {
            continue;
        };
        edits.apply(tree, changeset);
        return Ok(decisions);
    }
    Ok(Vec::new())
}
