//! `filesystem`, `mount` and `fstab` of a partition or volume.

use super::super::error::{RecipeError, suggest};
use super::super::fields::optional;
use super::super::reader::{Table, Value};
use super::super::shapes::{FILESYSTEM, FSTAB};
use super::super::words;
use crate::disk::{Filesystem, FilesystemId, FilesystemKind, Fstab};

/// Reads what a partition or volume holds.
///
/// `base` is what it holds where nothing is said; `usual` is the filesystem that its type asks for.
/// What is mounted gets a line in fstab, where `fstab = false` does not forbid it.
pub(super) fn parse(
    table: &Table<'_>,
    base: Option<Filesystem>,
    usual: Option<FilesystemKind>,
) -> Result<Option<Filesystem>, RecipeError> {
    let usual = base.or_else(|| usual.map(Filesystem::new));
    let filesystem = match table.get("filesystem") {
        Some(value) => Some(one(&value, usual)?),
        None => usual,
    };
    let Some(mut filesystem) = filesystem else {
        for key in ["mount", "fstab"] {
            if let Some(value) = table.get(key) {
                let help = "add filesystem = \"ext4\"";
                let message = format!("'{key}' needs a filesystem");
                return Err(value.key_fault(message, Some(help.into())));
            }
        }
        return Ok(None);
    };
    if let Some(mount) = optional(table, "mount", |_| None)? {
        filesystem.mount = Some(mount);
    }
    filesystem.fstab = fstab(table, &filesystem)?;
    Ok(Some(filesystem))
}

fn one(value: &Value<'_>, base: Option<Filesystem>) -> Result<Filesystem, RecipeError> {
    let known = FilesystemKind::ALL.map(|(word, _)| word);
    let kind = |value: &Value<'_>| {
        let text = value.string()?;
        let found = FilesystemKind::ALL.iter().find(|(word, _)| *word == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let help = match text {
                "fat" | "fat16" | "fat32" | "msdos" => Some("did you mean 'vfat'?".to_owned()),
                text => {
                    suggest(text, known).or_else(|| Some(format!("known: {}", known.join(", "))))
                }
            };
            let message = format!("unknown filesystem '{}'", text.escape_debug());
            value.fault_with(message, help)
        })
    };
    // A word alone is its type.
    if value.any_table().is_err() {
        return kind(value).map(Filesystem::new);
    }
    let table = value.table(&FILESYSTEM)?;
    let mut filesystem = match (table.get("type"), base) {
        (None, Some(base)) => base,
        (Some(word), Some(base)) => Filesystem {
            kind: kind(&word)?,
            ..base
        },
        (Some(word), None) => Filesystem::new(kind(&word)?),
        (None, None) => table
            .need("type")
            .and_then(|word| kind(&word))
            .map(Filesystem::new)?,
    };
    if let Some(label) = optional(&table, "label", |_| None)? {
        filesystem.label = Some(label);
    }
    if let Some(uuid) = table.get("uuid") {
        filesystem.id = Some(identifier(&uuid, filesystem.kind)?);
    }
    if let Some(list) = table.get("options") {
        filesystem.options = list
            .list()?
            .iter()
            .map(|item| item.checked(words::line).map(str::to_owned))
            .collect::<Result<_, _>>()?;
    }
    Ok(filesystem)
}

fn identifier(value: &Value<'_>, kind: FilesystemKind) -> Result<FilesystemId, RecipeError> {
    let text = value.string()?;
    FilesystemId::parse(text, kind).ok_or_else(|| {
        let help = match kind {
            FilesystemKind::Vfat => "write 8 hexadecimal digits as \"1234-ABCD\"",
            _ => "write 32 hexadecimal digits as 8-4-4-4-12, or leave 'uuid' out to have one made",
        };
        let message = format!("'{}' is no identifier of {kind}", text.escape_debug());
        value.fault_with(message, Some(help.into()))
    })
}

fn fstab(table: &Table<'_>, filesystem: &Filesystem) -> Result<Option<Fstab>, RecipeError> {
    let kind = filesystem.kind;
    let mut fstab = match (kind, filesystem.mount.as_deref(), &filesystem.fstab) {
        (_, _, Some(fstab)) => fstab.clone(),
        (FilesystemKind::Swap, ..) => Fstab {
            options: "sw".to_owned(),
            dump: 0,
            pass: 0,
        },
        // Their own tools check them, not fsck.
        (FilesystemKind::Xfs | FilesystemKind::Btrfs, ..) => Fstab {
            pass: 0,
            ..Fstab::default()
        },
        (_, Some("/"), _) => Fstab {
            pass: 1,
            ..Fstab::default()
        },
        _ => Fstab::default(),
    };
    let is_used = filesystem.mount.is_some() || kind == FilesystemKind::Swap;
    let Some(value) = table.get("fstab") else {
        return Ok(is_used.then_some(fstab));
    };
    if let Ok(wanted) = value.boolean() {
        return Ok((wanted && is_used).then_some(fstab));
    }
    let inner = value.table(&FSTAB)?;
    if let Some(options) = optional(&inner, "options", |_| None)? {
        fstab.options = options;
    }
    if let Some(dump) = inner.get("dump") {
        fstab.dump = dump.integer()?;
    }
    if let Some(pass) = inner.get("pass") {
        fstab.pass = pass.integer()?;
    }
    Ok(Some(fstab))
}
