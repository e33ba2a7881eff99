//! `[[disk.partitions]]`.

use super::super::error::{RecipeError, suggest};
use super::super::fields::optional;
use super::super::reader::{Table, Value};
use super::super::sections::choice;
use super::super::shapes::PARTITION;
use super::{Context, Spot, filesystem, is_own, share, size};
use crate::disk::{
    FilesystemKind, KIND_WORDS, KindError, Layout, PartSize, Partition, PartitionKind, Role,
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
    let mut named: Vec<(Partition, Spot)> = Vec::new();
    for item in list.list()? {
        let text = item.any_table()?.need("name")?.string()?.to_owned();
        let base = own
            .iter()
            .find(|part| is_own(layout, &part.name) && part.name == text);
        named.push((one(&item, base, context)?, Spot::of(&item)));
    }
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
    let table = item.table(&PARTITION)?;
    let said = table.get("type");
    let kind = said
        .as_ref()
        .map(|value| self::kind(value, context))
        .transpose()?;
    let usual = match kind {
        Some(PartitionKind::ESP) => Some(FilesystemKind::Vfat),
        Some(PartitionKind::SWAP) => Some(FilesystemKind::Swap),
        _ => None,
    };
    let before = base.and_then(|part| part.filesystem.clone());
    let filesystem = filesystem::parse(&table, before, usual)?;
    let inferred = || match &filesystem {
        Some(filesystem) if filesystem.kind == FilesystemKind::Swap => PartitionKind::SWAP,
        Some(filesystem) if filesystem.mount.as_deref() == Some("/") => {
            PartitionKind::root(context.architecture)
        }
        _ => PartitionKind::LINUX,
    };
    let (is_boot, role) = flags(&table)?;
    Ok(Partition {
        name: table.need("name")?.string()?.to_owned(),
        size: match (table.get("size"), base) {
            (None, Some(base)) => base.size,
            (Some(value), _) => part_size(&value)?,
            (None, None) => table.need("size").and_then(|value| part_size(&value))?,
        },
        kind: kind.or(base.map(|part| part.kind)).unwrap_or_else(inferred),
        is_boot,
        role,
        label: optional(&table, "label", |_| None)?,
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
    PartitionKind::parse(text, context.table, context.architecture).map_err(|error| {
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
    if let Some(list) = table.get("flags") {
        list.strings(|_| None)?;
        for item in list.list()? {
            match choice(&item, &[("boot", true), ("primary", false)])? {
                true => is_boot = true,
                false => role = Role::Primary,
            }
        }
    }
    if let Some(value) = table.get("logical")
        && value.boolean()?
    {
        if role == Role::Primary {
            return Err(value.key_fault("a partition is primary or logical, not both", None));
        }
        role = Role::Logical;
    }
    Ok((is_boot, role))
}
