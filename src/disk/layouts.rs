//! The layouts that a disk has where nobody describes it, and what each needs.

use super::fault::{DiskFault, Node};
use super::kind::PartitionKind;
use super::model::{
    Devices, Disk, DiskSize, Filesystem, FilesystemKind, Fstab, Margin, PartSize, Partition, Role,
    SectorSize, TableKind,
};
use super::size::MIB;

/// What a disk is laid out for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// A machine that takes updates: the deployments and its state on one filesystem.
    #[default]
    Updatable,
    /// The image as an ordinary writable root.
    Plain,
}

impl Layout {
    /// All layouts by their words.
    pub const ALL: [(&'static str, Self); 2] =
        [("updatable", Self::Updatable), ("plain", Self::Plain)];
}

/// The names of the partitions that an updatable disk always has, in their order.
pub const UPDATABLE: [&str; 3] = ["bios", "esp", "data"];

/// What an updatable machine mounts itself, so that no partition can be mounted there.
const OWN: [&str; 10] = [
    "/", "/boot", "/efi", "/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var",
];

/// Makes the devices of a layout that nobody describes further.
pub fn layout_devices(
    layout: Layout,
    table: TableKind,
    sector: SectorSize,
    architecture: &str,
) -> Devices {
    let disk = Disk {
        name: "image0".to_owned(),
        size: DiskSize::Auto(Margin::default()),
        sector,
        align: MIB,
        table: Some(table),
        partitions: layout_partitions(layout, table, sector, architecture),
        filesystem: None,
    };
    Devices {
        disks: vec![disk],
        ..Devices::default()
    }
}

/// Makes the partitions of a layout that nobody describes further.
///
/// `updatable`: BIOS boot, ESP, and the data filesystem in the rest. `plain`: the same with `/` in
/// the rest; with an MBR one partition that is booted, and nothing else, as EGI asks.
pub fn layout_partitions(
    layout: Layout,
    table: TableKind,
    sector: SectorSize,
    architecture: &str,
) -> Vec<Partition> {
    let mut root = partition("root", PartSize::Rest, PartitionKind::root(architecture));
    let mut filesystem = Filesystem::new(FilesystemKind::Ext4);
    filesystem.label = Some("root".to_owned());
    filesystem.mount = Some("/".to_owned());
    filesystem.fstab = Some(Fstab {
        pass: 1,
        ..Fstab::default()
    });
    root.filesystem = Some(filesystem);
    if table == TableKind::Mbr && layout == Layout::Plain {
        root.is_boot = true;
        return vec![root];
    }
    let bios = partition("bios", PartSize::Bytes(MIB), PartitionKind::BIOS);
    // FAT32 with sectors of 4096 bytes starts at 257 MiB.
    let esp_size = match sector {
        SectorSize::B512 => 256 * MIB,
        SectorSize::B4096 => 320 * MIB,
    };
    let mut esp = partition("esp", PartSize::Bytes(esp_size), PartitionKind::ESP);
    let mut filesystem = Filesystem::new(FilesystemKind::Vfat);
    filesystem.label = Some("ESP".to_owned());
    if layout == Layout::Plain {
        filesystem.mount = Some("/boot/efi".to_owned());
        filesystem.fstab = Some(Fstab {
            // Who starts needs it, but not who runs: without it, the machine still comes up.
            options: "umask=0077,nofail".to_owned(),
            ..Fstab::default()
        });
        esp.filesystem = Some(filesystem);
        return vec![bios, esp, root];
    }
    esp.filesystem = Some(filesystem);
    // systemd grows what has the type of a root filesystem.
    let mut data = partition("data", PartSize::Rest, PartitionKind::root(architecture));
    let mut filesystem = Filesystem::new(FilesystemKind::Ext4);
    filesystem.label = Some("data".to_owned());
    data.filesystem = Some(filesystem);
    vec![bios, esp, data]
}

fn partition(name: &str, size: PartSize, kind: PartitionKind) -> Partition {
    Partition {
        name: name.to_owned(),
        size,
        kind,
        is_boot: false,
        role: Role::Any,
        label: None,
        filesystem: None,
    }
}

/// Checks what a layout asks beyond what [`check`](super::check) does.
pub fn check_layout(layout: Layout, devices: &Devices) -> Result<(), DiskFault> {
    let disk = super::check::the_disk(devices)?;
    match layout {
        Layout::Updatable => updatable(devices, disk),
        Layout::Plain => plain(devices, disk),
    }
}

/// Returns every filesystem with its node and its name.
fn filesystems<'a>(
    devices: &'a Devices,
    disk: &'a Disk,
) -> impl Iterator<Item = (Node, &'a str, &'a Filesystem)> {
    let partitions = disk.partitions.iter().enumerate();
    let partitions = partitions
        .filter_map(|(i, part)| Some((Node::Partition(i), &*part.name, part.filesystem.as_ref()?)));
    let volumes = devices.volumes.iter().enumerate();
    let volumes = volumes
        .filter_map(|(i, part)| Some((Node::Volume(i), &*part.name, part.filesystem.as_ref()?)));
    partitions.chain(volumes)
}

fn updatable(devices: &Devices, disk: &Disk) -> Result<(), DiskFault> {
    if disk.table != Some(TableKind::Gpt) {
        let message = "an updatable disk has a gpt table";
        let help = "write table = \"gpt\", or layout = \"plain\"";
        return Err(Node::Disk.at("table").fault(message, help));
    }
    let kinds = [Some(PartitionKind::BIOS), Some(PartitionKind::ESP), None];
    for (name, kind) in UPDATABLE.into_iter().zip(kinds) {
        let mut partitions = disk.partitions.iter().enumerate();
        let Some((index, part)) = partitions.find(|(_, part)| part.name == name) else {
            let message = format!("an updatable disk has a partition '{name}'");
            return Err(Node::Disk.at("").fault(message, ""));
        };
        let node = Node::Partition(index);
        if kind.is_some_and(|kind| part.kind != kind) {
            let message = format!("'{name}' is of type '{name}' on an updatable disk");
            return Err(node.at("type").fault(message, "leave 'type' out"));
        }
        if kind.is_none() {
            data(node, part)?;
        }
    }
    for (node, name, filesystem) in filesystems(devices, disk) {
        let Some(mount) = filesystem.mount.as_deref() else {
            continue;
        };
        if OWN.contains(&mount) {
            let message = format!(
                "'{name}' cannot be mounted at '{mount}' of an updatable machine, which has its own there"
            );
            let help = "use a folder below /var or /srv, or write layout = \"plain\"";
            return Err(node.at("mount").fault(message, help));
        }
        if mount.starts_with("/usr/") || mount.starts_with("/boot/") {
            let message = format!(
                "'{name}' cannot be mounted at '{mount}': it would hide a part of the image"
            );
            return Err(node
                .at("mount")
                .fault(message, "use a folder below /var or /srv"));
        }
    }
    Ok(())
}

fn data(node: Node, part: &Partition) -> Result<(), DiskFault> {
    let kind = part.filesystem.as_ref().map(|filesystem| filesystem.kind);
    if kind != Some(FilesystemKind::Ext4) {
        let message = "the deployments of an updatable machine lie on ext4";
        let help = "write filesystem = { type = \"ext4\" } for 'data', or leave it out";
        return Err(node.at("filesystem.type").fault(message, help));
    }
    let mount = part
        .filesystem
        .as_ref()
        .and_then(|filesystem| filesystem.mount.as_ref());
    if mount.is_some() {
        let message = "an updatable machine mounts 'data' itself";
        return Err(node.at("mount").fault(message, "leave 'mount' out"));
    }
    Ok(())
}

fn plain(devices: &Devices, disk: &Disk) -> Result<(), DiskFault> {
    let mut mounts = filesystems(devices, disk).filter_map(|(_, _, fs)| fs.mount.as_deref());
    if !mounts.any(|mount| mount == "/") {
        let message = "nothing is mounted at '/'";
        return Err(Node::Disk
            .at("")
            .fault(message, "write mount = \"/\" for one partition"));
    }
    let etc = filesystems(devices, disk).find(|(_, _, fs)| fs.mount.as_deref() == Some("/etc"));
    if let Some((node, name, _)) = etc {
        let message = format!("'{name}' cannot be mounted at '/etc', which says what is mounted");
        return Err(node.at("mount").fault(message, "leave /etc on the root"));
    }
    let has = |kind| disk.partitions.iter().any(|part| part.kind == kind);
    let on_volumes = devices.volumes.iter().enumerate();
    let root = on_volumes.map(|(index, volume)| (Node::Volume(index), &volume.filesystem));
    let root = root
        .filter_map(|(node, filesystem)| Some((node, filesystem.as_ref()?.mount.as_deref()?)))
        .find(|(_, mount)| *mount == "/");
    let has_boot = disk.partitions.iter().any(|part| {
        let filesystem = part.filesystem.as_ref();
        filesystem.is_some_and(|filesystem| filesystem.mount.as_deref() == Some("/boot"))
    });
    if let Some((node, _)) = root
        && !has_boot
        && !has(PartitionKind::ESP)
    {
        let message = "a BIOS finds no kernel on a logical volume";
        let help = "add a partition for /boot, or one of type \"esp\" (UEFI)";
        return Err(node.at("mount").fault(message, help));
    }
    if disk.sector == SectorSize::B4096 && !has(PartitionKind::ESP) {
        let message = "no firmware boots this disk: a BIOS reads sectors of 512 bytes only";
        let help = "add a partition of type \"esp\" (UEFI), or write sector = 512";
        return Err(Node::Disk.at("sector").fault(message, help));
    }
    match disk.table {
        Some(TableKind::Mbr) if !disk.partitions.iter().any(|part| part.is_boot) => {
            let message = "no partition has the flag 'boot', which a BIOS looks for";
            Err(Node::Disk
                .at("")
                .fault(message, "write flags = [\"boot\"] for one partition"))
        }
        Some(TableKind::Gpt) if !has(PartitionKind::ESP) && !has(PartitionKind::BIOS) => {
            let message = "no firmware boots this disk";
            let help = "add a partition of type \"esp\" (UEFI), of type \"bios\" (BIOS), or both";
            Err(Node::Disk.at("").fault(message, help))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::{LogicalVolume, Needs, VolumeKind, VolumeSize, check, solve};

    #[test]
    fn every_default_layout_is_sound_and_lies_where_it_should() {
        let of = |layout, table, sector| {
            let devices = layout_devices(layout, table, sector, "amd64");
            check(&devices).unwrap();
            check_layout(layout, &devices).unwrap();
            let plan = solve(&devices, &Needs::new(), MIB).unwrap();
            let places = plan.partitions.iter();
            let places: Vec<_> = places
                .map(|p| (p.name.clone(), p.start / MIB, p.size / MIB))
                .collect();
            (places, plan.size / MIB)
        };
        let at = |name: &str, start: u64, size: u64| (name.to_owned(), start, size);
        let (places, size) = of(Layout::Updatable, TableKind::Gpt, SectorSize::B512);
        assert_eq!(
            places,
            [at("bios", 1, 1), at("esp", 2, 256), at("data", 258, 513)]
        );
        assert_eq!(size, 258 + 513 + 1);
        let (places, _) = of(Layout::Plain, TableKind::Gpt, SectorSize::B4096);
        assert_eq!(
            places,
            [at("bios", 1, 1), at("esp", 2, 320), at("root", 322, 513)]
        );
        let (places, size) = of(Layout::Plain, TableKind::Mbr, SectorSize::B512);
        assert_eq!((places, size), (vec![at("root", 1, 513)], 514));
    }

    #[test]
    fn a_plain_disk_that_nothing_starts_is_refused() {
        let of = |table, sector| layout_devices(Layout::Plain, table, sector, "amd64");
        let refusal = |devices: &Devices| {
            let fault = check_layout(Layout::Plain, devices).unwrap_err();
            fault.message
        };
        let large = of(TableKind::Mbr, SectorSize::B4096);
        assert!(refusal(&large).starts_with("no firmware boots this disk"));
        let mut volume = of(TableKind::Mbr, SectorSize::B512);
        check_layout(Layout::Plain, &volume).unwrap();
        volume.volumes.push(LogicalVolume {
            name: "root".to_owned(),
            group: "vg".to_owned(),
            size: VolumeSize::Rest,
            kind: VolumeKind::Linear,
            filesystem: volume.disks[0].partitions[0].filesystem.take(),
            options: Vec::new(),
        });
        assert_eq!(
            refusal(&volume),
            "a BIOS finds no kernel on a logical volume"
        );
        let mut etc = of(TableKind::Gpt, SectorSize::B512);
        let mut filesystem = Filesystem::new(FilesystemKind::Ext4);
        filesystem.mount = Some("/etc".to_owned());
        let mut part = partition("etc", PartSize::Bytes(MIB), PartitionKind::LINUX);
        part.filesystem = Some(filesystem);
        etc.disks[0].partitions.push(part);
        assert!(refusal(&etc).contains("'/etc'"));
    }
}
