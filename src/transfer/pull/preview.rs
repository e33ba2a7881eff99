//! What a release would bring, as far as somebody wants to look into it: the manifests and trees of
//! what is not here, and the contents that are asked for. No ref is set and no manifest is stored,
//! so that nothing is taken for a release that is here. The contents lie in the repository like
//! those of a pull that broke off: a later pull does not fetch them again, and `layerset gc` removes
//! them.

use std::collections::BTreeSet;

use super::super::unpack::Packs;
use super::super::{Catalogue, TransferError};
use super::contents::{fetch_objects, fetch_roots};
use super::decoded::{Decoded, decode_all, objects_of};
use super::forecast::Scratch;
use super::{PullOptions, Pulling, survey};
use crate::format::release::{Release, ReleaseId};
use crate::format::{Image, Layer};
use crate::id::ObjectId;
use crate::remote::Remote;
use crate::store::{RefName, Repository};
use crate::tree::Tree;

/// What a release of an image consists of.
#[derive(Debug)]
pub struct ReleasePreview {
    /// The image.
    pub image: Image,
    /// Its tree.
    pub tree: Tree,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// Says which contents of an image are wanted.
pub type WantedContents<'a> = &'a dyn Fn(&ReleasePreview) -> BTreeSet<ObjectId>;

/// Looks into a release of an image; the contents that `wanted` names can be read from the
/// repository afterwards.
pub fn preview(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: &RefName,
    wanted: WantedContents<'_>,
    options: &PullOptions<'_>,
) -> Result<ReleasePreview, TransferError> {
    // A delta brings all of a layer: of packs, only what is wanted is fetched.
    let options = &PullOptions {
        deltas: false,
        ..*options
    };
    let plan = survey::plan(repository, catalogue, release, Some(name), options)?;
    let scratch = Scratch::make()?;
    let fetcher = options.fetcher(remote, scratch.path());
    let mut packs = Packs::default();
    let roots = fetch_roots(&fetcher, &plan, &mut packs, options)?;
    let decoded = decode_all(repository, &plan, roots)?;
    let arrived = decoded.iter().map(|(number, part)| {
        let id = plan.parts().get(*number).map(|planned| planned.release.id);
        (id, part)
    });
    let preview = gather(repository, release, arrived)?;
    let wanted = wanted(&preview);
    let mut objects = objects_of(&decoded)?;
    for map in objects.values_mut() {
        map.retain(|id, _| wanted.contains(id));
    }
    let transaction = repository.begin()?;
    let pulling = Pulling {
        fetcher: &fetcher,
        repository,
        transaction: &transaction,
        options,
    };
    fetch_objects(&pulling, &plan, &objects, &mut packs)?;
    transaction.store()?;
    Ok(preview)
}

/// Joins what arrived with what is here.
fn gather<'d>(
    repository: &Repository,
    release: &Release,
    decoded: impl Iterator<Item = (Option<ReleaseId>, &'d Decoded)>,
) -> Result<ReleasePreview, TransferError> {
    let (mut arrived, mut whole) = (Vec::new(), None);
    for (id, part) in decoded {
        match part {
            Decoded::Layer(layer, _) => arrived.push((id, layer)),
            Decoded::Image(image, tree) => whole = Some((image.clone(), tree.clone())),
        }
    }
    let (image, tree) = match whole {
        Some(whole) => whole,
        None => {
            let image = repository.read_image(&release.id.image())?;
            let tree = repository.read_tree(&image.tree)?;
            (image, tree)
        }
    };
    let layers = image.layers.iter().map(|entry| {
        let id = Some(ReleaseId::from(entry.id));
        match arrived.iter().find(|(known, _)| *known == id) {
            Some((_, layer)) => Ok((***layer).clone()),
            None => Ok(repository.read_layer(&entry.id)?),
        }
    });
    let layers = layers.collect::<Result<_, TransferError>>()?;
    Ok(ReleasePreview {
        image,
        tree,
        layers,
    })
}
