//! Tables of random disks, against sfdisk.

use layerset::disk::{
    BOOT_CODE, Devices, Disk, DiskPlan, DiskSize, FilesystemKind, MIB, Margin, Needs, PartSize,
    Partition, PartitionKind, Role, SectorSize, Seed, Share, TableKind, Uuid, Window, check,
    disk_guid, disk_signature, parse_size, partition_guid, solve, write_swap, write_table,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::tool::{Loop, disk, has, run, try_run};

const CODE: [u8; BOOT_CODE] = [0xab; BOOT_CODE];

fn part_size() -> impl Strategy<Value = PartSize> {
    prop_oneof![
        4 => (1..900u64).prop_map(|mib| PartSize::Bytes(mib * MIB)),
        2 => (4096..9_000_000u64).prop_map(PartSize::Bytes),
        2 => (1..60u32).prop_map(|percent| PartSize::Share(Share::parse(&format!("{percent}%")).unwrap())),
    ]
}

prop_compose! {
    fn partition()(
        size in part_size(),
        kind in prop::sample::select(vec!["linux", "root", "swap", "lvm", "home", "data"]),
        is_logical in any::<bool>(),
    ) -> (PartSize, &'static str, bool) {
        (size, kind, is_logical)
    }
}

prop_compose! {
    /// A disk that makes sense, and what its partitions need.
    fn any_disk()(
        is_mbr in any::<bool>(),
        sector in prop::sample::select(vec![SectorSize::B512, SectorSize::B4096]),
        align in prop::sample::select(vec![MIB, MIB, 4 * MIB, 64 << 10]),
        parts in prop::collection::vec(partition(), 1..9),
        rest in prop::option::of(0..8usize),
        boot in prop::option::of(0..8usize),
        exact in prop::option::of(5_000..9_000u64),
        round_to in prop::sample::select(vec![1, MIB, 1 << 30]),
        needs in prop::collection::vec(0..500 * MIB, 9),
    ) -> (Devices, Needs, u64) {
        let table = if is_mbr { TableKind::Mbr } else { TableKind::Gpt };
        let mut partitions = Vec::new();
        let mut all_needs = Needs::new();
        for (index, (size, kind, is_logical)) in parts.into_iter().enumerate() {
            let is_logical = is_mbr && (index >= 3 || is_logical && index == 2);
            let name = format!("part{index}");
            let size = if rest == Some(index) { PartSize::Rest } else { size };
            if !matches!(size, PartSize::Bytes(_)) {
                all_needs.insert(name.clone(), needs[index]);
            }
            partitions.push(Partition {
                name,
                size,
                kind: PartitionKind::parse(kind, table, "amd64").unwrap(),
                is_boot: boot == Some(index),
                role: if is_logical { Role::Logical } else { Role::Any },
                label: (!is_mbr && index % 2 == 1).then(|| format!("Lâbel {index}")),
                filesystem: None,
            });
        }
        let disk = Disk {
            name: "image0".into(),
            size: match exact {
                // Most fit; those that do not are refused, which is told below.
                Some(gib) => DiskSize::Exact(gib * MIB * 4),
                None => DiskSize::Auto(Margin::default()),
            },
            sector,
            align,
            table: Some(table),
            partitions,
            filesystem: None,
        };
        (Devices { disks: vec![disk], ..Devices::default() }, all_needs, round_to)
    }
}

/// Holds what must be true of every plan.
fn require_sound(devices: &Devices, needs: &Needs, round_to: u64, plan: &DiskPlan) {
    let sector = plan.sector.bytes();
    match devices.disks[0].size {
        DiskSize::Exact(size) => assert_eq!(plan.size, size.next_multiple_of(MIB)),
        DiskSize::Auto(_) => assert!(plan.size.is_multiple_of(round_to.max(MIB))),
    }
    // The backup of a GPT, with its header.
    let tail = if plan.table == TableKind::Gpt {
        16384 + sector
    } else {
        0
    };
    let mut end = MIB;
    for (part, asked) in plan.partitions.iter().zip(&devices.disks[0].partitions) {
        let start = part.ebr.unwrap_or(part.start);
        assert!(start >= end, "{part:?} overlaps what lies before {end}");
        assert!(start.is_multiple_of(plan.align) && part.start.is_multiple_of(plan.align));
        assert!(part.ebr.is_none_or(|ebr| ebr + sector <= part.start));
        end = part.start + part.size;
        assert!(
            part.size >= needs.get(&part.name).copied().unwrap_or(1),
            "{part:?}"
        );
        if let PartSize::Bytes(size) = asked.size {
            assert_eq!(part.size, size.next_multiple_of(plan.align));
        }
    }
    assert!(end <= plan.size - tail, "{end} of {}", plan.size);
}

/// Reads what sfdisk prints for scripts: the head, and each partition's fields.
fn dump(device: &str) -> (String, Vec<String>) {
    let text = run("sfdisk", &["--dump", device]);
    let (head, body) = text.split_once("\n\n").unwrap();
    let lines = body
        .lines()
        .map(|line| line.split_once(" : ").unwrap().1.to_owned());
    (head.to_owned(), lines.collect())
}

fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut fields = line.split(", ").map(str::trim);
    fields.find_map(|field| Some(field.strip_prefix(key)?.strip_prefix('=')?.trim()))
}

fn compare(plan: &DiskPlan, seed: &Seed, device: &str) {
    let said = run("sfdisk", &["--verify", device]);
    let is_quiet = |text: &str| {
        !text.contains("does not") && !text.contains("overlap") && !text.contains("nvalid")
    };
    assert!(is_quiet(&said), "{said}");
    let (head, lines) = dump(device);
    let sector = plan.sector.bytes();
    let id = match plan.table {
        TableKind::Gpt => disk_guid(seed).to_string().to_uppercase(),
        TableKind::Mbr => format!("0x{:08x}", disk_signature(seed)),
    };
    assert!(head.contains(&format!("label-id: {id}")), "{head}");
    let extended = field(&lines[lines.len().min(4) - 1], "type") == Some("f");
    let has_extended = extended || lines.iter().any(|line| field(line, "type") == Some("f"));
    let lines: Vec<&String> = lines
        .iter()
        .filter(|line| field(line, "type") != Some("f"))
        .collect();
    assert_eq!(
        has_extended,
        plan.partitions.iter().any(|part| part.ebr.is_some())
    );
    assert_eq!(lines.len(), plan.partitions.len(), "{lines:?}");
    for (part, line) in plan.partitions.iter().zip(lines) {
        let number = |key| field(line, key).unwrap().parse::<u64>().unwrap();
        assert_eq!(
            (number("start"), number("size")),
            (part.start / sector, part.size / sector)
        );
        let kind = match plan.table {
            TableKind::Gpt => part.kind.guid.unwrap().to_string().to_uppercase(),
            TableKind::Mbr => format!("{:x}", part.kind.mbr.unwrap()),
        };
        assert_eq!(field(line, "type"), Some(&*kind));
        let is_boot = line.contains("bootable") || line.contains("LegacyBIOSBootable");
        assert_eq!(is_boot, part.is_boot, "{line}");
        if plan.table == TableKind::Gpt {
            let uuid = partition_guid(seed, &part.name).to_string().to_uppercase();
            assert_eq!(field(line, "uuid"), Some(&*uuid));
            // sfdisk writes other letters than those of ASCII byte by byte.
            let letters = part.label.bytes().map(|byte| match byte.is_ascii() {
                true => char::from(byte).to_string(),
                false => format!("\\x{byte:02x}"),
            });
            let label = format!("\"{}\"", letters.collect::<String>());
            assert_eq!(field(line, "name"), Some(&*label));
        }
    }
}

#[test]
fn random_disks_are_laid_out_without_overlap_and_in_bounds() {
    let mut runner = TestRunner::new(Config::with_cases(3000));
    let planned = std::cell::Cell::new(0);
    let result = runner.run(&any_disk(), |(devices, needs, round_to)| {
        // What does not fit is refused with both numbers.
        match check(&devices).and_then(|()| solve(&devices, &needs, round_to)) {
            Ok(plan) => {
                require_sound(&devices, &needs, round_to, &plan);
                planned.set(planned.get() + 1);
            }
            Err(fault) => {
                let text = fault.to_string();
                let numbers = text.split(' ').filter(|word| word.parse::<u64>().is_ok());
                prop_assert!(numbers.count() >= 2, "{}", text);
            }
        }
        Ok(())
    });
    result.unwrap();
    assert!(planned.get() > 2000, "{} of 3000", planned.get());
}

#[test]
fn an_automatic_size_is_the_smallest_one() {
    let mut runner = TestRunner::new(Config::with_cases(300));
    let result = runner.run(&any_disk(), |(mut devices, needs, _)| {
        devices.disks[0].size = DiskSize::Auto(Margin::Bytes(0));
        devices.disks[0].align = MIB;
        let Ok(plan) = solve(&devices, &needs, MIB) else {
            return Ok(());
        };
        devices.disks[0].size = DiskSize::Exact(plan.size);
        prop_assert_eq!(
            &solve(&devices, &needs, MIB).unwrap().partitions,
            &plan.partitions
        );
        devices.disks[0].size = DiskSize::Exact(plan.size - MIB);
        prop_assert!(solve(&devices, &needs, MIB).is_err());
        Ok(())
    });
    result.unwrap();
}

#[test]
fn sfdisk_reads_back_what_was_planned() {
    let test = "sfdisk_reads_back_what_was_planned";
    if !has(test, "sfdisk") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::new(b"tables");
    let mut runner = TestRunner::new(Config::with_cases(40));
    let result = runner.run(&any_disk(), |(devices, needs, round_to)| {
        let Ok(plan) = solve(&devices, &needs, round_to) else {
            return Ok(());
        };
        let (path, mut medium) = disk(dir.path(), "disk", plan.size);
        write_table(&plan, &seed, Some(&CODE), &mut medium).unwrap();
        if plan.sector == SectorSize::B512 {
            compare(&plan, &seed, path.to_str().unwrap());
        } else if let Some(device) = Loop::new(test, &path, 4096) {
            compare(&plan, &seed, device.path());
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_table_keeps_the_boot_code_and_is_the_same_twice() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, table, code: Option<&[u8]>| {
        let devices = layerset::disk::layout_devices(
            layerset::disk::Layout::Plain,
            table,
            SectorSize::B512,
            "amd64",
        );
        let plan = solve(&devices, &Needs::new(), MIB).unwrap();
        let (path, mut medium) = disk(dir.path(), name, plan.size);
        write_table(&plan, &Seed::new(b"x"), code, &mut medium).unwrap();
        std::fs::read(path).unwrap()
    };
    for table in [TableKind::Gpt, TableKind::Mbr] {
        let once = write("a", table, Some(&CODE));
        assert_eq!(once[..BOOT_CODE], CODE);
        assert_eq!(once[510..512], [0x55, 0xaa]);
        assert!(once == write("b", table, Some(&CODE)));
        let without = write("c", table, None);
        assert_eq!(without[..BOOT_CODE], [0; BOOT_CODE]);
        assert!(without[BOOT_CODE..] == once[BOOT_CODE..]);
    }
}

#[test]
fn a_damaged_primary_table_leaves_the_backup() {
    if !has("a_damaged_primary_table_leaves_the_backup", "sfdisk") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let devices = layerset::disk::layout_devices(
        layerset::disk::Layout::Updatable,
        TableKind::Gpt,
        SectorSize::B512,
        "amd64",
    );
    let plan = solve(&devices, &Needs::new(), MIB).unwrap();
    let (path, mut medium) = disk(dir.path(), "disk", plan.size);
    write_table(&plan, &Seed::new(b"x"), None, &mut medium).unwrap();
    let file = medium.into_file();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 512], 512).unwrap();
    let text = run("sfdisk", &["--dump", path.to_str().unwrap()]);
    assert!(text.contains("name=\"data\""), "{text}");
}

#[test]
fn swap_is_recognised_with_its_label_and_identifier() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut medium) = disk(dir.path(), "disk", parse_size("3MiB").unwrap());
    let text = "0fc63daf-8483-4772-8e79-3d69d8477de4";
    let uuid = Uuid::parse(text).unwrap();
    let mut window = Window::new(&mut medium, MIB, MIB).unwrap();
    write_swap(&mut window, uuid, Some("swap-of-16-bytes")).unwrap();
    let mut small = Window::new(&mut medium, 0, 36 << 10).unwrap();
    assert!(write_swap(&mut small, uuid, None).is_err());
    let (offset, path) = (MIB.to_string(), path.to_str().unwrap());
    let arguments = ["-p", "-O", &offset, "-S", &offset, "-o", "export", path];
    let (said, is_good) = try_run("blkid", &arguments);
    assert!(is_good, "{said}");
    for line in [
        "TYPE=swap".to_owned(),
        format!("UUID={text}"),
        "LABEL=swap-of-16-bytes".to_owned(),
    ] {
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(FilesystemKind::Swap.label_limit(), 16);
}
