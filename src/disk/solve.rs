//! From a description and what its content needs to exact positions.

use std::collections::BTreeMap;

use super::allot::{Ask, Part, Short, allot, least};
use super::check::the_disk;
use super::fat;
use super::fault::{DiskFault, Node};
use super::kind::PartitionKind;
use super::model::{
    Devices, Disk, DiskSize, Filesystem, FilesystemKind, Margin, PartSize, Partition, Role,
    SectorSize, TableKind,
};
use super::plan::{DiskPlan, PartitionPlan};
use super::size::{MIB, show_size};
use super::volumes;

/// How many bytes filesystems need, by the name of their partition or logical volume. What is not
/// named needs only what a filesystem of its kind always needs.
pub type Needs = BTreeMap<String, u64>;

/// Lays out the disk.
///
/// A size that it does not say is a multiple of `round_to` bytes; one that it says is rounded up to
/// 1 MiB, and to nothing else. An error names the part that is too small, what it has, and what it
/// needs.
pub fn solve(devices: &Devices, needs: &Needs, round_to: u64) -> Result<DiskPlan, DiskFault> {
    let disk = the_disk(devices)?;
    let table = disk.table.unwrap_or_default();
    let needs = all_needs(devices, disk, needs)?;
    let frame = Frame::new(disk, table);
    let mut parts = Vec::new();
    for (index, partition) in disk.partitions.iter().enumerate() {
        parts.push(frame.part(index, partition, &needs)?);
    }
    if let DiskSize::Auto(margin) = disk.size {
        frame.add_margin(disk, &mut parts, margin)?;
    }
    let least = least(&parts).map_err(|short| never_fits(disk, &frame, &parts, short))?;
    require_possible(&frame, least)?;
    let needed = frame.disk_of(least).next_multiple_of(MIB);
    let size = match disk.size {
        DiskSize::Auto(_) => needed.next_multiple_of(round_to.max(MIB)),
        DiskSize::Exact(size) if size >= needed => size.next_multiple_of(MIB),
        DiskSize::Exact(size) => {
            let message = format!(
                "the disk has {}, and what is on it needs {}",
                show_size(size),
                show_size(needed)
            );
            let help = format!(
                "write size = \"auto\", or at least \"{}\"",
                unspaced(needed)
            );
            return Err(Node::Disk.at("size").fault(message, help));
        }
    };
    require_reach(disk, table, size)?;
    let sizes = allot(frame.units_of(size), &parts)
        .map_err(|short| never_fits(disk, &frame, &parts, short))?;
    let partitions = frame.place(disk, &sizes);
    Ok(DiskPlan {
        size,
        sector: disk.sector,
        table,
        align: disk.align,
        groups: volumes::place(devices, &needs, &partitions)?,
        partitions,
    })
}

/// Returns the least size of a filesystem, whatever is in it.
pub fn least_size(filesystem: &Filesystem, kind: PartitionKind, sector: SectorSize) -> u64 {
    match filesystem.kind {
        // Firmware need not read smaller kinds of FAT (UEFI specification, section 13.3).
        FilesystemKind::Vfat if kind == PartitionKind::ESP => fat::least_fat32(sector),
        FilesystemKind::Vfat => fat::least_fat16(sector),
        FilesystemKind::Swap => 10 * 4096,
        // `mkfs.xfs` and `mkfs.btrfs` refuse less.
        FilesystemKind::Xfs => 300 * MIB,
        FilesystemKind::Btrfs => 110 * MIB,
        FilesystemKind::Ext2 | FilesystemKind::Ext3 | FilesystemKind::Ext4 => MIB,
    }
}

/// Adds to `needs` what filesystems of each kind and volume groups need.
fn all_needs(devices: &Devices, disk: &Disk, given: &Needs) -> Result<Needs, DiskFault> {
    let mut needs = given.clone();
    let mut at_least = |name: &str, size: u64| {
        let need = needs.entry(name.to_owned()).or_default();
        *need = size.max(*need);
    };
    for part in &disk.partitions {
        let least = part.filesystem.as_ref();
        at_least(
            &part.name,
            least.map_or(1, |fs| least_size(fs, part.kind, disk.sector)),
        );
    }
    for volume in &devices.volumes {
        let least = volume.filesystem.as_ref();
        let least = least.map_or(1, |fs| least_size(fs, PartitionKind::LINUX, disk.sector));
        at_least(&volume.name, least);
    }
    volumes::add_needs(devices, disk, &mut needs)?;
    Ok(needs)
}

/// What of a disk no partition can have.
struct Frame {
    align: u64,
    /// Units before the first partition.
    head: u64,
    /// Bytes after the last one.
    tail: u64,
}

impl Frame {
    fn new(disk: &Disk, table: TableKind) -> Self {
        let sector = disk.sector.bytes();
        // A GPT has its header and 16 KiB of entries at both ends.
        let entries = 16384 / sector;
        let (head, tail) = match table {
            TableKind::Gpt => ((2 + entries) * sector, (1 + entries) * sector),
            TableKind::Mbr => (sector, 0),
        };
        // GRUB's core image lies before the first partition of an MBR, so there is always 1 MiB.
        let head = head.max(MIB);
        Self {
            align: disk.align,
            head: head.div_ceil(disk.align),
            tail,
        }
    }

    fn part(&self, index: usize, part: &Partition, needs: &Needs) -> Result<Part, DiskFault> {
        let need = needs.get(&part.name).copied().unwrap_or(1);
        let ask = match part.size {
            PartSize::Bytes(size) if size.next_multiple_of(self.align) < need => {
                let message = format!(
                    "'{}' has {}, and needs {}",
                    part.name,
                    show_size(size),
                    show_size(need)
                );
                let help = format!(
                    "write at least \"{}\", or \"rest\"",
                    unspaced(need.next_multiple_of(MIB))
                );
                return Err(Node::Partition(index).at("size").fault(message, help));
            }
            PartSize::Bytes(size) => Ask::Fixed(size.div_ceil(self.align)),
            PartSize::Share(share) => Ask::OfFree(share),
            PartSize::Rest => Ask::Rest,
        };
        Ok(Part {
            ask,
            overhead: u64::from(part.role == Role::Logical),
            need: need.div_ceil(self.align).max(1),
        })
    }

    /// Lets the partition that grows need more: the one that takes the rest, else the largest that
    /// takes a share.
    fn add_margin(&self, disk: &Disk, parts: &mut [Part], margin: Margin) -> Result<(), DiskFault> {
        let grows = |part: &Part| match part.ask {
            Ask::Rest => Some((1, part.need)),
            Ask::OfFree(_) => Some((0, part.need)),
            Ask::Fixed(_) | Ask::OfAll(_) => None,
        };
        let growing = parts.iter_mut().filter(|part| grows(part).is_some());
        let Some(part) = growing.max_by_key(|part| grows(part)) else {
            if disk.size == DiskSize::Auto(Margin::default()) {
                return Ok(());
            }
            let message = "no partition can use the margin: each has a size of its own";
            return Err(Node::Disk
                .at("margin")
                .fault(message, "write size = \"rest\" for one"));
        };
        let more = match margin {
            Margin::Bytes(bytes) => bytes.div_ceil(self.align),
            Margin::Share(share) => share.of(part.need),
        };
        part.need += more;
        Ok(())
    }

    /// Returns the size of a disk with so many units for partitions.
    fn disk_of(&self, units: u64) -> u64 {
        (self.head + units) * self.align + self.tail
    }

    /// Returns how many units a disk of `size` bytes has for partitions.
    fn units_of(&self, size: u64) -> u64 {
        (size.saturating_sub(self.tail) / self.align).saturating_sub(self.head)
    }

    fn place(&self, disk: &Disk, sizes: &[u64]) -> Vec<PartitionPlan> {
        let mut next = self.head * self.align;
        let (mut primary, mut logical) = (1, 5);
        let mut plans = Vec::new();
        for (part, units) in disk.partitions.iter().zip(sizes) {
            let ebr = (part.role == Role::Logical).then_some(next);
            let start = ebr.map_or(next, |ebr| ebr + self.align);
            let number = if ebr.is_some() {
                &mut logical
            } else {
                &mut primary
            };
            plans.push(PartitionPlan {
                name: part.name.clone(),
                label: part.label.clone().unwrap_or_else(|| part.name.clone()),
                number: *number,
                start,
                size: units * self.align,
                kind: part.kind,
                is_boot: part.is_boot,
                ebr,
            });
            *number += 1;
            next = start + units * self.align;
        }
        plans
    }
}

/// Refuses what needs more than any disk has, before it is counted in bytes.
fn require_possible(frame: &Frame, units: u64) -> Result<(), DiskFault> {
    if units <= frame.units_of(i64::MAX.unsigned_abs()) {
        return Ok(());
    }
    let message = "what is on it needs more than a disk can have";
    let help = "write smaller partitions or volumes";
    Err(Node::Disk.at("partitions").fault(message, help))
}

/// Refuses a disk that its MBR cannot describe.
fn require_reach(disk: &Disk, table: TableKind, size: u64) -> Result<(), DiskFault> {
    let limit = (1 << 32) * disk.sector.bytes();
    if table == TableKind::Gpt || size <= limit {
        return Ok(());
    }
    let message = format!(
        "the disk needs {}, and an mbr table reaches {}",
        show_size(size),
        show_size(limit)
    );
    Err(Node::Disk
        .at("table")
        .fault(message, "write table = \"gpt\""))
}

fn never_fits(disk: &Disk, frame: &Frame, parts: &[Part], short: Short) -> DiskFault {
    let name = disk
        .partitions
        .get(short.part)
        .map_or("", |part| &part.name);
    let need = parts.get(short.part).map_or(0, |part| {
        part.need.max(match part.ask {
            Ask::Fixed(units) => units,
            _ => 0,
        })
    });
    let message = format!(
        "the partitions before '{name}' leave {} of any disk, and it needs {}",
        show_size(short.has.saturating_mul(frame.align)),
        show_size(need.saturating_mul(frame.align))
    );
    let help = "shares are of what is still free: 100% leaves nothing";
    Node::Partition(short.part).at("size").fault(message, help)
}

/// Writes a size as a recipe takes it.
pub(super) fn unspaced(bytes: u64) -> String {
    match show_size(bytes).strip_suffix(" bytes") {
        Some(number) => format!("{number}B"),
        None => show_size(bytes).replace(' ', ""),
    }
}
