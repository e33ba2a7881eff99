//! Making the tree of an image again, of its layers: what a repair needs when it is lost.

use super::{BuildError, Composer};
use crate::compose::Member;
use crate::id::ImageId;

/// Composes the layers of an image whose manifest is there, and stores the tree and what belongs to
/// it, if that is what the manifest says; says whether it is.
///
/// Another version of this program may compose another tree: that is no repair, and nothing is
/// stored.
pub fn recompose(composer: &Composer<'_>, id: &ImageId) -> Result<bool, BuildError> {
    let repository = composer.repository();
    let image = repository.read_image(id)?;
    let members = image.layers.iter();
    let members = members
        .map(|layer| Member::read(repository, &layer.id))
        .collect::<Result<Vec<_>, _>>()?;
    let transaction = repository.begin()?;
    let composition = composer.compose(&image.name, &members, &transaction)?;
    if transaction.put_tree(&composition.tree)? != image.tree {
        return Ok(false);
    }
    transaction.store()?;
    Ok(true)
}
