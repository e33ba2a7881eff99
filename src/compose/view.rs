//! A composed tree as derivers see it: contents from the repository, facts of files by object from the index.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::id::ObjectId;
use crate::path::escape;
use crate::store::{Index, StoreError, Transaction};
use crate::tree::view::{FACTS_VERSION, FileFacts, ImageView, ViewError, ViewNode};
use crate::tree::{Node, Tree};

/// The kind of fact in the index; another version of the facts is another kind.
fn file_facts() -> String {
    format!("facts-{FACTS_VERSION}")
}

/// A read-only look at a tree while it is composed.
pub struct TreeView<'a> {
    tree: &'a Tree,
    transaction: &'a Transaction<'a>,
    index: &'a Index,
    fresh: RefCell<BTreeMap<ObjectId, Vec<u8>>>,
}

impl<'a> TreeView<'a> {
    /// Looks at `tree`.
    pub fn new(tree: &'a Tree, transaction: &'a Transaction<'a>, index: &'a Index) -> Self {
        Self {
            tree,
            transaction,
            index,
            fresh: RefCell::default(),
        }
    }

    /// Keeps the facts that had to be computed, for the next composition.
    pub fn remember(&self) {
        let fresh = self.fresh.take();
        if !fresh.is_empty() {
            self.index.put_all(
                &file_facts(),
                fresh
                    .into_iter()
                    .map(|(id, facts)| (id.as_bytes().to_vec(), facts)),
            );
        }
    }

    fn object(&self, path: &[u8]) -> Result<ObjectId, ViewError> {
        let missing = || StoreError::NotFound {
            what: "regular file",
            name: format!("'{}'", escape(path)),
        };
        self.tree
            .get(path)
            .and_then(crate::tree::Inode::object)
            .ok_or_else(|| unreadable(path, missing()))
    }
}

fn unreadable(path: &[u8], source: StoreError) -> ViewError {
    ViewError::Read {
        path: escape(path),
        source: Box::new(source),
    }
}

impl ImageView for TreeView<'_> {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        Some(match &self.tree.get(path)?.node {
            Node::Directory => ViewNode::Dir,
            Node::File { .. } => ViewNode::File,
            Node::Symlink { target } => ViewNode::Symlink(target.to_vec()),
            _ => ViewNode::Other,
        })
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        self.tree.names(dir).map(<[u8]>::to_vec).collect()
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        let id = self.object(path)?;
        self.transaction
            .read_object(&id)
            .map_err(|error| unreadable(path, error))
    }

    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        let id = self.object(path)?;
        let known = self.index.get(&file_facts(), id.as_bytes());
        if let Some(facts) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(facts);
        }
        let bytes = self
            .transaction
            .read_object(&id)
            .map_err(|error| unreadable(path, error))?;
        let facts = FileFacts::of(&bytes);
        if let Ok(encoded) = serde_json::to_vec(&facts) {
            self.fresh.borrow_mut().insert(id, encoded);
        }
        Ok(facts)
    }
}
