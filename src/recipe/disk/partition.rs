//! `[[disk.partitions]]`.

use super::super::error::{RecipeError, suggest};
use super::super::fields::optional;
use super::super::reader::{Table, Value};
use super::super::sections::choice;
use super::super::shapes::PARTITION;
use super::super::together::{Together as _, all};
use super::{Context, Spot, filesystem, is_own, share, size};
use crate::disk::{
    FilesystemKind, KIND_WORDS, KindError, Layout, PartSize, Partition, PartitionKind, Role,
    TableKind,
};

/// Partitions, and where each stands in the text.
type Placed = (Vec<Partition>, Vec<Option<Spot>>);

/// Reads the partitions of a disk.
///
/// An updatable disk has `own` ones: those that the list names replace them field by field, and
/// others lie before the last of them, which grows.
pub(super) fn parse(
    list: &Value<'_>,
    layout: Layout,
    own: Vec<Partition>,
    context: &Context<'_>,
) -> Result<Placed, RecipeError> {
    let items = list.list()?;
    let mut named: Vec<(Partition, Spot)> = all(items.iter().map(|item| {
        let name = item.any_table()?.get("name");
        let name = name.as_ref().and_then(|name| name.string().ok());
        let base = own
            .iter()
            .find(|part| is_own(layout, &part.name) && Some(part.name.as_str()) == name);
        Ok((one(item, base, context)?, Spot::of(item)))
    }))?;
    let Layout::Updatable = layout else {
        return Ok(named
            .into_iter()
            .map(|(part, spot)| (part, Some(spot)))
            .unzip());
    };
    let mut all = Vec::new();
    let count = own.len();
    for (index, part) in own.into_iter().enumerate() {
        if index + 1 == count {
            let added = named.extract_if(.., |(part, _)| !is_own(layout, &part.name));
            all.extend(added.map(|(part, spot)| (part, Some(spot))));
        }
        let at = named.iter().position(|(other, _)| other.name == part.name);
        all.push(match at {
            None => (part, None),
            Some(at) => {
                let (part, spot) = named.remove(at);
                (part, Some(spot))
            }
        });
    }
    // What is left is there twice, which the check refuses.
    all.extend(named.into_iter().map(|(part, spot)| (part, Some(spot))));
    Ok(all.into_iter().unzip())
}

fn one(
    item: &Value<'_>,
    base: Option<&Partition>,
    context: &Context<'_>,
) -> Result<Partition, RecipeError> {
    let (table, keys) = item.open(&PARTITION)?;
    let kind = table.get("type").map(|value| self::kind(&value, context));
    let kind = kind.transpose();
    let usual = match kind {
        Ok(Some(PartitionKind::ESP)) => Some(FilesystemKind::Vfat),
        Ok(Some(PartitionKind::SWAP)) => Some(FilesystemKind::Swap),
        _ => None,
    };
    let before = base.and_then(|part| part.filesystem.clone());
    let filesystem = match (&kind, table.get("filesystem")) {
        // The type that is wrong would perhaps say what it holds.
        (Err(_), None) => Ok(None),
        _ => filesystem::parse(&table, before, usual),
    };
    let size = match (table.get("size"), base) {
        (None, Some(base)) => Ok(base.size),
        (Some(value), _) => part_size(&value),
        (None, None) => table.need("size").and_then(|value| part_size(&value)),
    };
    let name = table.need("name").and_then(|name| name.string());
    let label = optional(&table, "label", |_| None);
    let ((), name, size, kind, (is_boot, role), label, filesystem) =
        (keys, name, size, kind, flags(&table), label, filesystem).together()?;
    let inferred = || match &filesystem {
        Some(filesystem) if filesystem.kind == FilesystemKind::Swap => PartitionKind::SWAP,
        Some(filesystem) if filesystem.mount.as_deref() == Some("/") => {
            PartitionKind::root(context.architecture)
        }
        _ => PartitionKind::LINUX,
    };
    Ok(Partition {
        name: name.to_owned(),
        size,
        kind: kind.or(base.map(|part| part.kind)).unwrap_or_else(inferred),
        is_boot,
        role,
        label,
        filesystem,
    })
}

fn part_size(value: &Value<'_>) -> Result<PartSize, RecipeError> {
    match value.string()? {
        "rest" => Ok(PartSize::Rest),
        text if text.trim_end().ends_with('%') => share(value, text).map(PartSize::Share),
        _ => size(value).map(PartSize::Bytes),
    }
}

fn kind(value: &Value<'_>, context: &Context<'_>) -> Result<PartitionKind, RecipeError> {
    let text = value.string()?;
    // Where the table is not known, the type may be of either.
    let tables = match context.table {
        Some(table) => [table, table],
        None => TableKind::ALL.map(|(_, table)| table),
    };
    let [first, second] =
        tables.map(|table| PartitionKind::parse(text, table, context.architecture));
    first.or(second).map_err(|error| {
        let help = match &error {
            KindError::Unknown { .. } => suggest(text, KIND_WORDS).or_else(|| {
                Some("write e.g. \"linux\", \"esp\", \"bios\", \"swap\", \"lvm\", or a code".into())
            }),
            KindError::OtherTable { .. } if text == "bios" => {
                Some("GRUB needs no partition there: leave it out".into())
            }
            KindError::OtherTable { .. } => {
                Some("write a word such as \"linux\", which both tables know".into())
            }
            KindError::BadGuid { .. } => None,
        };
        value.fault_with(error.to_string(), help)
    })
}

fn flags(table: &Table<'_>) -> Result<(bool, Role), RecipeError> {
    let mut is_boot = false;
    let mut role = Role::Any;
    let flags = table.get("flags").map_or(Ok(Vec::new()), |list| {
        list.strings(|_| None)?;
        let known = [("boot", true), ("primary", false)];
        all(list.list()?.iter().map(|item| choice(item, &known)))
    });
    let logical = table.get("logical");
    let is_logical = logical.as_ref().map_or(Ok(false), |value| value.boolean());
    let (flags, is_logical) = (flags, is_logical).together()?;
    for is_flag_boot in flags {
        match is_flag_boot {
            true => is_boot = true,
            false => role = Role::Primary,
        }
    }
    if let (true, Some(value)) = (is_logical, logical) {
        if role == Role::Primary {
            return Err(value.key_fault("a partition is primary or logical, not both", None));
        }
        role = Role::Logical;
    }
    Ok((is_boot, role))
}
