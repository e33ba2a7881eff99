//! The symbols by which an object is bound to others when it is loaded.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::{Endianness, FileKind, U16, U32, U64};

use super::ElfError;
use super::read::Reader;

/// The most symbols looked at in one object; the richest real ones have a tenth of it.
const SYMBOLS_LIMIT: u64 = 4 << 20;

/// The most text of names read from one object: a small one can point at a long name a million
/// times.
const TEXT_LIMIT_BYTES: usize = 256 << 20;

/// A symbol that another object has to define, in whatever version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UndefinedSymbol {
    /// Its name.
    pub name: String,
    /// Whether the loader looks for it before the program starts; else when it is called first.
    pub at_start: bool,
}

/// The dynamic symbols of an object, as far as names alone bind them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElfSymbols {
    /// What it needs, without weak symbols and those of a version; sorted.
    pub undefined: Vec<UndefinedSymbol>,
    /// The [numbers](symbol_number) of what it defines, sorted.
    pub defined: Vec<u64>,
}

/// Returns a number that stands for a name (FNV-1a): two names that share one are not told apart.
pub fn symbol_number(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |number, byte| {
        (number ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Reads the dynamic symbols of `data`, the content of one whole file; what is no ELF file has none.
pub fn symbols(data: &[u8]) -> Result<ElfSymbols, ElfError> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => read(Reader::<FileHeader32<Endianness>, _>::open(data)?),
        Ok(FileKind::Elf64) => read(Reader::<FileHeader64<Endianness>, _>::open(data)?),
        _ => Ok(ElfSymbols::default()),
    }
}

fn malformed() -> ElfError {
    ElfError::Malformed {
        part: "table of dynamic symbols",
    }
}

/// Translates an address to an offset in the file.
fn place<'a, H: FileHeader<Endian = Endianness>>(
    reader: &Reader<'a, H, &'a [u8]>,
    address: u64,
) -> Result<u64, ElfError> {
    let offset = reader.file_offset(address);
    offset
        .filter(|offset| *offset <= reader.data.len() as u64)
        .ok_or_else(malformed)
}

fn read<'a, H: FileHeader<Endian = Endianness>>(
    reader: Reader<'a, H, &'a [u8]>,
) -> Result<ElfSymbols, ElfError> {
    let endian = reader.endian;
    let mut segments = reader.segments.iter();
    let dynamic = segments.rfind(|segment| segment.p_type(endian) == elf::PT_DYNAMIC);
    let entries = dynamic.and_then(|dynamic| dynamic.dynamic(endian, reader.data).ok().flatten());
    let entries: Vec<(elf::DynamicTag, u64)> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| (entry.d_tag(endian), entry.d_val(endian).into()))
        .take_while(|(tag, _)| *tag != elf::DT_NULL)
        .collect();
    let value = |wanted| {
        entries
            .iter()
            .find(|(tag, _)| *tag == wanted)
            .map(|(_, v)| *v)
    };
    let (Some(table), Some(strings)) = (value(elf::DT_SYMTAB), value(elf::DT_STRTAB)) else {
        return Ok(ElfSymbols::default());
    };
    let (table, strings) = (place(&reader, table)?, place(&reader, strings)?);
    let versions = match value(elf::DT_VERSYM) {
        Some(at) => Some(place(&reader, at)?),
        None => None,
    };
    let count = match (value(elf::DT_HASH), value(elf::DT_GNU_HASH)) {
        (Some(at), _) => {
            let at = place(&reader, at)? + 4;
            u64::from(reader.at::<U32<Endianness>>(at, "hash table")?.get(endian))
        }
        (None, Some(at)) => gnu_count(&reader, place(&reader, at)?)?,
        (None, None) => 0,
    };
    let is_now = value(elf::DT_BIND_NOW).is_some()
        || value(elf::DT_FLAGS).is_some_and(|flags| flags & elf::DF_BIND_NOW.0 != 0)
        || value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_NOW.0 != 0);
    let mut budget = TEXT_LIMIT_BYTES;
    let mut undefined = Vec::new();
    let mut found = ElfSymbols::default();
    let size = std::mem::size_of::<H::Sym>() as u64;
    for index in 1..count.min(SYMBOLS_LIMIT) {
        let symbol: &H::Sym = reader.at(table + index * size, "table of dynamic symbols")?;
        let is_undefined = symbol.st_shndx(endian) == elf::SHN_UNDEF;
        let binding = symbol.st_bind();
        if binding == elf::STB_LOCAL || is_undefined && binding == elf::STB_WEAK {
            continue;
        }
        if is_undefined && let Some(versions) = versions {
            let at = versions + index * 2;
            let version: &U16<Endianness> = reader.at(at, "table of symbol versions")?;
            if version.get(endian) & 0x7fff > 1 {
                continue;
            }
        }
        let start = (strings + u64::from(symbol.st_name(endian))) as usize;
        let name = reader.data.get(start..).and_then(|rest| {
            let rest = &rest[..rest.len().min(budget)];
            rest.split(|byte| *byte == 0).next()
        });
        let name = name.ok_or_else(malformed)?;
        budget = budget.checked_sub(name.len() + 1).ok_or_else(malformed)?;
        if name.is_empty() {
            continue;
        }
        match is_undefined {
            true => undefined.push((index, String::from_utf8_lossy(name).into_owned())),
            false => found.defined.push(symbol_number(name)),
        }
    }
    let bound = match is_now || undefined.is_empty() {
        true => Vec::new(),
        false => bound_at_start(&reader, &entries)?,
    };
    found.undefined = undefined
        .into_iter()
        .map(|(index, name)| UndefinedSymbol {
            name,
            at_start: is_now || bound.binary_search(&index).is_ok(),
        })
        .collect();
    found.undefined.sort();
    found.undefined.dedup();
    found.defined.sort_unstable();
    found.defined.dedup();
    Ok(found)
}

/// Counts the symbols by the GNU hash table: the last one of the last chain is the last of all.
fn gnu_count<'a, H: FileHeader<Endian = Endianness>>(
    reader: &Reader<'a, H, &'a [u8]>,
    at: u64,
) -> Result<u64, ElfError> {
    const PART: &str = "hash table";
    let word = |at: u64| {
        let word: &U32<Endianness> = reader.at(at, PART)?;
        Ok::<u64, ElfError>(word.get(reader.endian).into())
    };
    let (buckets, first, bloom) = (word(at)?, word(at + 4)?, word(at + 8)?);
    let wide = if reader.header.is_class_64() { 8 } else { 4 };
    let start = at + 16 + bloom * wide;
    let mut last = 0;
    for bucket in 0..buckets.min(SYMBOLS_LIMIT) {
        last = last.max(word(start + bucket * 4)?);
    }
    if last < first {
        return Ok(first);
    }
    let chains = start + buckets * 4;
    while word(chains + (last - first) * 4)? & 1 == 0 {
        last += 1;
        if last > SYMBOLS_LIMIT {
            return Err(malformed());
        }
    }
    Ok(last + 1)
}

/// Returns the numbers of the symbols that relocations of data name, sorted: calls are bound late.
fn bound_at_start<'a, H: FileHeader<Endian = Endianness>>(
    reader: &Reader<'a, H, &'a [u8]>,
    entries: &[(elf::DynamicTag, u64)],
) -> Result<Vec<u64>, ElfError> {
    let value = |wanted| {
        entries
            .iter()
            .find(|(tag, _)| *tag == wanted)
            .map(|(_, v)| *v)
    };
    let is_64 = reader.header.is_class_64();
    let wide: u64 = if is_64 { 8 } else { 4 };
    let tables = [
        (elf::DT_RELA, elf::DT_RELASZ, wide * 3),
        (elf::DT_REL, elf::DT_RELSZ, wide * 2),
    ];
    let mut bound = Vec::new();
    for (table, size, step) in tables {
        let (Some(table), Some(size)) = (value(table), value(size)) else {
            continue;
        };
        let start = place(reader, table)?;
        for number in 0..(size / step).min(SYMBOLS_LIMIT) {
            let at = start + number * step + wide;
            let index = match is_64 {
                true => {
                    let info: &U64<Endianness> = reader.at(at, "table of relocations")?;
                    info.get(reader.endian) >> 32
                }
                false => {
                    let info: &U32<Endianness> = reader.at(at, "table of relocations")?;
                    u64::from(info.get(reader.endian) >> 8)
                }
            };
            bound.push(index);
        }
    }
    bound.sort_unstable();
    bound.dedup();
    Ok(bound)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "symbols_tests.rs"]
mod tests;
