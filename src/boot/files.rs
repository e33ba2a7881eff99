//! Which files boot a deployment: what of an image lies on the ESP, and what is said there of it.
//!
//! Values only. `export` puts them on a new disk, and a machine that updates itself puts them on its
//! own ESP.

use super::entry::{self, CommandLine, Entry, EntryError};
use super::grub::{self, Environment, EnvironmentError};
use super::kernel::{Kernel, KernelError};
use super::modules::WATCHDOGS;
use super::{ALIGNMENT, SYSTEMD_BOOT, TooLarge, archive};
use crate::id::ObjectId;
use crate::tree::view::ImageView;
use crate::tree::{Node, Tree};

/// Where firmware looks for a program to start when nobody told it anything.
const REMOVABLE: &str = "EFI/BOOT/BOOTX64.EFI";
/// Where systemd-boot looks after itself.
const INSTALLED: &str = "EFI/systemd/systemd-bootx64.efi";

/// Why an image has nothing that boots it.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file is missing.
    #[error("the image cannot boot: there is no '/{path}'")]
    Lacking {
        /// The file, relative to the root of the image.
        path: String,
        /// The layer of this project that brings it.
        layer: &'static str,
    },
    /// It has no kernel that boots it.
    #[error("the image cannot boot")]
    Kernel(#[from] KernelError),
    /// The archive with the boot script cannot be written.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// An entry cannot be written.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// GRUB's environment cannot be written.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// A file of the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspFile {
    /// Its path on the ESP, without a slash in front.
    pub path: String,
    /// What is in it.
    pub content: EspContent,
}

/// What is in a file of the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EspContent {
    /// These bytes.
    Made(Vec<u8>),
    /// An object of the repository, followed by zeros up to a size in bytes. An initrd that another
    /// one follows ends at a multiple of 512 bytes, or the kernel does not see the second one.
    Stored {
        /// The object.
        object: ObjectId,
        /// The size of the file.
        size: u64,
    },
}

impl EspFile {
    fn made(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content: EspContent::Made(bytes.into()),
        }
    }

    /// Returns its size in bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            EspContent::Made(bytes) => bytes.len() as u64,
            EspContent::Stored { size, .. } => *size,
        }
    }
}

/// What of an image boots it.
#[derive(Debug)]
pub struct BootFiles {
    kernel: Kernel,
    linux: Stored,
    initrd: Stored,
    /// What the boot entries of a deployment name behind the initrd.
    archive: Vec<u8>,
    uefi: Option<Stored>,
    bios: Option<BiosPrograms>,
}

/// A file that is in the repository.
#[derive(Debug, Clone, Copy)]
struct Stored {
    object: ObjectId,
    size: u64,
}

/// What a BIOS needs on the disk beside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BiosPrograms {
    /// The code of the first sector.
    pub boot: Vec<u8>,
    /// GRUB's core image.
    pub core: Vec<u8>,
}

/// Which firmware a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// UEFI, by systemd-boot.
    pub uefi: bool,
    /// BIOS, by GRUB.
    pub bios: bool,
}

/// What is said of the system that is booted.
#[derive(Debug, Clone)]
pub struct System<'a> {
    /// What menus show.
    pub title: &'a str,
    /// The UUID of the filesystem of the data, or of the root.
    pub uuid: String,
    /// Consoles, as in [`CommandLine::consoles`].
    pub consoles: Vec<&'a str>,
    /// What the recipe adds to the command line.
    pub arguments: Vec<&'a str>,
}

impl BootError {
    /// Returns what to do about it, as far as a layer is the answer.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lacking { layer, .. } => Some(format!(
                "add the layer '{layer}' to the recipe, lock and build it"
            )),
            Self::Kernel(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }
}

impl BootFiles {
    /// Finds what boots the image with this tree by this firmware; what is missing is named with the
    /// layer that brings it.
    pub fn find(tree: &Tree, view: &dyn ImageView, firmware: Firmware) -> Result<Self, BootError> {
        let kernel = Kernel::choose(view)?;
        let need = |path: &str| match tree.get(path.as_bytes()).map(|inode| &inode.node) {
            Some(Node::File { object, size }) => Ok(Stored {
                object: *object,
                size: *size,
            }),
            _ => Err(BootError::Lacking {
                path: path.to_owned(),
                layer: "machine",
            }),
        };
        let read = |path: &str| {
            need(path)?;
            Ok::<_, BootError>(view.read(path.as_bytes()).map_err(KernelError::from)?)
        };
        let modules = kernel.boot_modules(view, "ext4", &WATCHDOGS)?;
        let bios = match firmware.bios {
            true => Some(BiosPrograms {
                boot: read(grub::BOOT_IMAGE)?,
                core: read(grub::CORE_IMAGE)?,
            }),
            false => None,
        };
        Ok(Self {
            linux: need(&kernel.linux)?,
            initrd: need(&kernel.initrd)?,
            archive: archive(&modules)?,
            uefi: firmware.uefi.then(|| need(SYSTEMD_BOOT)).transpose()?,
            bios,
            kernel,
        })
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Returns what a BIOS needs, where the disk is for one.
    pub fn bios(&self) -> Option<&BiosPrograms> {
        self.bios.as_ref()
    }

    /// Returns the directory on the ESP of the kernel and the initrds of a deployment.
    pub fn directory(&self) -> String {
        let archive = ObjectId::of(&self.archive);
        entry::kernel_directory(&self.linux.object, &self.initrd.object, &archive)
    }

    /// Returns what lies in [`directory`](Self::directory).
    pub fn deployment_files(&self) -> Vec<EspFile> {
        let directory = self.directory();
        let mut files = self.kernel_files(&directory);
        let path = format!("{directory}/{}", entry::BOOT_ARCHIVE);
        files.push(EspFile::made(path, self.archive.clone()));
        files
    }

    /// Returns what is on the ESP of an updatable machine that starts with one deployment.
    pub fn updatable_esp(
        &self,
        system: &System<'_>,
        deployment: u64,
    ) -> Result<Vec<EspFile>, BootError> {
        let directory = self.directory();
        let options = system.command_line(Some(deployment))?;
        let entry = Entry {
            title: system.title,
            deployment,
            version: deployment,
            kernel_directory: &directory,
            options: &options,
        };
        let environment = Environment {
            good: deployment,
            ..Environment::default()
        };
        let mut files = self.loader();
        files.extend(self.deployment_files());
        let path = format!("{}/{}", entry::ENTRIES, entry.file_name(None));
        files.push(EspFile::made(path, entry.text()?));
        files.push(EspFile::made(grub::MENU, grub::MENU_TEXT));
        let path = format!("{}/{}", grub::ENTRIES, entry.file_name_of_grub());
        files.push(EspFile::made(path, entry.text_of_grub()?));
        files.push(EspFile::made(grub::ENVIRONMENT, environment.to_bytes()?));
        Ok(files)
    }

    /// Returns what is on the ESP of a plain machine.
    pub fn plain_esp(&self, system: &System<'_>) -> Result<Vec<EspFile>, BootError> {
        let directory = format!("{}/{}", entry::DIRECTORY, self.kernel.version);
        let options = system.command_line(None)?;
        let mut files = self.loader();
        files.extend(self.kernel_files(&directory));
        let path = format!("{}/{}.conf", entry::ENTRIES, self.kernel.version);
        let text = entry::plain_text(system.title, &self.kernel.version, &directory, &options)?;
        files.push(EspFile::made(path, text));
        Ok(files)
    }

    /// Returns GRUB's menu of a plain machine.
    pub fn plain_menu(&self, system: &System<'_>) -> Result<String, BootError> {
        let options = system.command_line(None)?;
        let Kernel { linux, initrd, .. } = &self.kernel;
        Ok(grub::plain_menu(system.title, linux, initrd, &options)?)
    }

    fn loader(&self) -> Vec<EspFile> {
        let mut files = vec![EspFile::made(entry::LOADER_CONF, entry::LOADER_CONF_TEXT)];
        for path in [REMOVABLE, INSTALLED] {
            files.extend(self.uefi.map(|program| EspFile {
                path: path.to_owned(),
                content: EspContent::Stored {
                    object: program.object,
                    size: program.size,
                },
            }));
        }
        files
    }

    fn kernel_files(&self, directory: &str) -> Vec<EspFile> {
        let files = [(entry::LINUX, self.linux), (entry::INITRD, self.initrd)];
        let files = files.map(|(name, stored)| EspFile {
            path: format!("{directory}/{name}"),
            content: EspContent::Stored {
                object: stored.object,
                size: match name {
                    entry::INITRD => stored.size.next_multiple_of(ALIGNMENT as u64),
                    _ => stored.size,
                },
            },
        });
        files.into()
    }
}

impl System<'_> {
    fn command_line(&self, deployment: Option<u64>) -> Result<String, EntryError> {
        let line = CommandLine {
            deployment,
            uuid: &self.uuid,
            consoles: &self.consoles,
            extra: &self.arguments,
        };
        line.text()
    }
}
