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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::ExportError;
use super::assemble::{Assembly, Common, Draft, DraftContent};
use super::describe::{self, Facts};
use super::files::FileSet;
use super::formats::{
    self, Appliance, ClusterCache, Codec, DiskFormat, FormatOptions, GuestOs, Output, Source,
};
use super::machine::{self, BootFiles, Firmware, System};
use super::mounts;
use super::output::{self, NewFile};
use super::plain::plain;
use super::profiles::{Profile, RuleWeight, glance_properties};
use super::report::{DiskReport, OutputReport, PartReport};
use super::sizes;
use super::split::split;
use super::updatable::updatable;
use super::view::StoredTree;
use crate::boot::grub;
use crate::deploy::FreshOptions;
use crate::disk::{
    Disk, FileMedium, Layout, Needs, PartitionKind, Seed, TableKind, UPDATABLE, filesystem_id,
    fstab, solve,
};
use crate::format::Image;
use crate::id::{ImageId, hex};
use crate::path::RelPath;
use crate::recipe::DiskSection;
use crate::store::{RefName, Repository};
use crate::tree::Tree;

/// Where Debian's lvm2 has its program.
const LVM: [&str; 2] = ["usr/sbin/lvm", "sbin/lvm"];
/// What the initrd mounts.
const INITRD_MOUNTS: [&str; 2] = ["/", "/usr"];

/// Makes `/boot/x` a path to `x` of a `/boot` that is a filesystem of its own: GRUB sees it before
/// anything is mounted, and what keeps its menu names paths from the root.
const BOOT_LINK: &str = "boot/boot";

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
    let tree = repository.read_tree(&image.tree)?;
    let export = Export {
        repository,
        request,
        hooks,
        epoch: epoch(repository, &image)?,
        seed: Seed::new(request.image.as_bytes()),
        // A description with none was refused when it was read.
        disk: request.disk.disk().ok_or(ExportError::NoDisk)?,
        image,
        tree,
    };
    export.check_objects()?;
    let (assembly, boot) = export.decide()?;
    for output in request.outputs {
        output.format.require_size(assembly.plan.size)?;
    }
    let mut report = export.report(&assembly, boot.kernel().version.clone());
    let sidecars = export.check_profiles(&assembly, &boot, &mut report)?;
    if request.measures {
        (hooks.phase)("measuring the layers", None);
        let sizes = sizes::measure(&export.common(), &export.image, &export.tree, &assembly)?;
        report.sizes = Some(sizes);
    }
    if request.is_dry_run {
        report.seconds = started.elapsed().as_secs_f64();
        return Ok(report);
    }
    output::require_room(request.outputs, assembly.used())?;
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

struct Export<'a> {
    repository: &'a Repository,
    request: &'a DiskRequest<'a>,
    hooks: &'a Hooks<'a>,
    image: Image,
    tree: Tree,
    epoch: i64,
    seed: Seed,
    /// The disk that is written.
    disk: &'a Disk,
}

impl<'a> Export<'a> {
    fn common(&self) -> Common<'a> {
        Common {
            repository: self.repository,
            seed: self.seed,
            epoch: self.epoch,
            sector: self.disk.sector,
            output: self.place(),
            cancel: self.hooks.cancel,
        }
    }

    /// Refuses an image with a missing or damaged object.
    fn check_objects(&self) -> Result<(), ExportError> {
        for (path, inode) in self.tree.iter() {
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

    fn firmware(&self) -> Firmware {
        let disk = self.disk;
        let has = |kind| disk.partitions.iter().any(|part| part.kind == kind);
        let is_mbr = disk.table == Some(TableKind::Mbr);
        Firmware {
            uefi: has(PartitionKind::ESP),
            // A BIOS reads sectors of 512 bytes only.
            bios: (is_mbr || has(PartitionKind::BIOS)) && disk.sector.bytes() == 512,
        }
    }

    /// Decides everything, and returns what boots the disk.
    fn decide(&self) -> Result<(Assembly, BootFiles), ExportError> {
        if self.image.architecture != "amd64" {
            return Err(ExportError::Architecture {
                architecture: self.image.architecture.clone(),
            });
        }
        let view = self.view();
        let boot = BootFiles::find(&view, self.firmware())?;
        self.check_volumes(&view, &boot)?;
        let drafts = self.drafts(&boot, &view)?;
        let common = self.common();
        (self.hooks.phase)("laying out the disk", None);
        let mut needs = Needs::new();
        for draft in &drafts {
            draft.require_writer()?;
            needs.insert(draft.name.clone(), draft.need(&common)?);
        }
        let devices = &self.request.disk.devices;
        let plan = solve(devices, &needs, self.request.round_to).map_err(ExportError::Fault)?;
        let mut parts = Vec::new();
        for draft in drafts {
            let runs = plan.runs(&draft.name).unwrap_or_default();
            let size = runs.iter().map(|run| run.size).sum();
            parts.push(draft.place(&common, size)?);
        }
        let bios = boot.bios_writes(&plan)?;
        Ok((Assembly { plan, parts, bios }, boot))
    }

    /// Refuses mounted logical volumes that nothing in the image would find.
    fn check_volumes(&self, view: &StoredTree<'_>, boot: &BootFiles) -> Result<(), ExportError> {
        let volumes = self.request.disk.devices.volumes.iter();
        let mounts: Vec<&str> = volumes
            .filter_map(|volume| volume.filesystem.as_ref()?.mount.as_deref())
            .collect();
        let Some(mount) = mounts.first() else {
            return Ok(());
        };
        let refuse = |mount: &str, place: String| {
            Err(ExportError::NoLvm {
                mount: mount.to_owned(),
                place,
            })
        };
        if !LVM
            .iter()
            .any(|path| self.tree.get(path.as_bytes()).is_some())
        {
            return refuse(mount, "the image".to_owned());
        }
        let initrd = &boot.kernel().initrd;
        let needs_initrd = mounts.iter().find(|mount| INITRD_MOUNTS.contains(*mount));
        match (needs_initrd, describe::initrd_has(view, initrd, "lvm")) {
            (Some(mount), Some(false)) => refuse(mount, format!("its initrd '/{initrd}'")),
            _ => Ok(()),
        }
    }

    /// Returns what each filesystem of the disk holds.
    fn drafts(&self, boot: &BootFiles, view: &StoredTree<'_>) -> Result<Vec<Draft>, ExportError> {
        (self.hooks.phase)("deciding what is on the disk", None);
        let mut drafts = self.empty_drafts();
        let (mounted, mounts): (Vec<usize>, Vec<RelPath>) = mount_points(&drafts).unzip();
        for (index, mount) in mounted.iter().zip(&mounts) {
            let layout = self.request.disk.layout;
            mounts::check(&self.tree, layout, &drafts[*index].name, mount)?;
        }
        let title = machine::title(view, self.request.name);
        let layout = self.request.disk.layout;
        let home = |draft: &Draft| match layout {
            Layout::Updatable => draft.name == UPDATABLE[2],
            Layout::Plain => draft.filesystem.mount.as_deref() == Some("/"),
        };
        let system = System {
            title: &title,
            uuid: drafts
                .iter()
                .find(|draft| home(draft))
                .map_or_else(String::new, |draft| {
                    filesystem_id(&draft.filesystem, &draft.name, &self.seed).to_string()
                }),
            consoles: self
                .request
                .disk
                .consoles
                .iter()
                .map(String::as_str)
                .collect(),
            arguments: self
                .request
                .disk
                .kernel_arguments
                .iter()
                .map(String::as_str)
                .collect(),
        };
        let table = fstab(&self.request.disk.devices, &self.seed);
        let esp = match layout {
            Layout::Updatable => {
                let (data, deployment) = self.data(&table)?;
                let (data, own) = mounts::split_state(data, &mounts);
                put(&mut drafts, home, DraftContent::Files(Box::new(data)));
                for (index, part) in mounted.into_iter().zip(own) {
                    if let Some(part) = part {
                        drafts[index].content = DraftContent::Files(Box::new(part));
                    }
                }
                boot.updatable_esp(&system, deployment)?
            }
            Layout::Plain => {
                let menu = boot.plain_menu(&system)?;
                self.put_plain(&mut drafts, &table, menu)?;
                boot.plain_esp(&system)?
            }
        };
        let is_esp = |draft: &Draft| draft.kind == PartitionKind::ESP;
        put(&mut drafts, is_esp, DraftContent::Esp(esp));
        Ok(drafts)
    }

    /// Lists the filesystems of the description.
    fn empty_drafts(&self) -> Vec<Draft> {
        let partitions = self.disk.partitions.iter();
        let partitions = partitions.map(|part| (&part.name, part.filesystem.as_ref(), part.kind));
        let volumes = self.request.disk.devices.volumes.iter();
        let volumes = volumes.map(|volume| {
            (
                &volume.name,
                volume.filesystem.as_ref(),
                PartitionKind::LINUX,
            )
        });
        let drafts = partitions
            .chain(volumes)
            .filter_map(|(name, filesystem, kind)| {
                Some(Draft {
                    name: name.clone(),
                    filesystem: filesystem?.clone(),
                    kind,
                    content: DraftContent::Nothing,
                })
            });
        drafts.collect()
    }

    /// Makes the data filesystem of an updatable machine, and returns the deployment's number.
    fn data(&self, fstab: &str) -> Result<(FileSet, u64), ExportError> {
        let options = FreshOptions {
            id: hex(&self.seed.bytes("target")[..8]),
            now: self.epoch,
            who: "layerset export".to_owned(),
        };
        let name = RefName::image(self.request.name)
            .is_ok()
            .then_some(self.request.name);
        let mut data = updatable(self.repository, &self.request.image, name, &options)?;
        if !fstab.is_empty() {
            let path = format!("layerset/deployments/{}/etc/fstab", data.generation);
            data.files
                .files
                .put(&path, 0o644, fstab.as_bytes().to_vec());
            data.files.files.date(&path, self.epoch);
        }
        Ok((data.files, data.generation))
    }

    /// Gives each filesystem of a plain machine its part of the image.
    fn put_plain(
        &self,
        drafts: &mut [Draft],
        fstab: &str,
        menu: String,
    ) -> Result<(), ExportError> {
        let mut whole = plain(self.repository, &self.request.image, fstab, self.epoch)?;
        if machine::has_directory(&whole.files.tree, "boot") {
            if !machine::has_directory(&whole.files.tree, "boot/grub") {
                let grub = crate::tree::Inode::directory(0o755);
                whole.files.insert("boot/grub", grub);
                whole.files.date("boot/grub", self.epoch);
            }
            whole.files.put(grub::PLAIN_MENU, 0o644, menu.into_bytes());
            whole.files.date(grub::PLAIN_MENU, self.epoch);
        }
        let (mounted, mounts): (Vec<usize>, Vec<RelPath>) = mount_points(drafts).unzip();
        let has_boot = mounts.iter().any(|mount| mount.as_bytes() == b"boot");
        if has_boot && whole.files.tree.get(BOOT_LINK.as_bytes()).is_none() {
            let link = crate::tree::Inode::symlink(".");
            whole.files.insert(BOOT_LINK, link);
            whole.files.date(BOOT_LINK, self.epoch);
        }
        for (part, index) in split(whole, &mounts).into_iter().zip(mounted) {
            drafts[index].content = DraftContent::Files(Box::new(part));
        }
        Ok(())
    }

    /// Checks the rules of all profiles: one that must hold and does not ends the export, others are
    /// reported. Returns what lies beside the outputs.
    fn check_profiles(
        &self,
        assembly: &Assembly,
        boot: &BootFiles,
        report: &mut DiskReport,
    ) -> Result<Vec<Sidecar>, ExportError> {
        if self.request.profiles.is_empty() {
            return Ok(Vec::new());
        }
        (self.hooks.phase)("checking the rules of the profiles", None);
        let view = self.view();
        let disk = self.request.disk;
        let consoles = disk
            .consoles
            .iter()
            .map(|console| format!("console={console}"));
        let facts = Facts {
            formats: self
                .request
                .outputs
                .iter()
                .map(|output| output.format)
                .collect(),
            layout: disk.layout,
            devices: &disk.devices,
            assembly,
            firmware: self.firmware(),
            kernel_arguments: consoles
                .chain(disk.kernel_arguments.iter().cloned())
                .collect(),
            kernel: boot.kernel(),
        };
        let packages = describe::packages(self.repository, &self.image)?;
        let description = describe::describe(&view, &facts, packages)?;
        let checked = self
            .request
            .profiles
            .iter()
            .flat_map(|profile| profile.check(&description));
        let (broken, noted): (Vec<_>, Vec<_>) =
            checked.partition(|problem| problem.weight == RuleWeight::Must);
        if !broken.is_empty() {
            return Err(ExportError::Rules(broken));
        }
        report.remarks = noted.iter().map(ToString::to_string).collect();
        if !self.request.profiles.contains(&Profile::OpenStack) {
            return Ok(Vec::new());
        }
        let sidecars = self.request.outputs.iter().filter_map(|output| {
            let name = self.request.name;
            let facts =
                describe::glance_facts(&view, name, output.format, &self.image, &description);
            Some(Sidecar {
                path: output.path.with_added_extension("glance.json"),
                text: glance_properties(&facts)?,
            })
        });
        let sidecars: Vec<Sidecar> = sidecars.collect();
        for sidecar in &sidecars {
            output::check_place(&sidecar.path, self.request.replace)?;
        }
        Ok(sidecars)
    }

    fn view(&self) -> StoredTree<'_> {
        StoredTree {
            tree: &self.tree,
            repository: self.repository,
        }
    }

    /// Returns the output that is the raw disk itself.
    fn raw(&self) -> Option<&'a DiskOutput> {
        let mut outputs = self.request.outputs.iter();
        outputs.find(|output| output.format == DiskFormat::Raw)
    }

    /// Returns the output beside which the raw disk is written.
    fn place(&self) -> &'a Path {
        self.raw()
            .or(self.request.outputs.first())
            .map_or(Path::new("disk"), |output| &output.path)
    }

    fn write(
        &self,
        assembly: &Assembly,
        sidecars: &[Sidecar],
    ) -> Result<Vec<OutputReport>, ExportError> {
        let outputs = self.request.outputs;
        let raw = self.raw();
        for output in outputs {
            output::remove_leftovers(&output.path)?;
        }
        // Without a raw output it is removed in the end, by whoever drops it.
        let scratch = match raw {
            Some(output) => NewFile::create(&output.path)?,
            None => NewFile::create(&self.place().with_added_extension("raw"))?,
        };
        (self.hooks.phase)("writing the disk", Some(assembly.used()));
        let disk = self.write_raw(assembly, &scratch)?;
        let mut new_files = Vec::new();
        let cache = self.cluster_cache();
        for output in outputs.iter().filter(|output| Some(*output) != raw) {
            new_files.push(self.convert(&disk, assembly.plan.size, output, cache.as_ref())?);
        }
        if let Some(cache) = cache {
            cache.save();
        }
        let mut placed: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for (output, file, size) in &new_files {
            file.sync()?;
            placed.insert(output.path.clone(), *size);
        }
        if let Some(output) = raw {
            scratch.sync()?;
            placed.insert(output.path.clone(), assembly.plan.size);
        }
        if self.hooks.cancel.load(Ordering::Relaxed) {
            return Err(ExportError::Interrupted);
        }
        for sidecar in sidecars {
            let mut file = NewFile::create(&sidecar.path)?;
            let written = std::io::Write::write_all(file.file_mut(), sidecar.text.as_bytes());
            written.map_err(|error| ExportError::io("write", &sidecar.path, error))?;
            file.sync()?;
            file.place(self.request.replace)?;
        }
        for (_, file, _) in new_files {
            file.place(self.request.replace)?;
        }
        if raw.is_some() {
            scratch.place(self.request.replace)?;
        }
        let reports = outputs.iter().map(|output| OutputReport {
            path: output.path.clone(),
            format: output.format.name(),
            bytes: placed.get(&output.path).copied().unwrap_or_default(),
        });
        Ok(reports.collect())
    }

    fn write_raw(
        &self,
        assembly: &Assembly,
        scratch: &NewFile,
    ) -> Result<std::fs::File, ExportError> {
        let fail = |error| ExportError::io("write", scratch.beside(), error);
        let file = scratch.file().try_clone().map_err(fail)?;
        let mut medium = FileMedium::new(file, assembly.plan.size).map_err(fail)?;
        assembly.write(&mut medium, &self.common(), self.hooks.advance)?;
        Ok(medium.into_file())
    }

    /// Returns what an OVA says of its machine: what was asked for, on the firmware that starts the
    /// disk, with the system that is on it.
    fn appliance(&self) -> Appliance {
        let release = describe::release(&self.view());
        Appliance {
            firmware: match self.firmware().uefi {
                true => formats::Firmware::Uefi,
                false => formats::Firmware::Bios,
            },
            os: GuestOs::from_os_release(release.get("ID").map_or("", String::as_str)),
            ..self.request.appliance.clone()
        }
    }

    /// Opens the cache; a repository that cannot be written has none.
    fn cluster_cache(&self) -> Option<ClusterCache> {
        let dir = self.repository.cache_dir("clusters").ok()?;
        Some(ClusterCache::open(&dir, ClusterCache::DEFAULT_LIMIT))
    }

    fn convert<'o>(
        &self,
        disk: &std::fs::File,
        size: u64,
        output: &'o DiskOutput,
        cache: Option<&ClusterCache>,
    ) -> Result<(&'o DiskOutput, NewFile, u64), ExportError> {
        let what = format!("writing {}", output.format);
        (self.hooks.phase)(&what, Some(size));
        let mut file = NewFile::create(&output.path)?;
        let done = std::cell::Cell::new(0);
        let progress = |now: u64, _total: u64| {
            (self.hooks.advance)(now.saturating_sub(done.get()));
            done.set(now);
        };
        let options = FormatOptions {
            seed: self.seed,
            epoch: self.epoch,
            qcow2: self.request.qcow2,
            appliance: &self.appliance(),
            threads: self.hooks.threads,
            cache,
            progress: &progress,
            cancel: self.hooks.cancel,
        };
        let written = formats::write(
            output.format,
            &Source::new(disk, size),
            &mut Output {
                file: file.file_mut(),
                path: &output.path,
            },
            &options,
        )?;
        Ok((output, file, written))
    }

    fn report(&self, assembly: &Assembly, kernel: String) -> DiskReport {
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
            remarks: Vec::new(),
            sizes: None,
            seconds: 0.0,
            is_dry_run: self.request.is_dry_run,
        }
    }
}

/// Lists the filesystems that are mounted, by their index.
fn mount_points(drafts: &[Draft]) -> impl Iterator<Item = (usize, RelPath)> {
    drafts.iter().enumerate().filter_map(|(index, draft)| {
        let mount = draft.filesystem.mount.as_deref()?;
        Some((
            index,
            RelPath::from_text(mount.trim_start_matches('/')).ok()?,
        ))
    })
}

/// A small file beside an output.
struct Sidecar {
    path: PathBuf,
    text: String,
}

/// Gives the first draft that fits its content.
fn put(drafts: &mut [Draft], fits: impl Fn(&Draft) -> bool, content: DraftContent) {
    if let Some(draft) = drafts.iter_mut().find(|draft| fits(draft)) {
        draft.content = content;
    }
}
