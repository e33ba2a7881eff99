//! Rules of filesystems, labels and mount points, wherever the filesystem lies.

use super::super::fault::{DiskFault, Node};
use super::super::kind::PartitionKind;
use super::super::mkfs_options::ExtTuning;
use super::super::model::{Devices, Disk, Filesystem, FilesystemId, FilesystemKind, Partition};

/// What a running system mounts by itself.
const RUNTIME: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

struct Place<'a> {
    node: Node,
    name: &'a str,
    filesystem: &'a Filesystem,
}

pub(super) fn check(devices: &Devices, disk: &Disk) -> Vec<DiskFault> {
    let parts = disk.partitions.iter().enumerate();
    let mut faults: Vec<DiskFault> = parts
        .filter_map(|(index, part)| promised(index, part).err())
        .collect();
    let mut all: Vec<Place<'_>> = Vec::new();
    for (index, part) in disk.partitions.iter().enumerate() {
        all.extend(part.filesystem.as_ref().map(|filesystem| Place {
            node: Node::Partition(index),
            name: &part.name,
            filesystem,
        }));
    }
    for (index, volume) in devices.volumes.iter().enumerate() {
        all.extend(volume.filesystem.as_ref().map(|filesystem| Place {
            node: Node::Volume(index),
            name: &volume.name,
            filesystem,
        }));
    }
    for (count, place) in all.iter().enumerate() {
        faults.extend(one(place).err());
        faults.extend(twice(place, &all[..count]).err());
    }
    faults
}

/// Holds what a partition holds against what its type promises.
fn promised(index: usize, part: &Partition) -> Result<(), DiskFault> {
    let node = Node::Partition(index);
    let found = part.filesystem.as_ref().map(|filesystem| filesystem.kind);
    let name = &part.name;
    let is = |kind: PartitionKind| {
        part.kind == kind
            || part
                .kind
                .mbr
                .is_some_and(|mbr| Some(mbr) == kind.mbr && kind.mbr != Some(0x83))
    };
    if is(PartitionKind::ESP) && found != Some(FilesystemKind::Vfat) {
        let message = format!("firmware reads no other filesystem on '{name}' than vfat");
        let help = "write filesystem = { type = \"vfat\" }";
        let field = if found.is_some() {
            "filesystem.type"
        } else {
            ""
        };
        return Err(node.at(field).fault(message, help));
    }
    for (kind, what) in [
        (PartitionKind::BIOS, "GRUB's core image"),
        (PartitionKind::LVM, "a physical volume"),
    ] {
        if is(kind) && found.is_some() {
            let message = format!("'{name}' holds {what}, and no filesystem");
            let help = "leave 'filesystem' out, or write another 'type'";
            return Err(node.at("filesystem").fault(message, help));
        }
    }
    let is_swap = found == Some(FilesystemKind::Swap);
    if is(PartitionKind::SWAP) != is_swap && found.is_some() {
        let message = if is_swap {
            format!("'{name}' holds swap, and its type says otherwise")
        } else {
            format!("'{name}' is of type 'swap', and holds a filesystem")
        };
        return Err(node.at("type").fault(message, "leave 'type' out"));
    }
    Ok(())
}

fn one(place: &Place<'_>) -> Result<(), DiskFault> {
    let Place {
        node,
        name,
        filesystem,
    } = place;
    let kind = filesystem.kind;
    label(place)?;
    let is_right = match filesystem.id {
        None => true,
        Some(FilesystemId::Serial(_)) => kind == FilesystemKind::Vfat,
        Some(FilesystemId::Uuid(_)) => kind != FilesystemKind::Vfat,
    };
    if !is_right {
        let message = format!("the identifier of '{name}' is none of {kind}");
        return Err(node.at("filesystem.uuid").fault(message, ""));
    }
    options(place)?;
    if let Some(mount) = &filesystem.mount {
        if kind == FilesystemKind::Swap {
            let message = format!("'{name}' is swap, which is mounted nowhere");
            return Err(node.at("mount").fault(message, "leave 'mount' out"));
        }
        mount_point(*node, mount)?;
        let needs_tool = matches!(kind, FilesystemKind::Xfs | FilesystemKind::Btrfs);
        if mount == "/" && (needs_tool || kind == FilesystemKind::Vfat) {
            let message = match needs_tool {
                true => format!("no tool fills {kind} with a whole system without mounting it"),
                false => "vfat has no owners and modes, which a whole system needs".to_owned(),
            };
            let help = "write filesystem = { type = \"ext4\" } for '/'";
            return Err(node.at("filesystem.type").fault(message, help));
        }
    }
    let Some(fstab) = &filesystem.fstab else {
        return Ok(());
    };
    if filesystem.mount.is_none() && kind != FilesystemKind::Swap {
        let message = format!("'{name}' has a line in fstab, and no mount point");
        return Err(node
            .at("fstab")
            .fault(message, "add 'mount', or leave 'fstab' out"));
    }
    if fstab.options.is_empty()
        || fstab
            .options
            .contains(|c: char| c.is_whitespace() || c.is_control())
    {
        let message = format!("'{}' are no mount options", fstab.options.escape_debug());
        let help = "separate them by commas, e.g. \"defaults,noatime\"";
        return Err(node.at("fstab.options").fault(message, help));
    }
    if fstab.pass > 2 {
        let message = format!("fsck has no pass {}", fstab.pass);
        return Err(node
            .at("fstab.pass")
            .fault(message, "0 is never, 1 the root, 2 all others"));
    }
    Ok(())
}

/// Refuses options that would be ignored. Those of other programs are for these to judge.
fn options(place: &Place<'_>) -> Result<(), DiskFault> {
    let options = &place.filesystem.options;
    let kind = place.filesystem.kind;
    let (unknown, help) = match (kind, options.first()) {
        (FilesystemKind::Ext2 | FilesystemKind::Ext3 | FilesystemKind::Ext4, _) => {
            let unknown = ExtTuning::parse(options).err();
            (unknown, "'-m', '-i' and '-J size=' are followed")
        }
        (FilesystemKind::Vfat | FilesystemKind::Swap, first) => (first.cloned(), "leave it out"),
        _ => (None, ""),
    };
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let unknown = unknown.escape_debug();
    let message = format!("'{unknown}' is an option of mkfs.{kind} that nothing here follows");
    let at = place.node.at("filesystem.options");
    Err(at.fault(message, help))
}

fn label(place: &Place<'_>) -> Result<(), DiskFault> {
    let kind = place.filesystem.kind;
    let Some(label) = &place.filesystem.label else {
        return Ok(());
    };
    let at = place.node.at("filesystem.label");
    let limit = kind.label_limit();
    if label.len() > limit {
        let message = format!(
            "'{label}' has {} bytes, and a label of {kind} has {limit} at most",
            label.len()
        );
        return Err(at.fault(message, ""));
    }
    if label.trim().is_empty() {
        return Err(at.fault("the label is empty", "leave it out"));
    }
    if kind == FilesystemKind::Vfat {
        let bad = |c: char| !c.is_ascii() || c.is_control() || "\"*+,./:;<=>?[\\]|".contains(c);
        if let Some(c) = label.chars().find(|c| bad(*c)) {
            let message = format!(
                "'{label}' holds '{}', which a label of vfat cannot",
                c.escape_debug()
            );
            return Err(at.fault(message, "use letters, digits, '_' and '-'"));
        }
    }
    if label.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        let message = format!(
            "'{}' holds a space or a '/', which no device link takes",
            label.escape_debug()
        );
        return Err(at.fault(message, "use '_' or '-'"));
    }
    Ok(())
}

fn mount_point(node: Node, mount: &str) -> Result<(), DiskFault> {
    let at = node.at("mount");
    let Some(inner) = mount.strip_prefix('/') else {
        let message = format!("the mount point '{}' is not absolute", mount.escape_debug());
        return Err(at.fault(message, format!("write \"/{mount}\"")));
    };
    if inner.is_empty() {
        return Ok(());
    }
    if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("the mount point '{mount}' has an empty part, '.' or '..'");
        return Err(at.fault(message, "write the path as `realpath` prints it"));
    }
    if inner.contains(|c: char| c.is_control() || c.is_whitespace()) {
        let message = format!("the mount point '{}' holds a space", mount.escape_debug());
        return Err(at.fault(message, "use another folder"));
    }
    let below = |top: &&&str| mount == **top || mount.starts_with(&format!("{top}/"));
    if let Some(top) = RUNTIME.iter().find(below) {
        let message = format!("'{mount}' lies in '{top}', which a running system mounts by itself");
        return Err(at.fault(message, "use another folder"));
    }
    Ok(())
}

/// Refuses what two filesystems share and must not.
fn twice(place: &Place<'_>, earlier: &[Place<'_>]) -> Result<(), DiskFault> {
    let own = place.filesystem;
    for other in earlier {
        let theirs = other.filesystem;
        if own.mount.is_some() && own.mount == theirs.mount {
            let mount = own.mount.as_deref().unwrap_or_default();
            let message = format!(
                "'{}' is mounted at '{mount}', and so is '{}'",
                place.name, other.name
            );
            return Err(place
                .node
                .at("mount")
                .fault(message, "give one of them another 'mount'"));
        }
        if let (Some(a), Some(b)) = (&own.label, &theirs.label) {
            // FAT knows capitals only.
            let any_case = [own.kind, theirs.kind].contains(&FilesystemKind::Vfat);
            if a == b || any_case && a.eq_ignore_ascii_case(b) {
                let message = format!(
                    "'{}' is labelled '{a}', and so is '{}'",
                    place.name, other.name
                );
                return Err(place
                    .node
                    .at("filesystem.label")
                    .fault(message, "a label finds one filesystem"));
            }
        }
        if own.id.is_some() && own.id == theirs.id {
            let message = format!("'{}' has the identifier of '{}'", place.name, other.name);
            let help = "leave 'uuid' out to have one made";
            return Err(place.node.at("filesystem.uuid").fault(message, help));
        }
    }
    Ok(())
}
