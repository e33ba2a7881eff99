//! What is on a disk, and where: everything that is decided before the first write.

use super::ExportError;
use super::assemble::Assembly;
use super::cloud;
use super::describe;
use super::disk::Export;
use super::draft::{Draft, DraftContent, Frame};
use super::fat::FatItem;
use super::files::FileSet;
use super::machine;
use super::mounts;
use super::plain::plain;
use super::split::split;
use super::updatable::updatable;
use crate::boot::{BootFiles, Firmware, System, grub};
use crate::deploy::FreshOptions;
use crate::disk::{
    DiskFault, FilesystemKind, Layout, Needs, Node, PartitionKind, TableKind, UPDATABLE,
    filesystem_id, fstab, solve,
};
use crate::format::ImageLayer;
use crate::id::hex;
use crate::path::RelPath;
use crate::recipe::DiskSection;
use crate::store::{RefName, StoredTree};
use crate::tree::{Inode, Tree};

/// Where Debian's lvm2 has its program.
const LVM: [&str; 2] = ["usr/sbin/lvm", "sbin/lvm"];
/// What the initrd mounts.
const INITRD_MOUNTS: [&str; 2] = ["/", "/usr"];

/// Makes `/boot/x` a path to `x` of a `/boot` that is a filesystem of its own: GRUB sees it before
/// anything is mounted, and what keeps its menu names paths from the root.
const BOOT_LINK: &str = "boot/boot";

impl<'a> Export<'a> {
    pub(super) fn firmware(&self) -> Firmware {
        let disk = self.disk;
        let has = |kind| disk.partitions.iter().any(|part| part.kind == kind);
        let is_mbr = disk.table == Some(TableKind::Mbr);
        Firmware {
            uefi: has(PartitionKind::ESP),
            // A BIOS reads sectors of 512 bytes only.
            bios: (is_mbr || has(PartitionKind::BIOS)) && disk.sector.bytes() == 512,
        }
    }

    /// Decides everything about the disk of an image with this tree, and returns what boots it.
    pub(super) fn decide(&self, tree: Tree) -> Result<(Assembly, BootFiles), ExportError> {
        if self.image.architecture != "amd64" {
            return Err(ExportError::Architecture {
                architecture: self.image.architecture.clone(),
            });
        }
        self.check_sectors()?;
        let view = self.view(&tree);
        let boot = BootFiles::find(&tree, &view, self.firmware())?;
        self.check_volumes(&view, &boot)?;
        let drafts = self.drafts(&boot, tree)?;
        let common = self.common();
        (self.hooks.phase)("laying out the disk", None);
        let mut needs = Needs::new();
        let mut surveyed = Vec::new();
        for draft in drafts {
            draft.check_writer()?;
            let draft = draft.survey(&common)?;
            needs.insert(draft.name().to_owned(), draft.need(&common)?);
            surveyed.push(draft);
        }
        let plan = solve(&self.request.disk.devices, &needs, self.request.round_to)?;
        for output in self.request.outputs {
            output.format.require_size(plan.size).map_err(|error| {
                let unit = output.format.size_unit();
                let next = plan.size.next_multiple_of(unit);
                let help = match output.format.require_size(next) {
                    Ok(()) => format!("write size = \"auto\", or \"{next}B\""),
                    Err(_) => "write a smaller size, or another format".to_owned(),
                };
                Node::Disk.at("size").fault(error.to_string(), help)
            })?;
        }
        let mut parts = Vec::new();
        for draft in surveyed {
            let runs = plan.runs(draft.name()).unwrap_or_default();
            let size = runs.iter().map(|run| run.size).sum();
            parts.push(draft.place(&common, size)?);
        }
        let bios = machine::bios_writes(&boot, &plan)?;
        Ok((Assembly { plan, parts, bios }, boot))
    }

    /// Refuses formats that cannot have the sectors of the disk.
    fn check_sectors(&self) -> Result<(), DiskFault> {
        let sector = self.disk.sector.bytes();
        let formats = self.request.outputs.iter().map(|output| output.format);
        for format in formats {
            if !format.has_sectors_of(sector) {
                let message = format!("a {format} has sectors of 512 bytes, not {sector}");
                let help = "leave 'sector' out, or write raw or qcow2";
                return Err(Node::Disk.at("sector").fault(message, help));
            }
        }
        Ok(())
    }

    /// Refuses mounted logical volumes that nothing in the image would find.
    fn check_volumes(&self, view: &StoredTree<'_>, boot: &BootFiles) -> Result<(), DiskFault> {
        let volumes = self.request.disk.devices.volumes.iter().enumerate();
        let mounts: Vec<(usize, &str)> = volumes
            .filter_map(|(index, volume)| {
                Some((index, volume.filesystem.as_ref()?.mount.as_deref()?))
            })
            .collect();
        let Some(mount) = mounts.first() else {
            return Ok(());
        };
        let initrd = &boot.kernel().initrd;
        let refuse = |(index, mount): &(usize, &str), why: &str| {
            let layer = self.layer_of(initrd);
            let layer = layer.map_or_else(String::new, |name| format!("'{name}', "));
            let message = format!("'{mount}' lies on a logical volume, and {why}");
            let help = format!(
                "add the package lvm2 to the layer {layer}which makes the initrd; lock and build it"
            );
            Err(Node::Volume(*index).at("mount").fault(message, help))
        };
        if !LVM
            .iter()
            .any(|path| view.tree.get(path.as_bytes()).is_some())
        {
            return refuse(mount, "there is no 'lvm' in the image");
        }
        let mut early = mounts.iter();
        let needs_initrd = early.find(|(_, mount)| INITRD_MOUNTS.contains(mount));
        match (needs_initrd, describe::initrd_has(view, initrd, &LVM)) {
            (Some(mount), Some(false)) => refuse(
                mount,
                &format!("there is no 'lvm' in its initrd '/{initrd}'"),
            ),
            (Some(mount), None) => {
                let why =
                    format!("the initrd '/{initrd}' cannot be read to see whether it has 'lvm'");
                refuse(mount, &why)
            }
            _ => Ok(()),
        }
    }

    /// Returns the name of the layer that brings a path, where that can be found out.
    fn layer_of(&self, path: &str) -> Option<String> {
        let brings = |layer: &&ImageLayer| {
            let layer = self.repository.read_layer(&layer.id);
            let changes = layer.and_then(|layer| self.repository.read_changeset(&layer.changeset));
            changes.is_ok_and(|changes| changes.get(path.as_bytes()).is_some())
        };
        let found = self.image.layers.iter().rev().find(brings)?;
        Some(found.name.clone())
    }

    /// Returns what each filesystem of the disk holds.
    fn drafts(&self, boot: &BootFiles, tree: Tree) -> Result<Vec<Draft>, ExportError> {
        (self.hooks.phase)("deciding what is on the disk", None);
        let mut drafts = self.empty_drafts();
        let (mounted, mounts): (Vec<usize>, Vec<RelPath>) = mount_points(&drafts).unzip();
        let layout = self.request.disk.layout;
        for (index, mount) in mounted.iter().zip(&mounts) {
            mounts::check(&tree, layout, mount).map_err(|problem| {
                let Frame { node, name, .. } = &drafts[*index].frame;
                let help = "mount it elsewhere, or change what the image has there in a layer";
                let message = format!("'{name}' cannot be mounted at '{mount}': {problem}");
                node.at("mount").fault(message, help)
            })?;
        }
        let title = machine::title(&self.view(&tree), self.request.name);
        let home = |draft: &Draft| match layout {
            Layout::Updatable => draft.frame.name == UPDATABLE[2],
            Layout::Plain => draft.frame.filesystem.mount.as_deref() == Some("/"),
        };
        let system = self.system(&title, drafts.iter().find(|draft| home(draft)));
        let table = fstab(&self.request.disk.devices, &self.seed);
        let esp = match layout {
            Layout::Updatable => {
                let (data, deployment) = self.data(&tree, &table)?;
                drop(tree);
                let (data, own) = mounts::split_state(data, &mounts);
                if let Some(draft) = drafts.iter_mut().find(|draft| home(draft)) {
                    draft.content = DraftContent::Files(Box::new(data));
                }
                for (index, part) in mounted.into_iter().zip(own) {
                    if let Some(part) = part {
                        drafts[index].content = DraftContent::Files(Box::new(part));
                    }
                }
                boot.updatable_esp(&system, deployment)?
            }
            Layout::Plain => {
                let menu = boot.plain_menu(&system)?;
                self.put_plain(&mut drafts, tree, &table, menu)?;
                boot.plain_esp(&system)?
            }
        };
        let mut esp = Some(esp);
        let is_fat = |draft: &&mut Draft| draft.frame.filesystem.kind == FilesystemKind::Vfat;
        for draft in drafts.iter_mut().filter(is_fat) {
            let is_esp = draft.frame.kind == PartitionKind::ESP;
            let boot = if is_esp { esp.take() } else { None };
            let boot = boot.unwrap_or_default();
            draft.fill_fat(boot.into_iter().map(FatItem::from).collect())?;
        }
        Ok(drafts)
    }

    /// Returns what is said of the system whose data or root is on `home`.
    fn system<'s>(&'s self, title: &'s str, home: Option<&Draft>) -> System<'s> {
        let DiskSection {
            consoles,
            kernel_arguments,
            ..
        } = self.request.disk;
        let id = home.map(|Draft { frame, .. }| {
            filesystem_id(&frame.filesystem, &frame.name, &self.seed).to_string()
        });
        System {
            title,
            uuid: id.unwrap_or_default(),
            consoles: consoles.iter().map(String::as_str).collect(),
            arguments: kernel_arguments.iter().map(String::as_str).collect(),
        }
    }

    /// Lists the filesystems of the description.
    fn empty_drafts(&self) -> Vec<Draft> {
        let partitions = self.disk.partitions.iter().enumerate();
        let partitions = partitions.map(|(index, part)| {
            let node = Node::Partition(index);
            (node, &part.name, part.filesystem.as_ref(), part.kind)
        });
        let volumes = self.request.disk.devices.volumes.iter().enumerate();
        let volumes = volumes.map(|(index, volume)| {
            let filesystem = volume.filesystem.as_ref();
            let kind = PartitionKind::LINUX;
            (Node::Volume(index), &volume.name, filesystem, kind)
        });
        let drafts = partitions
            .chain(volumes)
            .filter_map(|(node, name, filesystem, kind)| {
                let frame = Frame {
                    node,
                    name: name.clone(),
                    filesystem: filesystem?.clone(),
                    kind,
                };
                Some(Draft {
                    frame,
                    content: DraftContent::Nothing,
                })
            });
        drafts.collect()
    }

    /// Makes the data filesystem of an updatable machine, and returns the deployment's number.
    fn data(&self, tree: &Tree, fstab: &str) -> Result<(FileSet, u64), ExportError> {
        let options = FreshOptions {
            id: hex(&self.seed.bytes("target")[..8]),
            now: self.epoch,
            who: "layerset export".to_owned(),
        };
        let name = RefName::image(self.request.name)
            .is_ok()
            .then_some(self.request.name);
        let mut data = updatable(self.repository, &self.request.image, tree, name, &options)?;
        if !fstab.is_empty() {
            let path = format!("layerset/deployments/{}/etc/fstab", data.generation);
            data.files
                .files
                .put(&path, 0o644, fstab.as_bytes().to_vec());
            data.files.files.date(&path, self.epoch);
        }
        if let Some((path, text)) = cloud::settings(tree, self.request.profiles) {
            let path = format!("layerset/deployments/{}/{path}", data.generation);
            data.files.files.put(&path, 0o644, text.into_bytes());
            data.files.files.date(&path, self.epoch);
        }
        Ok((data.files, data.generation))
    }

    /// Gives each filesystem of a plain machine its part of the image.
    fn put_plain(
        &self,
        drafts: &mut [Draft],
        tree: Tree,
        fstab: &str,
        menu: String,
    ) -> Result<(), ExportError> {
        let mut whole = plain(
            self.repository,
            &self.request.image,
            tree,
            fstab,
            self.epoch,
        )?;
        if machine::has_directory(&whole.files.tree, "boot") {
            if !machine::has_directory(&whole.files.tree, "boot/grub") {
                let grub = Inode::directory(0o755);
                whole.files.insert("boot/grub", grub);
                whole.files.date("boot/grub", self.epoch);
            }
            whole.files.put(grub::PLAIN_MENU, 0o644, menu.into_bytes());
            whole.files.date(grub::PLAIN_MENU, self.epoch);
        }
        if let Some((path, text)) = cloud::settings(&whole.files.tree, self.request.profiles) {
            whole.files.put(path, 0o644, text.into_bytes());
            whole.files.date(path, self.epoch);
        }
        let (mounted, mounts): (Vec<usize>, Vec<RelPath>) = mount_points(drafts).unzip();
        let has_boot = mounts.iter().any(|mount| mount.as_bytes() == b"boot");
        if has_boot && whole.files.tree.get(BOOT_LINK.as_bytes()).is_none() {
            let link = Inode::symlink(".");
            whole.files.insert(BOOT_LINK, link);
            whole.files.date(BOOT_LINK, self.epoch);
        }
        for (part, index) in split(whole, &mounts).into_iter().zip(mounted) {
            drafts[index].content = DraftContent::Files(Box::new(part));
        }
        Ok(())
    }
}

/// Lists the filesystems that are mounted, by their index.
fn mount_points(drafts: &[Draft]) -> impl Iterator<Item = (usize, RelPath)> {
    drafts.iter().enumerate().filter_map(|(index, draft)| {
        let mount = draft.frame.filesystem.mount.as_deref()?;
        Some((
            index,
            RelPath::from_text(mount.trim_start_matches('/')).ok()?,
        ))
    })
}
