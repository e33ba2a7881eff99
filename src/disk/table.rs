//! Partition tables: GPT (UEFI specification 2.10, chapter 5) and MBR with logical partitions.

use std::io;

use super::bytes::Record;
use super::crc32::crc32;
use super::medium::Medium;
use super::model::TableKind;
use super::plan::{DiskPlan, PartitionPlan};
use super::seed::Seed;
use super::uuid::Uuid;

/// How many bytes of the first sector hold boot code.
pub const BOOT_CODE: usize = 440;

/// The types of partitions that a table needs for itself.
const PROTECTIVE: u8 = 0xee;
const EXTENDED_LBA: u8 = 0x0f;
const EXTENDED: u8 = 0x05;

const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const HEADER: usize = 92;

/// Writes the partition table of `plan`, with up to 440 bytes of boot code in the first sector.
///
/// Identifiers come from `seed`: the disk's by `disk`, a partition's by `partition` and its name.
/// The first sector is written as a whole.
pub fn write_table(
    plan: &DiskPlan,
    seed: &Seed,
    boot_code: Option<&[u8]>,
    medium: &mut dyn Medium,
) -> io::Result<()> {
    if medium.size() != plan.size {
        let message = format!(
            "a plan for {} bytes on a disk of {}",
            plan.size,
            medium.size()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let code = boot_code.unwrap_or_default();
    if code.len() > BOOT_CODE {
        let message = format!(
            "boot code has {} bytes, and room for {BOOT_CODE}",
            code.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    match plan.table {
        TableKind::Gpt => write_gpt(plan, seed, code, medium),
        TableKind::Mbr => write_mbr(plan, seed, code, medium),
    }
}

/// Returns the GUID of a disk that has a GPT.
pub fn disk_guid(seed: &Seed) -> Uuid {
    Uuid(seed.uuid("disk"))
}

/// Returns the GUID of the partition called `name` of a GPT.
pub fn partition_guid(seed: &Seed, name: &str) -> Uuid {
    Uuid(seed.uuid(&format!("partition {name}")))
}

/// Returns the signature of a disk that has an MBR.
pub fn disk_signature(seed: &Seed) -> u32 {
    seed.number("disk")
}

fn write_gpt(plan: &DiskPlan, seed: &Seed, code: &[u8], medium: &mut dyn Medium) -> io::Result<()> {
    let sector = plan.sector.bytes();
    let last = plan.size / sector - 1;
    let mut first = Record::new(sector as usize);
    first.put(0, code);
    let length = u32::try_from(last).unwrap_or(u32::MAX);
    put_entry(
        &mut first,
        0,
        &Entry {
            is_boot: false,
            kind: PROTECTIVE,
            start: 1,
            length,
        },
    );
    first.put(510, &[0x55, 0xaa]);
    medium.write_at(0, first.bytes())?;

    let entries = gpt_entries(plan, seed);
    let span = (ENTRIES * ENTRY) as u64 / sector;
    let header = |own: u64, other: u64, table: u64| {
        let mut header = Record::new(HEADER);
        header
            .put(0, b"EFI PART")
            .u32(8, 0x0001_0000)
            .u32(12, HEADER as u32)
            .u64(24, own)
            .u64(32, other)
            .u64(40, 2 + span)
            .u64(48, last - 1 - span)
            .put(56, &disk_guid(seed).to_gpt())
            .u64(72, table)
            .u32(80, ENTRIES as u32)
            .u32(84, ENTRY as u32)
            .u32(88, crc32(&entries));
        let checksum = crc32(header.bytes());
        header.u32(16, checksum);
        header
    };
    medium.write_at(sector, header(1, last, 2).bytes())?;
    medium.write_at(2 * sector, &entries)?;
    medium.write_at((last - span) * sector, &entries)?;
    medium.write_at(last * sector, header(last, 1, last - span).bytes())
}

fn gpt_entries(plan: &DiskPlan, seed: &Seed) -> Vec<u8> {
    let sector = plan.sector.bytes();
    let mut entries = Record::new(ENTRIES * ENTRY);
    for part in &plan.partitions {
        let at = (part.number as usize - 1) * ENTRY;
        let kind = part.kind.guid.unwrap_or(Uuid([0; 16]));
        // Bit 2: a BIOS may boot it.
        let attributes = u64::from(part.is_boot) << 2;
        entries
            .put(at, &kind.to_gpt())
            .put(at + 16, &partition_guid(seed, &part.name).to_gpt())
            .u64(at + 32, part.start / sector)
            .u64(at + 40, (part.start + part.size) / sector - 1)
            .u64(at + 48, attributes);
        for (index, unit) in part.label.encode_utf16().take(36).enumerate() {
            entries.u16(at + 56 + 2 * index, unit);
        }
    }
    entries.bytes().to_vec()
}

/// An entry of an MBR or EBR, in sectors.
struct Entry {
    is_boot: bool,
    kind: u8,
    start: u32,
    length: u32,
}

fn put_entry(sector: &mut Record, index: usize, entry: &Entry) {
    let at = 446 + 16 * index;
    let end = u64::from(entry.start) + u64::from(entry.length) - 1;
    sector
        .u8(at, if entry.is_boot { 0x80 } else { 0 })
        .put(at + 1, &chs(entry.start.into(), entry.kind))
        .u8(at + 4, entry.kind)
        .put(at + 5, &chs(end, entry.kind))
        .u32(at + 8, entry.start)
        .u32(at + 12, entry.length);
}

/// Returns an address as cylinder, head and sector of a disk with 254 heads of 63 sectors, as
/// diskimage-builder writes it; its last one for what lies beyond.
fn chs(address: u64, kind: u8) -> [u8; 3] {
    const HEADS: u64 = 254;
    const SECTORS: u64 = 63;
    if kind == PROTECTIVE {
        // UEFI 2.10, table 5.4.
        return if address == 1 { [0, 2, 0] } else { [0xff; 3] };
    }
    let cylinder = address / (HEADS * SECTORS);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let head = address / SECTORS % HEADS;
    let sector = address % SECTORS + 1;
    [
        head as u8,
        sector as u8 | (cylinder >> 8 << 6) as u8,
        cylinder as u8,
    ]
}

fn write_mbr(plan: &DiskPlan, seed: &Seed, code: &[u8], medium: &mut dyn Medium) -> io::Result<()> {
    let sector = plan.sector.bytes();
    let of = |bytes: u64| -> io::Result<u32> {
        u32::try_from(bytes / sector)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "beyond the reach of an MBR"))
    };
    let entry_of = |part: &PartitionPlan, base: u64| -> io::Result<Entry> {
        Ok(Entry {
            is_boot: part.is_boot,
            kind: part.kind.mbr.unwrap_or(0x83),
            start: of(part.start - base)?,
            length: of(part.size)?,
        })
    };
    let mut first = Record::new(sector as usize);
    first
        .put(0, code)
        .u32(BOOT_CODE, disk_signature(seed))
        .put(510, &[0x55, 0xaa]);
    let is_primary = |part: &&PartitionPlan| part.ebr.is_none();
    let primaries: Vec<_> = plan.partitions.iter().filter(is_primary).collect();
    for (index, part) in primaries.iter().enumerate() {
        put_entry(&mut first, index, &entry_of(part, 0)?);
    }
    let logical: Vec<(&PartitionPlan, u64)> = plan
        .partitions
        .iter()
        .filter_map(|part| Some((part, part.ebr?)))
        .collect();
    if let Some((_, extended)) = logical.first() {
        let entry = Entry {
            is_boot: false,
            kind: EXTENDED_LBA,
            start: of(*extended)?,
            length: of(plan.size - extended)?,
        };
        put_entry(&mut first, primaries.len(), &entry);
        for (index, (part, ebr)) in logical.iter().enumerate() {
            let mut own = Record::new(sector as usize);
            put_entry(&mut own, 0, &entry_of(part, *ebr)?);
            if let Some((next, next_ebr)) = logical.get(index + 1) {
                // Addresses of the chain count from the extended partition's start.
                let link = Entry {
                    is_boot: false,
                    kind: EXTENDED,
                    start: of(next_ebr - extended)?,
                    length: of(next.start + next.size - next_ebr)?,
                };
                put_entry(&mut own, 1, &link);
            }
            own.put(510, &[0x55, 0xaa]);
            medium.write_at(*ebr, own.bytes())?;
        }
    }
    medium.write_at(0, first.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_diskimage_builder_does() {
        for (address, bytes) in [
            (0, [0, 1, 0]),
            (2048, [32, 33, 0]),
            (254 * 63, [0, 1, 1]),
            (254 * 63 * 300, [0, 1 | 1 << 6, 44]),
            (254 * 63 * 1024, [0xfe, 0xff, 0xff]),
        ] {
            assert_eq!(chs(address, 0x83), bytes, "{address}");
        }
    }
}
