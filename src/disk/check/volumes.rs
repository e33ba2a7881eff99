//! Rules of LVM (lvm(8): valid names; lib/misc/lvm-string.c).

use super::super::fault::{DiskFault, Node};
use super::super::kind::PartitionKind;
use super::super::model::{Devices, Disk, VolumeKind, VolumeSize};
use super::super::size::show_size;
use super::known;

/// Parts of names that LVM keeps for its own hidden volumes.
const RESERVED: [&str; 13] = [
    "_cdata", "_cmeta", "_corig", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vorigin",
];

/// Options that change nothing of what is written.
const HARMLESS: [&str; 8] = ["-f", "-ff", "--force", "-q", "-v", "-y", "--yes", "-Zn"];

pub(super) fn check(devices: &Devices, disk: &Disk) -> Vec<DiskFault> {
    let volumes = 0..devices.physical_volumes.len();
    let mut faults: Vec<DiskFault> = volumes
        .filter_map(|index| physical_volume(devices, disk, index).err())
        .collect();
    let groups = 0..devices.groups.len();
    faults.extend(groups.filter_map(|index| group(devices, index).err()));
    let volumes = 0..devices.volumes.len();
    faults.extend(volumes.filter_map(|index| volume(devices, index).err()));
    faults
}

fn options(node: Node, tool: &str, options: &[String]) -> Result<(), DiskFault> {
    match options
        .iter()
        .find(|option| !HARMLESS.contains(&option.as_str()))
    {
        None => Ok(()),
        Some(option) => {
            let message = format!(
                "'{}' is an option of {tool} that nothing here follows",
                option.escape_debug()
            );
            Err(node.at("options").fault(
                message,
                "leave it out: volumes are written without LVM's tools",
            ))
        }
    }
}

fn physical_volume(devices: &Devices, disk: &Disk, index: usize) -> Result<(), DiskFault> {
    let volume = &devices.physical_volumes[index];
    let node = Node::PhysicalVolume(index);
    let (name, on) = (&volume.name, &volume.on);
    let mut partitions = disk.partitions.iter().enumerate();
    let Some((place, partition)) = partitions.find(|(_, part)| part.name == *on) else {
        if let Some(logical) = devices.volumes.iter().find(|other| other.name == *on) {
            let message = format!(
                "'{name}' lies on the volume '{on}', which lies in the group '{}'",
                logical.group
            );
            return Err(node
                .at("on")
                .fault(message, "a physical volume lies on a partition"));
        }
        let message = format!("'{name}' lies on '{on}', which is no partition");
        let help = known(disk.partitions.iter().map(|part| part.name.as_str()));
        return Err(node.at("on").fault(message, help));
    };
    if partition.kind != PartitionKind::LVM && partition.kind.mbr != PartitionKind::LVM.mbr {
        let message = format!("'{on}' holds a physical volume, and its type says otherwise");
        let at = Node::Partition(place).at("type");
        return Err(at.fault(message, "write type = \"lvm\""));
    }
    if let Some(other) = devices.physical_volumes[..index]
        .iter()
        .find(|other| other.on == *on)
    {
        let message = format!("'{name}' lies on '{on}', and so does '{}'", other.name);
        return Err(node
            .at("on")
            .fault(message, "a partition holds one physical volume"));
    }
    if !devices.groups.iter().any(|group| group.on.contains(name)) {
        let message = format!("no group uses the physical volume '{name}'");
        return Err(node.at("").fault(message, "name it in 'on' of a group"));
    }
    options(node, "pvcreate", &volume.options)
}

fn group(devices: &Devices, index: usize) -> Result<(), DiskFault> {
    let group = &devices.groups[index];
    let node = Node::Group(index);
    let name = &group.name;
    lvm_name(node, name)?;
    if group.on.is_empty() {
        let message = format!("the group '{name}' has no physical volume");
        return Err(node
            .at("on")
            .fault(message, "name partitions of type 'lvm'"));
    }
    for (count, on) in group.on.iter().enumerate() {
        if !devices
            .physical_volumes
            .iter()
            .any(|volume| volume.name == *on)
        {
            if devices.volumes.iter().any(|volume| volume.name == *on) {
                let message = format!("the group '{name}' lies on the logical volume '{on}'");
                return Err(node.at("on").fault(message, "a group lies on partitions"));
            }
            let message = format!("'{on}' of the group '{name}' is no physical volume");
            let help = known(
                devices
                    .physical_volumes
                    .iter()
                    .map(|volume| volume.name.as_str()),
            );
            return Err(node.at("on").fault(message, help));
        }
        if group.on[..count].contains(on) {
            let message = format!("'{on}' is twice in the group '{name}'");
            return Err(node.at("on").fault(message, ""));
        }
        let other = devices.groups[..index]
            .iter()
            .find(|other| other.on.contains(on));
        if let Some(other) = other {
            let message = format!(
                "'{on}' is in the group '{name}', and also in '{}'",
                other.name
            );
            return Err(node
                .at("on")
                .fault(message, "a physical volume is in one group"));
        }
    }
    if !group.extent.is_power_of_two() || !(128 << 10..=1 << 30).contains(&group.extent) {
        let message = format!("extents cannot have {}", show_size(group.extent));
        let help = "use a power of two from 128 KiB to 1 GiB; 4 MiB is usual";
        return Err(node.at("extent").fault(message, help));
    }
    options(node, "vgcreate", &group.options)
}

fn volume(devices: &Devices, index: usize) -> Result<(), DiskFault> {
    let volume = &devices.volumes[index];
    let node = Node::Volume(index);
    let name = &volume.name;
    lvm_name(node, name)?;
    if !devices
        .groups
        .iter()
        .any(|group| group.name == volume.group)
    {
        let message = format!("'{name}' lies in '{}', which is no group", volume.group);
        let help = known(devices.groups.iter().map(|group| group.name.as_str()));
        return Err(node.at("group").fault(message, help));
    }
    if volume.kind != VolumeKind::Linear {
        let message = format!("'{name}' is thin, which needs a running device-mapper to write");
        return Err(node
            .at("type")
            .fault(message, "leave 'type' out for an ordinary volume"));
    }
    if volume.size == VolumeSize::Rest {
        let mut earlier = devices.volumes[..index].iter();
        let other = earlier.find(|o| o.group == volume.group && o.size == VolumeSize::Rest);
        if let Some(other) = other {
            let message = format!("'{name}' takes the rest, and so does '{}'", other.name);
            return Err(node.at("size").fault(message, "give one of them a size"));
        }
    }
    options(node, "lvcreate", &volume.options)
}

fn lvm_name(node: Node, name: &str) -> Result<(), DiskFault> {
    let at = node.at("name");
    let is_reserved = matches!(name, "." | "..")
        || RESERVED.iter().any(|word| name.contains(word))
        || ["snapshot", "pvmove"]
            .iter()
            .any(|word| name.starts_with(word));
    if is_reserved {
        let message = format!("LVM keeps the name '{name}' for itself");
        return Err(at.fault(message, "use another one"));
    }
    Ok(())
}
