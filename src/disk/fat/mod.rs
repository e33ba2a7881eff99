//! FAT32 and FAT16, written once: an EFI system partition, or any other vfat.
//!
//! The sources are Microsoft's "FAT: General Overview of On-Disk Format" 1.03 and, for where they
//! leave a choice, `mkfs.fat`. A [`Medium`] cannot be read, so all places are decided before the
//! first byte is written: files lie one after the other, each in one run of clusters.

mod geometry;
mod names;
mod tree;

use std::io::{self, Read};

use super::bytes::Record;
use super::medium::Medium;
use super::model::SectorSize;
use super::size::MIB;
use geometry::{FatKind, Geometry};
use tree::{Folder, Tree};

pub(crate) use geometry::{least_fat16, least_fat32};

/// What is said of a FAT filesystem as a whole.
#[derive(Debug, Clone)]
pub struct FatOptions {
    /// The volume's serial number.
    pub serial: u32,
    /// The volume's label, 11 capitals at most.
    pub label: Option<String>,
    /// The sectors of its disk.
    pub sector: SectorSize,
    /// Where the filesystem starts on its disk, in bytes.
    pub start: u64,
    /// The time of all files, in seconds since 1970; FAT starts in 1980.
    pub time: i64,
    /// Whether it must be FAT32, as on an EFI system partition.
    pub only_fat32: bool,
}

/// A file or folder that a FAT filesystem gets. Folders on the way are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatFile {
    /// Its path, without a slash in front.
    pub path: String,
    /// Its size in bytes; `None` for a folder.
    pub size: Option<u64>,
}

/// Why a FAT filesystem cannot be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message says.
pub enum FatError {
    /// The disk cannot be written, or a file not read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The partition has a size that no kind of FAT fits.
    #[error("{size} bytes are too few, or too many, for {kind}")]
    Size { size: u64, kind: &'static str },
    /// The content is larger than the partition.
    #[error("the files need {needed} bytes, and the filesystem has {free}")]
    Full { needed: u64, free: u64 },
    /// A name is one that FAT cannot hold.
    #[error("'{}' is no name for FAT: {reason}", path.escape_debug())]
    Name { path: String, reason: &'static str },
    /// Two names are one name to FAT, which ignores case.
    #[error("'{path}' is there twice: FAT ignores case")]
    Twice { path: String },
    /// A file has 4 GiB or more.
    #[error("'{path}' has {size} bytes: a file in FAT has less than 4 GiB")]
    Large { path: String, size: u64 },
    /// A file is not as long as it was said to be.
    #[error("'{path}' was said to have {size} bytes, and has {found}")]
    Changed { path: String, size: u64, found: u64 },
}

/// Gives the content of a file by its index.
pub type Open<'a> = dyn FnMut(usize) -> io::Result<Box<dyn Read + 'a>> + 'a;

/// Writes a filesystem over all of `medium`, which reads as zeros. `open` gives the content of the
/// file at an index of `files`, in order of the paths.
pub fn write_fat(
    medium: &mut dyn Medium,
    options: &FatOptions,
    files: &[FatFile],
    open: &mut Open<'_>,
) -> Result<(), FatError> {
    let (geometry, tree) = lay_out(medium.size(), options, files)?;
    write_boot(medium, &geometry, options, &tree)?;
    write_tables(medium, &geometry, &tree)?;
    for folder in &tree.folders {
        write_folder(medium, &geometry, options, &tree, folder)?;
    }
    for (place, file) in tree.files.iter().zip(files) {
        let (Some(size), true) = (file.size, place.clusters > 0) else {
            continue;
        };
        copy(
            medium,
            geometry.offset_of(place.first),
            &file.path,
            size,
            open(place.index)?,
        )?;
    }
    Ok(())
}

/// Says why a filesystem of `size` bytes cannot hold these files, before anything is written.
pub fn check_fat(size: u64, options: &FatOptions, files: &[FatFile]) -> Result<(), FatError> {
    lay_out(size, options, files).map(|_| ())
}

fn lay_out(
    size: u64,
    options: &FatOptions,
    files: &[FatFile],
) -> Result<(Geometry, Tree), FatError> {
    let geometry = Geometry::of(size, options)?;
    let tree = Tree::new(files, &geometry)?;
    let of = |clusters: u64| clusters * geometry.cluster_size();
    if tree.clusters > u64::from(geometry.clusters) {
        let (needed, free) = (of(tree.clusters), of(u64::from(geometry.clusters)));
        return Err(FatError::Full { needed, free });
    }
    Ok((geometry, tree))
}

/// Returns how many bytes a filesystem of these files needs, with `spare` bytes left free.
pub fn needed_fat(files: &[FatFile], options: &FatOptions, spare: u64) -> Result<u64, FatError> {
    if options.only_fat32 {
        return needed_fat32(files, options.sector, spare);
    }
    let mut size = least_fat16(options.sector);
    let fat32 = least_fat32(options.sector).saturating_add(spare);
    loop {
        // Larger clusters may need more, so that no formula says it.
        match check_fat(size.saturating_sub(spare), options, files) {
            Err(FatError::Full { .. } | FatError::Size { .. }) => {
                let next = size + (size / 8).max(MIB);
                size = if size < fat32 { next.min(fat32) } else { next };
            }
            result => return result.map(|()| size.next_multiple_of(MIB)),
        }
    }
}

fn needed_fat32(files: &[FatFile], sector: SectorSize, spare: u64) -> Result<u64, FatError> {
    // No cluster is larger below 8 GiB, and smaller ones waste less.
    const CLUSTER: u64 = 4096;
    let tree = Tree::with_clusters(files, CLUSTER)?;
    let clusters = tree.clusters + spare.div_ceil(CLUSTER) + 1;
    let tables = 2 * (4 * clusters).next_multiple_of(4096);
    let size = clusters * CLUSTER + tables + geometry::RESERVED_FAT32 * sector.bytes();
    Ok(size.max(least_fat32(sector)))
}

fn copy(
    medium: &mut dyn Medium,
    start: u64,
    path: &str,
    size: u64,
    content: Box<dyn Read + '_>,
) -> Result<(), FatError> {
    // One byte more shows a file that has grown.
    let mut content = content.take(size + 1);
    let mut buffer = vec![0; 1 << 16];
    let mut found = 0;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let end = found + count as u64;
        if end <= size {
            medium.write_at(start + found, &buffer[..count])?;
        }
        found = end;
    }
    if found == size {
        return Ok(());
    }
    Err(FatError::Changed {
        path: path.to_owned(),
        size,
        found,
    })
}

fn label_bytes(label: Option<&str>) -> [u8; 11] {
    let mut bytes = *b"NO NAME    ";
    if let Some(label) = label {
        bytes = [b' '; 11];
        for (place, byte) in bytes.iter_mut().zip(label.to_ascii_uppercase().bytes()) {
            *place = byte;
        }
    }
    bytes
}

fn write_boot(
    medium: &mut dyn Medium,
    geometry: &Geometry,
    options: &FatOptions,
    tree: &Tree,
) -> io::Result<()> {
    let sector = geometry.sector;
    let is_32 = geometry.kind == FatKind::Fat32;
    let mut boot = Record::new(sector as usize);
    let small = |value: u64| u16::try_from(value).unwrap_or(0);
    let total = geometry.sectors;
    boot.put(0, &[0xeb, if is_32 { 0x58 } else { 0x3c }, 0x90])
        .put(3, b"layerset")
        .u16(11, sector as u16)
        .u8(13, (geometry.cluster_size() / sector) as u8)
        .u16(14, geometry.reserved as u16)
        .u8(16, 2)
        .u16(17, geometry.root_entries)
        // A total below 65536 stands in the old field, but for FAT32.
        .u16(19, if is_32 { 0 } else { small(total) })
        .u8(21, 0xf8)
        .u16(
            22,
            if is_32 {
                0
            } else {
                geometry.table_sectors as u16
            },
        )
        .u16(24, 63)
        .u16(26, 255)
        .u32(28, u32::try_from(options.start / sector).unwrap_or(0))
        .u32(
            32,
            if is_32 || small(total) == 0 {
                total as u32
            } else {
                0
            },
        );
    let rest = if is_32 {
        boot.u32(36, geometry.table_sectors as u32)
            .u32(44, tree.root_first())
            .u16(48, 1)
            .u16(50, 6);
        64
    } else {
        36
    };
    boot.u8(rest, 0x80)
        .u8(rest + 2, 0x29)
        .u32(rest + 3, options.serial)
        .put(rest + 7, &label_bytes(options.label.as_deref()))
        .put(rest + 18, if is_32 { b"FAT32   " } else { b"FAT16   " });
    // What a BIOS runs that starts here by mistake: it asks for the next device (int 18h).
    boot.put(rest + 26, &[0xcd, 0x18, 0xeb, 0xfe])
        .put(510, &[0x55, 0xaa]);
    medium.write_at(0, boot.bytes())?;
    if !is_32 {
        return Ok(());
    }
    let used = tree.clusters as u32;
    let mut info = Record::new(sector as usize);
    info.put(0, b"RRaA")
        .put(484, b"rrAa")
        .u32(488, geometry.clusters - used)
        .u32(492, 2 + used.saturating_sub(1))
        .put(508, &[0, 0, 0x55, 0xaa]);
    medium.write_at(sector, info.bytes())?;
    medium.write_at(6 * sector, boot.bytes())?;
    medium.write_at(7 * sector, info.bytes())
}

/// Writes both tables: each run of clusters leads from one to the next.
fn write_tables(medium: &mut dyn Medium, geometry: &Geometry, tree: &Tree) -> io::Result<()> {
    let width = geometry.kind.entry_bytes();
    let end: u32 = 0x0fff_ffff;
    let mut table = vec![0x0fff_fff8, end];
    for (first, clusters) in tree.runs() {
        table.extend(first + 1..first + clusters);
        if clusters > 0 {
            table.push(end);
        }
    }
    let bytes: Vec<u8> = table
        .iter()
        .flat_map(|entry| entry.to_le_bytes().into_iter().take(width))
        .collect();
    for copy in 0..2 {
        let start = (geometry.reserved + copy * geometry.table_sectors) * geometry.sector;
        medium.write_at(start, &bytes)?;
    }
    Ok(())
}

fn write_folder(
    medium: &mut dyn Medium,
    geometry: &Geometry,
    options: &FatOptions,
    tree: &Tree,
    folder: &Folder,
) -> io::Result<()> {
    let time = names::dos_time(options.time);
    let mut bytes = Vec::new();
    let entry = |name: &[u8; 11], attributes: u8, first: u32, size: u32| {
        names::entry(name, attributes, time, first, size)
    };
    match folder.parent {
        None => {
            if let Some(label) = &options.label {
                bytes.extend(entry(&label_bytes(Some(label)), 0x08, 0, 0));
            }
        }
        Some(parent) => {
            // The root is 0 here, wherever it lies.
            let above = if parent == 0 {
                0
            } else {
                tree.folders[parent].first
            };
            bytes.extend(entry(b".          ", 0x10, folder.first, 0));
            bytes.extend(entry(b"..         ", 0x10, above, 0));
        }
    }
    for child in &folder.children {
        let (attributes, first, size) = match child.node {
            tree::Node::Folder(index) => (0x10, tree.folders[index].first, 0),
            tree::Node::File(index) => {
                let file = &tree.files[index];
                (0x20, file.first, file.size as u32)
            }
        };
        bytes.extend(names::long_entries(&child.name, &child.short));
        bytes.extend(entry(&child.short, attributes, first, size));
    }
    let start = match (folder.parent, geometry.kind) {
        (None, FatKind::Fat16) => geometry.root_offset(),
        _ => geometry.offset_of(folder.first),
    };
    medium.write_at(start, &bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
