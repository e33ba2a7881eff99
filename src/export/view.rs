//! An image as what looks for its kernel sees it.

use crate::path::escape;
use crate::store::Repository;
use crate::tree::view::{FileFacts, ImageView, ViewError, ViewNode};
use crate::tree::{Inode, Tree};

/// A tree whose contents are in a repository. It knows no facts of files: whoever needs those
/// composes.
pub(super) struct StoredTree<'a> {
    pub(super) tree: &'a Tree,
    pub(super) repository: &'a Repository,
}

impl ImageView for StoredTree<'_> {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        Some(ViewNode::from(&self.tree.get(path)?.node))
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        self.tree.names(dir).map(<[u8]>::to_vec).collect()
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| ViewError::Read {
            path: escape(path),
            source,
        };
        let object = self.tree.get(path).and_then(Inode::object);
        let object = object.ok_or_else(|| unreadable("it is no regular file".into()))?;
        let bytes = self.repository.read_object(&object);
        bytes.map_err(|error| unreadable(Box::new(error)))
    }

    fn facts(&self, _path: &[u8]) -> Result<FileFacts, ViewError> {
        Ok(FileFacts::Other)
    }
}
