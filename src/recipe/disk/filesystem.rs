//! `filesystem`, `mount` and `fstab` of a partition or volume.

use super::super::error::{RecipeError, suggest};
use super::super::fields::optional;
use super::super::reader::{Table, Value};
use super::super::shapes::{FILESYSTEM, FSTAB};
use super::super::together::{Together as _, all};
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
        Some(value) => one(&value, usual).map(Some),
        None => Ok(usual),
    };
    if let Ok(None) = filesystem {
        // What is misspelt would perhaps say what it holds.
        let is_meant = |key: &&str| table.get(key).is_none() && table.is_misspelt(key);
        if ["type", "filesystem"].iter().any(is_meant) {
            return Ok(None);
        }
        for key in ["mount", "fstab"] {
            if let Some(value) = table.get(key) {
                let help = "add filesystem = \"ext4\"";
                let message = format!("'{key}' needs a filesystem");
                return Err(value.key_fault(message, Some(help.into())));
            }
        }
        return Ok(None);
    }
    let mount = optional(table, "mount", |_| None);
    // A filesystem that is not known still has a line in fstab to read.
    let mut known = match &filesystem {
        Ok(Some(filesystem)) => filesystem.clone(),
        _ => Filesystem::new(FilesystemKind::Ext4),
    };
    if let Ok(Some(mount)) = &mount {
        known.mount = Some(mount.clone());
    }
    known.fstab = (filesystem, mount, fstab(table, &known)).together()?.2;
    Ok(Some(known))
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
    let (table, keys) = value.open(&FILESYSTEM)?;
    let filesystem = match (table.get("type"), base) {
        (None, Some(base)) => Ok(base),
        (Some(word), Some(base)) => kind(&word).map(|kind| Filesystem { kind, ..base }),
        (Some(word), None) => kind(&word).map(Filesystem::new),
        (None, None) => table
            .need("type")
            .and_then(|word| kind(&word))
            .map(Filesystem::new),
    };
    let id = match (table.get("uuid"), &filesystem) {
        (None, _) => Ok(None),
        (Some(uuid), Ok(filesystem)) => identifier(&uuid, filesystem.kind).map(Some),
        // Which form it has is the type's to say.
        (Some(uuid), Err(_)) => uuid.string().map(|_| None),
    };
    let options = table.get("options").map(|list| {
        let items = list.list()?;
        all(items
            .iter()
            .map(|item| item.checked(words::line).map(str::to_owned)))
    });
    let label = optional(&table, "label", |_| None);
    let ((), mut filesystem, label, id, options) =
        (keys, filesystem, label, id, options.transpose()).together()?;
    filesystem.label = label.or(filesystem.label);
    filesystem.id = id.or(filesystem.id);
    filesystem.options = options.unwrap_or(filesystem.options);
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
    let fstab = match (kind, filesystem.mount.as_deref(), &filesystem.fstab) {
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
    let (inner, keys) = value.open(&FSTAB)?;
    let number = |key| inner.get(key).map(|value| value.integer()).transpose();
    let options = optional(&inner, "options", |_| None);
    let ((), options, dump, pass) = (keys, options, number("dump"), number("pass")).together()?;
    Ok(Some(Fstab {
        options: options.unwrap_or(fstab.options),
        dump: dump.unwrap_or(fstab.dump),
        pass: pass.unwrap_or(fstab.pass),
    }))
}
