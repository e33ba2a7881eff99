//! Changesets laid one over the other without merging, which gives most of a composed tree.

use super::{Change, Changeset, Tree};

/// Lays a changeset over a tree. Pre-images are ignored, and the result need not be a valid tree.
pub fn lay(tree: &mut Tree, changeset: &Changeset) {
    for (path, change) in changeset.iter() {
        match &change.post {
            Some(inode) => tree.insert(path.clone(), inode.clone()),
            None => tree.remove(path.as_bytes()),
        };
    }
}

/// Returns the changeset that makes `tree` when it is laid over `overlay`; what a change replaces
/// is in it for removals only.
pub fn corrections(overlay: &Tree, tree: &Tree) -> Changeset {
    let whole = Changeset::between(overlay, tree).into_iter();
    let lean = whole.map(|(path, change)| match change {
        Change {
            post: Some(inode), ..
        } => {
            let post = Some(inode);
            (path, Change { pre: None, post })
        }
        removal => (path, removal),
    });
    lean.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::path::RelPath;
    use crate::tree::Inode;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let inode = Inode::file(ObjectId::of(text.as_bytes()), text.len() as u64, 0o644);
            tree.insert(RelPath::new(path.as_bytes()).unwrap(), inode);
        }
        tree
    }

    #[test]
    fn corrections_make_any_tree_out_of_any_overlay_and_are_nothing_where_nothing_differs() {
        let base = tree(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let above = tree(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let layers = [
            Changeset::between(&Tree::new(), &base),
            Changeset::between(&base, &above),
        ];
        let mut laid = Tree::new();
        for layer in &layers {
            lay(&mut laid, layer);
        }
        assert_eq!(laid, above);
        assert!(corrections(&laid, &above).is_empty());
        let wanted = tree(&[("a", "1"), ("b", "merged"), ("e", "derived")]);
        let corrections = corrections(&laid, &wanted);
        assert_eq!(corrections.len(), 3);
        let mut made = laid;
        lay(&mut made, &corrections);
        assert_eq!(made, wanted);
    }
}
