//! What of a disk comes from where: `--report`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::ExportError;
use super::assemble::{Assembly, Common};
use crate::format::Image;
use crate::id::ObjectId;
use crate::tree::Tree;

/// As the qcow2 is compressed by default.
const LEVEL: i32 = 3;

/// Where the bytes of a disk come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeReport {
    /// The layers in their order.
    pub layers: Vec<LayerSize>,
    /// Contents of files of the image, each once.
    pub content: u64,
    /// What the filesystems hold beside them: metadata of the image, manifests, boot files, tables,
    /// journals, and what blocks leave over.
    pub overhead: u64,
    /// What is free.
    pub free: u64,
}

/// What one layer brings to the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSize {
    /// The layer's name; empty for what composing made.
    pub name: String,
    /// Contents that no layer before it has, in bytes.
    pub content: u64,
    /// The same, compressed by zstd.
    pub compressed: u64,
}

/// Measures each layer; reads all contents once.
pub(super) fn measure(
    common: &Common<'_>,
    image: &Image,
    tree: &Tree,
    assembly: &Assembly,
) -> Result<SizeReport, ExportError> {
    let mut wanted: HashSet<ObjectId> = tree.objects().into_iter().collect();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let changeset = common.repository.read_layer(&layer.id)?.changeset;
        let files = common.repository.read_changed_files(&changeset)?;
        let objects = files.into_iter().map(|(object, _)| object);
        let objects: Vec<ObjectId> = objects.filter(|object| wanted.remove(object)).collect();
        layers.push(layer_size(common, &layer.name, &objects)?);
    }
    let mut made: Vec<ObjectId> = wanted.into_iter().collect();
    made.sort_unstable();
    layers.push(layer_size(common, "", &made)?);
    let content = layers.iter().map(|layer| layer.content).sum();
    let used = assembly.used();
    Ok(SizeReport {
        layers,
        content,
        overhead: used.saturating_sub(content),
        free: assembly.plan.size.saturating_sub(used),
    })
}

fn layer_size(
    common: &Common<'_>,
    name: &str,
    objects: &[ObjectId],
) -> Result<LayerSize, ExportError> {
    let mut content = 0;
    let fail = |error| ExportError::io("compress", "contents".as_ref(), error);
    let mut encoder = zstd::Encoder::new(Counter::default(), LEVEL).map_err(fail)?;
    for object in objects {
        if common.cancel.load(Ordering::Relaxed) {
            return Err(ExportError::Interrupted);
        }
        let path = common.repository.object_path(object);
        let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut encoder));
        content += copied.map_err(|error| ExportError::io("read", &path, error))?;
    }
    let compressed = encoder.finish().map_err(fail)?.0;
    Ok(LayerSize {
        name: name.to_owned(),
        content,
        compressed: if content == 0 { 0 } else { compressed },
    })
}

/// Counts bytes, and keeps none.
#[derive(Default)]
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
