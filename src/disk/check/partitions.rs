//! Rules of partitions and tables.

use super::super::fault::{DiskFault, Node};
use super::super::kind::PartitionKind;
use super::super::model::{Disk, DiskSize, PartSize, Partition, Role, TableKind};
use super::super::size::show_size;

/// How many partitions a GPT of the usual size has room for.
const GPT_PARTITIONS: usize = 128;

/// How many UTF-16 units the name of a partition may have in a GPT.
const GPT_NAME: usize = 36;

pub(super) fn check(disk: &Disk) -> Vec<DiskFault> {
    let table = match whole(disk) {
        Ok(table) => table,
        Err(fault) => return vec![fault],
    };
    let parts = disk.partitions.iter().enumerate();
    let mut faults: Vec<DiskFault> = parts
        .filter_map(|(index, part)| one(disk, table, index, part).err())
        .collect();
    let rest = alone(
        disk,
        "size",
        "takes the rest",
        |p| p.size == PartSize::Rest,
        "give one of them a size",
    );
    let boot = alone(
        disk,
        "flags",
        "has the flag 'boot'",
        |p| p.is_boot,
        "one partition is booted",
    );
    faults.extend([rest, boot].into_iter().filter_map(Result::err));
    for (word, kind) in [("esp", PartitionKind::ESP), ("bios", PartitionKind::BIOS)] {
        let message = format!("is of type '{word}'");
        let is_kind = |p: &Partition| p.kind == kind;
        faults.extend(alone(disk, "type", &message, is_kind, "firmware looks for one").err());
    }
    match table {
        TableKind::Gpt => faults.extend(gpt(disk)),
        TableKind::Mbr => faults.extend(mbr(disk).err()),
    }
    faults
}

/// Checks what is said of the disk, and returns its table.
fn whole(disk: &Disk) -> Result<TableKind, DiskFault> {
    let whole = Node::Disk;
    let Some(table) = disk.table else {
        let help = "write table = \"gpt\" or table = \"mbr\"";
        return Err(whole.at("").fault("the disk has no partition table", help));
    };
    let is_fit = disk.align.is_power_of_two() && (4096..=1 << 30).contains(&disk.align);
    if !is_fit {
        let message = format!("partitions cannot be aligned to {}", show_size(disk.align));
        let help = "use a power of two from 4 KiB to 1 GiB; 1 MiB is usual";
        return Err(whole.at("align").fault(message, help));
    }
    if disk.partitions.is_empty() {
        let message = "the disk has no partition";
        return Err(whole.at("").fault(message, "add [[disk.partitions]]"));
    }
    Ok(table)
}

fn one(disk: &Disk, table: TableKind, index: usize, part: &Partition) -> Result<(), DiskFault> {
    let node = Node::Partition(index);
    let name = &part.name;
    let is_known = match table {
        TableKind::Gpt => part.kind.guid.is_some(),
        TableKind::Mbr => part.kind.mbr.is_some(),
    };
    if !is_known {
        let message = format!("the type of '{name}' is none of a {table} table");
        return Err(node.at("type").fault(message, ""));
    }
    if let PartSize::Bytes(size) = part.size
        && size < disk.sector.bytes()
    {
        let message = format!(
            "'{name}' has {}, which is less than a sector",
            show_size(size)
        );
        return Err(node
            .at("size")
            .fault(message, "write a unit, e.g. \"512MiB\""));
    }
    if table == TableKind::Gpt {
        let (flag, field) = match part.role {
            Role::Any => return Ok(()),
            Role::Primary => ("primary", "flags"),
            Role::Logical => ("logical", "logical"),
        };
        let message = format!("'{name}' is {flag}, which only partitions of an mbr table are");
        let help = "leave it out, or write table = \"mbr\"";
        return Err(node.at(field).fault(message, help));
    }
    Ok(())
}

/// Refuses a second partition of which something is true.
fn alone(
    disk: &Disk,
    field: &'static str,
    what: &str,
    is_so: impl Fn(&Partition) -> bool,
    help: &str,
) -> Result<(), DiskFault> {
    let mut those = disk.partitions.iter().enumerate().filter(|(_, p)| is_so(p));
    let (Some((other, first)), Some((index, second))) = (those.next(), those.next()) else {
        return Ok(());
    };
    let message = match what.strip_prefix("is ") {
        Some(rest) => format!("'{}' is {rest}, and so is '{}'", second.name, first.name),
        None => format!("'{}' {what}, and so does '{}'", second.name, first.name),
    };
    Err(DiskFault {
        other: Some(Node::Partition(other).at(field)),
        ..Node::Partition(index).at(field).fault(message, help)
    })
}

fn gpt(disk: &Disk) -> Vec<DiskFault> {
    let mut faults = Vec::new();
    if disk.partitions.len() > GPT_PARTITIONS {
        let count = disk.partitions.len();
        let message = format!("a gpt table has room for {GPT_PARTITIONS} partitions, not {count}");
        faults.push(Node::Partition(GPT_PARTITIONS).at("").fault(message, ""));
    }
    for (index, partition) in disk.partitions.iter().enumerate() {
        let (field, name) = match &partition.label {
            Some(label) => ("label", label),
            None => ("name", &partition.name),
        };
        let length = name.encode_utf16().count();
        if length > GPT_NAME {
            let message = format!(
                "'{name}' has {length} characters, and a gpt table holds {GPT_NAME} of a name"
            );
            let help = if field == "name" {
                "give it a shorter 'label'"
            } else {
                ""
            };
            faults.push(Node::Partition(index).at(field).fault(message, help));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            let message = format!("'{}' is no name for a partition", name.escape_debug());
            faults.push(Node::Partition(index).at(field).fault(message, ""));
        }
    }
    faults
}

fn mbr(disk: &Disk) -> Result<(), DiskFault> {
    let limit = (1 << 32) * disk.sector.bytes();
    if let DiskSize::Exact(size) = disk.size
        && size > limit
    {
        let message = format!(
            "an mbr table reaches {} of a disk with sectors of {} bytes, not {}",
            show_size(limit),
            disk.sector.bytes(),
            show_size(size)
        );
        return Err(Node::Disk
            .at("size")
            .fault(message, "write table = \"gpt\""));
    }
    let mut first_logical = None;
    let mut entries = 0;
    for (index, partition) in disk.partitions.iter().enumerate() {
        let node = Node::Partition(index);
        if partition.label.is_some() {
            let message = format!("an mbr table has no label for '{}'", partition.name);
            let help = "label its filesystem, or write table = \"gpt\"";
            return Err(node.at("label").fault(message, help));
        }
        if partition.role == Role::Logical {
            entries += usize::from(first_logical.is_none());
            first_logical = first_logical.or(Some(&partition.name));
        } else {
            entries += 1;
            if let Some(logical) = first_logical {
                let message = format!(
                    "'{}' is primary, and stands after the logical partition '{logical}'",
                    partition.name
                );
                return Err(node
                    .at("")
                    .fault(message, "list the primary partitions first"));
            }
        }
        if entries > 4 {
            let message = format!(
                "'{}' is one too many: an mbr table has four entries",
                partition.name
            );
            let help = "write logical = true for the last ones, which take one entry together";
            return Err(node.at("").fault(message, help));
        }
    }
    Ok(())
}
