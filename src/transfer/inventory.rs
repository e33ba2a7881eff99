//! What a layer or an image consists of, as it travels.

use std::collections::{BTreeMap, BTreeSet};

use super::TransferError;
use crate::format::pack::Digest;
use crate::format::release::{Corrections, ReleaseId, ReleaseKind};
use crate::format::{self, Image, ImageLayer, Layer};
use crate::id::{ImageId, LayerId, ObjectId, TreeId};
use crate::path::RelPath;
use crate::store::Repository;
use crate::tree::{self, Changeset, Inode, Node, Tree};

/// An object on its way: how large it is, and where it is found, for choosing what to compare it
/// with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Size in bytes.
    pub size: u64,
    /// Paths that have it.
    pub paths: Vec<RelPath>,
}

/// Objects by id.
pub type ObjectMap = BTreeMap<ObjectId, ObjectEntry>;

/// A layer or an image with everything that it consists of.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Layer or image.
    pub kind: ReleaseKind,
    /// The name of the layer or recipe.
    pub name: String,
    /// The version, for people.
    pub version: String,
    /// The digest of the manifest.
    pub id: ReleaseId,
    /// The canonical bytes of the manifest.
    pub manifest: Vec<u8>,
    /// The changeset of a layer, the tree of an image.
    pub tree: TreeId,
    /// The canonical bytes of that.
    pub tree_bytes: Vec<u8>,
    /// What makes the tree of an image of its layers: the canonical bytes of a changeset.
    pub corrections: Option<Vec<u8>>,
    /// The layers of an image, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The objects; of an image those that none of its layers has.
    pub objects: ObjectMap,
}

impl Inventory {
    /// Reads a layer.
    pub fn of_layer(repository: &Repository, id: &LayerId) -> Result<Self, TransferError> {
        let layer = repository.read_layer(id)?;
        let changeset = repository.read_changeset(&layer.changeset)?;
        Ok(Self {
            kind: ReleaseKind::Layer,
            objects: layer_objects(&layer, &changeset)?,
            manifest: format::to_canonical_json("layer", &layer)?,
            tree_bytes: format::encode_changeset(&changeset),
            id: (*id).into(),
            tree: layer.changeset,
            corrections: None,
            name: layer.name,
            version: layer.version,
            layers: Vec::new(),
        })
    }

    /// Reads an image, given the objects of its layers.
    pub fn of_image(
        repository: &Repository,
        id: &ImageId,
        of_layers: &BTreeSet<ObjectId>,
    ) -> Result<Self, TransferError> {
        let image = repository.read_image(id)?;
        let tree = repository.read_tree(&image.tree)?;
        let corrections = corrections_of(repository, &image, &tree)?;
        let mut objects = image_objects(&tree);
        objects.retain(|id, _| !of_layers.contains(id));
        Ok(Self {
            kind: ReleaseKind::Image,
            objects,
            manifest: format::to_canonical_json("image", &image)?,
            tree_bytes: format::encode_tree(&tree),
            corrections: Some(corrections),
            id: (*id).into(),
            tree: image.tree,
            name: image.name.clone(),
            version: image_version(&image),
            layers: image.layers,
        })
    }

    /// Returns what packs hold beside the objects: the tree, or its corrections, and the manifest.
    pub fn roots(&self) -> [(Digest, &[u8]); 2] {
        let tree = match &self.corrections {
            Some(bytes) => (*TreeId::of(bytes).as_bytes(), bytes.as_slice()),
            None => (*self.tree.as_bytes(), self.tree_bytes.as_slice()),
        };
        [tree, (*self.id.as_bytes(), self.manifest.as_slice())]
    }

    /// Says how a release names the corrections.
    pub fn named_corrections(&self) -> Option<Corrections> {
        let bytes = self.corrections.as_ref()?;
        Some(Corrections {
            id: TreeId::of(bytes),
            bytes: bytes.len() as u64,
        })
    }

    /// Returns the size of the objects, in bytes.
    pub fn object_bytes(&self) -> u64 {
        self.objects.values().map(|content| content.size).sum()
    }
}

/// Returns what makes the tree of a stored image of its layers: the canonical bytes of a changeset.
pub(super) fn corrections_of(
    repository: &Repository,
    image: &Image,
    tree: &Tree,
) -> Result<Vec<u8>, TransferError> {
    let mut laid = Tree::new();
    for layer in &image.layers {
        let layer = repository.read_layer(&layer.id)?;
        tree::lay(&mut laid, &repository.read_changeset(&layer.changeset)?);
    }
    Ok(format::encode_changeset(&tree::corrections(&laid, tree)))
}

/// Returns the version of an image: that of its topmost layer.
pub(super) fn image_version(image: &Image) -> String {
    let top = image.layers.last();
    top.map_or(String::new(), |layer| layer.version.clone())
}

/// Lists the objects that a layer consists of: what its changes put in place, and the pre-images
/// that merges need.
pub(super) fn layer_objects(
    layer: &Layer,
    changeset: &Changeset,
) -> Result<ObjectMap, TransferError> {
    let mut objects = ObjectMap::new();
    let mut before = BTreeMap::new();
    for (path, change) in changeset.iter() {
        if let Some(Node::File { object, size }) = change.pre.as_ref().map(|inode| &inode.node) {
            before.insert(*object, (*size, path));
        }
        if let Some(post) = &change.post {
            add(&mut objects, path, post);
        }
    }
    for id in &layer.pre_images {
        let Some((size, path)) = before.get(id) else {
            return Err(TransferError::Inconsistent {
                what: "layer",
                name: layer.name.clone(),
                reason: format!("no change of it has the pre-image {}", id.short()),
            });
        };
        let content = objects.entry(*id).or_default();
        content.size = *size;
        if content.paths.is_empty() {
            content.paths.push((*path).clone());
        }
    }
    Ok(objects)
}

/// Lists the objects of a tree.
pub(super) fn image_objects(tree: &Tree) -> ObjectMap {
    let mut objects = ObjectMap::new();
    for (path, inode) in tree.iter() {
        add(&mut objects, path, inode);
    }
    objects
}

fn add(objects: &mut ObjectMap, path: &RelPath, inode: &Inode) {
    if let Node::File { object, size } = &inode.node {
        let content = objects.entry(*object).or_default();
        content.size = *size;
        content.paths.push(path.clone());
    }
}
