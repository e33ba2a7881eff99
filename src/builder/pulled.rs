//! Layers that another build server published. A layer that was built there from the same inputs is
//! not built again here.

use super::BuildError;
use super::accounts::{self, CreatedNames};
use super::inputs::LayerInputs;
use crate::id::LayerId;
use crate::store::{RefName, Repository};
use crate::tree::Inode;

/// Finds a layer that was pulled from a remote, has the name of `input`, and was built from its
/// key. Returns it with the accounts that it created.
///
/// The name must match because remotes' keys are trusted by name: whoever may sign `app` must not
/// be able to supply another `debian`.
pub(super) fn find(
    repository: &Repository,
    input: &LayerInputs,
) -> Result<Option<(LayerId, CreatedNames)>, BuildError> {
    for (name, id) in repository.refs()? {
        if !name.as_str().starts_with("remotes/") {
            continue;
        }
        // A damaged image or layer is skipped here. `layerset fsck` reports it.
        for layer in layers(repository, &name, &id) {
            let Ok(manifest) = repository.read_layer(&layer) else {
                continue;
            };
            let is_it = manifest.name == input.name && manifest.build.key == input.key;
            if is_it && repository.is_layer_whole(&layer) {
                let created = created(repository, &manifest.changeset)?;
                return Ok(Some((layer, created)));
            }
        }
    }
    Ok(None)
}

fn layers(repository: &Repository, name: &RefName, id: &str) -> Vec<LayerId> {
    if name.is_layer() {
        return id.parse().into_iter().collect();
    }
    let image = id.parse().ok();
    let image = image.and_then(|id| repository.read_image(&id).ok());
    image.map_or(Vec::new(), |image| {
        image.layers.iter().map(|layer| layer.id).collect()
    })
}

/// Returns the accounts that a layer created, read from its changes.
fn created(
    repository: &Repository,
    changeset: &crate::id::TreeId,
) -> Result<CreatedNames, BuildError> {
    let changes = repository.read_changeset(changeset)?;
    let text = |inode: Option<&Inode>| -> Result<String, BuildError> {
        let object = inode.and_then(Inode::object);
        let bytes = object.map(|id| repository.read_object(&id)).transpose()?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let both = |path: &str| -> Result<(String, String), BuildError> {
        let change = changes.get(path.as_bytes());
        let (pre, post) = change.map_or((None, None), |c| (c.pre.as_ref(), c.post.as_ref()));
        Ok((text(pre)?, text(post)?))
    };
    accounts::created(both)
}
