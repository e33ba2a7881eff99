//! LVM's own tools read the volumes that we write.

use layerset::disk::{
    DEFAULT_EXTENT, Devices, Disk, DiskPlan, DiskSize, Extents, Filesystem, FilesystemKind,
    LogicalVolume, MIB, Margin, Medium as _, Needs, PartSize, Partition, PartitionKind,
    PhysicalVolume, Role, SectorSize, Seed, Share, TableKind, Uuid, VolumeGroup, VolumeKind,
    VolumeSize, check, solve, write_group, write_swap, write_table,
};

use super::tool::{Loop, disk, has, run};

/// LVM without udev, its files of devices, or its daemons.
const CONFIG: &str = "devices { use_devicesfile=0 obtain_device_list_from_udev=0 scan=[\"/dev\"] }";

fn partition(name: &str, size: PartSize) -> Partition {
    Partition {
        name: name.into(),
        size,
        kind: PartitionKind::LVM,
        is_boot: false,
        role: Role::Any,
        label: None,
        filesystem: None,
    }
}

fn volume(name: &str, size: VolumeSize) -> LogicalVolume {
    LogicalVolume {
        name: name.into(),
        group: "testvg".into(),
        size,
        kind: VolumeKind::Linear,
        options: Vec::new(),
        filesystem: None,
    }
}

/// Two partitions in one group; a volume that lies in both.
fn devices() -> Devices {
    let physical = |name: &str| PhysicalVolume {
        name: format!("{name}-pv"),
        on: name.into(),
        options: Vec::new(),
    };
    let mut swap = volume("swap", VolumeSize::Bytes(30 * MIB));
    swap.filesystem = Some(Filesystem::new(FilesystemKind::Swap));
    Devices {
        disks: vec![Disk {
            name: "image0".into(),
            size: DiskSize::Auto(Margin::Bytes(10 * MIB)),
            sector: SectorSize::B512,
            align: MIB,
            table: Some(TableKind::Gpt),
            partitions: vec![
                partition("one", PartSize::Bytes(41 * MIB)),
                partition("two", PartSize::Rest),
            ],
            filesystem: None,
        }],
        physical_volumes: vec![physical("one"), physical("two")],
        groups: vec![VolumeGroup {
            name: "testvg".into(),
            on: vec!["one-pv".into(), "two-pv".into()],
            extent: DEFAULT_EXTENT,
            options: Vec::new(),
        }],
        volumes: vec![
            swap,
            volume("root", VolumeSize::OfFree(Share::parse("50%").unwrap())),
            volume("var", VolumeSize::Rest),
        ],
    }
}

fn plan() -> DiskPlan {
    let devices = devices();
    check(&devices).unwrap();
    let needs = Needs::from([("root".to_owned(), 50 * MIB), ("var".to_owned(), 20 * MIB)]);
    solve(&devices, &needs, MIB).unwrap()
}

#[test]
fn volumes_get_what_they_need_and_lie_in_the_order_of_the_group() {
    let plan = plan();
    let [group] = plan.groups.as_slice() else {
        panic!("{plan:?}");
    };
    let extents = |name: &str| {
        let volume = plan.volume(name).unwrap();
        let segments = volume.segments.iter();
        segments
            .map(|s| (s.physical, s.first, s.count))
            .collect::<Vec<_>>()
    };
    assert_eq!(group.physical[0].extents, 10);
    assert_eq!(extents("swap"), [(0, 0, 8)]);
    // 13 extents of 26 that are free, and what the margin adds.
    let root = extents("root");
    assert_eq!(root[0], (0, 8, 2));
    assert_eq!((root[1].0, root[1].1), (1, 0));
    assert!(plan.volume("root").unwrap().size() >= 50 * MIB);
    assert!(plan.volume("var").unwrap().size() >= 20 * MIB);
    let two = plan.partition("two").unwrap();
    assert_eq!(plan.runs("root").unwrap()[1].start, two.start + MIB);
    let used: u64 = group.volumes.iter().map(|volume| volume.size()).sum();
    let all: u64 = group.physical.iter().map(|volume| volume.extents).sum();
    assert_eq!(used, all * DEFAULT_EXTENT);
}

#[test]
fn the_tools_of_lvm_list_what_was_written() {
    let test = "the_tools_of_lvm_list_what_was_written";
    if !["pvs", "blkid"].iter().all(|tool| has(test, tool)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let plan = plan();
    let seed = Seed::new(b"lvm");
    let (path, mut medium) = disk(dir.path(), "disk", plan.size);
    write_table(&plan, &seed, None, &mut medium).unwrap();
    write_group(&plan.groups[0], &seed, 1_795_826_844, &mut medium).unwrap();
    let mut swap = Extents::new(&mut medium, plan.runs("swap").unwrap()).unwrap();
    assert_eq!(swap.size(), 32 * MIB);
    write_swap(&mut swap, Uuid(seed.uuid("swap")), Some("inside")).unwrap();

    // A loop device for each partition: nothing here needs partitions of a loop device.
    let whole = std::fs::read(&path).unwrap();
    let mut loops = Vec::new();
    for part in &plan.partitions {
        let file = dir.path().join(&part.name);
        std::fs::write(&file, &whole[part.start as usize..][..part.size as usize]).unwrap();
        match Loop::new(test, &file, 512) {
            Some(device) => loops.push(device),
            None => return,
        }
    }
    let [one, two] = loops.as_slice() else {
        panic!("two partitions");
    };
    let devices = format!("{},{}", one.path(), two.path());
    let lvm = |tool: &str, arguments: &[&str]| {
        let mut all = vec!["--config", CONFIG, "--devices", &devices];
        all.extend(arguments);
        run(tool, &all)
    };
    let table = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| line.starts_with("  "));
        let split = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        lines.map(split).collect()
    };
    let plain = ["--noheadings", "--units", "b", "--nosuffix"];
    let lines = lvm(
        "pvs",
        &[
            &plain[..],
            &[
                "-o",
                "pv_name,vg_name,pe_start,dev_size,pv_pe_count,pv_mda_count",
            ],
        ]
        .concat(),
    );
    let expected: Vec<Vec<String>> = [one, two]
        .iter()
        .zip(&plan.groups[0].physical)
        .map(|(device, volume)| {
            let (size, extents) = (volume.size.to_string(), volume.extents.to_string());
            let fields = [device.path(), "testvg", "1048576", &size, &extents, "1"];
            fields.map(str::to_owned).to_vec()
        })
        .collect();
    assert_eq!(table(&lines), expected, "{lines}");
    let lines = lvm(
        "lvs",
        &[&plain[..], &["-o", "lv_name,lv_size,seg_count"]].concat(),
    );
    for name in ["swap", "root", "var"] {
        let volume = plan.volume(name).unwrap();
        let line = format!("{name} {} {}", volume.size(), volume.segments.len());
        let found = table(&lines)
            .iter()
            .any(|found| found.join(" ").starts_with(&line));
        assert!(found, "{line}: {lines}");
    }
    let ranges = lvm(
        "lvs",
        &["--noheadings", "--segments", "-o", "lv_name,seg_pe_ranges"],
    );
    assert!(ranges.contains(&format!("{}:8-9", one.path())), "{ranges}");
    lvm("vgck", &["testvg"]);
    // It checks every checksum.
    for device in [one, two] {
        let dumped = run("pvck", &["--dump", "headers", device.path()]);
        assert!(!dumped.contains("CHECK"), "{dumped}");
        let text = run("pvck", &["--dump", "metadata", device.path()]);
        assert!(text.contains("creation_time = 1795826844"), "{text}");
    }
    let said = run("blkid", &["-p", "-o", "export", one.path()]);
    assert!(said.contains("TYPE=LVM2_member"), "{said}");
    let said = run(
        "blkid",
        &["-p", "-O", "1048576", "-o", "export", one.path()],
    );
    assert!(said.contains("LABEL=inside"), "{said}");
}
