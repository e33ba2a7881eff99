//! Where what is in an image comes from: which layers, and which package.

use std::collections::BTreeMap;

use super::packages::find_listed;
use super::{ComposeError, TreeView};
use crate::format::{Image, ImageLayer};
use crate::path::RelPath;
use crate::store::Repository;
use crate::tree::Inode;

/// Where a path of an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathOrigin {
    /// The path, with all links on the way to it followed.
    pub path: RelPath,
    /// The layers that changed it, the last one first. None: it is made when layers are composed.
    pub layers: Vec<ImageLayer>,
    /// The package whose list names it.
    pub package: Option<String>,
}

/// Finds where a path of an image comes from; `None` where the image has no such path.
///
/// A link at the path itself is meant itself.
pub fn origin_of(
    repository: &Repository,
    image: &Image,
    path: &RelPath,
) -> Result<Option<PathOrigin>, ComposeError> {
    let tree = repository.read_tree(&image.tree)?;
    let parent = path.parent().unwrap_or_default();
    let place = tree
        .resolve(parent.as_bytes())
        .and_then(|dir| dir.join(path.name()).ok())
        .filter(|place| tree.get(place.as_bytes()).is_some());
    let Some(place) = place else {
        return Ok(None);
    };
    let mut layers = Vec::new();
    for layer in image.layers.iter().rev() {
        let changes = repository.read_changeset(&repository.read_layer(&layer.id)?.changeset)?;
        let change = changes.get(place.as_bytes());
        if change.is_some_and(|change| change.post.is_some()) {
            layers.push(layer.clone());
        }
    }
    let transaction = repository.begin()?;
    let index = repository.index();
    let view = TreeView::new(&tree, &transaction, &index);
    let mut wanted = BTreeMap::from([(place.clone(), None)]);
    find_listed(&tree, &view, &mut wanted).map_err(|source| ComposeError::Check { source })?;
    // Lists name directories too; many packages share these.
    let is_dir = tree.get(place.as_bytes()).is_some_and(Inode::is_dir);
    let package = wanted.remove(&place).flatten().filter(|_| !is_dir);
    Ok(Some(PathOrigin {
        path: place,
        layers,
        package,
    }))
}
