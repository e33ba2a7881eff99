//! What arrived, decoded and checked against what was signed.

use std::collections::BTreeMap;

use super::super::TransferError;
use super::super::inventory::{ObjectMap, image_objects, layer_objects};
use super::plan::{PullPlan, is_made_of_layers};
use crate::format::release::{Release, ReleaseId, ReleaseKind};
use crate::format::{self, Image, Layer};
use crate::id::TreeId;
use crate::store::Repository;
use crate::tree::{self, Changeset, Tree};

/// What arrived of a layer or an image beside its objects.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    /// The canonical bytes of the manifest.
    pub(super) manifest: Vec<u8>,
    /// The canonical bytes of the tree or the changeset, or of what makes the tree of the layers.
    pub(super) tree: Vec<u8>,
}

/// What a release turned out to be.
pub(super) enum Decoded {
    Layer(Box<Layer>, Changeset),
    Image(Image, Tree),
}

impl Decoded {
    /// Lists the objects that it consists of.
    pub(super) fn objects(&self) -> Result<ObjectMap, TransferError> {
        match self {
            Self::Layer(layer, changeset) => layer_objects(layer, changeset),
            Self::Image(_, tree) => Ok(image_objects(tree)),
        }
    }
}

/// Lists the objects of decoded parts, by number of the part.
pub(super) fn objects_of(
    decoded: &BTreeMap<usize, Decoded>,
) -> Result<BTreeMap<usize, ObjectMap>, TransferError> {
    let each = decoded.iter();
    each.map(|(number, decoded)| Ok((*number, decoded.objects()?)))
        .collect()
}

/// Decodes what arrived, by number of the part: layers before the image that is made of them.
pub(super) fn decode_all(
    repository: &Repository,
    plan: &PullPlan,
    roots: BTreeMap<usize, Roots>,
) -> Result<BTreeMap<usize, Decoded>, TransferError> {
    let mut decoded = BTreeMap::new();
    for (number, mut roots) in roots {
        let release = &plan.parts()[number].release;
        if is_made_of_layers(release) {
            roots.tree = corrected(repository, plan, release, &decoded, &roots.tree)?;
        }
        decoded.insert(number, decode(release, &roots)?);
    }
    Ok(decoded)
}

/// Makes the tree of an image of its layers, those that arrived and those that are here; what comes
/// out is checked as if it had been fetched.
fn corrected(
    repository: &Repository,
    plan: &PullPlan,
    release: &Release,
    decoded: &BTreeMap<usize, Decoded>,
    corrections: &[u8],
) -> Result<Vec<u8>, TransferError> {
    let mut tree = Tree::new();
    for layer in &release.layers {
        let id = ReleaseId::from(layer.id);
        let arrived = decoded.iter().find_map(|(number, decoded)| match decoded {
            Decoded::Layer(_, changeset) if plan.parts()[*number].release.id == id => {
                Some(changeset)
            }
            _ => None,
        });
        match arrived {
            Some(changeset) => tree::lay(&mut tree, changeset),
            None => {
                let manifest = repository.read_layer(&layer.id)?;
                tree::lay(&mut tree, &repository.read_changeset(&manifest.changeset)?);
            }
        }
    }
    tree::lay(&mut tree, &format::decode_changeset(corrections)?);
    Ok(format::encode_tree(&tree))
}

fn decode(release: &Release, roots: &Roots) -> Result<Decoded, TransferError> {
    let fail = |reason: &str| inconsistent(release, reason.to_owned());
    if blake3::hash(&roots.manifest).as_bytes() != release.id.as_bytes() {
        return Err(fail("its manifest has another digest"));
    }
    if TreeId::of(&roots.tree) != release.tree {
        return Err(fail("its tree has another digest"));
    }
    let (name, tree) = match release.kind {
        ReleaseKind::Layer => {
            let layer: Layer = format::from_canonical_json("layer", &roots.manifest)?;
            let names = (layer.name.clone(), layer.changeset);
            let changeset = format::decode_changeset(&roots.tree)?;
            if names == (release.name.clone(), release.tree) {
                return Ok(Decoded::Layer(Box::new(layer), changeset));
            }
            names
        }
        ReleaseKind::Image => {
            let image: Image = format::from_canonical_json("image", &roots.manifest)?;
            let names = (image.name.clone(), image.tree);
            let is_right =
                names == (release.name.clone(), release.tree) && image.layers == release.layers;
            let tree = format::decode_tree(&roots.tree)?;
            if is_right {
                return Ok(Decoded::Image(image, tree));
            }
            names
        }
    };
    Err(fail(&format!(
        "its manifest names '{name}', tree {tree}, or other layers"
    )))
}

pub(super) fn inconsistent(release: &Release, reason: String) -> TransferError {
    TransferError::Inconsistent {
        what: "release",
        name: format!("{}/{}", release.kind.plural(), release.name),
        reason,
    }
}
