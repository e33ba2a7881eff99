//! An image with other builds of some of its layers: what sets one layer back.

use super::check::{CheckedSet, Examination};
use super::refuse::refuse;
use super::{BuildError, Composer};
use crate::check::Finding;
use crate::compose::Member;
use crate::format::Image;
use crate::id::{ImageId, LayerId};
use crate::time::Date;

/// An image that was composed of layers that were there.
#[derive(Debug, Clone)]
pub struct RecomposedImage {
    /// The image.
    pub image: ImageId,
    /// What the checks found. None of it refuses the image.
    pub findings: Vec<Finding>,
}

/// Composes `layers` to an image that is otherwise like `base`, after the checks of a build. A set
/// that is not sound is refused, and changes nothing.
///
/// No ref points at the image: it stays until the next garbage collection, which cannot begin before
/// this repository is closed.
pub fn compose_as(
    composer: &Composer<'_>,
    base: &Image,
    layers: &[LayerId],
    today: Date,
) -> Result<RecomposedImage, BuildError> {
    let repository = composer.repository();
    let mut members = layers
        .iter()
        .map(|id| Member::read(repository, id))
        .collect::<Result<Vec<_>, _>>()?;
    let set = CheckedSet {
        name: base.name.clone(),
        layers: layers.to_vec(),
        waivers: base.waivers.clone(),
    };
    let transaction = repository.begin()?;
    let looked = Examination::at(&set, &mut members, composer, &transaction, today)?;
    let findings = refuse(looked.waived.findings)?;
    let tree = looked.composition.tree;
    tree.validate()
        .map_err(|source| BuildError::Tree { source })?;
    let image = Image {
        layers: members.iter().filter_map(Member::named).collect(),
        bytes: tree.bytes(),
        entries: tree.len() as u64,
        tree: transaction.put_tree(&tree)?,
        waivers: looked.waived.in_force,
        ..base.clone()
    };
    let id = transaction.put_image(&image)?;
    transaction.put_image_baseline(&id, &looked.record)?;
    transaction.store()?;
    Ok(RecomposedImage {
        image: id,
        findings,
    })
}
