//! Disks as bytes: partition tables, volumes and filesystems, written without root, loop device or
//! mount.
//!
//! Everything here is pure: values in, bytes out, through a [`Medium`] that the caller gives. The
//! same values give the same bytes on every machine; what other tools make at random comes from a
//! [`Seed`].
//!
//! [`Devices`] says what is wanted, [`check`] whether it makes sense, [`solve`] where it all lies.
//! Then come [`write_table`], [`write_group`], and a writer for each filesystem, into a [`Window`]
//! for a partition or [`Extents`] for a logical volume.

mod allot;
mod bytes;
mod check;
mod crc32;
pub mod ext4;
mod extents;
mod fat;
mod fault;
mod fstab;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod golden_tests;
mod kind;
mod layouts;
mod lvm;
mod medium;
mod mkfs_options;
mod model;
mod plan;
mod seed;
mod size;
mod solve;
mod swap;
mod table;
#[cfg(test)]
mod testing;
mod uuid;
mod volumes;

pub use check::{check, check_all};
pub use extents::Extents;
pub use fat::{FatError, FatFile, FatOptions, Open, check_fat, needed_fat, write_fat};
pub use fault::{DiskFault, Node, Place};
pub use fstab::{filesystem_id, fstab};
pub use kind::{KIND_WORDS, KindError, PartitionKind};
pub use layouts::{Layout, UPDATABLE, check_layout, layout_devices, layout_partitions};
pub use lvm::write_group;
pub use medium::{FileMedium, Medium, Tally, Window};
pub use mkfs_options::ExtTuning;
pub use model::{
    DEFAULT_EXTENT, Devices, Disk, DiskSize, Filesystem, FilesystemId, FilesystemKind, Fstab,
    LogicalVolume, Margin, PartSize, Partition, PhysicalVolume, Role, SectorSize, TableKind,
    VolumeGroup, VolumeKind, VolumeSize, Writer,
};
pub use plan::{DiskPlan, GroupPlan, PartitionPlan, PhysicalPlan, Run, Segment, VolumePlan};
pub use seed::Seed;
pub use size::{MIB, Share, SizeError, parse_size, show_size};
pub use solve::{Needs, least_size, solve};
pub use swap::write_swap;
pub use table::{BOOT_CODE, disk_guid, disk_signature, partition_guid, write_table};
pub use uuid::Uuid;
