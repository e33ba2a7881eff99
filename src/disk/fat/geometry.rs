//! How a FAT filesystem divides its partition.

use super::super::model::SectorSize;
use super::super::size::MIB;
use super::{FatError, FatOptions};

/// Sectors before the tables.
pub(super) const RESERVED_FAT32: u64 = 32;
const RESERVED_FAT16: u64 = 4;

/// Entries of the root folder of FAT16.
const ROOT_ENTRIES: u16 = 512;

/// FAT32 has at least so many clusters, FAT16 fewer: that alone tells them apart. Drivers disagree
/// about the last few, so both keep away from the edge.
const FAT32_CLUSTERS: u64 = 65525 + 16;
const FAT16_MOST: u64 = 65524 - 16;
const FAT16_CLUSTERS: u64 = 4085 + 16;
const FAT32_MOST: u64 = 0x0fff_fff0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FatKind {
    Fat16,
    Fat32,
}

impl FatKind {
    pub(super) fn entry_bytes(self) -> usize {
        match self {
            Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }
}

/// Returns how many bytes FAT32 needs, rounded up to 1 MiB.
pub(crate) fn least_fat32(sector: SectorSize) -> u64 {
    let sector = sector.bytes();
    let tables = 2 * (4 * (FAT32_CLUSTERS + 2)).next_multiple_of(sector);
    (FAT32_CLUSTERS * sector + tables + RESERVED_FAT32 * sector).next_multiple_of(MIB)
}

/// Returns how many bytes FAT16 needs, rounded up to 1 MiB.
pub(crate) fn least_fat16(sector: SectorSize) -> u64 {
    let sector = sector.bytes();
    let tables = 2 * (2 * (FAT16_CLUSTERS + 2)).next_multiple_of(sector);
    let root = u64::from(ROOT_ENTRIES) * 32;
    (FAT16_CLUSTERS * sector + tables + root + RESERVED_FAT16 * sector).next_multiple_of(MIB)
}

/// Where everything is. Sectors count from the start of the filesystem, clusters from 2.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) kind: FatKind,
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// All sectors.
    pub(super) sectors: u64,
    /// Sectors of a cluster.
    per_cluster: u64,
    pub(super) reserved: u64,
    /// Sectors of one table.
    pub(super) table_sectors: u64,
    pub(super) root_entries: u16,
    pub(super) clusters: u32,
}

impl Geometry {
    pub(super) fn of(size: u64, options: &FatOptions) -> Result<Self, FatError> {
        let sector = options.sector.bytes();
        let kinds: &[FatKind] = match options.only_fat32 {
            true => &[FatKind::Fat32],
            false => &[FatKind::Fat32, FatKind::Fat16],
        };
        // As mkfs.fat: 4 KiB below 8 GiB, doubled up to 32 KiB; less where that makes FAT32.
        let largest = match size >> 30 {
            0..8 => 4096,
            8..16 => 8192,
            16..32 => 16384,
            _ => 32768,
        };
        for kind in kinds {
            let mut cluster = match kind {
                FatKind::Fat32 => largest,
                FatKind::Fat16 => 32768,
            };
            while cluster >= sector {
                if let Some(geometry) = Self::with(size, sector, *kind, cluster / sector) {
                    return Ok(geometry);
                }
                cluster /= 2;
            }
        }
        let kind = if options.only_fat32 { "FAT32" } else { "FAT" };
        Err(FatError::Size { size, kind })
    }

    fn with(size: u64, sector: u64, kind: FatKind, per_cluster: u64) -> Option<Self> {
        let sectors = u64::from(u32::try_from(size / sector).unwrap_or(u32::MAX));
        let (reserved, root_entries, fewest, most) = match kind {
            FatKind::Fat32 => (RESERVED_FAT32, 0, FAT32_CLUSTERS, FAT32_MOST),
            FatKind::Fat16 => (RESERVED_FAT16, ROOT_ENTRIES, FAT16_CLUSTERS, FAT16_MOST),
        };
        let root = (u64::from(root_entries) * 32).div_ceil(sector);
        let rest = sectors.checked_sub(reserved + root)?;
        // A table for all of `rest` is a little more than one for what it leaves; that does no harm.
        let per_sector = sector / kind.entry_bytes() as u64;
        let table_sectors = (rest / per_cluster + 2).div_ceil(per_sector);
        let clusters = rest.checked_sub(2 * table_sectors)? / per_cluster;
        let is_fit = (fewest..=most).contains(&clusters);
        is_fit.then_some(Self {
            kind,
            sector,
            sectors,
            per_cluster,
            reserved,
            table_sectors,
            root_entries,
            clusters: clusters as u32,
        })
    }

    /// Returns the bytes of a cluster.
    pub(super) fn cluster_size(&self) -> u64 {
        self.per_cluster * self.sector
    }

    /// Returns where the root folder of FAT16 lies.
    pub(super) fn root_offset(&self) -> u64 {
        (self.reserved + 2 * self.table_sectors) * self.sector
    }

    /// Returns where a cluster lies.
    pub(super) fn offset_of(&self, cluster: u32) -> u64 {
        let root = u64::from(self.root_entries) * 32;
        self.root_offset()
            + root.next_multiple_of(self.sector)
            + (u64::from(cluster) - 2) * self.cluster_size()
    }
}
