//! What is on a disk, and where: everything that is decided before the first write.

use super::ExportError;
use super::assemble::{Assembly, Draft, DraftContent};
use super::cloud;
use super::describe;
use super::disk::Export;
use super::files::FileSet;
use super::machine::{self, BootFiles, Firmware, System};
use super::mounts;
use super::plain::plain;
use super::split::split;
use super::updatable::updatable;
use super::view::StoredTree;
use crate::boot::grub;
use crate::deploy::FreshOptions;
use crate::disk::{
    Layout, Needs, PartitionKind, TableKind, UPDATABLE, filesystem_id, fstab, solve,
};
use crate::id::hex;
use crate::path::RelPath;
use crate::store::RefName;

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

    /// Decides everything, and returns what boots the disk.
    pub(super) fn decide(&self) -> Result<(Assembly, BootFiles), ExportError> {
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
    pub(super) fn check_volumes(
        &self,
        view: &StoredTree<'_>,
        boot: &BootFiles,
    ) -> Result<(), ExportError> {
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
    pub(super) fn drafts(
        &self,
        boot: &BootFiles,
        view: &StoredTree<'_>,
    ) -> Result<Vec<Draft>, ExportError> {
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
    pub(super) fn empty_drafts(&self) -> Vec<Draft> {
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
    pub(super) fn data(&self, fstab: &str) -> Result<(FileSet, u64), ExportError> {
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
        if let Some((path, text)) = cloud::settings(&self.tree, self.request.profiles) {
            let path = format!("layerset/deployments/{}/{path}", data.generation);
            data.files.files.put(&path, 0o644, text.into_bytes());
            data.files.files.date(&path, self.epoch);
        }
        Ok((data.files, data.generation))
    }

    /// Gives each filesystem of a plain machine its part of the image.
    pub(super) fn put_plain(
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
        if let Some((path, text)) = cloud::settings(&self.tree, self.request.profiles) {
            whole.files.put(path, 0o644, text.into_bytes());
            whole.files.date(path, self.epoch);
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

/// Gives the first draft that fits its content.
fn put(drafts: &mut [Draft], fits: impl Fn(&Draft) -> bool, content: DraftContent) {
    if let Some(draft) = drafts.iter_mut().find(|draft| fits(draft)) {
        draft.content = content;
    }
}
