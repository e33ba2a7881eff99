//! What boots the machine, as this disk holds it: files of the ESP, and the boot code of a BIOS.

use super::ExportError;
use super::fat::{FatContent, FatItem};
use crate::boot::grub::{self, Place, Write};
use crate::boot::{BootFiles, EspContent, EspFile};
use crate::disk::{DiskPlan, PartitionKind, TableKind};
use crate::store::StoredTree;
use crate::tree::Inode;

/// BIOS counts in sectors of this size.
const SECTOR: u64 = 512;

impl From<EspFile> for FatItem {
    fn from(file: EspFile) -> Self {
        Self {
            path: file.path,
            content: match file.content {
                EspContent::Made(bytes) => FatContent::Made(bytes),
                EspContent::Stored { object, size } => FatContent::Stored { object, size },
            },
        }
    }
}

/// Returns what a BIOS needs on the disk beside its files: the code of the first sector, and
/// GRUB's core image.
pub(super) fn bios_writes(
    boot: &BootFiles,
    plan: &DiskPlan,
) -> Result<Option<[Write; 2]>, ExportError> {
    let Some(bios) = boot.bios() else {
        return Ok(None);
    };
    let own = plan
        .partitions
        .iter()
        .find(|part| part.kind == PartitionKind::BIOS);
    let place = match (plan.table, own) {
        (TableKind::Gpt, Some(part)) => Place::Partition {
            first: part.start / SECTOR,
            sectors: part.size / SECTOR,
        },
        (TableKind::Gpt, None) => return Ok(None),
        (TableKind::Mbr, _) => Place::Gap {
            end: plan
                .partitions
                .first()
                .map_or(0, |part| part.start / SECTOR),
        },
    };
    Ok(Some(grub::embed(&bios.boot, &bios.core, place)?))
}

/// Says what the system is called in menus: the recipe, and the name that its os-release gives it.
pub(super) fn title(view: &StoredTree<'_>, name: &str) -> String {
    match super::describe::release(view).get("PRETTY_NAME") {
        Some(pretty) if !pretty.is_empty() => format!("{name}, {pretty}"),
        _ => name.to_owned(),
    }
}

/// Says whether a tree has a directory at `path`.
pub(super) fn has_directory(tree: &crate::tree::Tree, path: &str) -> bool {
    tree.get(path.as_bytes()).is_some_and(Inode::is_dir)
}
