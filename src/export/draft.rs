//! A filesystem of the disk before its place is known: what it holds, and how much room that needs.

use std::collections::BTreeMap;

use super::ExportError;
use super::assemble::{Common, Part};
use super::fat::{self, FatItem};
use super::files::{FileSet, find_holes};
use crate::disk::ext4::{self, FsOptions, Journal, Kind};
use crate::disk::{
    DiskFault, ExtTuning, FatError, FatOptions, Filesystem, FilesystemId, FilesystemKind, Node,
    PartitionKind, Writer, check_fat, filesystem_id, needed_fat,
};
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::store::Made;
use crate::time::Timestamp;

/// Where a filesystem is, and what it is.
pub(super) struct Frame {
    /// The partition or volume that it is in.
    pub(super) node: Node,
    /// The name of that.
    pub(super) name: String,
    pub(super) filesystem: Filesystem,
    /// The type of its partition; that of a volume is the one for Linux.
    pub(super) kind: PartitionKind,
}

/// One filesystem of the disk, before its content is looked at.
pub(super) struct Draft {
    pub(super) frame: Frame,
    pub(super) content: DraftContent,
}

/// What a filesystem holds.
pub(super) enum DraftContent {
    Files(Box<FileSet>),
    Fat(Vec<FatItem>),
    Nothing,
}

/// A filesystem whose content was checked and counted.
pub(super) struct Surveyed {
    frame: Frame,
    content: SurveyedContent,
}

enum SurveyedContent {
    Ext(Box<ext4::Survey>, BTreeMap<ObjectId, Made>),
    Fat(Vec<FatItem>),
    Nothing,
}

/// What a filesystem holds that has its place.
pub(super) enum PartContent {
    Ext(Box<ext4::Plan>, BTreeMap<ObjectId, Made>),
    Fat(Vec<FatItem>),
    Nothing,
}

impl Frame {
    pub(super) fn id(&self, common: &Common<'_>) -> FilesystemId {
        filesystem_id(&self.filesystem, &self.name, &common.seed)
    }

    fn ext_options(&self, common: &Common<'_>, kind: Kind) -> FsOptions {
        let uuid = match self.id(common) {
            FilesystemId::Uuid(uuid) => uuid.0,
            FilesystemId::Serial(_) => [0; 16],
        };
        let usual = FsOptions::new(kind, 0);
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

    /// Returns what is said of a FAT filesystem that starts at `start` bytes of the disk.
    pub(super) fn fat_options(&self, common: &Common<'_>, start: u64) -> FatOptions {
        let serial = match self.id(common) {
            FilesystemId::Serial(serial) => serial,
            FilesystemId::Uuid(_) => common.seed.number(&self.name),
        };
        FatOptions {
            serial,
            label: self.filesystem.label.as_deref().map(str::to_uppercase),
            sector: common.sector,
            start,
            time: common.epoch,
            only_fat32: self.kind == PartitionKind::ESP,
        }
    }

    fn fault(&self, source: ext4::Ext4Error) -> ExportError {
        if let ext4::Ext4Error::TooLarge { .. } = source {
            // Its own size may be what the disk leaves over.
            let fault = self.node.at("size").fault(
                format!("'{}' cannot be written: {source}", self.name),
                "write a smaller size",
            );
            let other = Some(Node::Disk.at("size"));
            return DiskFault { other, ..fault }.into();
        }
        ExportError::Filesystem {
            name: self.name.clone(),
            source,
        }
    }

    /// Makes the fault of a FAT filesystem that cannot hold what belongs there.
    fn cannot_hold(&self, problem: &str) -> DiskFault {
        let mount = self.filesystem.mount.as_deref();
        let place = mount.map_or_else(String::new, |mount| format!(" for '{mount}'"));
        let message = format!("'{}'{place} is vfat, and {problem}", self.name);
        let help = "take it out of the image, or use ext4 there";
        let field = if mount.is_some() { "mount" } else { "" };
        self.node.at(field).fault(message, help)
    }

    fn cannot_be_filled(&self, error: &FatError) -> ExportError {
        self.cannot_hold(&format!("cannot be filled: {error}"))
            .into()
    }
}

impl Draft {
    /// Gives a FAT filesystem its boot files, beside the files that the image has for it.
    pub(super) fn fill_fat(&mut self, mut boot: Vec<FatItem>) -> Result<(), DiskFault> {
        let content = std::mem::replace(&mut self.content, DraftContent::Nothing);
        if let DraftContent::Files(files) = content {
            let items = fat::items(*files, &self.frame.filesystem);
            boot.extend(items.map_err(|problem| self.frame.cannot_hold(&problem))?);
        }
        self.content = DraftContent::Fat(boot);
        Ok(())
    }

    /// Checks what it holds, and counts it.
    pub(super) fn survey(self, common: &Common<'_>) -> Result<Surveyed, ExportError> {
        let Self { frame, content } = self;
        let content = match (ext_kind(frame.filesystem.kind), content) {
            (Some(kind), content) => {
                let (mut entries, made) = match content {
                    DraftContent::Files(files) => files.into_entries()?,
                    _ => (vec![root()], BTreeMap::new()),
                };
                find_holes(common.repository, &mut entries, &made)?;
                let survey = ext4::Survey::new(entries, &frame.ext_options(common, kind));
                let survey = survey.map_err(|source| frame.fault(source))?;
                SurveyedContent::Ext(Box::new(survey), made)
            }
            (None, DraftContent::Fat(items)) => SurveyedContent::Fat(items),
            (None, _) => SurveyedContent::Nothing,
        };
        Ok(Surveyed { frame, content })
    }

    /// Refuses files in a filesystem that can be made empty only.
    pub(super) fn check_writer(&self) -> Result<(), DiskFault> {
        let Frame {
            node,
            name,
            filesystem,
            ..
        } = &self.frame;
        let (DraftContent::Files(files), Writer::NeedsTool(_)) =
            (&self.content, filesystem.kind.writer())
        else {
            return Ok(());
        };
        let entries = files.files.tree.iter();
        let count = entries.filter(|(path, _)| !path.is_root()).count();
        if count == 0 {
            return Ok(());
        }
        let (kind, mount) = (filesystem.kind, filesystem.mount.as_deref());
        let message = format!(
            "'{name}' is {kind}, which can be made empty only, and the image has {count} files below '{}'",
            mount.unwrap_or_default()
        );
        let help = "use ext4 for it, or mount it where the image has nothing";
        Err(node.at("mount").fault(message, help))
    }
}

impl Surveyed {
    pub(super) fn name(&self) -> &str {
        &self.frame.name
    }

    /// Returns how many bytes the filesystem needs; 0 where it always fits.
    pub(super) fn need(&self, common: &Common<'_>) -> Result<u64, ExportError> {
        match &self.content {
            SurveyedContent::Ext(survey, _) => {
                let least = survey.minimum_size();
                least.map_err(|source| self.frame.fault(source))
            }
            SurveyedContent::Fat(items) => {
                // Another kernel with its initrd, while an update puts it beside this one.
                let spare = match self.frame.kind == PartitionKind::ESP {
                    true => items.iter().filter_map(FatItem::size).sum(),
                    false => 0,
                };
                let options = self.frame.fat_options(common, 0);
                let needed = needed_fat(&fat::list(items), &options, spare);
                needed.map_err(|error| self.frame.cannot_be_filled(&error))
            }
            SurveyedContent::Nothing => Ok(0),
        }
    }

    /// Gives it `size` bytes.
    pub(super) fn place(self, common: &Common<'_>, size: u64) -> Result<Part, ExportError> {
        let Self { frame, content } = self;
        let content = match content {
            SurveyedContent::Ext(survey, made) => {
                let plan = survey.plan(size);
                let plan = plan.map_err(|source| frame.fault(source))?;
                PartContent::Ext(Box::new(plan), made)
            }
            SurveyedContent::Fat(items) => {
                let checked = check_fat(size, &frame.fat_options(common, 0), &fat::list(&items));
                checked.map_err(|error| frame.cannot_be_filled(&error))?;
                PartContent::Fat(items)
            }
            SurveyedContent::Nothing => PartContent::Nothing,
        };
        Ok(Part { frame, content })
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
