//! What boots the machine: the files of the ESP, the boot code of a BIOS, and the menus.

use super::ExportError;
use super::fat::{FatContent, FatItem};
use super::view::StoredTree;
use crate::boot::entry::{self, CommandLine, Entry};
use crate::boot::grub::{self, Environment, Place, Write};
use crate::boot::{self, Kernel, SYSTEMD_BOOT, WATCHDOGS};
use crate::disk::{DiskPlan, PartitionKind, TableKind};
use crate::id::ObjectId;
use crate::tree::view::ImageView as _;
use crate::tree::{Inode, Node};

/// Where firmware looks for a program to start when nobody told it anything.
const REMOVABLE: &str = "EFI/BOOT/BOOTX64.EFI";
/// Where systemd-boot looks after itself.
const INSTALLED: &str = "EFI/systemd/systemd-bootx64.efi";
/// BIOS counts in sectors of this size.
const SECTOR: u64 = 512;

/// What of an image boots it.
pub(super) struct BootFiles {
    kernel: Kernel,
    linux: Stored,
    initrd: Stored,
    /// What the boot entries of a deployment name behind the initrd.
    archive: Vec<u8>,
    uefi: Option<Stored>,
    bios: Option<Bios>,
}

/// A file that is in the repository.
#[derive(Clone, Copy)]
struct Stored {
    object: ObjectId,
    size: u64,
}

struct Bios {
    boot: Vec<u8>,
    core: Vec<u8>,
}

/// Which firmware a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Firmware {
    pub(super) uefi: bool,
    pub(super) bios: bool,
}

/// What is said of the system that is booted.
pub(super) struct System<'a> {
    /// What menus show.
    pub(super) title: &'a str,
    /// The UUID of the filesystem of the data, or of the root.
    pub(super) uuid: String,
    pub(super) consoles: Vec<&'a str>,
    pub(super) arguments: Vec<&'a str>,
}

impl BootFiles {
    /// Finds what boots the image by this firmware; what is missing is named with the layer that
    /// brings it.
    pub(super) fn find(view: &StoredTree<'_>, firmware: Firmware) -> Result<Self, ExportError> {
        let kernel = Kernel::choose(view)?;
        let stored = |path: &str| match view.tree.get(path.as_bytes()).map(|inode| &inode.node) {
            Some(Node::File { object, size }) => Some(Stored {
                object: *object,
                size: *size,
            }),
            _ => None,
        };
        let need = |path: &str| {
            stored(path).ok_or_else(|| ExportError::NotBootable {
                lacking: format!("there is no '/{path}'"),
                layer: "machine",
            })
        };
        let read = |path: &str| {
            need(path)?;
            Ok::<_, ExportError>(
                view.read(path.as_bytes())
                    .map_err(boot::KernelError::from)?,
            )
        };
        let modules = kernel.boot_modules(view, "ext4", &WATCHDOGS)?;
        let bios = match firmware.bios {
            true => Some(Bios {
                boot: read(grub::BOOT_IMAGE)?,
                core: read(grub::CORE_IMAGE)?,
            }),
            false => None,
        };
        Ok(Self {
            linux: need(&kernel.linux)?,
            initrd: need(&kernel.initrd)?,
            archive: boot::archive(&modules)?,
            uefi: firmware.uefi.then(|| need(SYSTEMD_BOOT)).transpose()?,
            bios,
            kernel,
        })
    }

    /// Returns the kernel.
    pub(super) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Returns what is on the ESP of an updatable machine that starts with one deployment.
    pub(super) fn updatable_esp(
        &self,
        system: &System<'_>,
        deployment: u64,
    ) -> Result<Vec<FatItem>, ExportError> {
        let archive = ObjectId::of(&self.archive);
        let directory = entry::kernel_directory(&self.linux.object, &self.initrd.object, &archive);
        let options = system.command_line(Some(deployment))?;
        let entry = Entry {
            title: system.title,
            deployment,
            kernel_directory: &directory,
            options: &options,
        };
        let environment = Environment {
            good: deployment,
            ..Environment::default()
        };
        let mut files = self.loader();
        files.extend(self.kernel_files(&directory));
        let path = format!("{directory}/{}", entry::BOOT_ARCHIVE);
        files.push(FatItem::made(path, self.archive.clone()));
        let path = format!("{}/{}", entry::ENTRIES, entry.file_name(None));
        files.push(FatItem::made(path, entry.text()?));
        files.push(FatItem::made(grub::MENU, grub::MENU_TEXT));
        let path = format!("{}/{}", grub::ENTRIES, entry.file_name_of_grub());
        files.push(FatItem::made(path, entry.text_of_grub()?));
        files.push(FatItem::made(grub::ENVIRONMENT, environment.to_bytes()?));
        Ok(files)
    }

    /// Returns what is on the ESP of a plain machine.
    pub(super) fn plain_esp(&self, system: &System<'_>) -> Result<Vec<FatItem>, ExportError> {
        let directory = format!("{}/{}", entry::DIRECTORY, self.kernel.version);
        let options = system.command_line(None)?;
        let mut files = self.loader();
        files.extend(self.kernel_files(&directory));
        let path = format!("{}/{}.conf", entry::ENTRIES, self.kernel.version);
        let text = entry::plain_text(system.title, &self.kernel.version, &directory, &options)?;
        files.push(FatItem::made(path, text));
        Ok(files)
    }

    /// Returns GRUB's menu of a plain machine.
    pub(super) fn plain_menu(&self, system: &System<'_>) -> Result<String, ExportError> {
        let options = system.command_line(None)?;
        let Kernel { linux, initrd, .. } = &self.kernel;
        Ok(grub::plain_menu(system.title, linux, initrd, &options)?)
    }

    fn loader(&self) -> Vec<FatItem> {
        let mut files = vec![FatItem::made(entry::LOADER_CONF, entry::LOADER_CONF_TEXT)];
        for path in [REMOVABLE, INSTALLED] {
            files.extend(self.uefi.map(|program| FatItem {
                path: path.to_owned(),
                content: FatContent::Stored {
                    object: program.object,
                    size: program.size,
                },
            }));
        }
        files
    }

    fn kernel_files(&self, directory: &str) -> [FatItem; 2] {
        [(entry::LINUX, self.linux), (entry::INITRD, self.initrd)].map(|(name, stored)| FatItem {
            path: format!("{directory}/{name}"),
            content: FatContent::Stored {
                object: stored.object,
                size: match name {
                    entry::INITRD => stored.size.next_multiple_of(boot::ALIGNMENT as u64),
                    _ => stored.size,
                },
            },
        })
    }

    /// Returns what a BIOS needs on the disk beside its files: the code of the first sector, and
    /// GRUB's core image.
    pub(super) fn bios_writes(&self, plan: &DiskPlan) -> Result<Option<[Write; 2]>, ExportError> {
        let Some(bios) = &self.bios else {
            return Ok(None);
        };
        let own = plan
            .partitions
            .iter()
            .find(|part| part.kind == PartitionKind::BIOS);
        let place = match (plan.table, own) {
            (TableKind::Gpt, Some(part)) => Place::Partition {
                first: part.start / SECTOR,
                sectors: part.size / SECTOR,
            },
            (TableKind::Gpt, None) => return Ok(None),
            (TableKind::Mbr, _) => Place::Gap {
                end: plan
                    .partitions
                    .first()
                    .map_or(0, |part| part.start / SECTOR),
            },
        };
        Ok(Some(grub::embed(&bios.boot, &bios.core, place)?))
    }
}

impl System<'_> {
    fn command_line(&self, deployment: Option<u64>) -> Result<String, ExportError> {
        let line = CommandLine {
            deployment,
            uuid: &self.uuid,
            consoles: &self.consoles,
            extra: &self.arguments,
        };
        Ok(line.text()?)
    }
}

/// Says what the system is called in menus: the recipe, and the name that its os-release gives it.
pub(super) fn title(view: &StoredTree<'_>, name: &str) -> String {
    match super::describe::release(view).get("PRETTY_NAME") {
        Some(pretty) if !pretty.is_empty() => format!("{name}, {pretty}"),
        _ => name.to_owned(),
    }
}

/// Says whether a tree has a directory at `path`.
pub(super) fn has_directory(tree: &crate::tree::Tree, path: &str) -> bool {
    tree.get(path.as_bytes()).is_some_and(Inode::is_dir)
}
