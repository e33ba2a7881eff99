//! `/etc/fstab` and the identifiers in it.

use super::model::{Devices, Filesystem, FilesystemId, FilesystemKind};
use super::seed::Seed;
use super::uuid::Uuid;

/// Returns the identifier of the filesystem of the partition or volume called `name`: its own, else
/// one that derives from `seed`.
pub fn filesystem_id(filesystem: &Filesystem, name: &str, seed: &Seed) -> FilesystemId {
    let made = || {
        let name = format!("filesystem {name}");
        match filesystem.kind {
            FilesystemKind::Vfat => FilesystemId::Serial(seed.number(&name)),
            _ => FilesystemId::Uuid(Uuid(seed.uuid(&name))),
        }
    };
    filesystem.id.unwrap_or_else(made)
}

/// Returns the lines of `/etc/fstab` for every filesystem that has one, in order of their mount
/// points, swap last; empty where none has.
pub fn fstab(devices: &Devices, seed: &Seed) -> String {
    let partitions = devices.disks.iter().flat_map(|disk| &disk.partitions);
    let partitions = partitions.map(|part| (&part.name, &part.filesystem));
    let volumes = devices.volumes.iter();
    let volumes = volumes.map(|volume| (&volume.name, &volume.filesystem));
    let mut lines = Vec::new();
    for (name, filesystem) in partitions.chain(volumes) {
        let Some(filesystem) = filesystem else {
            continue;
        };
        let Some(fstab) = &filesystem.fstab else {
            continue;
        };
        let mount = filesystem.mount.as_deref();
        let line = format!(
            "UUID={} {} {} {} {} {}\n",
            filesystem_id(filesystem, name, seed),
            mount.unwrap_or("none"),
            filesystem.kind,
            fstab.options,
            fstab.dump,
            fstab.pass
        );
        lines.push((mount.is_none(), mount, line));
    }
    lines.sort();
    lines.into_iter().map(|(_, _, line)| line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::{Fstab, Layout, SectorSize, TableKind, layout_devices};

    #[test]
    fn a_parent_stands_before_its_children_and_swap_last() {
        let seed = Seed::new(b"x");
        let mut devices = layout_devices(Layout::Plain, TableKind::Gpt, SectorSize::B512, "amd64");
        let partitions = &mut devices.disks[0].partitions;
        let mut swap = partitions[2].clone();
        swap.name = "swap".into();
        let mut filesystem = Filesystem::new(FilesystemKind::Swap);
        filesystem.id =
            FilesystemId::parse("00000000-0000-0000-0000-000000000001", FilesystemKind::Swap);
        filesystem.fstab = Some(Fstab {
            options: "sw".into(),
            dump: 0,
            pass: 0,
        });
        swap.filesystem = Some(filesystem);
        partitions.insert(0, swap);
        let root = filesystem_id(partitions[3].filesystem.as_ref().unwrap(), "root", &seed);
        let esp = filesystem_id(partitions[2].filesystem.as_ref().unwrap(), "esp", &seed);
        let expected = format!(
            "UUID={root} / ext4 defaults 0 1\nUUID={esp} /boot/efi vfat umask=0077,nofail 0 2\nUUID=00000000-0000-0000-0000-000000000001 none swap sw 0 0\n"
        );
        assert_eq!(fstab(&devices, &seed), expected);
    }
}
