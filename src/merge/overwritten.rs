//! Files that a layer replaces whole, and that are others below it today.
//!
//! A merge of texts takes the layer's side for an edit. A definition that ships a file, and a script
//! that writes all of it anew, would give the same file whatever stands below.

use std::collections::{BTreeMap, BTreeSet};

use super::drivers;
use super::engine::Blobs;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::{Changeset, Inode, Node, Tree};

/// Files above this size are not read, in bytes.
const LIMIT: u64 = 8 << 20;

/// Finds the paths that the layer replaces whole, and that `tree`, which stands below it, has
/// otherwise than the layer saw them. Sorted.
///
/// `shipped` are the files and links that its definition put where something was, with what they
/// hold.
pub fn overwritten(
    tree: &Tree,
    changeset: &Changeset,
    shipped: &BTreeMap<RelPath, ObjectId>,
    blobs: &dyn Blobs,
) -> Vec<RelPath> {
    let mut found = BTreeSet::new();
    for (path, content) in shipped {
        let now = tree.get(path.as_bytes());
        let change = changeset.get(path.as_bytes());
        let pre = change.and_then(|change| change.pre.as_ref());
        let is_as_seen = match (now, pre) {
            // What is gone below is a conflict where the layer changed it.
            (None, pre) => pre.is_some(),
            (Some(now), Some(pre)) => now.same_content(pre),
            (Some(_), None) => false,
        };
        if !is_as_seen && now.and_then(content_of) != Some(*content) {
            found.insert(path.clone());
        }
    }
    for (path, change) in changeset.iter() {
        let sides = change.pre.as_ref().zip(change.post.as_ref());
        let (Some((pre, post)), Some(now)) = (sides, tree.get(path.as_bytes())) else {
            continue;
        };
        let is_changed = now.node != pre.node && now.node != post.node && pre.node != post.node;
        let has_records = drivers::driver_for(path.as_bytes()).is_some();
        if is_changed && !has_records && is_rewritten(pre, post, blobs) {
            found.insert(path.clone());
        }
    }
    found.into_iter().collect()
}

/// Returns the digest of what a file or link holds; `None` for others.
pub fn content_of(inode: &Inode) -> Option<ObjectId> {
    match &inode.node {
        Node::File { object, .. } => Some(*object),
        Node::Symlink { target } => Some(ObjectId::of(target)),
        _ => None,
    }
}

/// Says whether no line of a text is left. A file whose former contents are not at hand is no text:
/// those of texts are kept.
fn is_rewritten(pre: &Inode, post: &Inode, blobs: &dyn Blobs) -> bool {
    let (
        Node::File {
            object: old,
            size: a,
        },
        Node::File {
            object: new,
            size: b,
        },
    ) = (&pre.node, &post.node)
    else {
        return false;
    };
    if *a.max(b) > LIMIT || *a == 0 {
        return false;
    }
    let (Ok(old), Ok(new)) = (blobs.read(old), blobs.read(new)) else {
        return false;
    };
    let lines = |text: &[u8]| -> BTreeSet<Vec<u8>> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    !old.contains(&0) && lines(&old).is_disjoint(&lines(&new))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use crate::merge::testing::Memory;

    const PLACE: &str = "etc/app.conf";

    fn tree(memory: &Memory, text: Option<&str>) -> Tree {
        let file = text.map(|text| {
            let object = memory.write(text.as_bytes()).unwrap();
            let path = RelPath::from_text(PLACE).unwrap();
            (path, Inode::file(object, text.len() as u64, 0o644))
        });
        file.into_iter().collect()
    }

    /// Says whether the layer that made `after` of `before` overwrites what a base has today.
    fn check(before: &str, after: &str, today: Option<&str>, ships: bool) -> bool {
        let memory = Memory::default();
        let [old, made, now] = [Some(before), Some(after), today].map(|text| tree(&memory, text));
        let changeset = Changeset::between(&old, &made);
        let mut shipped = BTreeMap::new();
        if ships {
            let path = RelPath::from_text(PLACE).unwrap();
            shipped.insert(path, ObjectId::of(after.as_bytes()));
        }
        !overwritten(&now, &changeset, &shipped, &memory).is_empty()
    }

    #[test]
    fn what_a_definition_ships_whole_is_not_merged_with_what_is_new_below() {
        let (old, own, new) = ("a\nb\nc\n", "a\nb\nC\n", "A\nb\nc\n");
        assert!(
            !check(old, own, Some(old), true),
            "the base has not changed"
        );
        assert!(!check(old, own, Some(own), true), "the base has the same");
        assert!(check(old, own, Some(new), true));
        assert!(!check(old, own, Some(new), false), "an edit is merged");
        // The same as below when the layer was built: the changeset has nothing.
        assert!(!check(old, old, Some(old), true));
        assert!(check(old, old, Some(new), true));
        assert!(check(old, old, None, true));
        // Written anew by a script.
        assert!(check(old, "x\n", Some(new), false));
        assert!(!check(old, "x\n", Some(old), false));
    }
}
