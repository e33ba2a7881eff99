//! Layers → tree: merge in order, derive what is a function of the rest, check.
//!
//! The input is an ordered list of layers; each is applied to what stands below it by [`crate::merge::apply`], then the
//! derivers run, then the checks. Nothing is written but through the transaction that is given.

mod view;

pub use view::TreeView;

use std::collections::BTreeMap;

use crate::check::{self, Finding, Severity, Verdict};
use crate::format::Layer;
use crate::id::{LayerId, ObjectId};
use crate::materialise::{IdLookup as _, PasswdIds};
use crate::merge::derive::ldsocache::{self, LdSoCacheError};
use crate::merge::derive::{DerivedLink, alternatives};
use crate::merge::{Applied, Blobs, MergeError, apply};
use crate::path::RelPath;
use crate::store::{Index, StoreError, Transaction};
use crate::tree::view::ViewError;
use crate::tree::{Inode, Node, Tree};

/// Why a composition stopped; findings are not errors.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The repository refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Contents could not be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// What a deriver reads could not be had.
    #[error("cannot derive '/{path}'")]
    View {
        /// What was to be derived.
        path: &'static str,
        /// Why.
        source: ViewError,
    },
    /// A derived file could not be made.
    #[error("cannot derive '{path}'")]
    Derive {
        /// The derived file.
        path: RelPath,
        /// Why.
        source: LdSoCacheError,
    },
}

/// A composed tree with what the composition found.
#[derive(Debug, Clone, Default)]
pub struct Composition {
    /// The tree, derived files included.
    pub tree: Tree,
    /// The tree as the layers merged, before anything was derived: what the changes of a next layer apply to.
    pub merged: Tree,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Which layer each path comes from, by index into the layers; derived paths are absent.
    pub origin: BTreeMap<RelPath, usize>,
}

impl Composition {
    /// Returns what the findings add up to.
    pub fn verdict(&self) -> Verdict {
        check::verdict(&self.findings)
    }

    /// Returns the numbers of the image's owners.
    pub fn ids(&self, transaction: &Transaction<'_>) -> Result<PasswdIds, StoreError> {
        ids_of(&self.tree, &|id| transaction.read_object(id))
    }
}

/// Reads the numbers of a tree's owners from its own `passwd` and `group`.
pub fn ids_of(
    tree: &Tree,
    read: &dyn Fn(&ObjectId) -> Result<Vec<u8>, StoreError>,
) -> Result<PasswdIds, StoreError> {
    let file = |path: &[u8]| {
        tree.get(path)
            .and_then(Inode::object)
            .map_or(Ok(Vec::new()), |id| read(&id))
    };
    Ok(PasswdIds::parse(
        &file(b"etc/passwd")?,
        &file(b"etc/group")?,
    ))
}

struct TransactionBlobs<'a, 'r>(&'a Transaction<'r>);

impl Blobs for TransactionBlobs<'_, '_> {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        let fail = |error| MergeError {
            object: id.to_string(),
            source: Box::new(error),
        };
        self.0.read_object(id).map_err(fail)
    }

    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        let fail = |error| MergeError {
            object: "a merged file".to_owned(),
            source: Box::new(error),
        };
        self.0.put_object(bytes).map_err(fail)
    }
}

/// Composes `layers`, lowest first. New contents (merged and derived files) are put into `transaction`.
pub fn compose(
    layers: &[(LayerId, Layer)],
    transaction: &Transaction<'_>,
    index: &Index,
) -> Result<Composition, ComposeError> {
    let blobs = TransactionBlobs(transaction);
    let mut composition = Composition::default();
    for (number, (_, layer)) in layers.iter().enumerate() {
        let changeset = transaction.repository().read_changeset(&layer.changeset)?;
        let applied = apply(&mut composition.tree, &changeset, &blobs)?;
        for (path, change) in changeset.iter() {
            if change.post.is_some() {
                composition.origin.insert(path.clone(), number);
            }
        }
        composition
            .findings
            .extend(conflict_findings(&layer.name, applied));
    }
    composition.merged = composition.tree.clone();
    derive_files(&mut composition.tree, transaction, index)?;
    check_owners(&mut composition, layers, transaction)?;
    composition
        .findings
        .sort_by(|a, b| (&a.layer, &a.id).cmp(&(&b.layer, &b.id)));
    Ok(composition)
}

fn conflict_findings(layer: &str, applied: Applied) -> impl Iterator<Item = Finding> {
    applied.conflicts.into_iter().map(move |conflict| {
        let place = conflict
            .record
            .as_ref()
            .map_or(String::new(), |record| format!("#{record}"));
        let line = conflict
            .line
            .map_or(String::new(), |line| format!(", line {line}"));
        Finding {
            id: format!("conflict:{}{place}", conflict.path),
            severity: Severity::Refuse,
            layer: layer.to_owned(),
            package: None,
            reason: format!("'{}'{line}: {}", conflict.path, conflict.reason),
            hint: format!(
                "build '{layer}' on the layer that it conflicts with, so that it sees its files"
            ),
            path: Some(conflict.path),
        }
    })
}

/// Derives what is a function of the rest: first links, then the loader's cache, which may see them.
fn derive_files(
    tree: &mut Tree,
    transaction: &Transaction<'_>,
    index: &Index,
) -> Result<(), ComposeError> {
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
        return Ok(());
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
    Ok(())
}

/// Puts a derived link where nothing is, or with `replace` where another link is; never where its directory is missing.
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
        // No date: whichever layer's date it took, another order of layers would give another.
        let node = Node::Symlink {
            target: link.target.clone().into(),
        };
        tree.insert(path, Inode::new(node, 0o777));
    }
}

fn check_owners(
    composition: &mut Composition,
    layers: &[(LayerId, Layer)],
    transaction: &Transaction<'_>,
) -> Result<(), ComposeError> {
    let ids = composition.ids(transaction)?;
    let known = |owner: &crate::tree::Owner, is_user: bool| {
        if is_user {
            ids.uid(owner).is_some()
        } else {
            ids.gid(owner).is_some()
        }
    };
    let origin = &composition.origin;
    let layer_of = |path: &RelPath| {
        origin
            .get(path)
            .and_then(|number| layers.get(*number))
            .map_or(String::new(), |(_, layer)| layer.name.clone())
    };
    let findings = check::owners(&composition.tree, &known, &layer_of);
    composition.findings.extend(findings);
    Ok(())
}
