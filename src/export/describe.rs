//! What a profile is checked against: the disk that was decided, and the image on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use super::ExportError;
use super::assemble::Assembly;
use super::formats::{DiskFormat, Firmware};
use super::profiles::{
    Description, GlanceFacts, Layout, Partition, SshLogin, Table, Use, accounts_with_password,
};
use crate::boot::{self, Kernel};
use crate::codec::members::members;
use crate::disk::{self, Devices, FilesystemKind, PartitionKind, TableKind};
use crate::format::Image;
use crate::store::StoredTree;
use crate::tree::Node;
use crate::tree::view::{ImageView as _, resolve};

/// What is known of a disk besides the image.
pub(super) struct Facts<'a> {
    pub(super) formats: Vec<DiskFormat>,
    pub(super) layout: disk::Layout,
    pub(super) devices: &'a Devices,
    pub(super) assembly: &'a Assembly,
    pub(super) firmware: boot::Firmware,
    pub(super) kernel_arguments: Vec<String>,
    pub(super) kernel: &'a Kernel,
}

/// Describes a disk and its image. `packages` are those that are installed.
pub(super) fn describe(
    view: &StoredTree<'_>,
    facts: &Facts<'_>,
    packages: BTreeSet<String>,
) -> Result<Description, ExportError> {
    let regular = view
        .tree
        .iter()
        .filter_map(|(path, inode)| match inode.node {
            Node::File { size, .. } => {
                Some((String::from_utf8_lossy(path.as_bytes()).into_owned(), size))
            }
            _ => None,
        });
    let files: BTreeMap<String, u64> = regular.collect();
    Ok(Description {
        formats: facts.formats.clone(),
        virtual_size: facts.assembly.plan.size,
        table: match facts.assembly.plan.table {
            TableKind::Gpt => Table::Gpt,
            TableKind::Mbr => Table::Mbr,
        },
        layout: match facts.layout {
            disk::Layout::Updatable => Layout::Updatable,
            disk::Layout::Plain => Layout::Plain,
        },
        firmware: firmware(facts.firmware),
        partitions: partitions(facts.devices),
        kernel_arguments: facts.kernel_arguments.clone(),
        initrd_modules: modules(view, facts.kernel),
        passwords: accounts_with_password(&read(view, "etc/shadow")),
        ssh: packages.contains("openssh-server").then(|| ssh(view)),
        packages,
        files,
    })
}

/// Returns what firmware starts the disk.
pub(super) fn firmware(found: boot::Firmware) -> Vec<Firmware> {
    let bios = found.bios.then_some(Firmware::Bios);
    let uefi = found.uefi.then_some(Firmware::Uefi);
    bios.into_iter().chain(uefi).collect()
}

/// Returns the names of all packages of an image.
pub(super) fn packages(
    repository: &crate::store::Repository,
    image: &Image,
) -> Result<BTreeSet<String>, ExportError> {
    let mut names = BTreeSet::new();
    for layer in &image.layers {
        let packages = repository.read_layer(&layer.id)?.packages;
        names.extend(packages.into_iter().map(|package| package.name));
    }
    Ok(names)
}

/// Returns what Glance is told of an image in one format.
pub(super) fn glance_facts(
    view: &StoredTree<'_>,
    name: &str,
    format: DiskFormat,
    image: &Image,
    description: &Description,
) -> GlanceFacts {
    let release = release(view);
    let value = |key: &str| release.get(key).cloned().unwrap_or_default();
    let has_cloud_init = description.packages.contains("cloud-init");
    GlanceFacts {
        name: name.to_owned(),
        format,
        virtual_size: description.virtual_size,
        memory_mib: 512,
        os_id: value("ID"),
        os_version: value("VERSION_ID"),
        // The account that cloud-init makes on Debian and its like has the distribution's name.
        admin_user: has_cloud_init.then(|| value("ID")),
        architecture: image.architecture.clone(),
        firmware: description.firmware.clone(),
        has_guest_agent: description.packages.contains("qemu-guest-agent"),
    }
}

/// Reads the image's os-release.
pub(super) fn release(view: &StoredTree<'_>) -> BTreeMap<String, String> {
    let text = read(view, "etc/os-release");
    let text = String::from_utf8_lossy(&text);
    let fields = text.lines().filter_map(|line| line.split_once('='));
    let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
    fields
        .map(|(key, value)| (key.to_owned(), unquoted(value)))
        .collect()
}

/// Reads a file of the image; what is not there, or no regular file, is empty.
fn read(view: &StoredTree<'_>, path: &str) -> Vec<u8> {
    let path = resolve(view, path.as_bytes());
    path.and_then(|path| view.read(&path).ok())
        .unwrap_or_default()
}

/// Reads the settings of sshd in its order: Debian's file includes the folder first.
fn ssh(view: &StoredTree<'_>) -> SshLogin {
    const FOLDER: &str = "etc/ssh/sshd_config.d";
    let names = view.names(FOLDER.as_bytes());
    let names = names.iter().filter(|name| name.ends_with(b".conf"));
    let included =
        names.map(|name| read(view, &format!("{FOLDER}/{}", String::from_utf8_lossy(name))));
    let files: Vec<Vec<u8>> = included
        .chain([read(view, "etc/ssh/sshd_config")])
        .collect();
    SshLogin::of_config(&files.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Returns the modules that the initrd holds, and those that are built in.
fn modules(view: &StoredTree<'_>, kernel: &Kernel) -> BTreeSet<String> {
    let initrd = Cursor::new(read(view, &kernel.initrd));
    let held = members(&mut { initrd }, 1)
        .map(|found| found.members)
        .unwrap_or_default();
    let built_in = read(view, &format!("{}/modules.builtin", kernel.modules));
    let built_in = String::from_utf8_lossy(&built_in);
    let held = held.iter().map(|member| member.name.as_str());
    held.chain(built_in.lines())
        .filter_map(module_name)
        .collect()
}

/// Says whether an initrd holds one of these paths; `None` where it cannot be read.
pub(super) fn initrd_has(view: &StoredTree<'_>, initrd: &str, paths: &[&str]) -> Option<bool> {
    let initrd = Cursor::new(read(view, initrd));
    let held = members(&mut { initrd }, 1).ok()?;
    let is_one = |name: &str| paths.contains(&name.trim_start_matches("./"));
    let has = held.members.iter().any(|member| is_one(&member.name));
    (has || held.is_whole && !held.members.is_empty()).then_some(has)
}

fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (name, _) = name.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn partitions(devices: &Devices) -> Vec<Partition> {
    let partition =
        |name: &str, kind: PartitionKind, filesystem: Option<&disk::Filesystem>, is_volume| {
            let is_swap = filesystem.is_some_and(|fs| fs.kind == FilesystemKind::Swap);
            Partition {
                name: name.to_owned(),
                usage: match kind {
                    _ if is_swap => Use::Swap,
                    PartitionKind::ESP => Use::Esp,
                    PartitionKind::BIOS => Use::BiosBoot,
                    PartitionKind::SWAP => Use::Swap,
                    PartitionKind::LVM => Use::Lvm,
                    _ => Use::Filesystem,
                },
                filesystem: filesystem.map(|fs| fs.kind.to_string()),
                mount_point: filesystem.and_then(|fs| fs.mount.clone()),
                is_volume,
            }
        };
    let parts = devices.disks.iter().flat_map(|disk| &disk.partitions);
    let parts = parts.map(|part| partition(&part.name, part.kind, part.filesystem.as_ref(), false));
    let volumes = devices.volumes.iter().map(|volume| {
        partition(
            &volume.name,
            PartitionKind::LINUX,
            volume.filesystem.as_ref(),
            true,
        )
    });
    parts.chain(volumes).collect()
}
