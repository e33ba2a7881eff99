//! The use case: an image becomes disk images under the names that were asked for.
//!
//! ```text
//! look at the outputs → read the image → what boots it → what each filesystem holds
//!     → lay out the disk → room          nothing was written so far
//!     → the raw disk → each format of it → rename each
//! ```
//!
//! The renames are the commit points, one for each output. What fails before leaves nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::ExportError;
use super::assemble::{Assembly, Common};
use super::formats::{Appliance, Codec, DiskFormat};
use super::output::{self};
use super::profiles::Profile;
use super::report::{DiskReport, PartReport};
use super::sizes;
use crate::disk::{Disk, DiskSize, Seed};
use crate::format::Image;
use crate::id::ImageId;
use crate::recipe::DiskSection;
use crate::store::{Repository, StoredTree};
use crate::tree::Tree;

/// One file that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOutput {
    /// Where it goes.
    pub path: PathBuf,
    /// What it is.
    pub format: DiskFormat,
}

/// What is asked for.
pub struct DiskRequest<'a> {
    /// The image.
    pub image: ImageId,
    /// What it is called: in menus, in an OVA, and in the machine's repository.
    pub name: &'a str,
    /// What the disk is like.
    pub disk: &'a DiskSection,
    /// The files.
    pub outputs: &'a [DiskOutput],
    /// Files that may be replaced.
    pub replace: &'a [PathBuf],
    /// Whose rules are checked.
    pub profiles: &'a [Profile],
    /// The size of a disk is a multiple of so many bytes.
    pub round_to: u64,
    /// How the clusters of a qcow2 are compressed; `None` leaves them plain.
    pub qcow2: Option<Codec>,
    /// What an OVA says of its machine.
    pub appliance: &'a Appliance,
    /// Whether the report says where the bytes come from.
    pub measures: bool,
    /// Whether everything is decided and nothing written.
    pub is_dry_run: bool,
}

/// Who hears how it goes, and may end it.
pub struct Hooks<'a> {
    /// Told of a new phase, with the bytes that it has where that is known.
    pub phase: &'a dyn Fn(&str, Option<u64>),
    /// Told of bytes that are done.
    pub advance: &'a dyn Fn(u64),
    /// Ends the work.
    pub cancel: &'a AtomicBool,
    /// How many threads compress.
    pub threads: usize,
}

/// Writes an image as disk images.
pub fn export_disk(
    repository: &Repository,
    request: &DiskRequest<'_>,
    hooks: &Hooks<'_>,
) -> Result<DiskReport, ExportError> {
    let started = Instant::now();
    check_outputs(request)?;
    (hooks.phase)("reading the image", None);
    let image = repository.read_image(&request.image)?;
    let export = Export {
        repository,
        request,
        hooks,
        epoch: epoch(repository, &image)?,
        seed: Seed::new(request.image.as_bytes()),
        // A description with none was refused when it was read.
        disk: request.disk.disk().ok_or(ExportError::NoDisk)?,
        image,
    };
    let tree = export.tree()?;
    export.check_objects(&tree)?;
    let (assembly, boot) = export.decide(tree).map_err(|error| export.locate(error))?;
    let mut report = export.report(&assembly, boot.kernel().version.clone());
    let sidecars = export.check_profiles(&assembly, &boot, &mut report)?;
    if request.measures {
        (hooks.phase)("measuring the layers", None);
        let sizes = sizes::measure(&export.common(), &export.image, &export.tree()?, &assembly)?;
        report.sizes = Some(sizes);
    }
    if request.is_dry_run {
        report.seconds = started.elapsed().as_secs_f64();
        return Ok(report);
    }
    output::require_room(request.outputs, assembly.plan.size, || {
        (hooks.phase)("counting what the disk takes", None);
        assembly.measure(&export.common())
    })?;
    report.outputs = export.write(&assembly, &sidecars)?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn check_outputs(request: &DiskRequest<'_>) -> Result<(), ExportError> {
    for (index, output) in request.outputs.iter().enumerate() {
        if request.outputs[..index]
            .iter()
            .any(|other| output::is_same(&other.path, &output.path))
        {
            return Err(ExportError::Twice {
                path: output.path.clone(),
            });
        }
        output::check_place(&output.path, request.replace)?;
    }
    Ok(())
}

/// Returns the newest epoch of an image's layers.
fn epoch(repository: &Repository, image: &Image) -> Result<i64, ExportError> {
    let mut epoch = 0;
    for layer in &image.layers {
        epoch = epoch.max(repository.read_layer(&layer.id)?.build.epoch);
    }
    Ok(epoch)
}

pub(super) struct Export<'a> {
    pub(super) repository: &'a Repository,
    pub(super) request: &'a DiskRequest<'a>,
    pub(super) hooks: &'a Hooks<'a>,
    pub(super) image: Image,
    pub(super) epoch: i64,
    pub(super) seed: Seed,
    /// The disk that is written.
    pub(super) disk: &'a Disk,
}

impl<'a> Export<'a> {
    pub(super) fn common(&self) -> Common<'a> {
        Common {
            repository: self.repository,
            seed: self.seed,
            epoch: self.epoch,
            sector: self.disk.sector,
            output: self.place(),
            cancel: self.hooks.cancel,
        }
    }

    /// Reads the image's tree. Nobody holds it for long: it is as large as the image has files.
    pub(super) fn tree(&self) -> Result<Tree, ExportError> {
        Ok(self.repository.read_tree(&self.image.tree)?)
    }

    /// Points at the place of a fault in the recipe, where the recipe says it.
    fn locate(&self, error: ExportError) -> ExportError {
        match error {
            ExportError::Fault(fault) => match self.request.disk.locate(&fault) {
                Some(error) => error.into(),
                None => fault.into(),
            },
            error => error,
        }
    }

    /// Refuses an image with a missing or damaged object.
    fn check_objects(&self, tree: &Tree) -> Result<(), ExportError> {
        for (path, inode) in tree.iter() {
            if let crate::tree::Node::File { object, size } = inode.node {
                let checked = self.repository.check_object(&object, size);
                checked.map_err(|source| ExportError::Content {
                    path: path.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn view<'t>(&'t self, tree: &'t Tree) -> StoredTree<'t> {
        StoredTree {
            tree,
            repository: self.repository,
        }
    }

    /// Returns the output that is the raw disk itself.
    pub(super) fn raw(&self) -> Option<&'a DiskOutput> {
        let mut outputs = self.request.outputs.iter();
        outputs.find(|output| output.format == DiskFormat::Raw)
    }

    /// Returns the output beside which the raw disk is written.
    pub(super) fn place(&self) -> &'a Path {
        self.raw()
            .or(self.request.outputs.first())
            .map_or(Path::new("disk"), |output| &output.path)
    }

    /// Says that the disk has not the size that the description says.
    fn rounding(&self, assembly: &Assembly) -> Option<String> {
        let DiskSize::Exact(said) = self.disk.size else {
            return None;
        };
        let size = assembly.plan.size;
        let rounded = format!(
            "a disk has whole MiB: its size of {said} bytes was rounded up to {size} bytes"
        );
        (said != size).then_some(rounded)
    }

    pub(super) fn report(&self, assembly: &Assembly, kernel: String) -> DiskReport {
        let used: BTreeMap<&str, u64> = assembly
            .parts
            .iter()
            .map(|part| (part.name(), part.used()))
            .collect();
        let partitions = assembly.plan.partitions.iter().map(|part| PartReport {
            name: part.name.clone(),
            number: part.number,
            start: part.start,
            bytes: part.size,
            used: used.get(part.name.as_str()).copied(),
        });
        DiskReport {
            image: self.request.image,
            kernel,
            virtual_bytes: assembly.plan.size,
            used_bytes: assembly.used(),
            partitions: partitions.collect(),
            outputs: Vec::new(),
            remarks: self.rounding(assembly).into_iter().collect(),
            sizes: None,
            seconds: 0.0,
            is_dry_run: self.request.is_dry_run,
        }
    }
}
