//! More than one disk, and disks with more than one filesystem.

use super::Workshop;
use super::clean::{expect_clean, expect_clean_end};
use super::machine::{Firmware, Hardware, Machine};

/// The other disk has an ESP and a data filesystem by the same names, comes first, and boots by itself.
#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_beside_another_disk_uses_its_own() {
    let test = "a_machine_beside_another_disk_uses_its_own";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.qcow2", "");
    let other = workshop.export("data-vm", "data.qcow2", "");
    disk.grow("qcow2", "4G");
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        let hardware = Hardware {
            first: Some((&other.path, "qcow2")),
            ..Hardware::new(firmware, &disk.path, "qcow2")
        };
        let Some(mut machine) = Machine::start(test, &hardware) else {
            return;
        };
        expect_clean(&mut machine);
        let names =
            machine.run("lsblk --noheadings --list --output PARTLABEL | sort | uniq --repeated");
        assert!(names.contains("esp") && names.contains("data"), "{names}");
        assert_own(&mut machine, "vdb");
        expect_clean_end(machine);
    }
}

/// As when a machine that does not start is looked at from another one of the same image.
#[test]
#[ignore = "`make boot` runs it"]
fn a_copy_of_its_disk_that_is_attached_later_changes_nothing() {
    let test = "a_copy_of_its_disk_that_is_attached_later_changes_nothing";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.qcow2", "");
    let copy = disk.path.with_file_name("copy.qcow2");
    std::fs::copy(&disk.path, &copy).unwrap();
    disk.grow("qcow2", "4G");
    let hardware = Hardware::new(Firmware::Uefi, &disk.path, "qcow2");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    machine.attach(&copy, "qcow2");
    machine
        .run("for try in $(seq 60); do [ -e /dev/vdb3 ] && break; sleep 1; done; udevadm settle");
    let twice = machine.run("lsblk --noheadings --list --output UUID | sort | uniq --repeated");
    assert!(twice.trim().len() > 36, "{twice}");
    machine.run("systemctl restart layerset-grow.service");
    assert_own(&mut machine, "vda");
    expect_clean(&mut machine);
    expect_clean_end(machine);
}

/// Expects the boot entries, the data and the room of `disk`.
#[track_caller]
fn assert_own(machine: &mut Machine, disk: &str) {
    let entries = machine.run(
        "ls /boot/efi/loader/entries && findmnt --real --noheadings --output SOURCE /boot/efi",
    );
    assert!(
        entries.contains("layerset-1.conf") && entries.contains(&format!("/dev/{disk}2")),
        "{entries}"
    );
    let data = machine.run("findmnt --noheadings --nofsroot --output SOURCE /var");
    assert_eq!(data.trim(), format!("/dev/{disk}3"));
    let size = machine.run("df --block-size=1M --output=size /var | tail -n 1");
    assert!(size.trim().parse::<u32>().unwrap() > 3000, "{size}");
}

const LOGICAL: &str = "\
layout = 'plain'
table = 'mbr'
size = '3GiB'
partitions = [
  { name = 'root', size = '2GiB', filesystem = 'ext4', mount = '/', flags = ['boot', 'primary'] },
  { name = 'swap', size = '128MiB', filesystem = 'swap', logical = true },
  { name = 'srv', size = '128MiB', filesystem = { type = 'ext4', label = 'srv' }, mount = '/srv', logical = true },
  { name = 'pv', size = 'rest', type = 'lvm', logical = true },
]
volume_groups = [{ name = 'data', on = ['pv'] }]
volumes = [
  { name = 'log', group = 'data', size = '256MiB', filesystem = 'ext4', mount = '/var/log' },
  { name = 'spare', group = 'data', extents = 3 },
]
";

const VOLUMES: &str = "\
size = '4GiB'
partitions = [{ name = 'pv', size = '1GiB', type = 'lvm' }]
volume_groups = [{ name = 'shop', on = ['pv'] }]
volumes = [
  { name = 'web', group = 'shop', size = '256MiB', filesystem = 'ext4', mount = '/srv/web' },
  { name = 'orders', group = 'shop', size = 'rest', filesystem = 'ext4', mount = '/var/lib/shop' },
]
";

#[test]
#[ignore = "`make boot` runs it"]
fn a_kernel_sees_logical_partitions_and_volumes_as_they_were_described() {
    let test = "a_kernel_sees_logical_partitions_and_volumes_as_they_were_described";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let recipe = workshop.with_disk("web-extras", LOGICAL);
    let disk = workshop.export(
        "web-extras",
        "web.raw",
        &format!("--recipe {}", recipe.display()),
    );
    let hardware = Hardware::new(Firmware::Bios, &disk.path, "raw");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    let volumes = machine
        .run("lvs --noheadings --units m --nosuffix --separator , -o vg_name,lv_name,lv_size");
    let volumes: Vec<_> = volumes.lines().map(str::trim).collect();
    assert_eq!(volumes, ["data,log,256.00", "data,spare,12.00"]);
    let group = machine.run("pvs --noheadings -o pv_name,vg_name; vgck data && pvck /dev/vda7");
    assert!(group.contains("/dev/vda7  data"), "{group}");
    let mounts = machine.run("findmnt --noheadings --list --output SOURCE,TARGET --types ext4; swapon --noheadings --show=NAME");
    for expect in [
        "/dev/vda1 ",
        "/dev/vda6 ",
        "/dev/mapper/data-log /var/log",
        "/dev/vda5",
    ] {
        assert!(mounts.contains(expect), "{expect}: {mounts}");
    }
    machine.run("sfdisk --verify /dev/vda && touch /srv/a /var/log/a");
    // The room that LVM has can be used.
    machine.run("lvextend --size +64M data/log && /usr/lib/systemd/systemd-growfs /var/log");
    expect_clean_end(machine);
}

#[test]
#[ignore = "`make boot` runs it"]
fn an_updatable_machine_mounts_its_volumes_and_aptitude_answers_too() {
    let test = "an_updatable_machine_mounts_its_volumes_and_aptitude_answers_too";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let recipe = workshop.with_disk("web-extras", VOLUMES);
    let disk = workshop.export(
        "web-extras",
        "web.raw",
        &format!("--recipe {}", recipe.display()),
    );
    let hardware = Hardware::new(Firmware::Uefi, &disk.path, "raw");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    let tree = machine.run("lsblk --noheadings --list --output NAME,TYPE,MOUNTPOINTS");
    for (name, place) in [("shop-web", "/srv/web"), ("shop-orders", "/var/lib/shop")] {
        let mut lines = tree
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(lines.any(|line| line == [name, "lvm", place]), "{tree}");
    }
    machine.run("touch /srv/web/a /var/lib/shop/a && vgck shop");
    for command in [
        "aptitude install htop",
        "/usr/bin/aptitude --assume-yes safe-upgrade",
    ] {
        let answer = machine.run(&format!("{command}; [ $? = 100 ]"));
        assert!(
            answer.contains("aptitude: this machine is made of layers"),
            "{answer}"
        );
    }
    // What changes nothing goes to the program itself.
    machine.run("aptitude -q=2 search '?installed' | grep '^i.* nginx '");
    expect_clean_end(machine);
}

/// Everything that a machine writes is on logical volumes. A BIOS finds the kernel on `/boot`, UEFI on the ESP.
const ROOT_ON_A_VOLUME: &str = "\
layout = 'plain'
size = '4GiB'
partitions = [
  { name = 'bios', size = '1MiB', type = 'bios' },
  { name = 'esp', size = '256MiB', type = 'esp', filesystem = 'vfat', mount = '/boot/efi', fstab = { options = 'umask=0077,nofail' } },
  { name = 'boot', size = '256MiB', filesystem = 'ext4', mount = '/boot' },
  { name = 'pv', size = 'rest', type = 'lvm' },
]
volume_groups = [{ name = 'system', on = ['pv'] }]
volumes = [
  { name = 'swap', group = 'system', size = '128MiB', filesystem = 'swap' },
  { name = 'root', group = 'system', size = '1536MiB', filesystem = 'ext4', mount = '/', fstab = { pass = 1 } },
  { name = 'var-log', group = 'system', size = '256MiB', filesystem = 'ext4', mount = '/var/log' },
  { name = 'var', group = 'system', size = '768MiB', filesystem = 'ext4', mount = '/var' },
  { name = 'data', group = 'system', extents = '50%FREE', filesystem = 'ext4', mount = '/srv/data' },
]
";

#[test]
#[ignore = "`make boot` runs it"]
fn a_root_on_a_logical_volume_is_found_by_uefi_and_by_bios() {
    let test = "a_root_on_a_logical_volume_is_found_by_uefi_and_by_bios";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    // The layer 'extras' brings lvm2 when the initrd is there already, so that nothing would find the root.
    let without = workshop.with_disk("web-extras", ROOT_ON_A_VOLUME);
    let file = without.with_extension("raw");
    let line = format!(
        "export disk web-extras --output {} --recipe {}",
        file.display(),
        without.display()
    );
    let ran = workshop.session.run(&line).expect(1);
    ran.says(&[
        "'/' lies on a logical volume, and there is no 'lvm' in its initrd",
        "add the package lvm2 to the layer 'kernel'",
    ]);
    assert!(!file.exists());

    let recipe = workshop.with_disk("web-lvm", ROOT_ON_A_VOLUME);
    let disk = workshop.export(
        "web-lvm",
        "web.raw",
        &format!("--recipe {}", recipe.display()),
    );
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        let hardware = Hardware::new(firmware, &disk.path, "raw");
        let Some(mut machine) = Machine::start(test, &hardware) else {
            return;
        };
        expect_clean(&mut machine);
        let volumes = machine.run("lvs --noheadings --units m --nosuffix --separator , -o lv_name,lv_size,lv_active system");
        let volumes: Vec<_> = volumes.lines().map(str::trim).collect();
        let size = |name: &str, size: &str| format!("{name},{size},active");
        assert_eq!(volumes.len(), 5, "{volumes:?}");
        for line in [
            size("root", "1536.00"),
            size("swap", "128.00"),
            size("var", "768.00"),
            size("var-log", "256.00"),
        ] {
            assert!(volumes.contains(&line.as_str()), "{line}: {volumes:?}");
        }
        for (place, volume) in [
            ("/", "root"),
            ("/var", "var"),
            ("/var/log", "var--log"),
            ("/srv/data", "data"),
        ] {
            let source = machine.run(&format!("findmnt --noheadings --output SOURCE {place}"));
            assert_eq!(source.trim(), format!("/dev/mapper/system-{volume}"));
        }
        let swap = machine.run("readlink -f /dev/system/swap; swapon --noheadings --show=NAME");
        let swap: Vec<_> = swap.lines().collect();
        assert_eq!(swap.first(), swap.get(1), "{swap:?}");
        machine.run("vgck system && touch /written /var/written /srv/data/written");
        expect_clean_end(machine);
    }
}
