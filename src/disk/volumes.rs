//! Where logical volumes lie: extents of their group, in the order of the description.

use super::allot::{Ask, Part, Short, allot, least};
use super::fault::{DiskFault, Node};
use super::model::{Devices, Disk, LogicalVolume, PartSize, VolumeGroup, VolumeSize};
use super::plan::{GroupPlan, PartitionPlan, PhysicalPlan, Run, Segment, VolumePlan};
use super::size::{MIB, show_size};
use super::solve::Needs;

/// Where the first extent of a physical volume starts: the label and the metadata lie before it.
pub(super) const FIRST_EXTENT: u64 = MIB;

/// A volume, its index among all, and what it asks of its group.
struct Asked<'a> {
    volume: &'a LogicalVolume,
    index: usize,
    part: Part,
}

/// Says in `needs` how much the partitions of physical volumes need for their volumes.
pub(super) fn add_needs(
    devices: &Devices,
    disk: &Disk,
    needs: &mut Needs,
) -> Result<(), DiskFault> {
    for (index, group) in devices.groups.iter().enumerate() {
        let asked = asked(devices, group, needs)?;
        let parts: Vec<Part> = asked.iter().map(|asked| asked.part).collect();
        let needed = least(&parts).map_err(|short| too_small(&asked, group, short, "any group"))?;
        let mut missing = needed;
        let mut growing = Vec::new();
        for partition in partitions(devices, disk, group) {
            // A physical volume without an extent is of no use.
            let size = FIRST_EXTENT + group.extent;
            let need = needs.entry(partition.name.clone()).or_default();
            *need = size.max(*need);
            match partition.size {
                PartSize::Bytes(size) => {
                    let size = size.next_multiple_of(disk.align);
                    missing = missing.saturating_sub(extents(size, group.extent));
                }
                PartSize::Share(_) | PartSize::Rest => growing.push(partition.name.clone()),
            }
        }
        if missing == 0 {
            continue;
        }
        let Some(name) = growing.first() else {
            let message = format!(
                "the volumes of '{}' need {}, and its physical volumes have {}",
                group.name,
                show_size(needed.saturating_mul(group.extent)),
                show_size((needed - missing).saturating_mul(group.extent))
            );
            let help = "make a partition larger, or a volume smaller";
            return Err(Node::Group(index).at("").fault(message, help));
        };
        let need = needs.entry(name.clone()).or_default();
        let bytes = missing.saturating_mul(group.extent);
        *need = FIRST_EXTENT.saturating_add(bytes).max(*need);
    }
    Ok(())
}

/// Places the volumes of each group on its partitions.
pub(super) fn place(
    devices: &Devices,
    needs: &Needs,
    partitions: &[PartitionPlan],
) -> Result<Vec<GroupPlan>, DiskFault> {
    let place_one = |group: &VolumeGroup| {
        let physical = physical(devices, group, partitions);
        let asked = asked(devices, group, needs)?;
        let parts: Vec<Part> = asked.iter().map(|asked| asked.part).collect();
        let total = physical.iter().map(|volume| volume.extents).sum();
        let sizes = allot(total, &parts)
            .map_err(|short| too_small(&asked, group, short, &show_size(total * group.extent)))?;
        let mut free = Free::new(&physical);
        let volumes = asked.iter().zip(sizes).map(|(asked, size)| {
            let segments = free.take(size);
            let runs = segments.iter().map(|segment| Run {
                start: physical[segment.physical].start
                    + FIRST_EXTENT
                    + segment.first * group.extent,
                size: segment.count * group.extent,
            });
            VolumePlan {
                name: asked.volume.name.clone(),
                runs: runs.collect(),
                segments,
            }
        });
        Ok(GroupPlan {
            name: group.name.clone(),
            extent: group.extent,
            volumes: volumes.collect(),
            physical,
        })
    };
    devices.groups.iter().map(place_one).collect()
}

fn asked<'a>(
    devices: &'a Devices,
    group: &VolumeGroup,
    needs: &Needs,
) -> Result<Vec<Asked<'a>>, DiskFault> {
    let own = devices.volumes.iter().enumerate();
    let own = own.filter(|(_, volume)| volume.group == group.name);
    let ask = |(index, volume): (usize, &'a LogicalVolume)| {
        let need = needs.get(&volume.name).copied().unwrap_or(1);
        let ask = match volume.size {
            VolumeSize::Bytes(size) => Ask::Fixed(size.div_ceil(group.extent)),
            VolumeSize::Extents(count) => Ask::Fixed(count),
            VolumeSize::OfGroup(share) => Ask::OfAll(share),
            VolumeSize::OfFree(share) => Ask::OfFree(share),
            VolumeSize::Rest => Ask::Rest,
        };
        let part = Part {
            ask,
            overhead: 0,
            need: need.div_ceil(group.extent).max(1),
        };
        if let Ask::Fixed(size) = ask
            && size < part.need
        {
            let message = format!(
                "'{}' has {}, and needs {}",
                volume.name,
                show_size(size.saturating_mul(group.extent)),
                show_size(need)
            );
            return Err(Node::Volume(index)
                .at("size")
                .fault(message, "write more, or \"rest\""));
        }
        Ok(Asked {
            volume,
            index,
            part,
        })
    };
    own.map(ask).collect()
}

fn too_small(asked: &[Asked<'_>], group: &VolumeGroup, short: Short, of: &str) -> DiskFault {
    let Some(asked) = asked.get(short.part) else {
        return Node::Disk.at("").fault("a volume does not fit", "");
    };
    let fixed = match asked.part.ask {
        Ask::Fixed(size) => size,
        _ => 0,
    };
    let message = format!(
        "'{}' gets {} of {of}, and needs {}",
        asked.volume.name,
        show_size(short.has.saturating_mul(group.extent)),
        show_size(asked.part.need.max(fixed).saturating_mul(group.extent))
    );
    let help = "make another volume of the group smaller";
    Node::Volume(asked.index).at("size").fault(message, help)
}

/// Returns the partitions of a group in its order.
fn partitions<'a>(
    devices: &'a Devices,
    disk: &'a Disk,
    group: &'a VolumeGroup,
) -> impl Iterator<Item = &'a super::model::Partition> {
    group.on.iter().filter_map(|name| {
        let volume = devices
            .physical_volumes
            .iter()
            .find(|pv| pv.name == *name)?;
        disk.partitions.iter().find(|part| part.name == volume.on)
    })
}

fn physical(
    devices: &Devices,
    group: &VolumeGroup,
    partitions: &[PartitionPlan],
) -> Vec<PhysicalPlan> {
    let on = group.on.iter().filter_map(|name| {
        let volume = devices
            .physical_volumes
            .iter()
            .find(|pv| pv.name == *name)?;
        let partition = partitions.iter().find(|part| part.name == volume.on)?;
        Some(PhysicalPlan {
            name: volume.name.clone(),
            start: partition.start,
            size: partition.size,
            extents: extents(partition.size, group.extent),
        })
    });
    on.collect()
}

fn extents(size: u64, extent: u64) -> u64 {
    size.saturating_sub(FIRST_EXTENT) / extent
}

/// What physical volumes still have free, from the front.
struct Free {
    next: Vec<u64>,
    total: Vec<u64>,
}

impl Free {
    fn new(physical: &[PhysicalPlan]) -> Self {
        Self {
            next: vec![0; physical.len()],
            total: physical.iter().map(|volume| volume.extents).collect(),
        }
    }

    fn take(&mut self, mut count: u64) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (physical, (next, total)) in self.next.iter_mut().zip(&self.total).enumerate() {
            let part = count.min(total - *next);
            if part > 0 {
                segments.push(Segment {
                    physical,
                    first: *next,
                    count: part,
                });
                *next += part;
                count -= part;
            }
        }
        segments
    }
}
