//! Each profile accepts a good image, and names each rule that a bad one breaks.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::export::formats::{DiskFormat, Firmware};

fn partition(name: &str, usage: Use, mount_point: Option<&str>) -> Partition {
    Partition {
        name: name.to_owned(),
        usage,
        filesystem: None,
        mount_point: mount_point.map(str::to_owned),
        is_volume: false,
    }
}

/// An image that breaks no rule of the profile.
fn good(profile: Profile) -> Description {
    let wants = profile.wants();
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let mut modules: BTreeSet<String> = owned(wants.disk_modules);
    modules.extend(
        wants
            .other_modules
            .iter()
            .map(|name| name.replace('_', "-")),
    );
    modules.insert("vmw_pvscsi".to_owned());
    let mut packages: BTreeSet<String> = owned(wants.useful);
    packages.extend(wants.one_of.first().map(|name| name.to_string()));
    Description {
        formats: wants.usual().to_vec(),
        virtual_size: 8 << 30,
        table: wants.table.unwrap_or(Table::Gpt),
        layout: wants.layout.unwrap_or(Layout::Updatable),
        firmware: wants.firmware.to_vec(),
        partitions: vec![partition("root", Use::Filesystem, Some("/"))],
        kernel_arguments: wants
            .kernel_arguments
            .iter()
            .map(|one| one.to_string())
            .collect(),
        packages,
        initrd_modules: modules,
        files: BTreeMap::from([
            ("etc/machine-id".to_owned(), 0),
            ("etc/passwd".to_owned(), 9),
        ]),
        passwords: Vec::new(),
        ssh: Some(SshLogin::default()),
    }
}

#[test]
fn a_good_image_breaks_no_rule_of_any_profile() {
    for profile in Profile::all() {
        assert_eq!(profile.check(&good(profile)), [], "{profile}");
        assert_eq!(Profile::from_name(profile.name()), Ok(profile));
    }
    let error = Profile::from_name("ec2").unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no profile 'ec2': the profiles are openstack, aws, azure, gcp, vsphere, virtualbox, egi, kvm, baremetal"
    );
}

#[track_caller]
fn check(profile: Profile, rule: &str, weight: RuleWeight, spoil: impl FnOnce(&mut Description)) {
    let mut description = good(profile);
    spoil(&mut description);
    let problems = profile.check(&description);
    let rules: Vec<_> = problems
        .iter()
        .map(|one| (&*one.rule, one.weight))
        .collect();
    assert_eq!(
        rules,
        [(&*format!("{profile}/{rule}"), weight)],
        "{problems:?}"
    );
    assert!(!problems[0].fix.is_empty() && !problems[0].what.is_empty());
}

fn put(description: &mut Description, path: &str, size: u64) {
    description.files.insert(path.to_owned(), size);
}

use Profile::*;
use RuleWeight::{Must, Should};

#[test]
fn the_disk_is_held_against_the_cloud() {
    check(Azure, "format", Must, |d| {
        d.formats = vec![DiskFormat::Vhdx]
    });
    check(Azure, "whole-mib", Must, |d| d.virtual_size += 512);
    check(Azure, "largest-disk", Must, |d| d.virtual_size = 1024 << 30);
    check(Azure, "no-swap", Must, |d| {
        d.partitions.push(partition("swap", Use::Swap, None))
    });
    check(Azure, "no-lvm", Must, |d| {
        d.partitions.push(partition("pv", Use::Lvm, None))
    });
    check(Gcp, "whole-gib", Must, |d| d.virtual_size += 1 << 20);
    check(Gcp, "format", Must, |d| d.formats.push(DiskFormat::Raw));
    check(Aws, "format", Must, |d| d.formats = vec![DiskFormat::Qcow2]);
    check(Aws, "whole-gib", Should, |d| d.virtual_size += 1 << 20);
    check(OpenStack, "format", Must, |d| {
        d.formats = vec![DiskFormat::Vhd]
    });
    check(VSphere, "format", Must, |d| {
        d.formats = vec![DiskFormat::Raw]
    });
    check(VirtualBox, "format", Must, |d| {
        d.formats = vec![DiskFormat::Qcow2]
    });
    check(BareMetal, "format", Must, |d| {
        d.formats = vec![DiskFormat::Qcow2]
    });
    check(Kvm, "firmware", Must, |d| d.firmware.clear());
    check(Egi, "firmware", Must, |d| d.firmware = vec![Firmware::Uefi]);
}

#[test]
fn egi_wants_one_partition_and_nothing_else() {
    check(Egi, "table", Must, |d| d.table = Table::Gpt);
    check(Egi, "layout", Must, |d| d.layout = Layout::Updatable);
    check(Egi, "one-partition", Must, |d| {
        d.partitions
            .push(partition("srv", Use::Filesystem, Some("/srv")));
    });
    let mut description = good(Egi);
    description
        .partitions
        .push(partition("boot", Use::Filesystem, Some("/boot")));
    description
        .partitions
        .push(partition("swap", Use::Swap, None));
    let problems = Egi.check(&description);
    let rules: Vec<_> = problems.iter().map(|one| &*one.rule).collect();
    assert_eq!(
        rules,
        ["egi/no-swap", "egi/one-partition", "egi/no-boot-partition"]
    );
    assert_eq!(
        problems[1].to_string(),
        "egi/one-partition: the table has 3 partitions (root, boot, swap); leave one in [disk], mounted at /"
    );
    // A logical volume is no partition; that it is LVM is one fault, not two.
    check(Egi, "no-lvm", Must, |d| {
        d.partitions = vec![partition("pv", Use::Lvm, None)];
        let mut root = partition("root", Use::Filesystem, Some("/"));
        root.is_volume = true;
        d.partitions.push(root);
    });
}

#[test]
fn the_kernel_is_held_against_the_cloud() {
    let without = |d: &mut Description, word: &str| {
        d.kernel_arguments
            .retain(|argument| !argument.starts_with(word));
    };
    check(Kvm, "kernel-arguments", Should, |d| {
        without(d, "console=ttyS0")
    });
    check(Azure, "kernel-arguments", Should, |d| {
        without(d, "rootdelay")
    });
    check(Azure, "quiet-kernel", Must, |d| {
        d.kernel_arguments.push("quiet".to_owned())
    });
    // Another speed of the same console, another value of the same key: people may choose.
    let mut description = good(Azure);
    without(&mut description, "console=ttyS0");
    without(&mut description, "rootdelay");
    let own = ["console=ttyS0,9600".to_owned(), "rootdelay=60".to_owned()];
    description.kernel_arguments.extend(own);
    assert_eq!(Azure.check(&description), []);
    for (profile, module, rule, weight) in [
        (Aws, "nvme", "disk-driver", Must),
        (Aws, "xen_blkfront", "disk-driver", Must),
        (Aws, "ena", "driver", Should),
        (Azure, "hv_storvsc", "disk-driver", Must),
        (VSphere, "vmw_pvscsi", "disk-driver", Must),
        (VirtualBox, "ahci", "disk-driver", Must),
        (Gcp, "virtio_scsi", "disk-driver", Must),
        (Kvm, "virtio_blk", "disk-driver", Must),
        (Egi, "vmw_pvscsi", "driver", Should),
    ] {
        check(profile, rule, weight, |d| {
            d.initrd_modules
                .retain(|name| name.replace('-', "_") != module);
        });
    }
}

#[test]
fn somebody_must_set_a_new_machine_up() {
    for profile in [OpenStack, Aws, Azure, Gcp, Egi] {
        check(profile, "contextualisation", Must, |d| {
            d.packages.retain(|name| name != "cloud-init")
        });
    }
    let mut description = good(Azure);
    description.packages = BTreeSet::from(["waagent".to_owned()]);
    assert_eq!(Azure.check(&description), []);
    check(VSphere, "guest-tools", Should, |d| {
        d.packages.retain(|name| name != "open-vm-tools")
    });
}

#[test]
fn credentials_are_refused_everywhere() {
    for profile in Profile::all() {
        for (path, size, rule, weight) in [
            ("etc/ssh/ssh_host_ed25519_key", 400, "no-host-keys", Must),
            ("etc/machine-id", 33, "no-machine-id", Must),
            ("root/.ssh/authorized_keys", 90, "no-authorized-keys", Must),
            ("home/me/.ssh/id_ed25519", 90, "no-private-keys", Must),
            ("var/lib/systemd/random-seed", 32, "no-random-seed", Must),
            ("root/.bash_history", 3, "no-history", Should),
        ] {
            check(profile, rule, weight, |d| put(d, path, size));
        }
        check(profile, "no-passwords", Must, |d| {
            d.passwords.push("me".to_owned())
        });
    }
    // Empty files, and what only looks like it.
    let mut description = good(Kvm);
    for path in [
        "root/.ssh/authorized_keys",
        "root/.bash_history",
        "etc/ssh/ssh_host_keys.txt",
    ] {
        description.files.insert(path.to_owned(), 0);
    }
    assert_eq!(Kvm.check(&description), []);
}

#[test]
fn egi_wants_no_trace_of_the_build() {
    for (path, rule, weight) in [
        ("var/log/dpkg.log", "no-logs", Must),
        ("var/lib/cloud/data/instance-id", "no-cloud-state", Must),
        (
            "etc/udev/rules.d/70-persistent-net.rules",
            "no-persistent-net",
            Must,
        ),
        ("etc/machine-info", "no-machine-info", Must),
        ("var/lib/apt/lists/deb_Packages", "no-package-lists", Should),
        ("tmp/x", "no-temporary-files", Should),
    ] {
        let spoil = |d: &mut Description| put(d, path, 5);
        check(Egi, rule, weight, spoil);
        let mut description = good(OpenStack);
        spoil(&mut description);
        assert_eq!(OpenStack.check(&description), [], "only EGI asks for it");
    }
    let mut description = good(Egi);
    for name in ["a", "b", "c"] {
        description.files.insert(format!("var/log/{name}"), 1);
    }
    let problems = Egi.check(&description);
    assert_eq!(
        problems[0].what,
        "logs of the build are in the image: '/var/log/a' and 2 more"
    );
    let by_password = Some(SshLogin {
        root_by_password: false,
        by_password: true,
    });
    check(Egi, "no-password-login", Must, |d| d.ssh = by_password);
    check(Kvm, "no-password-login", Should, |d| d.ssh = by_password);
}

#[test]
fn the_most_serious_comes_first() {
    let mut description = good(OpenStack);
    description.kernel_arguments.clear();
    description.packages.clear();
    description.passwords.push("root".to_owned());
    let problems = OpenStack.check(&description);
    let weights: Vec<_> = problems.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [Must, Must, Should, Should]);
}

#[test]
fn glance_is_told_what_nova_needs() {
    let mut facts = GlanceFacts {
        name: "web".to_owned(),
        format: DiskFormat::Qcow2,
        virtual_size: (2 << 30) + 1,
        memory_mib: 512,
        os_id: "debian".to_owned(),
        os_version: "13".to_owned(),
        admin_user: Some("debian".to_owned()),
        architecture: "amd64".to_owned(),
        firmware: vec![Firmware::Uefi],
        has_guest_agent: true,
    };
    let text = glance_properties(&facts).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, expect) in [
        ("architecture", "x86_64"),
        ("disk_format", "qcow2"),
        ("container_format", "bare"),
        ("hw_firmware_type", "uefi"),
        ("hw_qemu_guest_agent", "yes"),
        ("os_admin_user", "debian"),
    ] {
        assert_eq!(value[key], expect, "{text}");
    }
    assert_eq!(value["min_disk"], 3);
    facts.firmware.push(Firmware::Bios);
    assert!(
        !glance_properties(&facts)
            .unwrap()
            .contains("hw_firmware_type")
    );
    facts.format = DiskFormat::Ova;
    assert_eq!(glance_properties(&facts), None);
}
