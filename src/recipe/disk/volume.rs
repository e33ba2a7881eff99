//! `[[disk.physical_volumes]]`, `[[disk.volume_groups]]` and `[[disk.volumes]]`: LVM.

use super::super::error::{RecipeError, suggest};
use super::super::fields::optional;
use super::super::reader::{Table, Value};
use super::super::shapes::{PHYSICAL_VOLUME, VOLUME, VOLUME_GROUP};
use super::super::words;
use super::{Places, Spot, filesystem, share, size};
use crate::disk::{
    DEFAULT_EXTENT, Devices, LogicalVolume, PhysicalVolume, VolumeGroup, VolumeKind, VolumeSize,
};

pub(super) fn parse(
    table: &Table<'_>,
    devices: &mut Devices,
    places: &mut Places,
) -> Result<(), RecipeError> {
    for item in items(table, "physical_volumes")? {
        devices.physical_volumes.push(physical_volume(&item)?);
        places.physical_volumes.push(Some(Spot::of(&item)));
    }
    for item in items(table, "volume_groups")? {
        let group = group(&item)?;
        for name in &group.on {
            imply(devices, places, name);
        }
        devices.groups.push(group);
        places.groups.push(Spot::of(&item));
    }
    for item in items(table, "volumes")? {
        devices.volumes.push(volume(&item)?);
        places.volumes.push(Spot::of(&item));
    }
    Ok(())
}

fn items<'d>(table: &Table<'d>, key: &str) -> Result<Vec<Value<'d>>, RecipeError> {
    table.get(key).map_or(Ok(Vec::new()), |list| list.list())
}

/// Adds the physical volume of a partition that a group names directly.
fn imply(devices: &mut Devices, places: &mut Places, name: &str) {
    let is_known = devices
        .physical_volumes
        .iter()
        .any(|volume| volume.name == name);
    let mut partitions = devices.disks.iter().flat_map(|disk| &disk.partitions);
    if is_known || !partitions.any(|part| part.name == name) {
        return;
    }
    devices.physical_volumes.push(PhysicalVolume {
        name: name.to_owned(),
        on: name.to_owned(),
        options: Vec::new(),
    });
    places.physical_volumes.push(None);
}

fn options(table: &Table<'_>) -> Result<Vec<String>, RecipeError> {
    let list = items(table, "options")?;
    list.iter()
        .map(|item| item.checked(words::line).map(str::to_owned))
        .collect()
}

fn physical_volume(item: &Value<'_>) -> Result<PhysicalVolume, RecipeError> {
    let table = item.table(&PHYSICAL_VOLUME)?;
    Ok(PhysicalVolume {
        name: table.need("name")?.string()?.to_owned(),
        on: table.need("on")?.string()?.to_owned(),
        options: options(&table)?,
    })
}

fn group(item: &Value<'_>) -> Result<VolumeGroup, RecipeError> {
    let table = item.table(&VOLUME_GROUP)?;
    Ok(VolumeGroup {
        name: table.need("name")?.string()?.to_owned(),
        on: table.need("on")?.strings(|_| None)?,
        extent: table
            .get("extent")
            .map_or(Ok(DEFAULT_EXTENT), |value| size(&value))?,
        options: options(&table)?,
    })
}

fn volume(item: &Value<'_>) -> Result<LogicalVolume, RecipeError> {
    let table = item.table(&VOLUME)?;
    let size = match (table.get("size"), table.get("extents")) {
        (Some(value), None) => volume_size(&value)?,
        (None, Some(value)) => extents(&value)?,
        (Some(_), Some(value)) => {
            return Err(value.key_fault("a volume has 'size' or 'extents', not both", None));
        }
        (None, None) => volume_size(&table.need("size")?)?,
    };
    Ok(LogicalVolume {
        name: table.need("name")?.string()?.to_owned(),
        group: table.need("group")?.string()?.to_owned(),
        size,
        kind: kind(&table)?,
        options: options(&table)?,
        filesystem: filesystem::parse(&table, None, None)?,
    })
}

fn volume_size(value: &Value<'_>) -> Result<VolumeSize, RecipeError> {
    match value.string()? {
        "rest" => Ok(VolumeSize::Rest),
        text if text.trim_end().ends_with('%') => share(value, text).map(VolumeSize::OfFree),
        _ => size(value).map(VolumeSize::Bytes),
    }
}

/// Reads extents as `lvcreate --extents` has them.
fn extents(value: &Value<'_>) -> Result<VolumeSize, RecipeError> {
    let wrong = |text: String| {
        let help = "write a number, or e.g. \"30%VG\" or \"100%FREE\"";
        value.fault_with(format!("'{text}' are no extents"), Some(help.into()))
    };
    let Ok(text) = value.string() else {
        return match value.integer::<u64>()? {
            0 => Err(wrong("0".to_owned())),
            count => Ok(VolumeSize::Extents(count)),
        };
    };
    match text.split_once('%') {
        None => match text.parse() {
            Ok(count) if count > 0 => Ok(VolumeSize::Extents(count)),
            _ => Err(wrong(text.escape_debug().to_string())),
        },
        Some((number, "VG")) => share(value, &format!("{number}%")).map(VolumeSize::OfGroup),
        Some((number, "FREE")) => share(value, &format!("{number}%")).map(VolumeSize::OfFree),
        Some(_) => Err(wrong(text.escape_debug().to_string())),
    }
}

fn kind(table: &Table<'_>) -> Result<VolumeKind, RecipeError> {
    let pool = optional(table, "pool", |_| None)?;
    let Some(value) = table.get("type") else {
        return match (table.get("pool"), pool) {
            (Some(place), Some(_)) => {
                let help = "write type = \"thin\", or leave 'pool' out";
                Err(place.key_fault("only a thin volume has a pool", Some(help.into())))
            }
            _ => Ok(VolumeKind::Linear),
        };
    };
    match value.string()? {
        "linear" => Ok(VolumeKind::Linear),
        "thin" => Ok(VolumeKind::Thin {
            pool: table
                .need("pool")
                .and_then(|value| value.string())?
                .to_owned(),
        }),
        "thin-pool" => Ok(VolumeKind::ThinPool),
        text => {
            let message = format!("unknown type of volume '{}'", text.escape_debug());
            Err(value.fault_with(message, suggest(text, ["linear", "thin", "thin-pool"])))
        }
    }
}
