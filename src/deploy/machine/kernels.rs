//! Kernels and initrds on the ESP: each set in a directory named by what it holds, which deployments
//! share.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use super::Machine;
use super::error::MachineError;
use super::loader::KnownEntry;
use crate::boot::entry::{DIRECTORY, Entry, with_deployment};
use crate::boot::{BootFiles, EspContent, EspFile, Firmware};
use crate::deploy::DeployError;
use crate::durable::{Disk, available_bytes, remove_tree};
use crate::format::Image;
use crate::store::{Repository, StoredTree};
use crate::tree::Tree;

/// FAT has no modes; this is what umask=0077 makes of every one.
const MODE: u32 = 0o700;
/// What FAT gives out at least, in bytes, with what its tables and directories may take more.
const CLUSTER: u64 = 32 << 10;
/// The program that an image has to have, or its machine could not be updated again.
const AGENT: &str = "usr/bin/layerset";
/// What only deployments have in the directory that kernels lie in.
const NO_KERNELS: [&str; 1] = ["grub"];

/// What a deployment needs to be started, decided before anything is written.
#[derive(Debug)]
pub(in crate::deploy) struct BootPlan {
    boot: BootFiles,
    title: String,
}

impl Machine {
    /// Decides what starts an image; one that does not start, or could not be updated again, is
    /// refused.
    pub(in crate::deploy) fn plan(
        &self,
        repository: &Repository,
        image: &Image,
        tree: &Tree,
    ) -> Result<BootPlan, DeployError> {
        if tree.get(AGENT.as_bytes()).is_none() {
            return Err(MachineError::NoAgent { path: AGENT }.into());
        }
        let view = StoredTree { tree, repository };
        // The boot loaders stay as they are: only deployments change.
        let firmware = Firmware {
            uefi: false,
            bios: false,
        };
        let boot = BootFiles::find(tree, &view, firmware).map_err(MachineError::from)?;
        let plan = BootPlan {
            boot,
            title: image.name.clone(),
        };
        self.require_room(repository, &plan)?;
        Ok(plan)
    }

    /// Compares what is missing on the ESP with what is free there.
    fn require_room(&self, repository: &Repository, plan: &BootPlan) -> Result<(), DeployError> {
        let mut need = CLUSTER;
        for file in plan.boot.deployment_files() {
            if !self.has(repository, &file) {
                need += file.size().next_multiple_of(CLUSTER);
            }
        }
        let free = available_bytes(&self.esp)
            .map_err(|error| MachineError::io("look at", &self.esp, error))?;
        // What no entry names any more goes first.
        let reclaimed: u64 = self.unused_directories()?.iter().map(|dir| size(dir)).sum();
        if free + reclaimed < need {
            return Err(MachineError::EspFull {
                free: free + reclaimed,
                need,
            }
            .into());
        }
        Ok(())
    }

    /// Brings the kernel and the initrds of a deployment to the ESP. What is there is compared byte by
    /// byte, because FAT keeps no digests.
    pub(in crate::deploy) fn install_kernel(
        &self,
        disk: &dyn Disk,
        repository: &Repository,
        plan: &BootPlan,
    ) -> Result<(), DeployError> {
        for unused in self.unused_directories()? {
            remove_tree(disk, &unused)?;
        }
        let files = plan.boot.deployment_files();
        let missing: Vec<&EspFile> = files
            .iter()
            .filter(|file| !self.has(repository, file))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        disk.mkdir(&self.esp.join(DIRECTORY), MODE)?;
        disk.mkdir(&self.esp.join(plan.boot.directory()), MODE)?;
        for file in missing {
            let path = self.esp.join(&file.path);
            let beside = path.with_extension("new");
            disk.remove(&beside)?;
            disk.write(&beside, MODE, &mut |to| {
                io::copy(&mut open(repository, file)?, to)?;
                to.flush()
            })?;
            disk.sync_file(&beside)?;
            disk.rename(&beside, &path)?;
        }
        disk.sync_fs(&self.esp)?;
        Ok(())
    }

    /// Makes the entry of a deployment, which nothing chooses by itself.
    pub(in crate::deploy) fn add_entry(
        &self,
        disk: &dyn Disk,
        plan: &BootPlan,
        generation: u64,
    ) -> Result<(), DeployError> {
        let options = with_deployment(&self.options()?, generation);
        let directory = plan.boot.directory();
        let entry = Entry {
            title: &format!("{}, generation {generation}", plan.title),
            deployment: generation,
            version: 0,
            kernel_directory: &directory,
            options: &options,
        };
        self.each(|loader| loader.add(disk, &entry))
    }

    /// Says whether a deployment can be started.
    pub(in crate::deploy) fn has_entry(&self, generation: u64) -> bool {
        let looks = self.loaders.iter().map(|loader| loader.look());
        !self.loaders.is_empty()
            && looks.into_iter().all(|look| {
                look.is_ok_and(|look| {
                    let entry = look.entry(generation);
                    entry.is_some_and(|entry| self.esp.join(&entry.kernel_directory).is_dir())
                })
            })
    }

    /// Forgets a deployment that is gone, and what only it needed.
    pub(in crate::deploy) fn forget(
        &self,
        disk: &dyn Disk,
        generation: u64,
    ) -> Result<(), DeployError> {
        self.each(|loader| loader.remove(disk, generation))?;
        for unused in self.unused_directories()? {
            remove_tree(disk, &unused)?;
        }
        disk.sync_fs(&self.esp)?;
        Ok(())
    }

    /// Removes what a dead command left on the ESP: unfinished files, and entries of deployments that
    /// are not `present`.
    pub(super) fn tidy(&self, disk: &dyn Disk, present: &[u64]) -> Result<(), DeployError> {
        for loader in &self.loaders {
            for entry in loader.look()?.entries {
                if !present.contains(&entry.deployment) {
                    loader.remove(disk, entry.deployment)?;
                }
            }
            let dir = loader.entries_dir();
            for found in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = found.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(".layerset-") && name.ends_with(".new") {
                    disk.remove(&found.path())?;
                }
            }
        }
        Ok(())
    }

    /// Returns the kernel's arguments of the deployment that runs, or else of another one.
    fn options(&self) -> Result<String, DeployError> {
        let mut known: Vec<KnownEntry> = Vec::new();
        for loader in &self.loaders {
            known.extend(loader.look()?.entries);
        }
        let running = self.running();
        known.sort_by_key(|entry| entry.deployment != running);
        let mut options = known.into_iter().filter_map(|entry| entry.options);
        Ok(options.next().ok_or(MachineError::NoEntry)?)
    }

    /// Lists the directories of kernels that no entry names.
    fn unused_directories(&self) -> Result<Vec<PathBuf>, DeployError> {
        let mut used = BTreeSet::new();
        for loader in &self.loaders {
            let entries = loader.look()?.entries;
            used.extend(
                entries
                    .into_iter()
                    .map(|entry| self.esp.join(entry.kernel_directory)),
            );
        }
        let top = self.esp.join(DIRECTORY);
        let mut unused = Vec::new();
        for found in std::fs::read_dir(&top).into_iter().flatten() {
            let path = found
                .map_err(|error| MachineError::io("list", &top, error))?
                .path();
            let is_kernels = path.is_dir() && !NO_KERNELS.iter().any(|name| path.ends_with(name));
            if is_kernels && !used.contains(&path) {
                unused.push(path);
            }
        }
        Ok(unused)
    }

    fn has(&self, repository: &Repository, file: &EspFile) -> bool {
        let path = self.esp.join(&file.path);
        let same = || -> io::Result<bool> {
            let there = File::open(&path)?;
            Ok(there.metadata()?.len() == file.size()
                && same_bytes(there, open(repository, file)?)?)
        };
        same().unwrap_or(false)
    }
}

/// Opens what is to be in a file of the ESP.
fn open<'f>(repository: &Repository, file: &'f EspFile) -> io::Result<Box<dyn Read + 'f>> {
    Ok(match &file.content {
        EspContent::Made(bytes) => Box::new(bytes.as_slice()),
        EspContent::Stored { object, size } => {
            let object = File::open(repository.object_path(object))?;
            Box::new(object.chain(io::repeat(0)).take(*size))
        }
    })
}

fn same_bytes(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(b.read(&mut right)? == 0);
        }
        if b.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}
