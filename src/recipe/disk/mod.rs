//! `[disk]` of a recipe: the disk that an image becomes.

mod filesystem;
mod partition;
mod places;
mod volume;

use super::error::{RecipeError, suggest};
use super::reader::{Table, Value};
use super::sections::choice;
use super::shapes::DISK;
use super::together::{Together as _, all};
use super::words;
use crate::boot::entry::argument_problem;
use crate::disk::{
    Devices, Disk, DiskFault, DiskSize, Layout, MIB, Margin, Node, Place, SectorSize, Share,
    TableKind, UPDATABLE, check, check_all, check_layout, layout_devices, layout_partitions,
    parse_size,
};
use places::{Places, Spot};

/// `[disk]`: what the disk looks like that an image is exported to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSection {
    /// What it is laid out for.
    pub layout: Layout,
    /// The clouds whose rules it keeps, by name; none twice.
    pub profiles: Vec<String>,
    /// What the kernel is told beside what the layout needs.
    pub kernel_arguments: Vec<String>,
    /// Where the kernel and the login are, as the kernel's `console=` has it; the last one is
    /// `/dev/console`.
    pub consoles: Vec<String>,
    /// The disk with its partitions and volumes: what the recipe says, else the layout's own.
    pub devices: Devices,
    /// Where the recipe says it; none for a description that no recipe has.
    places: Option<Places>,
    /// What was changed since, so that the recipe does not say it any more.
    changed: Vec<Place>,
}

/// The consoles of a disk whose recipe names none: a screen, and a serial line.
const CONSOLES: [&str; 2] = ["tty0", "ttyS0,115200"];

impl DiskSection {
    /// Returns what a recipe without `[disk]` means.
    pub fn new(architecture: &str) -> Self {
        let (layout, table, sector) = Default::default();
        Self {
            layout,
            profiles: Vec::new(),
            kernel_arguments: Vec::new(),
            consoles: CONSOLES.map(str::to_owned).to_vec(),
            devices: layout_devices(layout, table, sector, architecture),
            places: None,
            changed: Vec::new(),
        }
    }

    /// Makes the error that points at the place of a fault in the recipe; `None` where the recipe
    /// does not say what is wrong.
    pub fn locate(&self, fault: &DiskFault) -> Option<RecipeError> {
        if self.changed.contains(&fault.place) {
            return None;
        }
        Some(self.places.as_ref()?.point(fault))
    }

    /// Returns the disk; a description has exactly one, which the checks see to.
    pub fn disk(&self) -> Option<&Disk> {
        self.devices.disks.first()
    }

    /// Lays the disk out in another way; `false` where the recipe describes partitions of its own,
    /// which then stay.
    pub fn lay_out(&mut self, layout: Layout, table: TableKind, architecture: &str) -> bool {
        let Some(disk) = self.devices.disks.first_mut() else {
            return false;
        };
        let of = |layout, table| layout_partitions(layout, table, disk.sector, architecture);
        if disk.partitions != of(self.layout, disk.table.unwrap_or_default()) {
            return false;
        }
        disk.partitions = of(layout, table);
        disk.table = Some(table);
        self.layout = layout;
        self.changed.extend(["table", "layout"].map(of_disk));
        true
    }

    /// Gives the disk another size: `auto`, or so many bytes.
    pub fn resize(&mut self, text: &str) -> Result<(), crate::disk::SizeError> {
        let size = match text {
            "auto" => DiskSize::Auto(Margin::default()),
            text => DiskSize::Exact(parse_size(text)?),
        };
        if let Some(disk) = self.devices.disks.first_mut() {
            disk.size = size;
        }
        self.changed.extend(["size", "margin"].map(of_disk));
        Ok(())
    }

    /// Adds an argument for the kernel, or says what is wrong with it.
    pub fn add_kernel_argument(&mut self, text: &str) -> Result<(), &'static str> {
        match kernel_argument(text) {
            Some(problem) => Err(problem),
            None => {
                self.kernel_arguments.push(text.to_owned());
                Ok(())
            }
        }
    }

    /// Checks the description as a recipe's is checked; for one that was changed since.
    pub fn check(&self) -> Result<(), DiskFault> {
        // The layout's own partitions make no sense in the other table, which says it better.
        check_layout(self.layout, &self.devices)?;
        check(&self.devices)
    }

    /// Says whether the consoles are those of a recipe that names none.
    pub fn has_usual_consoles(&self) -> bool {
        self.consoles == CONSOLES
    }
}

/// What partitions and volumes are read with.
struct Context<'a> {
    /// `None` where the recipe does not say a kind that there is.
    table: Option<TableKind>,
    architecture: &'a str,
}

fn of_disk(field: &'static str) -> Place {
    Place {
        node: Node::Disk,
        field,
    }
}

pub(super) fn parse(value: &Value<'_>, architecture: &str) -> Result<DiskSection, RecipeError> {
    let (table, keys) = value.open(&DISK)?;
    let layout = or_default(&table, "layout", &Layout::ALL);
    let kind = or_default(&table, "table", &TableKind::ALL);
    let sector = table
        .get("sector")
        .map_or(Ok(SectorSize::default()), |value| sector_size(&value));
    let context = Context {
        table: kind.as_ref().ok().copied(),
        architecture,
    };
    let partitions = {
        // Where one of these is wrong, the partitions are only looked through: an updatable disk
        // lets them leave out most.
        let layout = layout.as_ref().copied().unwrap_or(Layout::Updatable);
        let kind = kind.as_ref().copied().unwrap_or_default();
        let sector = sector.as_ref().copied().unwrap_or_default();
        let own = layout_partitions(layout, kind, sector, architecture);
        match table.get("partitions") {
            None => Ok((own.clone(), own.iter().map(|_| None).collect())),
            Some(list) => partition::parse(&list, layout, own, &context),
        }
    };
    let align = table.get("align").map_or(Ok(MIB), |value| size(&value));
    let words = (
        words_of(&table, "profile", words::layer_name),
        words_of(&table, "kernel_arguments", kernel_argument),
        match table.get("console") {
            None => Ok(CONSOLES.map(str::to_owned).to_vec()),
            Some(list) => list.strings(console),
        },
    )
        .together();
    let ((), layout, kind, sector, size, align, (partitions, spots), volumes, words) = (
        keys,
        layout,
        kind,
        sector,
        disk_size(&table),
        align,
        partitions,
        volume::parse(&table),
        words,
    )
        .together()?;
    let (profiles, kernel_arguments, consoles) = words;
    let disk = Disk {
        name: "image0".to_owned(),
        size,
        sector,
        align,
        table: Some(kind),
        partitions,
        filesystem: None,
    };
    let mut devices = Devices {
        disks: vec![disk],
        ..Devices::default()
    };
    let mut places = Places::new(value);
    places.partitions = spots;
    volumes.add_to(&mut devices, &mut places);
    let laid_out = || check_layout(layout, &devices).map_err(|fault| places.point(&fault));
    // The layout's own partitions make no sense in the other table.
    if layout == Layout::Updatable && kind == TableKind::Mbr {
        laid_out()?;
    }
    let faults = check_all(&devices);
    all(faults.iter().map(|fault| Err(places.point(fault)))).map(|_: Vec<()>| ())?;
    laid_out()?;
    Ok(DiskSection {
        layout,
        profiles,
        kernel_arguments,
        consoles,
        devices,
        places: Some(places),
        changed: Vec::new(),
    })
}

fn sector_size(value: &Value<'_>) -> Result<SectorSize, RecipeError> {
    match value.integer::<u64>()? {
        512 => Ok(SectorSize::B512),
        4096 => Ok(SectorSize::B4096),
        other => Err(value.fault(format!("a sector has 512 or 4096 bytes, not {other}"))),
    }
}

fn or_default<T: Copy + Default>(
    table: &Table<'_>,
    key: &str,
    all: &[(&'static str, T)],
) -> Result<T, RecipeError> {
    table
        .get(key)
        .map_or(Ok(T::default()), |value| choice(&value, all))
}

fn words_of(
    table: &Table<'_>,
    key: &str,
    check: fn(&str) -> Option<&'static str>,
) -> Result<Vec<String>, RecipeError> {
    table
        .get(key)
        .map_or(Ok(Vec::new()), |list| list.strings(check))
}

fn disk_size(table: &Table<'_>) -> Result<DiskSize, RecipeError> {
    let exact = table
        .get("size")
        .map_or(Ok(None), |value| match value.string()? {
            "auto" => Ok(None),
            _ => size(&value).map(Some),
        });
    let given = table.get("margin");
    let margin = given.as_ref().map(margin).transpose();
    match ((exact, margin).together()?, given) {
        ((None, margin), _) => Ok(DiskSize::Auto(margin.unwrap_or_default())),
        ((Some(size), _), None) => Ok(DiskSize::Exact(size)),
        ((Some(_), _), Some(value)) => {
            let help = "leave one of them out";
            Err(value.key_fault("'margin' goes with size = \"auto\" only", Some(help.into())))
        }
    }
}

fn margin(value: &Value<'_>) -> Result<Margin, RecipeError> {
    let text = value.string()?;
    if text.trim_end().ends_with('%') {
        return share(value, text).map(Margin::Share);
    }
    // No margin at all is one.
    if text.trim() == "0" {
        return Ok(Margin::Bytes(0));
    }
    size(value).map(Margin::Bytes)
}

/// Reads a size in bytes.
fn size(value: &Value<'_>) -> Result<u64, RecipeError> {
    let text = value.string()?;
    parse_size(text).map_err(|error| {
        let help = match error {
            crate::disk::SizeError::Unit { unit } => {
                let units = ["TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "KB", "B"];
                let same = units
                    .into_iter()
                    .find(|known| known.eq_ignore_ascii_case(&unit));
                let near = same.map(|known| format!("did you mean '{known}'?"));
                let message = format!("'{unit}' is not a unit of size");
                let help = near.or_else(|| suggest(&unit, units));
                return value.fault_with(message, help.or(Some("use MiB or GiB".into())));
            }
            _ => "write e.g. \"512MiB\" or \"10GiB\"",
        };
        value.fault_with(error.to_string(), Some(help.into()))
    })
}

/// Reads a percentage.
fn share(value: &Value<'_>, text: &str) -> Result<Share, RecipeError> {
    Share::parse(text).map_err(|error| {
        let help = "write a percentage above 0% and up to 100%";
        value.fault_with(error.to_string(), Some(help.into()))
    })
}

fn kernel_argument(text: &str) -> Option<&'static str> {
    if let Some(problem) = words::line(text) {
        return Some(problem);
    }
    let key = text.split('=').next().unwrap_or_default();
    match key {
        "root" => Some("is said by the layout"),
        "console" => Some("goes into 'console'"),
        _ if text.contains(' ') && !text.contains('"') => {
            Some("holds a space: list arguments one by one")
        }
        _ => argument_problem(text).map(|problem| problem.strip_prefix("it ").unwrap_or(problem)),
    }
}

fn console(text: &str) -> Option<&'static str> {
    let (device, options) = text.split_once(',').unwrap_or((text, "115200"));
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let fits =
        is_word(device) && is_word(options) && !device.starts_with(|c: char| c.is_ascii_digit());
    (!fits).then_some("is not a console: write e.g. \"tty0\" or \"ttyS0,115200\"")
}

/// Says whether an updatable disk has a partition of this name anyway.
fn is_own(layout: Layout, name: &str) -> bool {
    layout == Layout::Updatable && UPDATABLE.contains(&name)
}
