//! A tree of the repository as those see it who look into an image.

use super::Repository;
use crate::path::escape;
use crate::tree::view::{FileFacts, ImageView, ViewError, ViewNode};
use crate::tree::{Inode, Tree};

/// A tree whose contents are in a repository. It knows no facts of files: whoever needs those
/// composes.
pub struct StoredTree<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// What has its contents.
    pub repository: &'a Repository,
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
