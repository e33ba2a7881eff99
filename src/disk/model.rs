//! What a description says about disks: plain values, for a recipe's `[disk]` and for
//! diskimage-builder's block-device YAML alike.
//!
//! The parts refer to each other by name, as in that YAML: a physical volume to a partition, a group
//! to physical volumes, a logical volume to a group. [`check`](super::check) says whether it all
//! fits.

use std::fmt;

use super::kind::PartitionKind;
use super::size::{MIB, Share};
use super::uuid::Uuid;

/// All devices of a description. Names are unique over all kinds of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Disks (diskimage-builder: `local_loop` with `partitioning`).
    pub disks: Vec<Disk>,
    /// Physical volumes of LVM (`lvm.pvs`).
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Volume groups (`lvm.vgs`).
    pub groups: Vec<VolumeGroup>,
    /// Logical volumes in order of their allocation (`lvm.lvs`).
    pub volumes: Vec<LogicalVolume>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its name; diskimage-builder's is `image0`.
    pub name: String,
    /// How large it is.
    pub size: DiskSize,
    /// The size of its logical sectors.
    pub sector: SectorSize,
    /// Every partition starts at a multiple of so many bytes.
    pub align: u64,
    /// Its partition table; without one it holds one filesystem.
    pub table: Option<TableKind>,
    /// The partitions in order.
    pub partitions: Vec<Partition>,
    /// The filesystem of a disk without table.
    pub filesystem: Option<Filesystem>,
}

/// How large a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSize {
    /// What its content needs, and something more for what takes the rest.
    Auto(Margin),
    /// So many bytes.
    Exact(u64),
}

/// What a disk gets beyond what its content needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Margin {
    /// So many bytes.
    Bytes(u64),
    /// So much of what the content of the growing partition needs.
    Share(Share),
}

impl Default for Margin {
    fn default() -> Self {
        Self::Bytes(512 * MIB)
    }
}

/// The size of a disk's logical sectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl SectorSize {
    /// Returns the size in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableKind {
    /// A GUID partition table (UEFI specification, chapter 5).
    #[default]
    Gpt,
    /// A master boot record, with logical partitions in an extended one.
    Mbr,
}

impl TableKind {
    /// All kinds by their words.
    pub const ALL: [(&'static str, Self); 2] = [("gpt", Self::Gpt), ("mbr", Self::Mbr)];
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
        })
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name; in a GPT also its label, where it has no other.
    pub name: String,
    /// How large it is.
    pub size: PartSize,
    /// What it is for.
    pub kind: PartitionKind,
    /// Whether it is flagged for booting: active in an MBR, "legacy BIOS bootable" in a GPT.
    pub is_boot: bool,
    /// What an MBR makes of it (diskimage-builder: `logical` unless flagged `primary`).
    pub role: Role,
    /// Its label in a GPT.
    pub label: Option<String>,
    /// What it holds.
    pub filesystem: Option<Filesystem>,
}

/// What kind of partition an MBR has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Primary in an MBR; the only kind in a GPT.
    #[default]
    Any,
    /// Explicitly primary, which only an MBR knows.
    Primary,
    /// In the extended partition of an MBR.
    Logical,
}

/// How large a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartSize {
    /// So many bytes, rounded up to the alignment.
    Bytes(u64),
    /// So much of what the partitions before it leave free.
    Share(Share),
    /// What all others leave free.
    Rest,
}

/// A physical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// Its name.
    pub name: String,
    /// The partition that it lies on.
    pub on: String,
    /// Options of `pvcreate`.
    pub options: Vec<String>,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Its physical volumes, in the order in which they fill.
    pub on: Vec<String>,
    /// The size of its extents in bytes; LVM's own is 4 MiB.
    pub extent: u64,
    /// Options of `vgcreate`.
    pub options: Vec<String>,
}

/// The size of LVM's extents where nobody says another.
pub const DEFAULT_EXTENT: u64 = 4 * MIB;

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// The group that it lies in.
    pub group: String,
    /// How large it is.
    pub size: VolumeSize,
    /// How its bytes lie in the group.
    pub kind: VolumeKind,
    /// Options of `lvcreate`.
    pub options: Vec<String>,
    /// What it holds.
    pub filesystem: Option<Filesystem>,
}

/// How large a logical volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeSize {
    /// So many bytes, rounded up to extents.
    Bytes(u64),
    /// So many extents.
    Extents(u64),
    /// So much of its group (`%VG`).
    OfGroup(Share),
    /// So much of what the volumes before it leave free (`%FREE`).
    OfFree(Share),
    /// What all others leave free.
    Rest,
}

/// How the bytes of a logical volume lie in its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// In runs of extents.
    Linear,
    /// In a pool, once they are written.
    Thin {
        /// The pool's name.
        pool: String,
    },
    /// It is such a pool.
    ThinPool,
}

/// A filesystem or swap, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// What it is.
    pub kind: FilesystemKind,
    /// Its label.
    pub label: Option<String>,
    /// Its identifier; else one derives from the disk's seed.
    pub id: Option<FilesystemId>,
    /// Options of its `mkfs`.
    pub options: Vec<String>,
    /// Where it is mounted: an absolute path.
    pub mount: Option<String>,
    /// Its line in `/etc/fstab`, if it has one.
    pub fstab: Option<Fstab>,
}

impl Filesystem {
    /// Makes a filesystem without label and options that is mounted nowhere.
    pub fn new(kind: FilesystemKind) -> Self {
        Self {
            kind,
            label: None,
            id: None,
            options: Vec::new(),
            mount: None,
            fstab: None,
        }
    }
}

/// What a filesystem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemKind {
    /// ext2.
    Ext2,
    /// ext3.
    Ext3,
    /// ext4.
    Ext4,
    /// FAT with long names.
    Vfat,
    /// Swap space.
    Swap,
    /// XFS, which `mkfs.xfs` makes.
    Xfs,
    /// Btrfs, which `mkfs.btrfs` makes.
    Btrfs,
}

/// Who writes a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// This program.
    Native,
    /// The program that the value names, and nothing can be in it but what that program puts there.
    NeedsTool(&'static str),
}

impl FilesystemKind {
    /// All kinds by their words.
    pub const ALL: [(&'static str, Self); 7] = [
        ("ext4", Self::Ext4),
        ("ext3", Self::Ext3),
        ("ext2", Self::Ext2),
        ("vfat", Self::Vfat),
        ("swap", Self::Swap),
        ("xfs", Self::Xfs),
        ("btrfs", Self::Btrfs),
    ];

    /// Returns who writes it.
    pub fn writer(self) -> Writer {
        match self {
            Self::Xfs => Writer::NeedsTool("mkfs.xfs"),
            Self::Btrfs => Writer::NeedsTool("mkfs.btrfs"),
            _ => Writer::Native,
        }
    }

    /// Returns how many bytes a label may have, and how they are counted in a message.
    pub fn label_limit(self) -> usize {
        match self {
            Self::Ext2 | Self::Ext3 | Self::Ext4 | Self::Swap => 16,
            Self::Vfat => 11,
            Self::Xfs => 12,
            Self::Btrfs => 255,
        }
    }
}

impl fmt::Display for FilesystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(_, kind)| kind == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// The identifier of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemId {
    /// The UUID of anything but FAT.
    Uuid(Uuid),
    /// The serial number of FAT, written `1234-ABCD`.
    Serial(u32),
}

impl FilesystemId {
    /// Parses the identifier of a filesystem of `kind`.
    pub fn parse(text: &str, kind: FilesystemKind) -> Option<Self> {
        if kind != FilesystemKind::Vfat {
            return Uuid::parse(text).map(Self::Uuid);
        }
        let (high, low) = text.split_once('-')?;
        let is_part = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = (is_part(high) && is_part(low)).then(|| format!("{high}{low}"))?;
        u32::from_str_radix(&digits, 16).ok().map(Self::Serial)
    }
}

impl fmt::Display for FilesystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Serial(serial) => write!(f, "{:04X}-{:04X}", serial >> 16, serial & 0xffff),
        }
    }
}

/// A line of `/etc/fstab`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fstab {
    /// Mount options, comma-separated.
    pub options: String,
    /// Whether `dump` backs it up.
    pub dump: u32,
    /// When `fsck` checks it: 0 never, 1 first, 2 after that.
    pub pass: u32,
}

impl Default for Fstab {
    fn default() -> Self {
        Self {
            options: "defaults".to_owned(),
            dump: 0,
            pass: 2,
        }
    }
}
