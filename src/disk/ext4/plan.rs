//! How much room the entries need, and whether there is so much.

use super::checksum::Sums;
use super::error::Ext4Error;
use super::geometry::{BLOCK, GROUP, Geometry};
use super::htree::Index;
use super::inode::encode_device;
use super::mapping;
use super::model::{Content, Entry, EntryKind, FsOptions, Journal, Kind};
use super::tree::{LOST_FOUND, LOST_FOUND_BLOCKS, Tree};
use super::{directory, xattr};

/// The longest symbolic link that stands in its inode.
pub(super) const SHORT_SYMLINK: usize = 59;

/// A filesystem that fits; [`Plan::write`] writes it.
#[derive(Debug)]
pub struct Plan {
    pub(super) tree: Tree,
    pub(super) options: FsOptions,
    pub(super) geometry: Geometry,
    pub(super) sums: Sums,
    demand: Demand,
}

/// What the entries need, at most.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    /// Blocks of directories and of all that belongs to them.
    directories: u64,
    /// Blocks of everything else.
    files: u64,
    inodes: u64,
}

impl Demand {
    /// Returns the blocks that directories get: an eighth more, in steps, so that a few more of them
    /// move no file.
    fn region(&self) -> u64 {
        let step = (self.directories.next_power_of_two() / 8).max(16);
        self.directories.next_multiple_of(step)
    }

    /// Returns by how many blocks a filesystem is too small.
    fn lacks(&self, geometry: &Geometry) -> u64 {
        if geometry.inodes() < self.inodes {
            return GROUP;
        }
        let needs = self.region() + self.files + geometry.journal_blocks + map_of_journal(geometry);
        needs.saturating_sub(geometry.room())
    }
}

fn map_of_journal(geometry: &Geometry) -> u64 {
    let blocks = geometry.journal_blocks;
    let most = |kind| mapping::most_blocks(kind, blocks, 0) - blocks;
    most(Kind::Ext4).max(most(Kind::Ext3))
}

/// Checks entries, and lays out a filesystem of them in the room that `options` give.
///
/// Entries may come in any order, hard links after their files; the root must be among them, unless
/// there are none at all. Contents are laid out and read in this order. `lost+found` is added where
/// it is missing.
pub fn plan(entries: Vec<Entry>, options: &FsOptions) -> Result<Plan, Ext4Error> {
    Survey::new(entries, options)?.plan(options.size)
}

/// Returns the smallest size, in bytes, that holds the entries; the size in `options` does not count.
///
/// Such a filesystem is full: whoever writes to it wants a margin.
pub fn minimum_size(entries: Vec<Entry>, options: &FsOptions) -> Result<u64, Ext4Error> {
    Survey::new(entries, options)?.minimum_size()
}

impl Plan {
    /// Returns the smallest size, in bytes, that would hold the entries.
    pub fn minimum_size(&self) -> Result<u64, Ext4Error> {
        minimum_size_of(&self.demand, &self.options)
    }

    /// Returns the size of the filesystem in bytes: that of the options, or a little less.
    pub fn size(&self) -> u64 {
        self.geometry.blocks * BLOCK as u64
    }

    /// Returns how many bytes are in use at most, with all metadata and the journal. Holes that are
    /// found only when contents are read make it less.
    pub fn used(&self) -> u64 {
        let metadata = self.geometry.blocks - self.geometry.room();
        let content = self.demand.directories + self.demand.files + self.geometry.journal_blocks;
        (metadata + content) * BLOCK as u64
    }

    /// Returns the number of inodes in use, with the ten that are reserved.
    pub fn inodes(&self) -> u32 {
        self.tree.last_inode
    }

    /// Returns the first block after those that directories may take.
    pub(super) fn files_start(&self) -> u64 {
        self.geometry
            .after(self.geometry.data_start(), self.demand.region())
    }
}

/// Entries that were checked, and what they need: a filesystem without a size.
#[derive(Debug)]
pub struct Survey {
    tree: Tree,
    options: FsOptions,
    sums: Sums,
    demand: Demand,
}

impl Survey {
    /// Checks entries as [`plan`] does; the size in `options` does not count.
    pub fn new(entries: Vec<Entry>, options: &FsOptions) -> Result<Self, Ext4Error> {
        check_options(options)?;
        let sums = Sums::new(&options.uuid, options.kind == Kind::Ext4);
        let tree = Tree::new(entries, options.kind, options.epoch)?;
        let used = u64::from(tree.last_inode);
        let mut demand = Demand {
            inodes: used + (used / 8).max(u64::from(options.spare_inodes)),
            ..Demand::default()
        };
        for (index, entry) in tree.entries.iter().enumerate() {
            if matches!(entry.kind, EntryKind::HardLink(_)) {
                continue;
            }
            let xattrs = u64::from(xattr::encode(entry)?.block.is_some());
            if matches!(entry.kind, EntryKind::Directory) {
                let blocks = directory_blocks(&tree, index, options, sums)?;
                let mapped = mapping::most_blocks(options.kind, blocks, 0);
                demand.directories += mapped + xattrs;
            } else {
                demand.files += content_blocks(entry, options.kind)? + xattrs;
            }
        }
        Ok(Self {
            tree,
            options: options.clone(),
            sums,
            demand,
        })
    }

    /// Returns the smallest size that holds the entries, in bytes, as [`minimum_size`] does.
    pub fn minimum_size(&self) -> Result<u64, Ext4Error> {
        minimum_size_of(&self.demand, &self.options)
    }

    /// Lays the filesystem out in `size` bytes.
    pub fn plan(mut self, size: u64) -> Result<Plan, Ext4Error> {
        self.options.size = size;
        let blocks = size / BLOCK as u64;
        let geometry = Geometry::new(&self.options, blocks, self.demand.inodes)?;
        if self.demand.lacks(&geometry) > 0 {
            return Err(Ext4Error::TooSmall {
                needs: self.minimum_size()?,
                has: size,
            });
        }
        Ok(Plan {
            tree: self.tree,
            options: self.options,
            geometry,
            sums: self.sums,
            demand: self.demand,
        })
    }
}

/// Grows from what the content takes until all fits. Each step adds what is missing, so it ends at
/// the first size that does, but for the metadata that a new group brings.
fn minimum_size_of(demand: &Demand, options: &FsOptions) -> Result<u64, Ext4Error> {
    let mut blocks = demand.region() + demand.files;
    loop {
        let geometry = Geometry::new(options, blocks, demand.inodes)?;
        match demand.lacks(&geometry) {
            0 => return Ok(blocks * BLOCK as u64),
            missing => blocks += missing,
        }
    }
}

fn check_options(options: &FsOptions) -> Result<(), Ext4Error> {
    if options.label.len() > 16 || options.label.contains('\0') {
        return Err(Ext4Error::Label {
            label: options.label.clone(),
        });
    }
    let check = |option, value, range: std::ops::RangeInclusive<u64>, allowed| {
        if range.contains(&value) {
            return Ok(());
        }
        Err(Ext4Error::Option {
            option,
            value,
            allowed,
        })
    };
    let percent = u64::from(options.reserved_percent);
    check("the reserved percentage", percent, 0..=50, "50 is the most")?;
    check(
        "the number of bytes per inode",
        options.bytes_per_inode,
        1024..=64 << 20,
        "1024 to 67108864 are possible",
    )?;
    if let (Journal::Bytes(bytes), Kind::Ext3 | Kind::Ext4) = (options.journal, options.kind) {
        let most = 10_240_000 * BLOCK as u64;
        let allowed = "4194304 to 41943040000 are possible";
        check("the length of the journal", bytes, 4 << 20..=most, allowed)?;
    }
    Ok(())
}

fn directory_blocks(
    tree: &Tree,
    index: usize,
    options: &FsOptions,
    sums: Sums,
) -> Result<u64, Ext4Error> {
    let names = tree.names(index);
    let blocks = if directory::fits_one_block(names.clone(), sums) {
        1
    } else {
        Index::new(names, &options.hash_seed, sums)
            .ok_or_else(|| Ext4Error::DirectoryTooLarge {
                path: tree.entries[index].path.clone(),
            })?
            .blocks()
    };
    let is_lost_found = tree.inode(index) == LOST_FOUND;
    Ok(if is_lost_found {
        blocks.max(LOST_FOUND_BLOCKS)
    } else {
        blocks
    })
}

/// Returns the blocks of what is no directory, and checks that it can be stored.
fn content_blocks(entry: &Entry, kind: Kind) -> Result<u64, Ext4Error> {
    let path = || entry.path.clone();
    match &entry.kind {
        EntryKind::File { content, size } => {
            let limit = mapping::largest_file(kind);
            if *size > limit {
                return Err(Ext4Error::FileTooLarge {
                    path: path(),
                    size: *size,
                    limit,
                });
            }
            let holes = known_holes(entry, content, *size)?;
            let blocks = size.div_ceil(BLOCK as u64);
            Ok(mapping::most_blocks(kind, blocks, holes))
        }
        EntryKind::Symlink(target) if target.is_empty() || target.len() >= BLOCK => {
            Err(Ext4Error::BadSymlink {
                path: path(),
                length: target.len(),
            })
        }
        EntryKind::Symlink(target) => Ok(u64::from(target.len() > SHORT_SYMLINK)),
        EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) => encode_device(*device)
            .map(|_| 0)
            .ok_or_else(|| Ext4Error::BadDevice {
                path: path(),
                device: *device,
            }),
        EntryKind::Directory | EntryKind::Fifo | EntryKind::Socket | EntryKind::HardLink(_) => {
            Ok(0)
        }
    }
}

fn known_holes(entry: &Entry, content: &Content, size: u64) -> Result<u64, Ext4Error> {
    match content {
        Content::Object(_) => Ok(0),
        Content::Sparse(_, holes) => Ok((*holes).min(size.div_ceil(BLOCK as u64))),
        Content::Bytes(bytes) if bytes.len() as u64 == size => Ok(bytes
            .chunks(BLOCK)
            .filter(|block| block.iter().all(|byte| *byte == 0))
            .count() as u64),
        Content::Bytes(bytes) => Err(wrong_length(entry, size, bytes.len() as u64 > size)),
    }
}

/// Says that a content has more bytes than its entry says, or fewer.
pub(super) fn wrong_length(entry: &Entry, size: u64, more: bool) -> Ext4Error {
    Ext4Error::WrongLength {
        path: entry.path.clone(),
        size,
        comparison: if more { "more bytes" } else { "fewer bytes" },
    }
}
