//! The bytes of tables, volumes and filesystems never drift: a second export is the same file.

use std::io::Read;

use super::testing::Memory;
use super::{
    Devices, DiskPlan, FatFile, FatOptions, Layout, MIB, Needs, PartSize, PartitionKind,
    PhysicalVolume, Role, SectorSize, Seed, TableKind, Uuid, VolumeGroup, VolumeSize,
    layout_devices, solve, write_fat, write_group, write_swap, write_table,
};

fn digest(medium: &Memory) -> String {
    blake3::hash(medium.bytes()).to_hex()[..16].to_owned()
}

fn plan(devices: &Devices) -> (DiskPlan, Memory) {
    let plan = solve(devices, &Needs::new(), MIB).unwrap();
    let medium = Memory::new(usize::try_from(plan.size).unwrap());
    (plan, medium)
}

/// A small disk: only data, or what an MBR can have.
fn small(table: TableKind, sector: SectorSize) -> Devices {
    let mut devices = layout_devices(Layout::Plain, table, sector, "amd64");
    let disk = &mut devices.disks[0];
    disk.size = super::DiskSize::Exact(16 * MIB);
    let mut root = disk.partitions.pop().unwrap();
    root.filesystem = None;
    let mut more = root.clone();
    more.name = "more".into();
    more.is_boot = false;
    more.size = PartSize::Bytes(3 * MIB);
    if table == TableKind::Mbr {
        more.role = Role::Logical;
        root.size = PartSize::Bytes(4 * MIB);
    }
    let mut last = more.clone();
    last.name = "last".into();
    disk.partitions = vec![root, more, last];
    devices
}

#[test]
fn the_bytes_of_tables_are_golden() {
    for (table, sector, expected) in [
        (TableKind::Gpt, SectorSize::B512, "dad6bad4cf72bc2f"),
        (TableKind::Gpt, SectorSize::B4096, "082d5b66d7ab3fda"),
        (TableKind::Mbr, SectorSize::B512, "ae2c70fffe061466"),
    ] {
        let (plan, mut medium) = plan(&small(table, sector));
        write_table(&plan, &Seed::new(b"golden"), Some(&[1; 440]), &mut medium).unwrap();
        assert_eq!(digest(&medium), expected, "{table} {sector:?}");
    }
}

#[test]
fn the_bytes_of_volumes_are_golden() {
    let mut devices = small(TableKind::Gpt, SectorSize::B512);
    let names = ["root", "more"];
    for (part, name) in devices.disks[0].partitions.iter_mut().zip(names) {
        part.kind = PartitionKind::LVM;
        devices.physical_volumes.push(PhysicalVolume {
            name: name.into(),
            on: name.into(),
            options: Vec::new(),
        });
    }
    devices.groups.push(VolumeGroup {
        name: "vg".into(),
        on: names.map(str::to_owned).to_vec(),
        extent: MIB,
        options: Vec::new(),
    });
    devices.volumes.push(super::LogicalVolume {
        name: "all".into(),
        group: "vg".into(),
        size: VolumeSize::Rest,
        kind: super::VolumeKind::Linear,
        options: Vec::new(),
        filesystem: None,
    });
    let (plan, mut medium) = plan(&devices);
    write_group(
        &plan.groups[0],
        &Seed::new(b"golden"),
        1_795_826_844,
        &mut medium,
    )
    .unwrap();
    assert_eq!(plan.volume("all").unwrap().segments.len(), 2);
    assert_eq!(digest(&medium), "e67d6d277863133f");
}

#[test]
fn the_bytes_of_filesystems_are_golden() {
    let mut medium = Memory::new(1 << 20);
    write_swap(&mut medium, Uuid([7; 16]), Some("swap")).unwrap();
    assert_eq!(digest(&medium), "340b27fb896e970a");
    let files = ["EFI/BOOT/BOOTX64.EFI", "loader/entries/layerset-1+3.conf"].map(|path| FatFile {
        path: path.into(),
        size: Some(9000),
    });
    for (only_fat32, size, expected) in [
        (true, 33, "701cc3d4562ac190"),
        (false, 8, "d6924184bad60db1"),
    ] {
        let options = FatOptions {
            serial: 7,
            label: Some("ESP".into()),
            sector: SectorSize::B512,
            start: MIB,
            time: 1_795_826_844,
            only_fat32,
        };
        let mut medium = Memory::new(size << 20);
        let mut open = |_| Ok(Box::new(std::io::repeat(b'x').take(9000)) as Box<dyn Read>);
        write_fat(&mut medium, &options, &files, &mut open).unwrap();
        assert_eq!(digest(&medium), expected);
    }
}
