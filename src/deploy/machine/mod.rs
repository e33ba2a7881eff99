//! The machine that runs from a target on its own disk: how a deployment gets its boot entry, becomes
//! what starts next, and proves itself.
//!
//! A directory target is switched by a pointer. On a machine, `current` follows what runs: a switch
//! makes another deployment **next**, by its boot entry, and whoever looks afterwards finds it running.
//! [`SwitchWay`] says how the machine comes there.
//!
//! ```text
//! stage    kernel and initrds → ESP /layerset/<content>/; an entry that nothing chooses by itself
//! switch   next.json; the entry gets tries and comes first        the commit point
//! live     the new trees come beneath what runs; services that changed are restarted
//! soft     the new root comes to /run/nextroot, and all services start anew
//! restart  the boot loader counts down
//! settle   healthy → the entry loses its counter; else it has no tries left, is marked bad, and the
//!          machine restarts with what was good
//! ```
//!
//! The data filesystem is out of sight on a running machine (see `src/boot/layerset.initramfs`). It is
//! mounted here in a mount namespace of this process, so that nothing stays when it ends.

mod booted;
mod carry;
mod class;
mod error;
mod grub;
mod kernels;
mod live;
mod loader;
mod namespaces;
mod next;
mod old;
mod settle;
mod systemd_boot;
mod table;
pub(super) mod units;
mod way;

pub use booted::{Booted, ROOT};
pub use class::{SwitchClass, SwitchWay};
pub use error::MachineError;
pub(super) use kernels::BootPlan;
pub use live::Exchange;
pub use loader::Next;
pub use old::OldProgram;
pub use settle::{BootReport, BootVerdict};
pub use units::{Notice, UnitChanges};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use self::loader::{BootLoader, Look};
use super::DeployError;
use crate::materialise::enter_private_namespace;

/// Where the ESP is mounted.
const ESP: &str = "/run/layerset/esp";

/// A machine whose disk this process sees.
#[derive(Debug)]
pub struct Machine {
    running: AtomicU64,
    /// What of the system this process sees; nothing in a test that plays the boot loaders.
    is_own: bool,
    esp: PathBuf,
    loaders: Vec<Box<dyn BootLoader>>,
}

impl Machine {
    /// Enters a mount namespace of its own, and mounts the machine's data filesystem at [`ROOT`] and
    /// its ESP. Threads that run already do not see them.
    pub fn enter(booted: Booted) -> Result<Self, MachineError> {
        if !rustix::process::geteuid().is_root() {
            return Err(MachineError::NotRoot);
        }
        enter_private_namespace()?;
        booted.mount_data(Path::new(ROOT))?;
        booted.mount_esp(Path::new(ESP))?;
        let esp = PathBuf::from(ESP);
        let machine = Self::with_esp(booted.deployment, &esp, booted.by_uefi);
        Ok(Self {
            is_own: true,
            ..machine
        })
    }

    /// A machine that runs a deployment, whose ESP is mounted at `esp`; `by_uefi` says what started it.
    pub fn with_esp(running: u64, esp: &Path, by_uefi: bool) -> Self {
        let uefi = systemd_boot::SystemdBoot::find(esp).map(boxed);
        let bios = grub::Grub::find(esp).map(boxed);
        // What starts this machine comes last: its write is the commit point.
        let in_order = match by_uefi {
            true => [bios, uefi],
            false => [uefi, bios],
        };
        let loaders = in_order.into_iter().flatten().collect();
        Self {
            running: running.into(),
            is_own: false,
            esp: esp.to_owned(),
            loaders,
        }
    }

    /// Returns the deployment that runs.
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Another deployment runs from now on.
    fn runs_now(&self, generation: u64) {
        self.running.store(generation, Ordering::Relaxed);
    }

    /// Looks again what runs: another command may have exchanged it while this one waited.
    pub(super) fn look_again(&self) {
        let table = booted::shared_table().filter(|_| self.is_own);
        let etc = table.as_ref().and_then(|table| table::top(table, b"/etc"));
        if let Some(generation) = etc.and_then(|etc| etc.deployment()) {
            self.runs_now(generation);
        }
    }

    /// Returns the deployments of which something is still mounted for anybody.
    pub(super) fn in_use(&self) -> BTreeSet<u64> {
        match self.is_own {
            true => namespaces::in_use(),
            false => BTreeSet::new(),
        }
    }

    /// Returns what the boot loader of this machine will start, and what it knows.
    fn look(&self) -> Result<Look, DeployError> {
        match self.loaders.last() {
            Some(loader) => loader.look(),
            None => Err(MachineError::NoLoader {
                esp: self.esp.clone(),
            }
            .into()),
        }
    }

    /// Says what starts next, if the loader can be read.
    pub fn next(&self) -> Result<Next, DeployError> {
        Ok(self.look()?.next)
    }

    fn each<T>(
        &self,
        action: impl Fn(&dyn BootLoader) -> Result<T, DeployError>,
    ) -> Result<(), DeployError> {
        if self.loaders.is_empty() {
            self.look()?;
        }
        for loader in &self.loaders {
            action(loader.as_ref())?;
        }
        Ok(())
    }
}

fn boxed<L: BootLoader + 'static>(loader: L) -> Box<dyn BootLoader> {
    Box::new(loader)
}
