//! Where everything lies on a disk, exactly.

use super::kind::PartitionKind;
use super::model::{SectorSize, TableKind};

/// A disk that is laid out. All positions and sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPlan {
    /// The size of the disk, a multiple of 1 MiB.
    pub size: u64,
    /// The size of its logical sectors.
    pub sector: SectorSize,
    /// Its partition table.
    pub table: TableKind,
    /// The alignment of the partitions.
    pub align: u64,
    /// The partitions in order of position.
    pub partitions: Vec<PartitionPlan>,
    /// The volume groups.
    pub groups: Vec<GroupPlan>,
}

/// A partition that has its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPlan {
    /// The name in the description.
    pub name: String,
    /// The name in a GPT.
    pub label: String,
    /// Its number, as the kernel counts: logical ones start at 5.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// How many bytes it has.
    pub size: u64,
    /// Its type.
    pub kind: PartitionKind,
    /// Whether it is flagged for booting.
    pub is_boot: bool,
    /// For a logical partition, the first byte of its own table (EBR).
    pub ebr: Option<u64>,
}

/// A volume group whose volumes have their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// The size of its extents.
    pub extent: u64,
    /// Its physical volumes.
    pub physical: Vec<PhysicalPlan>,
    /// Its logical volumes.
    pub volumes: Vec<VolumePlan>,
}

/// A physical volume that has its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalPlan {
    /// Its name.
    pub name: String,
    /// Its first byte on the disk.
    pub start: u64,
    /// How many bytes it has.
    pub size: u64,
    /// How many extents it holds.
    pub extents: u64,
}

/// A logical volume that has its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Its name.
    pub name: String,
    /// Its runs of extents in order.
    pub segments: Vec<Segment>,
    /// The same as runs of bytes on the disk.
    pub runs: Vec<Run>,
}

impl VolumePlan {
    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.runs.iter().map(|run| run.size).sum()
    }
}

/// A run of extents of one physical volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The index of the physical volume in its group.
    pub physical: usize,
    /// The first extent.
    pub first: u64,
    /// How many extents.
    pub count: u64,
}

/// A run of bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first byte.
    pub start: u64,
    /// How many bytes.
    pub size: u64,
}

impl DiskPlan {
    /// Finds the partition called `name`.
    pub fn partition(&self, name: &str) -> Option<&PartitionPlan> {
        self.partitions.iter().find(|part| part.name == name)
    }

    /// Finds the logical volume called `name`.
    pub fn volume(&self, name: &str) -> Option<&VolumePlan> {
        let mut volumes = self.groups.iter().flat_map(|group| &group.volumes);
        volumes.find(|volume| volume.name == name)
    }

    /// Returns where the bytes of the partition or logical volume called `name` lie.
    pub fn runs(&self, name: &str) -> Option<Vec<Run>> {
        if let Some(volume) = self.volume(name) {
            return Some(volume.runs.clone());
        }
        let part = self.partition(name)?;
        Some(vec![Run {
            start: part.start,
            size: part.size,
        }])
    }
}
