//! The bytes of the cache: the format `glibc-ld.so.cache1.1` with extensions, written since glibc
//! 2.33.
//!
//! Header, one record per entry, strings, padding to four bytes, directory of extensions, their
//! data. All offsets are from the start of the file. The format is described in glibc's
//! `sysdeps/generic/dl-cache.h`.

use std::collections::{BTreeSet, HashMap};

use super::conf::LibraryDirs;
use super::{CacheEntry, LdConfig, LdSoCacheError};
use crate::elf::ByteOrder;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const EXTENSION_GENERATOR: u32 = 0;
const EXTENSION_HWCAPS: u32 = 1;
const EXTENSION_HEADER_BYTES: usize = 8;
const EXTENSION_SECTION_BYTES: usize = 16;
/// Says that the lower half of an entry's hwcap field is an index into the names of the hwcaps
/// directories.
const HWCAP_BY_NAME: u64 = 1 << 62;

pub(super) fn encode(
    entries: &[CacheEntry],
    dirs: &LibraryDirs,
    ldconfig: &LdConfig,
) -> Result<Vec<u8>, LdSoCacheError> {
    let hwcaps: Vec<&[u8]> = entries
        .iter()
        .filter_map(|entry| entry.hwcaps.as_deref())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let strings = Strings::new(
        entries
            .iter()
            .flat_map(|entry| [entry.soname.as_slice(), entry.path.as_slice()])
            .chain(dirs.hwcaps_names.iter().map(Vec::as_slice)),
    );
    let strings_at = HEADER_BYTES + entries.len() * ENTRY_BYTES;
    let extensions_at = (strings_at + strings.bytes.len()).next_multiple_of(4);
    let sections = if hwcaps.is_empty() { 1 } else { 2 };
    let hwcaps_at = extensions_at + EXTENSION_HEADER_BYTES + sections * EXTENSION_SECTION_BYTES;
    let generator_at = hwcaps_at + hwcaps.len() * 4;
    let end = generator_at + ldconfig.generator.len();
    if u32::try_from(end).is_err() {
        return Err(LdSoCacheError::TooLarge);
    }
    // Every number below is at most `end`.
    let string_at = |string: &[u8]| strings_at + strings.offset(string);

    let mut out = Writer {
        bytes: Vec::with_capacity(end),
        order: ldconfig.order,
    };
    out.bytes.extend_from_slice(MAGIC);
    out.size(entries.len());
    out.size(strings.bytes.len());
    out.bytes.push(match ldconfig.order {
        ByteOrder::Little => 2,
        ByteOrder::Big => 3,
    });
    out.pad_to(32);
    out.size(extensions_at);
    out.pad_to(HEADER_BYTES);
    for entry in entries {
        out.u32(entry.flags);
        out.size(string_at(&entry.soname));
        out.size(string_at(&entry.path));
        // Formerly the oldest kernel that it runs on; no loader reads it now.
        out.u32(0);
        let index = entry
            .hwcaps
            .as_deref()
            .and_then(|name| hwcaps.binary_search(&name).ok());
        out.u64(index.map_or(0, |index| {
            HWCAP_BY_NAME | u64::from(entry.isa_level) << 32 | index as u64
        }));
    }
    out.bytes.extend_from_slice(&strings.bytes);
    out.pad_to(extensions_at);
    out.u32(EXTENSION_MAGIC);
    out.size(sections);
    out.section(EXTENSION_GENERATOR, generator_at, ldconfig.generator.len());
    if !hwcaps.is_empty() {
        out.section(EXTENSION_HWCAPS, hwcaps_at, hwcaps.len() * 4);
    }
    for name in &hwcaps {
        out.size(string_at(name));
    }
    out.bytes.extend_from_slice(&ldconfig.generator);
    Ok(out.bytes)
}

struct Writer {
    bytes: Vec<u8>,
    order: ByteOrder,
}

impl Writer {
    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        });
    }

    fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        });
    }

    fn size(&mut self, value: usize) {
        self.u32(value as u32);
    }

    fn section(&mut self, tag: u32, offset: usize, length: usize) {
        self.u32(tag);
        self.u32(0);
        self.size(offset);
        self.size(length);
    }

    fn pad_to(&mut self, length: usize) {
        self.bytes.resize(length, 0);
    }
}

/// The strings, each ending in NUL; one that is the end of another shares its bytes.
struct Strings<'a> {
    bytes: Vec<u8>,
    offsets: HashMap<&'a [u8], usize>,
}

impl<'a> Strings<'a> {
    fn new(strings: impl Iterator<Item = &'a [u8]>) -> Self {
        // Compared from their ends and in descending order, a string directly follows those that
        // end in it.
        let mut sorted: Vec<&[u8]> = strings.collect();
        sorted.sort_by(|left, right| right.iter().rev().cmp(left.iter().rev()));
        sorted.dedup();
        let mut bytes = Vec::new();
        let mut offsets = HashMap::with_capacity(sorted.len());
        let mut previous: &[u8] = &[];
        for string in sorted {
            let offset = if previous.ends_with(string) && !offsets.is_empty() {
                bytes.len() - 1 - string.len()
            } else {
                bytes.extend_from_slice(string);
                bytes.push(0);
                bytes.len() - 1 - string.len()
            };
            offsets.insert(string, offset);
            previous = string;
        }
        Self { bytes, offsets }
    }

    /// Returns where a string that was given to [`Strings::new`] starts.
    fn offset(&self, string: &[u8]) -> usize {
        self.offsets.get(string).copied().unwrap_or_default()
    }
}
