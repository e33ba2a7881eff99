//! LVM2 on disk: labels and metadata of physical volumes, so that a kernel finds the volumes.
//!
//! The format is that of LVM 2.03 (lib/format_text, lib/label): a label in the second 512 bytes, a
//! metadata area from 4 KiB to 1 MiB, and the group's metadata in it as text, the same in each
//! physical volume.

use std::fmt::Write as _;
use std::io;

use super::bytes::Record;
use super::crc32::raw;
use super::medium::Medium;
use super::plan::{GroupPlan, PhysicalPlan, VolumePlan};
use super::seed::Seed;
use super::volumes::FIRST_EXTENT;

/// Where LVM's checksums start.
const INITIAL_CRC: u32 = 0xf597_a6cf;

/// The metadata area.
const AREA: u64 = 4096;
const AREA_SIZE: u64 = FIRST_EXTENT - AREA;
const AREA_HEADER: u64 = 512;

/// LVM counts in sectors of 512 bytes, whatever the disk's.
const SECTOR: u64 = 512;

/// The letters of LVM's identifiers (lib/uuid/uuid.c).
const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Writes the labels and the metadata of `group`.
///
/// Identifiers derive from `seed`; `epoch` (seconds since 1970) dates the volumes. An error is one
/// of `medium`, or says that the metadata has no room.
pub fn write_group(
    group: &GroupPlan,
    seed: &Seed,
    epoch: u64,
    medium: &mut dyn Medium,
) -> io::Result<()> {
    let text = metadata(group, seed, epoch);
    if text.len() as u64 > AREA_SIZE - AREA_HEADER {
        let message = format!("the metadata of the group '{}' has no room", group.name);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for volume in &group.physical {
        medium.write_at(
            volume.start + SECTOR,
            label(volume, &physical_id(seed, volume)).bytes(),
        )?;
        medium.write_at(volume.start + AREA, area_header(&text).bytes())?;
        medium.write_at(volume.start + AREA + AREA_HEADER, &text)?;
    }
    Ok(())
}

fn physical_id(seed: &Seed, volume: &PhysicalPlan) -> String {
    identifier(seed, &format!("physical volume {}", volume.name))
}

/// Makes an identifier of 32 letters and digits.
fn identifier(seed: &Seed, name: &str) -> String {
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    seed.bytes(name).iter().map(letter).collect()
}

/// Writes an identifier as the metadata has it: in groups of 6, 4, 4, 4, 4, 4 and 6.
fn grouped(identifier: &str) -> String {
    let mut text = String::new();
    for (at, letter) in identifier.chars().enumerate() {
        if (6..=26).contains(&at) && (at - 6) % 4 == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

fn label(volume: &PhysicalPlan, identifier: &str) -> Record {
    let mut label = Record::new(SECTOR as usize);
    label
        .put(0, b"LABELONE")
        .u64(8, 1)
        .u32(20, 32)
        .put(24, b"LVM2 001")
        .put(32, identifier.as_bytes())
        .u64(64, volume.size)
        // The data area runs to the end; an empty entry ends each list.
        .u64(72, FIRST_EXTENT)
        .u64(104, AREA)
        .u64(112, AREA_SIZE)
        // The extension of version 2 says that the volume is in use.
        .u32(136, 2)
        .u32(140, 1);
    let checksum = raw(INITIAL_CRC, &label.bytes()[20..]);
    label.u32(16, checksum);
    label
}

fn area_header(text: &[u8]) -> Record {
    let mut header = Record::new(AREA_HEADER as usize);
    header
        .put(4, b" LVM2 x[5A%r0N*>")
        .u32(20, 1)
        .u64(24, AREA)
        .u64(32, AREA_SIZE)
        .u64(40, AREA_HEADER)
        .u64(48, text.len() as u64)
        .u32(56, raw(INITIAL_CRC, text));
    let checksum = raw(INITIAL_CRC, &header.bytes()[4..]);
    header.u32(0, checksum);
    header
}

/// Writes a group's metadata as text that ends in NUL.
fn metadata(group: &GroupPlan, seed: &Seed, epoch: u64) -> Vec<u8> {
    let id = identifier(seed, &format!("group {}", group.name));
    let mut text = format!(
        "{} {{\nid = \"{}\"\nseqno = 1\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\nextent_size = {}\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\nphysical_volumes {{\n",
        group.name,
        grouped(&id),
        group.extent / SECTOR
    );
    for (index, volume) in group.physical.iter().enumerate() {
        // The device is only a hint; LVM finds volumes by their identifiers.
        let _ = write!(
            text,
            "\npv{index} {{\nid = \"{}\"\ndevice = \"unknown\"\n\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = {}\npe_start = {}\npe_count = {}\n}}\n",
            grouped(&physical_id(seed, volume)),
            volume.size / SECTOR,
            FIRST_EXTENT / SECTOR,
            volume.extents
        );
    }
    text.push_str("}\n\n");
    if !group.volumes.is_empty() {
        text.push_str("logical_volumes {\n");
        for volume in &group.volumes {
            logical(&mut text, group, volume, seed, epoch);
        }
        text.push_str("}\n\n");
    }
    let _ = write!(
        text,
        "}}\n# Generated by layerset\n\ncontents = \"Text Format Volume Group\"\nversion = 1\n\ndescription = \"\"\n\ncreation_host = \"layerset\"\ncreation_time = {epoch}\n\n\0"
    );
    text.into_bytes()
}

fn logical(text: &mut String, group: &GroupPlan, volume: &VolumePlan, seed: &Seed, epoch: u64) {
    let id = identifier(seed, &format!("volume {} of {}", volume.name, group.name));
    let _ = write!(
        text,
        "\n{} {{\nid = \"{}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\ncreation_time = {epoch}\ncreation_host = \"layerset\"\nsegment_count = {}\n",
        volume.name,
        grouped(&id),
        volume.segments.len()
    );
    let mut start = 0;
    for (index, segment) in volume.segments.iter().enumerate() {
        let _ = write!(
            text,
            "\nsegment{} {{\nstart_extent = {start}\nextent_count = {}\n\ntype = \"striped\"\nstripe_count = 1\n\nstripes = [\n\"pv{}\", {}\n]\n}}\n",
            index + 1,
            segment.count,
            segment.physical,
            segment.first
        );
        start += segment.count;
    }
    text.push_str("}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_groups_of_six_and_four() {
        let id = identifier(&Seed::new(b"x"), "vg");
        assert_eq!(id.len(), 32);
        let lengths: Vec<usize> = grouped(&id).split('-').map(str::len).collect();
        assert_eq!(lengths, [6, 4, 4, 4, 4, 4, 6]);
    }
}
