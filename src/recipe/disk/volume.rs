//! `[[disk.physical_volumes]]`, `[[disk.volume_groups]]` and `[[disk.volumes]]`: LVM.

use super::super::error::{RecipeError, suggest};
use super::super::fields::optional;
use super::super::reader::{Table, Value};
use super::super::shapes::{PHYSICAL_VOLUME, VOLUME, VOLUME_GROUP};
use super::super::together::{Together as _, all};
use super::super::words;
use super::{Places, Spot, filesystem, share, size};
use crate::disk::{
    DEFAULT_EXTENT, Devices, LogicalVolume, PhysicalVolume, VolumeGroup, VolumeKind, VolumeSize,
};

/// What the text says of LVM, each with its place.
pub(super) struct Volumes {
    physical_volumes: Vec<(PhysicalVolume, Spot)>,
    groups: Vec<(VolumeGroup, Spot)>,
    volumes: Vec<(LogicalVolume, Spot)>,
}

pub(super) fn parse(table: &Table<'_>) -> Result<Volumes, RecipeError> {
    let (physical_volumes, groups, volumes) = (
        each(table, "physical_volumes", physical_volume),
        each(table, "volume_groups", group),
        each(table, "volumes", volume),
    )
        .together()?;
    Ok(Volumes {
        physical_volumes,
        groups,
        volumes,
    })
}

impl Volumes {
    /// Adds the volumes to the devices, whose partitions are known.
    pub(super) fn add_to(self, devices: &mut Devices, places: &mut Places) {
        for (volume, spot) in self.physical_volumes {
            devices.physical_volumes.push(volume);
            places.physical_volumes.push(Some(spot));
        }
        for (group, spot) in self.groups {
            for name in &group.on {
                imply(devices, places, name);
            }
            devices.groups.push(group);
            places.groups.push(spot);
        }
        for (volume, spot) in self.volumes {
            devices.volumes.push(volume);
            places.volumes.push(spot);
        }
    }
}

fn each<T>(
    table: &Table<'_>,
    key: &str,
    read: fn(&Value<'_>) -> Result<T, RecipeError>,
) -> Result<Vec<(T, Spot)>, RecipeError> {
    let items = items(table, key)?;
    all(items.iter().map(|item| Ok((read(item)?, Spot::of(item)))))
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
    all(list
        .iter()
        .map(|item| item.checked(words::line).map(str::to_owned)))
}

fn physical_volume(item: &Value<'_>) -> Result<PhysicalVolume, RecipeError> {
    let (table, keys) = item.open(&PHYSICAL_VOLUME)?;
    let ((), name, on, options) = (
        keys,
        text(&table, "name"),
        text(&table, "on"),
        options(&table),
    )
        .together()?;
    Ok(PhysicalVolume { name, on, options })
}

fn group(item: &Value<'_>) -> Result<VolumeGroup, RecipeError> {
    let (table, keys) = item.open(&VOLUME_GROUP)?;
    let on = table.need("on").and_then(|on| on.strings(|_| None));
    let extent = table
        .get("extent")
        .map_or(Ok(DEFAULT_EXTENT), |value| size(&value));
    let ((), name, on, extent, options) =
        (keys, text(&table, "name"), on, extent, options(&table)).together()?;
    Ok(VolumeGroup {
        name,
        on,
        extent,
        options,
    })
}

fn volume(item: &Value<'_>) -> Result<LogicalVolume, RecipeError> {
    let (table, keys) = item.open(&VOLUME)?;
    let size = match (table.get("size"), table.get("extents")) {
        (Some(value), None) => volume_size(&value),
        (None, Some(value)) => extents(&value),
        (Some(_), Some(value)) => {
            Err(value.key_fault("a volume has 'size' or 'extents', not both", None))
        }
        (None, None) => table.need("size").and_then(|size| volume_size(&size)),
    };
    let ((), name, group, size, kind, options, filesystem) = (
        keys,
        text(&table, "name"),
        text(&table, "group"),
        size,
        kind(&table),
        options(&table),
        filesystem::parse(&table, None, None),
    )
        .together()?;
    Ok(LogicalVolume {
        name,
        group,
        size,
        kind,
        options,
        filesystem,
    })
}

fn text(table: &Table<'_>, key: &str) -> Result<String, RecipeError> {
    Ok(table.need(key)?.string()?.to_owned())
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
