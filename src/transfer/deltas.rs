//! Deltas: made for publishing and kept in the cache, applied when they are pulled.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::TransferError;
use super::hashing::HashingFile;
use super::inventory::{Inventory, ObjectMap, corrections_of, image_objects, layer_objects};
use super::outgoing::{PrepareOptions, cache_key, cached, keep, remember};
use crate::delta::{self, DeltaItem, DeltaRequest, DeltaSink, ObjectReader, PutError, ReadSeek};
use crate::durable::DurableError;
use crate::format;
use crate::format::release::{DeltaRef, Release, ReleaseId, ReleaseKind};
use crate::id::ObjectId;
use crate::sha256::Sha256;
use crate::store::{Repository, StoreError, Transaction};

/// Raise this when the same releases make a different delta.
const DELTA_VERSION: u32 = 3;
/// The most threads that encode: more would need over 512 MB of memory.
const MAX_THREADS: usize = 2;

/// Makes a delta from each of the releases `from`, but none that is as large as the `full` bytes of
/// packs.
pub(super) fn make(
    repository: &Repository,
    outgoing: &Path,
    inventory: &Inventory,
    others: &[Inventory],
    from: &[Release],
    full: u64,
    options: &PrepareOptions<'_>,
) -> Result<Vec<(DeltaRef, PathBuf)>, TransferError> {
    let mut made = Vec::new();
    for release in from {
        let ids = [*release.id.as_bytes(), *inventory.id.as_bytes()];
        let key = cache_key(&format!("delta {DELTA_VERSION}"), &ids);
        let known = cached::<DeltaRef>(outgoing, &key, |delta| (delta.blob, delta.bytes));
        let (delta, path) = match known {
            Some(known) => known,
            None => {
                let what = format!("comparing {} '{}'", inventory.kind.word(), inventory.name);
                options.progress.phase(&what, None);
                let scratch = outgoing.join(format!(".{key}.new"));
                let delta = encode(repository, &scratch, inventory, others, release.id, options)?;
                let path = keep(outgoing, &scratch, &delta.blob)?;
                remember(repository, outgoing, &key, &delta)?;
                (delta, path)
            }
        };
        if delta.bytes < full {
            made.push((delta, path));
        }
    }
    Ok(made)
}

fn encode(
    repository: &Repository,
    scratch: &Path,
    inventory: &Inventory,
    others: &[Inventory],
    from: ReleaseId,
    options: &PrepareOptions<'_>,
) -> Result<DeltaRef, TransferError> {
    let old = DeltaBase::read(repository, inventory.kind, &from, true)?;
    let mut also = ObjectMap::new();
    if inventory.kind == ReleaseKind::Image {
        let of_layers = others.iter().flat_map(|layer| &layer.objects);
        let unknown = of_layers.filter(|(id, _)| !old.objects.contains_key(id));
        also.extend(unknown.map(|(id, content)| (*id, content.clone())));
    }
    let mut new = inventory.objects.clone();
    new.retain(|id, _| !old.objects.contains_key(id) && !also.contains_key(id));
    let request = DeltaRequest {
        from,
        to: inventory.id,
        manifests: [&old.manifest, &inventory.manifest],
        trees: [&old.tree, inventory.roots()[0].1],
        old: &items(&old.objects),
        also: &items(&also),
        new: &items(&new),
        full_cost: &|id| new.get(id).map_or(0, |content| content.size),
    };
    let fail = |source| TransferError::io("write", scratch, source);
    let mut out = HashingFile::new(File::create(scratch).map_err(fail)?);
    let mut spool = super::pack::unnamed_file(scratch)?;
    let source = StoredObjects(repository);
    let encoding = delta::EncodeOptions {
        threads: options.threads.min(MAX_THREADS),
        ..delta::EncodeOptions::default()
    };
    delta::encode(
        &request,
        &source,
        &mut spool,
        &mut out,
        &encoding,
        options.cancel,
    )?;
    out.file.flush().map_err(fail)?;
    Ok(DeltaRef {
        from,
        blob: Sha256::from_bytes(out.hasher.finalize().into()),
        bytes: out.bytes,
    })
}

fn items(objects: &ObjectMap) -> Vec<DeltaItem> {
    let items = objects.iter().map(|(id, content)| DeltaItem {
        id: *id,
        size: content.size,
        paths: content.paths.clone(),
    });
    items.collect()
}

/// The layer or image that a delta starts from.
pub(super) struct DeltaBase {
    /// The canonical bytes of the manifest.
    pub manifest: Vec<u8>,
    /// The canonical bytes of a layer's changeset, of an image's tree or of what corrects that.
    pub tree: Vec<u8>,
    objects: ObjectMap,
}

impl DeltaBase {
    /// Reads a stored layer or image; `corrected` says what stands for the tree of an image.
    pub(super) fn read(
        repository: &Repository,
        kind: ReleaseKind,
        id: &ReleaseId,
        corrected: bool,
    ) -> Result<Self, TransferError> {
        match kind {
            ReleaseKind::Layer => {
                let layer = repository.read_layer(&id.layer())?;
                let changeset = repository.read_changeset(&layer.changeset)?;
                Ok(Self {
                    manifest: format::to_canonical_json("layer", &layer)?,
                    tree: format::encode_changeset(&changeset),
                    objects: layer_objects(&layer, &changeset)?,
                })
            }
            ReleaseKind::Image => {
                let image = repository.read_image(&id.image())?;
                let tree = repository.read_tree(&image.tree)?;
                Ok(Self {
                    manifest: format::to_canonical_json("image", &image)?,
                    tree: match corrected {
                        true => corrections_of(repository, &image, &tree)?,
                        false => format::encode_tree(&tree),
                    },
                    objects: image_objects(&tree),
                })
            }
        }
    }
}

struct StoredObjects<'a>(&'a Repository);

impl ObjectReader for StoredObjects<'_> {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        let file = self.0.open_object(id).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }
}

/// Objects that are stored or arriving.
pub(super) struct ArrivingObjects<'a, 'r>(pub &'a Transaction<'r>);

impl ObjectReader for ArrivingObjects<'_, '_> {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        let file = self.0.open_object(id).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }
}

impl DeltaSink for ArrivingObjects<'_, '_> {
    fn put(&self, id: &ObjectId, size: u64, fill: &mut delta::Fill<'_>) -> Result<(), PutError> {
        match self.0.put_expected(id, size, fill) {
            Ok(()) => Ok(()),
            Err(StoreError::Durable(
                error @ (DurableError::Full { .. } | DurableError::Latched { .. }),
            )) => Err(PutError::Storage(io::Error::other(error))),
            Err(error) => Err(PutError::Content(error.to_string())),
        }
    }
}
