//! Files that are a function of the rest of the tree, written after the merge.

use super::error::ComposeError;
use super::view::TreeView;
use crate::merge::derive::ldsocache::{self, CacheEntry};
use crate::merge::derive::{DerivedLink, alternatives, javacerts};
use crate::path::RelPath;
use crate::store::{Index, Transaction};
use crate::tree::{Inode, Node, Tree};

/// Derives links, then the loader's cache, which depends on them; returns the lines of the cache.
pub(super) fn derive_files(
    tree: &mut Tree,
    transaction: &Transaction<'_>,
    index: &Index,
) -> Result<Vec<CacheEntry>, ComposeError> {
    let fail = |path: &'static str| move |source| ComposeError::View { path, source };
    let found = alternatives::derive(&TreeView::new(tree, transaction, index))
        .map_err(fail("etc/alternatives"))?;
    for path in &found.absent {
        let is_ours = |inode: &Inode| {
            matches!(&inode.node, Node::Symlink { target } if found.derived.contains(path)
                || target.strip_prefix(b"/").is_some_and(|target| found.derived.contains(target)))
        };
        if tree.get(path).is_some_and(is_ours) {
            tree.remove(path);
        }
    }
    for link in found.links {
        put_link(tree, &link, found.derived.contains(&link.path));
    }
    let view = TreeView::new(tree, transaction, index);
    let derived = ldsocache::derive(&view).map_err(|source| ComposeError::Derive {
        path: RelPath::new(b"etc/ld.so.cache").unwrap_or_default(),
        source,
    })?;
    view.remember();
    let Some(derived) = derived else {
        return Ok(Vec::new());
    };
    if let Ok(path) = RelPath::new(&derived.file.path) {
        let contents = derived.file.contents;
        let object = transaction.put_object(&contents)?;
        let mtime = tree
            .get(b"etc")
            .map_or_else(Default::default, |etc| etc.mtime);
        tree.insert(
            path,
            Inode {
                mtime,
                ..Inode::file(object, contents.len() as u64, 0o644)
            },
        );
    }
    for link in derived.links {
        put_link(tree, &link, false);
    }
    Ok(derived.entries)
}

/// Derives Java's certificates, which follow the links that a generator made.
pub(super) fn derive_java_certificates(
    tree: &mut Tree,
    transaction: &Transaction<'_>,
    index: &Index,
) -> Result<(), ComposeError> {
    let fail = |source| ComposeError::View {
        path: "etc/ssl/certs/java/cacerts",
        source,
    };
    let derived = javacerts::derive(&TreeView::new(tree, transaction, index)).map_err(fail)?;
    let Some((derived, path)) = derived.zip(RelPath::new(javacerts::CACERTS).ok()) else {
        return Ok(());
    };
    let above = path.parent();
    let Some(dir) = above.and_then(|dir| tree.get(dir.as_bytes())).cloned() else {
        return Ok(());
    };
    let object = transaction.put_object(&derived.contents)?;
    let new = Inode::file(object, derived.contents.len() as u64, 0o644);
    // A file with entries of its own is content: it keeps its owner and mode.
    let inode = match tree.get(path.as_bytes()) {
        Some(own) => Inode {
            node: new.node,
            ..own.clone()
        },
        None => Inode {
            mtime: dir.mtime,
            ..new
        },
    };
    tree.insert(path, inode);
    Ok(())
}

/// Puts a derived link where nothing is, or with `replace` in the place of another link. Without
/// its directory, no link is made.
fn put_link(tree: &mut Tree, link: &DerivedLink, replace: bool) {
    let Ok(path) = RelPath::new(&link.path) else {
        return;
    };
    // Links are made in the directory that their path leads to: /bin may itself be a link.
    let parent = path
        .parent()
        .and_then(|parent| tree.resolve(parent.as_bytes()));
    let Some(path) = parent
        .as_ref()
        .and_then(|parent| parent.join(path.name()).ok())
    else {
        return;
    };
    let free = match tree.get(path.as_bytes()).map(|inode| &inode.node) {
        None => true,
        Some(Node::Symlink { target }) => replace && **target != *link.target,
        Some(_) => false,
    };
    if free {
        // No date: with the date of a layer, the tree would depend on the order of the layers.
        let node = Node::Symlink {
            target: link.target.clone().into(),
        };
        tree.insert(path, Inode::new(node, 0o777));
    }
}
