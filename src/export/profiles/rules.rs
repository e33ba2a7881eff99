//! The rules about the disk, the kernel and the packages.

use super::{Description, Profile, RuleProblem, RuleWeight, Table, Use, Wants};
use crate::export::formats::{DiskFormat, Firmware};

use RuleWeight::{Must, Should};

/// Gathers what is broken.
pub(super) struct Problems {
    profile: Profile,
    found: Vec<RuleProblem>,
}

impl Problems {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, rule: &str, weight: RuleWeight, what: String, fix: &str) {
        self.found.push(RuleProblem {
            rule: format!("{}/{rule}", self.profile),
            weight,
            what,
            fix: fix.to_owned(),
        });
    }

    pub(super) fn finish(self) -> Vec<RuleProblem> {
        self.found
    }
}

pub(super) fn check(
    profile: Profile,
    wants: &Wants,
    description: &Description,
) -> Vec<RuleProblem> {
    let mut problems = Problems::new(profile);
    formats(wants, description, &mut problems);
    size(profile, wants, description, &mut problems);
    partitions(wants, description, &mut problems);
    starting(wants, description, &mut problems);
    modules(wants, description, &mut problems);
    packages(profile, wants, description, &mut problems);
    problems.finish()
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn formats(wants: &Wants, description: &Description, problems: &mut Problems) {
    for format in &description.formats {
        if !wants.formats.contains(format) {
            let fix = format!("write {}", list(wants.formats));
            problems.add("format", Must, format!("{format} is not taken"), &fix);
        }
    }
}

fn size(profile: Profile, wants: &Wants, description: &Description, problems: &mut Problems) {
    let bytes = description.virtual_size;
    let rounded = wants.round_size(bytes);
    if rounded != bytes {
        let (rule, unit) = match wants.size_unit {
            1_073_741_824 => ("whole-gib", "GiB"),
            _ => ("whole-mib", "MiB"),
        };
        let weight = match profile {
            Profile::Azure | Profile::Gcp => Must,
            // Amazon rounds a volume up by itself; other hypervisors take whole sectors.
            _ => Should,
        };
        let what = format!("the disk has {bytes} bytes, which is not whole {unit}");
        problems.add(
            rule,
            weight,
            what,
            &format!("set its size to {rounded} bytes, or to \"auto\""),
        );
    }
    if let Some(most) = wants.most_bytes.filter(|most| bytes > *most) {
        let what = format!("the disk has {bytes} bytes, and {most} are the most");
        problems.add(
            "largest-disk",
            Must,
            what,
            "make it smaller, and put data on another disk",
        );
    }
}

fn partitions(wants: &Wants, description: &Description, problems: &mut Problems) {
    if wants.table.is_some_and(|table| table != description.table) {
        let what = format!("the table is {}", name(description.table));
        problems.add("table", Must, what, "say 'table = \"mbr\"' in [disk]");
    }
    if wants
        .layout
        .is_some_and(|layout| layout != description.layout)
    {
        let what = "an updatable disk has several partitions".to_owned();
        problems.add("layout", Must, what, "say 'layout = \"plain\"' in [disk]");
    }
    if !wants.is_simple {
        return;
    }
    for partition in &description.partitions {
        let name = &partition.name;
        match partition.usage {
            Use::Swap => problems.add(
                "no-swap",
                Must,
                format!("'{name}' is swap"),
                "remove it from [disk]: machines get swap from their flavour, or a file at first boot",
            ),
            Use::Lvm => problems.add(
                "no-lvm",
                Must,
                format!("'{name}' belongs to LVM, and sites cannot make it larger"),
                "put the filesystem straight into a partition",
            ),
            _ => {}
        }
    }
    if wants.table == Some(Table::Mbr) {
        single_partition(description, problems);
    }
}

/// EGI: sites enlarge the one partition, and may change files in it.
fn single_partition(description: &Description, problems: &mut Problems) {
    let in_table: Vec<_> = description
        .partitions
        .iter()
        .filter(|partition| !partition.is_volume)
        .collect();
    if in_table.len() != 1 {
        let names: Vec<_> = in_table.iter().map(|partition| &partition.name).collect();
        let what = format!(
            "the table has {} partitions ({})",
            names.len(),
            list(&names)
        );
        problems.add(
            "one-partition",
            Must,
            what,
            "leave one in [disk], mounted at /",
        );
    }
    for partition in &description.partitions {
        if let Some(at @ ("/boot" | "/boot/efi" | "/efi")) = partition.mount_point.as_deref() {
            let what = format!("'{}' is mounted at {at}", partition.name);
            problems.add(
                "no-boot-partition",
                Must,
                what,
                "leave the kernel in the root filesystem",
            );
        }
    }
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Gpt => "gpt",
        Table::Mbr => "mbr",
        Table::None => "none",
    }
}

fn starting(wants: &Wants, description: &Description, problems: &mut Problems) {
    let starts = |firmware: &Firmware| description.firmware.contains(firmware);
    if !wants.firmware.iter().any(starts) {
        let what = "no firmware that is used there can start the disk".to_owned();
        let fix = match wants.firmware {
            [Firmware::Bios] => "let the disk start by BIOS",
            _ => "let the disk start by UEFI or BIOS",
        };
        problems.add("firmware", Must, what, fix);
    }
    let missing: Vec<_> = wants
        .kernel_arguments
        .iter()
        // A console must be that console; of others the key counts, so that people may choose.
        .filter(|wanted| match wanted.split_once('=') {
            Some(("console", device)) => {
                let device = device.split(',').next().unwrap_or(device);
                !description.kernel_arguments.iter().any(|argument| {
                    let console = argument.strip_prefix("console=");
                    console.is_some_and(|console| console.split(',').next() == Some(device))
                })
            }
            Some((key, _)) => !description.has_argument(key),
            None => !description.has_argument(wanted),
        })
        .collect();
    if !missing.is_empty() {
        let what = format!("the kernel does not get {}", list(&missing));
        problems.add(
            "kernel-arguments",
            Should,
            what,
            "add it to 'kernel-arguments' of [disk]",
        );
    }
    let unwanted: Vec<_> = wants
        .unwanted_arguments
        .iter()
        .filter(|argument| description.has_argument(argument))
        .collect();
    if !unwanted.is_empty() {
        let what = format!("the kernel gets {}", list(&unwanted));
        problems.add(
            "quiet-kernel",
            Must,
            what,
            "remove it from 'kernel-arguments' of [disk]",
        );
    }
}

fn modules(wants: &Wants, description: &Description, problems: &mut Problems) {
    for (rule, weight, modules, what) in [
        (
            "disk-driver",
            Must,
            wants.disk_modules,
            "the root disk is not found without",
        ),
        ("driver", Should, wants.other_modules, "the initrd lacks"),
    ] {
        let missing: Vec<_> = modules
            .iter()
            .filter(|module| !description.has_module(module))
            .collect();
        if !missing.is_empty() {
            let what = format!("{what} {}", list(&missing));
            let fix = "name it in /etc/initramfs-tools/modules of the kernel's layer; where the kernel \
                       lacks it, take the layer 'kernel-generic', which has more drivers";
            problems.add(rule, weight, what, fix);
        }
    }
}

fn packages(profile: Profile, wants: &Wants, description: &Description, problems: &mut Problems) {
    if !wants.one_of.is_empty() && !description.has_one_of(wants.one_of) {
        let what = format!(
            "nobody sets a new machine up: {} is not installed",
            either(wants.one_of)
        );
        problems.add(
            "contextualisation",
            Must,
            what,
            "add the layer 'cloud-init' to the recipe",
        );
    }
    for package in wants.useful {
        if !description.packages.contains(*package) {
            let fix = match *package {
                "cloud-init" => "add the layer 'cloud-init' to the recipe",
                "open-vm-tools" => "add the layer 'open-vm-tools' to the recipe",
                _ => "add the layer 'guest-agent' to the recipe",
            };
            problems.add(
                "guest-tools",
                Should,
                format!("{package} is not installed"),
                fix,
            );
        }
    }
    // EGI's sites convert an OVA, or run it by VMware.
    let is_appliance = description.formats.contains(&DiskFormat::Ova);
    if profile == Profile::Egi && is_appliance && !description.has_module("vmw_pvscsi") {
        let what = "an OVA may be run by VMware, and the initrd lacks vmw_pvscsi".to_owned();
        problems.add(
            "driver",
            Should,
            what,
            "name it in /etc/initramfs-tools/modules of the kernel's layer",
        );
    }
}

fn either(names: &[&str]) -> String {
    names.join(" or ")
}
