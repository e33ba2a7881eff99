//! What a boot loader is asked for. systemd-boot and GRUB are the two that exist; U-Boot or zipl would
//! stand beside them.

use std::path::Path;

use serde::Serialize;

use crate::boot::entry::Entry;
use crate::deploy::DeployError;
use crate::durable::Disk;

/// How a boot loader starts deployments of this machine. Each call is made again after a power cut,
/// and leaves things as they are where they are so already.
pub(super) trait BootLoader: std::fmt::Debug + Send + Sync {
    /// Returns what it knows.
    fn look(&self) -> Result<Look, DeployError>;

    /// Makes an entry known, which nothing chooses by itself; its version counts for nothing.
    fn add(&self, disk: &dyn Disk, entry: &Entry<'_>) -> Result<(), DeployError>;

    /// Makes a deployment what starts next, as often as `tries` without being blessed: the commit
    /// point of a switch.
    fn prefer(&self, disk: &dyn Disk, deployment: u64, tries: u8) -> Result<(), DeployError>;

    /// Takes the counter away: it proved itself.
    fn bless(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError>;

    /// Takes all tries away: it failed. What never failed starts next.
    fn give_up(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError>;

    /// Forgets a deployment.
    fn remove(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError>;

    /// Returns where its entries lie.
    fn entries_dir(&self) -> &Path;
}

/// What starts next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Next {
    /// The deployment; none where there is no entry.
    pub deployment: Option<u64>,
    /// How often it may still fail; none where it has proved itself.
    pub tries: Option<u8>,
}

/// What a boot loader knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) next: Next,
    pub(super) entries: Vec<KnownEntry>,
}

/// An entry that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownEntry {
    pub(super) deployment: u64,
    /// How often it may still be tried; none where it has proved itself.
    pub(super) tries: Option<u8>,
    /// Whether it was tried as often as it might, and never proved itself.
    pub(super) failed: bool,
    pub(super) kernel_directory: String,
    /// The kernel's arguments, where they are as the kernel gets them.
    pub(super) options: Option<String>,
}

impl Look {
    pub(super) fn entry(&self, deployment: u64) -> Option<&KnownEntry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.deployment == deployment)
    }
}
