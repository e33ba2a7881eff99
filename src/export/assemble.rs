//! The raw disk: everything about it is decided first, then it is written in one pass.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::files::{Checked, FileSet, Sources};
use super::machine::{EspContent, EspFile};
use super::{ExportError, tool};
use crate::boot::grub;
use crate::disk::ext4::{self, FsOptions, Journal, Kind};
use crate::disk::{
    DiskPlan, ExtTuning, Extents, FatFile, FatOptions, Filesystem, FilesystemId, FilesystemKind,
    Medium, PartitionKind, SectorSize, Seed, Uuid, Writer, filesystem_id, write_fat, write_group,
    write_swap, write_table,
};
use crate::path::RelPath;
use crate::store::Repository;
use crate::time::Timestamp;

/// One filesystem of the disk, before its place is known.
pub(super) struct Draft {
    /// The partition or volume that it is in.
    pub(super) name: String,
    pub(super) filesystem: Filesystem,
    /// The type of its partition; that of a volume is the one for Linux.
    pub(super) kind: PartitionKind,
    pub(super) content: DraftContent,
}

/// What a filesystem holds.
pub(super) enum DraftContent {
    Files(Box<FileSet>),
    Esp(Vec<EspFile>),
    Nothing,
}

/// What is the same for all filesystems of a disk.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) repository: &'a Repository,
    pub(super) seed: Seed,
    /// The time of all that is made for the disk, in seconds since 1970.
    pub(super) epoch: i64,
    pub(super) sector: SectorSize,
    /// An output, beside which other programs have room to work.
    pub(super) output: &'a Path,
    pub(super) cancel: &'a AtomicBool,
}

/// A filesystem that has its place.
pub(super) struct Part {
    draft: Draft,
    /// The plan of an ext filesystem.
    ext: Option<ext4::Plan>,
}

impl Draft {
    fn id(&self, common: &Common<'_>) -> FilesystemId {
        filesystem_id(&self.filesystem, &self.name, &common.seed)
    }

    fn ext_options(&self, common: &Common<'_>, kind: Kind, size: u64) -> FsOptions {
        let uuid = match self.id(common) {
            FilesystemId::Uuid(uuid) => uuid.0,
            FilesystemId::Serial(_) => [0; 16],
        };
        let usual = FsOptions::new(kind, size);
        // `disk::check` has refused what cannot be followed.
        let tuning = ExtTuning::parse(&self.filesystem.options).unwrap_or_default();
        FsOptions {
            label: self.filesystem.label.clone().unwrap_or_default(),
            uuid,
            hash_seed: common.seed.uuid(&format!("hash {}", self.name)),
            epoch: common.epoch,
            reserved_percent: tuning.reserved_percent.unwrap_or(usual.reserved_percent),
            bytes_per_inode: tuning.bytes_per_inode.unwrap_or(usual.bytes_per_inode),
            journal: tuning.journal.map_or(usual.journal, Journal::Bytes),
            ..usual
        }
    }

    fn entries(&self) -> Result<Vec<ext4::Entry>, ExportError> {
        match &self.content {
            DraftContent::Files(files) => files.entries(),
            _ => Ok(vec![root()]),
        }
    }

    /// Returns how many bytes the filesystem needs; 0 where it always fits.
    pub(super) fn need(&self, common: &Common<'_>) -> Result<u64, ExportError> {
        match ext_kind(self.filesystem.kind) {
            Some(kind) => {
                let options = self.ext_options(common, kind, 0);
                let least = ext4::minimum_size(self.entries()?, &options);
                least.map_err(|source| self.fault(source))
            }
            None => match &self.content {
                DraftContent::Esp(files) => {
                    let files = fat_files(files);
                    // Another kernel with its initrd, while an update puts it beside this one.
                    let spare = files.iter().filter_map(|file| file.size).sum();
                    Ok(crate::disk::needed_fat32(&files, common.sector, spare)?)
                }
                _ => Ok(0),
            },
        }
    }

    fn fault(&self, source: ext4::Ext4Error) -> ExportError {
        ExportError::Filesystem {
            name: self.name.clone(),
            source,
        }
    }

    /// Refuses files in a filesystem that can be made empty only.
    pub(super) fn require_writer(&self) -> Result<(), ExportError> {
        let DraftContent::Files(files) = &self.content else {
            return Ok(());
        };
        let count = files
            .files
            .tree
            .iter()
            .filter(|(path, _)| !path.is_root())
            .count();
        let can_be_filled = ext_kind(self.filesystem.kind).is_some();
        if can_be_filled || count == 0 {
            return Ok(());
        }
        Err(ExportError::CannotFill {
            name: self.name.clone(),
            kind: self.filesystem.kind.to_string(),
            mount: self.filesystem.mount.clone().unwrap_or_default(),
            count,
        })
    }

    /// Gives it `size` bytes.
    pub(super) fn place(self, common: &Common<'_>, size: u64) -> Result<Part, ExportError> {
        let ext = match ext_kind(self.filesystem.kind) {
            Some(kind) => {
                let options = self.ext_options(common, kind, size);
                let plan = ext4::plan(self.entries()?, &options);
                Some(plan.map_err(|source| self.fault(source))?)
            }
            None => None,
        };
        Ok(Part { draft: self, ext })
    }
}

impl Part {
    /// Returns the name of its partition or volume.
    pub(super) fn name(&self) -> &str {
        &self.draft.name
    }

    /// Returns how many bytes it takes with its content, and without what is free.
    pub(super) fn used(&self) -> u64 {
        match (&self.ext, &self.draft.content) {
            (Some(plan), _) => plan.used(),
            (None, DraftContent::Esp(files)) => files.iter().map(EspFile::size).sum(),
            _ => 0,
        }
    }

    fn write(
        &self,
        medium: &mut dyn Medium,
        start: u64,
        common: &Common<'_>,
        advance: &dyn Fn(u64),
    ) -> Result<(), ExportError> {
        let draft = &self.draft;
        let id = draft.id(common);
        let label = draft.filesystem.label.as_deref();
        if let Some(plan) = &self.ext {
            let made = match &draft.content {
                DraftContent::Files(files) => &files.files.made,
                _ => &BTreeMap::new(),
            };
            let sources = Sources {
                repository: common.repository,
                made,
            };
            let written = plan.write(medium, &sources, &mut |bytes| {
                advance(bytes);
                match common.cancel.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            return written.map_err(|source| match source {
                ext4::Ext4Error::Cancelled => ExportError::Interrupted,
                source => draft.fault(source),
            });
        }
        match draft.filesystem.kind {
            FilesystemKind::Vfat => {
                let files = match &draft.content {
                    DraftContent::Esp(files) => files.as_slice(),
                    _ => &[],
                };
                let serial = match id {
                    FilesystemId::Serial(serial) => serial,
                    FilesystemId::Uuid(_) => common.seed.number(&draft.name),
                };
                let options = FatOptions {
                    serial,
                    label: label.map(str::to_uppercase),
                    sector: common.sector,
                    start,
                    time: common.epoch,
                    only_fat32: draft.kind == PartitionKind::ESP,
                };
                let mut open = |index: usize| match files.get(index) {
                    Some(file) => open(common.repository, file),
                    None => Ok(Box::new(io::empty()) as Box<dyn Read>),
                };
                write_fat(medium, &options, &fat_files(files), &mut open)?;
            }
            FilesystemKind::Swap => {
                let uuid = match id {
                    FilesystemId::Uuid(uuid) => uuid,
                    FilesystemId::Serial(_) => Uuid([0; 16]),
                };
                write_swap(medium, uuid, label)
                    .map_err(|source| ExportError::write(&draft.name, source))?;
            }
            kind => {
                if let Writer::NeedsTool(program) = kind.writer() {
                    tool::make(program, draft, id, common, medium)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the root of a filesystem that holds nothing.
fn root() -> ext4::Entry {
    ext4::Entry {
        path: RelPath::root(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: BTreeMap::new(),
        kind: ext4::EntryKind::Directory,
    }
}

fn ext_kind(kind: FilesystemKind) -> Option<Kind> {
    match kind {
        FilesystemKind::Ext2 => Some(Kind::Ext2),
        FilesystemKind::Ext3 => Some(Kind::Ext3),
        FilesystemKind::Ext4 => Some(Kind::Ext4),
        _ => None,
    }
}

fn fat_files(files: &[EspFile]) -> Vec<FatFile> {
    let files = files.iter().map(|file| FatFile {
        path: file.path.clone(),
        size: Some(file.size()),
    });
    files.collect()
}

fn open<'a>(repository: &Repository, file: &'a EspFile) -> io::Result<Box<dyn Read + 'a>> {
    match &file.content {
        EspContent::Made(bytes) => Ok(Box::new(Cursor::new(bytes))),
        EspContent::Stored { object, size } => {
            let file = Checked::open(repository, object)?;
            let padding = size.saturating_sub(file.len()?);
            Ok(Box::new(file.chain(io::repeat(0).take(padding))))
        }
    }
}

/// A disk about which everything is decided.
pub(super) struct Assembly {
    pub(super) plan: DiskPlan,
    pub(super) parts: Vec<Part>,
    /// What a BIOS needs beside the filesystems.
    pub(super) bios: Option<[grub::Write; 2]>,
}

impl Assembly {
    /// Returns how many bytes are not zero, about.
    pub(super) fn used(&self) -> u64 {
        self.parts.iter().map(Part::used).sum()
    }

    /// Writes the disk over `medium`, which reads as zeros. `advance` hears of bytes that were
    /// written.
    pub(super) fn write(
        &self,
        medium: &mut dyn Medium,
        common: &Common<'_>,
        advance: &dyn Fn(u64),
    ) -> Result<(), ExportError> {
        let disk = |source| ExportError::write("the disk", source);
        let code = self.bios.as_ref().map(|[boot, _]| boot.bytes.as_slice());
        write_table(&self.plan, &common.seed, code, medium).map_err(disk)?;
        if let Some([_, core]) = &self.bios {
            medium.write_at(core.offset, &core.bytes).map_err(disk)?;
        }
        for group in &self.plan.groups {
            let epoch = u64::try_from(common.epoch).unwrap_or(0);
            write_group(group, &common.seed, epoch, medium).map_err(disk)?;
        }
        for part in &self.parts {
            if common.cancel.load(Ordering::Relaxed) {
                return Err(ExportError::Interrupted);
            }
            let runs = self.plan.runs(part.name()).unwrap_or_default();
            let start = runs.first().map_or(0, |run| run.start);
            let mut own = Extents::new(medium, runs).map_err(disk)?;
            part.write(&mut own, start, common, advance)?;
        }
        Ok(())
    }
}
