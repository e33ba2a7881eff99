//! The data filesystem of an updatable machine: the repository, one deployment, and the state.

use super::ExportError;
use super::files::FileSet;
use crate::deploy::{FreshOptions, fresh};
use crate::id::ImageId;
use crate::store::{RefName, Repository};
use crate::tree::Tree;

/// What an updatable machine mounts in the place of what the image has there. A link would lead the
/// mount elsewhere, and what the image has behind it would stay hidden.
const OWN: [&str; 2] = ["etc", "var"];

/// What a new machine's data filesystem holds.
pub(super) struct Updatable {
    pub(super) files: FileSet,
    /// The deployment that it boots.
    pub(super) generation: u64,
}

/// Makes the data filesystem of an image with this tree; `name` is the recipe that the repository
/// shall know it by.
pub(super) fn updatable(
    repository: &Repository,
    image: &ImageId,
    tree: &Tree,
    name: Option<&str>,
    options: &FreshOptions,
) -> Result<Updatable, ExportError> {
    for path in OWN {
        if let Some(inode) = tree.get(path.as_bytes()).filter(|inode| !inode.is_dir()) {
            let kind = inode.node.kind();
            return Err(ExportError::NoDirectoryOfItsOwn { path, kind });
        }
    }
    let fresh = fresh(repository, image, tree, options)?;
    let mut refs = vec![fresh.keeps.clone()];
    if let Some(name) = name {
        refs.push(RefName::image(name)?);
    }
    let portable = repository.portable(image, tree, &refs)?;
    let mut files = fresh.files;
    files.graft("layerset/repo", portable.files);
    Ok(Updatable {
        files: FileSet {
            files,
            ids: fresh.ids,
            order: portable.order.into(),
        },
        generation: fresh.generation,
    })
}
