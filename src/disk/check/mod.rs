//! Whether a description makes sense, before anything is known of its content.
//!
//! [`check_all`] finds the faults of names, then of partitions, filesystems and volumes, and at last
//! whether the sizes add up: each only where what it builds on is right.

mod filesystems;
mod partitions;
mod volumes;

use std::collections::BTreeMap;

use super::fault::{DiskFault, Node};
use super::model::{Devices, Disk};
use super::solve::{Needs, solve};

/// Checks a description; on success [`solve`] refuses it only for what its content needs.
pub fn check(devices: &Devices) -> Result<(), DiskFault> {
    check_all(devices).into_iter().next().map_or(Ok(()), Err)
}

/// Returns all that is wrong with a description, at most one fault for each of its nodes: another
/// one may be its consequence.
pub fn check_all(devices: &Devices) -> Vec<DiskFault> {
    let disk = match the_disk(devices) {
        Ok(disk) => disk,
        Err(fault) => return vec![fault],
    };
    let mut faults = names(devices, disk);
    if faults.is_empty() {
        faults = partitions::check(disk);
        faults.extend(filesystems::check(devices, disk));
        faults.extend(volumes::check(devices, disk));
    }
    if faults.is_empty() {
        faults.extend(solve(devices, &Needs::default(), super::size::MIB).err());
    }
    let mut told = Vec::new();
    faults.retain(|fault| {
        let is_new = !told.contains(&fault.place.node);
        told.push(fault.place.node);
        is_new
    });
    faults
}

/// Returns the disk of a description that has one.
pub(super) fn the_disk(devices: &Devices) -> Result<&Disk, DiskFault> {
    let help = "an image is one disk";
    match devices.disks.as_slice() {
        [disk] => Ok(disk),
        [] => Err(Node::Disk.at("").fault("there is no disk", help)),
        [first, second, ..] => {
            let message = format!("'{}' is a second disk beside '{}'", second.name, first.name);
            Err(Node::Disk.at("").fault(message, help))
        }
    }
}

/// Refuses names that are used twice, whatever for: everything is found by its name alone.
fn names(devices: &Devices, disk: &Disk) -> Vec<DiskFault> {
    let mut faults = Vec::new();
    let mut nodes = Vec::new();
    let partitions = disk.partitions.iter().map(|partition| &partition.name);
    nodes.extend(
        partitions
            .enumerate()
            .map(|(i, name)| (Node::Partition(i), name)),
    );
    let volumes = devices.physical_volumes.iter().map(|volume| &volume.name);
    nodes.extend(
        volumes
            .enumerate()
            .map(|(i, name)| (Node::PhysicalVolume(i), name)),
    );
    let groups = devices.groups.iter().map(|group| &group.name);
    nodes.extend(groups.enumerate().map(|(i, name)| (Node::Group(i), name)));
    let volumes = devices.volumes.iter().map(|volume| &volume.name);
    nodes.extend(volumes.enumerate().map(|(i, name)| (Node::Volume(i), name)));
    let mut seen = BTreeMap::new();
    for (node, name) in nodes {
        let place = node.at("name");
        let fits = !name.is_empty()
            && name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b))
            && !name.starts_with('-');
        if !fits {
            let help = "use up to 64 of a-z, A-Z, 0-9, '+', '.', '_' and '-', and no '-' in front";
            faults.push(place.fault(format!("'{}' is not a name", name.escape_debug()), help));
            continue;
        }
        match seen.insert(name, node) {
            // A physical volume that nobody names is called like its partition.
            Some(Node::Partition(_)) if is_implied(devices, node) => {}
            Some(_) => {
                let message = format!("there are two devices called '{name}'");
                faults.push(place.fault(message, "give one of them another 'name'"));
            }
            None => {}
        }
    }
    faults
}

fn is_implied(devices: &Devices, node: Node) -> bool {
    let Node::PhysicalVolume(index) = node else {
        return false;
    };
    let volume = devices.physical_volumes.get(index);
    volume.is_some_and(|volume| volume.on == volume.name)
}

/// Lists names for a hint.
fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return "there is none".to_owned();
    }
    format!("known: {}", names.join(", "))
}
