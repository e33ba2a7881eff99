//! The raw disk: everything about it is decided first, then it is written in one pass.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::draft::{Frame, PartContent};
use super::fat::{self, FatContent, FatItem};
use super::files::{Checked, Sources};
use super::{ExportError, tool};
use crate::boot::grub;
use crate::disk::ext4;
use crate::disk::{
    DiskPlan, Extents, FilesystemId, Medium, SectorSize, Seed, Tally, Writer, write_fat,
    write_group, write_swap, write_table,
};
use crate::id::ObjectId;
use crate::store::{Made, Repository};

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
    pub(super) frame: Frame,
    pub(super) content: PartContent,
}

impl Part {
    /// Returns the name of its partition or volume.
    pub(super) fn name(&self) -> &str {
        &self.frame.name
    }

    /// Returns how many bytes it takes with its content, and without what is free.
    pub(super) fn used(&self) -> u64 {
        match &self.content {
            PartContent::Ext(plan, _) => plan.used(),
            PartContent::Fat(items) => items.iter().filter_map(FatItem::size).sum(),
            PartContent::Nothing => 0,
        }
    }

    fn write(
        &self,
        medium: &mut dyn Medium,
        start: u64,
        common: &Common<'_>,
        advance: &dyn Fn(u64),
    ) -> Result<(), ExportError> {
        match &self.content {
            PartContent::Ext(plan, made) => self.write_ext(plan, made, medium, common, advance),
            PartContent::Fat(items) => self.write_fat(items, medium, start, common),
            PartContent::Nothing => self.write_empty(medium, start, common),
        }
    }

    fn write_ext(
        &self,
        plan: &ext4::Plan,
        made: &BTreeMap<ObjectId, Made>,
        medium: &mut dyn Medium,
        common: &Common<'_>,
        advance: &dyn Fn(u64),
    ) -> Result<(), ExportError> {
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
        written.map_err(|source| match source {
            ext4::Ext4Error::Cancelled => ExportError::Interrupted,
            source => ExportError::Filesystem {
                name: self.frame.name.clone(),
                source,
            },
        })
    }

    fn write_fat(
        &self,
        items: &[FatItem],
        medium: &mut dyn Medium,
        start: u64,
        common: &Common<'_>,
    ) -> Result<(), ExportError> {
        let options = self.frame.fat_options(common, start);
        let mut open = |index: usize| match items.get(index) {
            Some(item) => open(common.repository, item),
            None => Ok(Box::new(io::empty()) as Box<dyn Read>),
        };
        Ok(write_fat(medium, &options, &fat::list(items), &mut open)?)
    }

    fn write_empty(
        &self,
        medium: &mut dyn Medium,
        start: u64,
        common: &Common<'_>,
    ) -> Result<(), ExportError> {
        let Frame {
            name, filesystem, ..
        } = &self.frame;
        match (filesystem.kind.writer(), self.frame.id(common)) {
            (Writer::NeedsTool(program), id) => {
                tool::make(program, &self.frame, id, common, medium)
            }
            (Writer::Native, FilesystemId::Uuid(uuid)) => {
                let written = write_swap(medium, uuid, filesystem.label.as_deref());
                written.map_err(|source| ExportError::write(name, source))
            }
            (Writer::Native, FilesystemId::Serial(_)) => self.write_fat(&[], medium, start, common),
        }
    }
}

fn open<'a>(repository: &Repository, item: &'a FatItem) -> io::Result<Box<dyn Read + 'a>> {
    match &item.content {
        FatContent::Made(bytes) => Ok(Box::new(Cursor::new(bytes))),
        FatContent::Folder => Ok(Box::new(io::empty())),
        FatContent::Stored { object, size } => {
            let file = Checked::open(repository.object_path(object), object)?;
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

    /// Returns how many bytes a sparse file of the disk takes: all contents are read for it, because
    /// their blocks of zeros are holes.
    pub(super) fn measure(&self, common: &Common<'_>) -> Result<u64, ExportError> {
        let mut tally = Tally::new(self.plan.size);
        self.write(&mut tally, common, &|_| ())?;
        Ok(tally.bytes())
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
