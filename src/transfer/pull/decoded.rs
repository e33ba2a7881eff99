//! What arrived, decoded and checked against what was signed.

use super::super::TransferError;
use super::Part;
use crate::format::release::{Kind, Release, ReleaseId};
use crate::format::{self, Image, Layer};
use crate::id::TreeId;
use crate::store::Repository;
use crate::tree::{self, Changeset, Tree};

/// What a release turned out to be.
pub(super) enum Decoded {
    Layer(Box<Layer>, Changeset),
    Image(Image, Tree),
}

/// Decodes all parts, layers before the images that are made of them.
pub(super) fn decode_all(
    repository: &Repository,
    parts: &mut [Part],
) -> Result<Vec<Decoded>, TransferError> {
    let mut decoded = Vec::new();
    for at in 0..parts.len() {
        let (before, rest) = parts.split_at_mut(at);
        let Some(part) = rest.first_mut() else { break };
        if part.tree.is_none()
            && let Some(corrections) = part.corrections.take()
        {
            part.tree = Some(corrected(
                repository,
                &part.release,
                before,
                &decoded,
                &corrections,
            )?);
        }
        decoded.push(decode(part)?);
    }
    Ok(decoded)
}

/// Makes the tree of an image of its layers, those that arrived and those that are here; what comes out is checked as if it had
/// been fetched.
fn corrected(
    repository: &Repository,
    release: &Release,
    parts: &[Part],
    decoded: &[Decoded],
    corrections: &[u8],
) -> Result<Vec<u8>, TransferError> {
    let mut tree = Tree::new();
    for layer in &release.layers {
        let arrived = parts.iter().zip(decoded).find_map(|(part, decoded)| {
            let is_it = part.release.id == ReleaseId::from(layer.id);
            match decoded {
                Decoded::Layer(_, changeset) if is_it => Some(changeset),
                _ => None,
            }
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

fn decode(part: &Part) -> Result<Decoded, TransferError> {
    let release = &part.release;
    let fail = |reason: &str| inconsistent(release, reason.to_owned());
    let manifest = part
        .manifest
        .as_deref()
        .ok_or_else(|| fail("it has no manifest"))?;
    let bytes = part.tree.as_deref().ok_or_else(|| fail("it has no tree"))?;
    if blake3::hash(manifest).as_bytes() != release.id.as_bytes() {
        return Err(fail("its manifest has another digest"));
    }
    if TreeId::of(bytes) != release.tree {
        return Err(fail("its tree has another digest"));
    }
    let (name, tree) = match release.kind {
        Kind::Layer => {
            let layer: Layer = format::from_canonical_json("layer", manifest)?;
            let names = (layer.name.clone(), layer.changeset);
            let changeset = format::decode_changeset(bytes)?;
            if names == (release.name.clone(), release.tree) {
                return Ok(Decoded::Layer(Box::new(layer), changeset));
            }
            names
        }
        Kind::Image => {
            let image: Image = format::from_canonical_json("image", manifest)?;
            let names = (image.name.clone(), image.tree);
            let is_right =
                names == (release.name.clone(), release.tree) && image.layers == release.layers;
            let tree = format::decode_tree(bytes)?;
            if is_right {
                return Ok(Decoded::Image(image, tree));
            }
            names
        }
    };
    Err(fail(&format!(
        "its manifest is that of '{name}', of tree {tree}, or of other layers"
    )))
}

pub(super) fn inconsistent(release: &Release, reason: String) -> TransferError {
    TransferError::Inconsistent {
        what: "release",
        name: format!("{}/{}", release.kind.plural(), release.name),
        reason,
    }
}

/// Each layer of an image is the one that was asked for: by construction of the list, and by its digest.
pub(super) fn check_layers(parts: &[Part], decoded: &[Decoded]) -> Result<(), TransferError> {
    for (part, decoded) in parts.iter().zip(decoded) {
        if let Decoded::Image(image, _) = decoded {
            let of_image = image.layers.iter().map(|layer| ReleaseId::from(layer.id));
            if !of_image.eq(part
                .release
                .layers
                .iter()
                .map(|layer| ReleaseId::from(layer.id)))
            {
                return Err(inconsistent(&part.release, "its layers differ".to_owned()));
            }
        }
    }
    Ok(())
}
