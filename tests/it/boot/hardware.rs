//! Machines whose disk and network are not virtio: metal, and what vSphere has.

use std::fs;
use std::process::Command;

use super::Workshop;
use super::clean::{expect_clean, expect_clean_end};
use super::machine::{Bus, Firmware, Hardware, Machine};

#[test]
#[ignore = "`make boot` runs it"]
fn an_image_for_metal_boots_from_nvme_and_from_ahci() {
    let test = "an_image_for_metal_boots_from_nvme_and_from_ahci";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-metal", "web.raw", "--profile baremetal");
    for (firmware, bus, card) in [
        (Firmware::Uefi, Bus::Nvme, "e1000e"),
        (Firmware::Bios, Bus::Ahci, "rtl8139"),
    ] {
        let hardware = Hardware {
            bus,
            card,
            ..Hardware::new(firmware, &disk.path, "raw")
        };
        let Some(mut machine) = Machine::start(test, &hardware) else {
            return;
        };
        expect_clean(&mut machine);
        machine.run("ls /boot/efi/loader/entries/layerset-1.conf");
        expect_clean_end(machine);
    }
}

/// The archive is taken apart, and its disk is used as it is.
#[test]
#[ignore = "`make boot` runs it"]
fn an_ova_boots_from_its_vmdk_with_the_devices_of_vsphere() {
    let test = "an_ova_boots_from_its_vmdk_with_the_devices_of_vsphere";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let appliance = workshop.export("web-vsphere", "web.ova", "--profile vsphere");
    let dir = appliance.path.parent().unwrap();
    let mut untar = Command::new("tar");
    untar
        .args(["--extract", "--file"])
        .arg(&appliance.path)
        .current_dir(dir);
    assert!(untar.status().unwrap().success());
    let mut members = fs::read_dir(dir)
        .unwrap()
        .map(|member| member.unwrap().path());
    let vmdk = members
        .find(|path| path.extension() == Some("vmdk".as_ref()))
        .unwrap();
    // OVMF as Debian builds it has no driver for VMware's SCSI.
    for (firmware, bus) in [(Firmware::Bios, Bus::Pvscsi), (Firmware::Uefi, Bus::Ahci)] {
        let hardware = Hardware {
            bus,
            card: "vmxnet3",
            ..Hardware::new(firmware, &vmdk, "vmdk")
        };
        let Some(mut machine) = Machine::start(test, &hardware) else {
            return;
        };
        expect_clean(&mut machine);
        let driver = machine.run("basename $(readlink /sys/class/net/e*/device/driver)");
        assert_eq!(driver.trim(), "vmxnet3");
        // The agent is there, and starts by VMware only.
        let agent = machine.run("systemctl show --property=ConditionResult open-vm-tools.service");
        assert_eq!(agent.trim(), "ConditionResult=no");
        expect_clean_end(machine);
    }
}
