//! The data filesystem of an updatable machine: the repository, one deployment, and the state.

use super::ExportError;
use super::files::FileSet;
use crate::deploy::{FreshOptions, fresh};
use crate::id::ImageId;
use crate::store::{RefName, Repository};

/// What a new machine's data filesystem holds.
pub(super) struct Updatable {
    pub(super) files: FileSet,
    /// The deployment that it boots.
    pub(super) generation: u64,
}

/// Makes the data filesystem of an image; `name` is the recipe that the repository shall know it by.
pub(super) fn updatable(
    repository: &Repository,
    image: &ImageId,
    name: Option<&str>,
    options: &FreshOptions,
) -> Result<Updatable, ExportError> {
    let fresh = fresh(repository, image, options)?;
    let mut refs = vec![fresh.keeps.clone()];
    if let Some(name) = name {
        refs.push(RefName::image(name)?);
    }
    let portable = repository.portable(image, &refs)?;
    let mut files = fresh.files;
    files.graft("layerset/repo", portable.files);
    Ok(Updatable {
        files: FileSet {
            files,
            ids: fresh.ids,
            order: portable.order,
        },
        generation: fresh.generation,
    })
}
