//! The symbols by which an object is bound to others when it is loaded.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::{Endianness, FileKind, U32, U64};

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
    /// What it needs, without weak symbols; sorted. A symbol of a version is here by its name: what
    /// no object defines in any version is lacking, although the version itself may be there.
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

/// The dynamic section: what each tag says first.
struct Dynamic(Vec<(elf::DynamicTag, u64)>);

impl Dynamic {
    fn of<'a, H: FileHeader<Endian = Endianness>>(reader: &Reader<'a, H, &'a [u8]>) -> Self {
        let endian = reader.endian;
        let mut segments = reader.segments.iter();
        let segment = segments.rfind(|segment| segment.p_type(endian) == elf::PT_DYNAMIC);
        let entries =
            segment.and_then(|segment| segment.dynamic(endian, reader.data).ok().flatten());
        let entries = entries.unwrap_or_default().iter();
        let entries = entries.map(|entry| (entry.d_tag(endian), entry.d_val(endian).into()));
        Self(
            entries
                .take_while(|(tag, _)| *tag != elf::DT_NULL)
                .collect(),
        )
    }

    fn value(&self, wanted: elf::DynamicTag) -> Option<u64> {
        let mut entries = self.0.iter();
        entries
            .find(|(tag, _)| *tag == wanted)
            .map(|(_, value)| *value)
    }

    /// Says whether the loader binds all symbols before the program starts.
    fn is_bound_at_start(&self) -> bool {
        let has = |tag, flag| self.value(tag).is_some_and(|flags| flags & flag != 0);
        self.value(elf::DT_BIND_NOW).is_some()
            || has(elf::DT_FLAGS, elf::DF_BIND_NOW.0)
            || has(elf::DT_FLAGS_1, elf::DF_1_NOW.0)
    }
}

fn read<'a, H: FileHeader<Endian = Endianness>>(
    reader: Reader<'a, H, &'a [u8]>,
) -> Result<ElfSymbols, ElfError> {
    let endian = reader.endian;
    let dynamic = Dynamic::of(&reader);
    let value = |tag| dynamic.value(tag);
    let (Some(table), Some(strings)) = (value(elf::DT_SYMTAB), value(elf::DT_STRTAB)) else {
        return Ok(ElfSymbols::default());
    };
    let (table, strings) = (place(&reader, table)?, place(&reader, strings)?);
    let data = relocated(&reader, &dynamic, &DATA)?;
    let calls = relocated(&reader, &dynamic, &calls(&dynamic))?;
    // A hash table has what is defined alone. What is not, and matters, is in a relocation.
    let last = data.last().max(calls.last()).copied().unwrap_or(0);
    let count = count(&reader, &dynamic)?.max(last + 1);
    let is_now = dynamic.is_bound_at_start();
    let mut budget = TEXT_LIMIT_BYTES;
    let mut found = ElfSymbols::default();
    let size = std::mem::size_of::<H::Sym>() as u64;
    for index in 1..count.min(SYMBOLS_LIMIT) {
        let symbol: &H::Sym = reader.at(table + index * size, "table of dynamic symbols")?;
        let is_undefined = symbol.st_shndx(endian) == elf::SHN_UNDEF;
        let binding = symbol.st_bind();
        if binding == elf::STB_LOCAL || is_undefined && binding == elf::STB_WEAK {
            continue;
        }
        let start = (strings + u64::from(symbol.st_name(endian))) as usize;
        let name = reader.data.get(start..).and_then(|rest| {
            let rest = &rest[..rest.len().min(budget)];
            rest.split(|byte| *byte == 0).next()
        });
        let name = name.ok_or_else(malformed)?;
        budget = budget.checked_sub(name.len() + 1).ok_or_else(malformed)?;
        match is_undefined {
            _ if name.is_empty() => {}
            true => found.undefined.push(UndefinedSymbol {
                name: String::from_utf8_lossy(name).into_owned(),
                at_start: is_now || data.binary_search(&index).is_ok(),
            }),
            false => found.defined.push(symbol_number(name)),
        }
    }
    found.undefined.sort();
    found.undefined.dedup();
    found.defined.sort_unstable();
    found.defined.dedup();
    Ok(found)
}

/// Counts the symbols by the hash tables; without one, there is none to be found by others.
fn count<'a, H: FileHeader<Endian = Endianness>>(
    reader: &Reader<'a, H, &'a [u8]>,
    dynamic: &Dynamic,
) -> Result<u64, ElfError> {
    match (dynamic.value(elf::DT_GNU_HASH), dynamic.value(elf::DT_HASH)) {
        (Some(at), _) => gnu_count(reader, place(reader, at)?),
        (None, Some(at)) => {
            let at = place(reader, at)? + 4;
            let count: &U32<Endianness> = reader.at(at, "hash table")?;
            Ok(count.get(reader.endian).into())
        }
        (None, None) => Ok(0),
    }
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

/// A table of relocations: the tags of its place and its size, and the words of an entry.
type Table = (elf::DynamicTag, elf::DynamicTag, u64);

/// Relocations of data, which are always done before the program starts.
const DATA: [Table; 2] = [
    (elf::DT_RELA, elf::DT_RELASZ, 3),
    (elf::DT_REL, elf::DT_RELSZ, 2),
];

/// Relocations of calls, which may be done late.
fn calls(dynamic: &Dynamic) -> [Table; 1] {
    let has_addend = dynamic.value(elf::DT_PLTREL) == Some(elf::DT_RELA.0 as u64);
    let words = if has_addend { 3 } else { 2 };
    [(elf::DT_JMPREL, elf::DT_PLTRELSZ, words)]
}

/// Returns the numbers of the symbols that relocations name, sorted.
fn relocated<'a, H: FileHeader<Endian = Endianness>>(
    reader: &Reader<'a, H, &'a [u8]>,
    dynamic: &Dynamic,
    tables: &[Table],
) -> Result<Vec<u64>, ElfError> {
    const PART: &str = "table of relocations";
    let is_64 = reader.header.is_class_64();
    let wide: u64 = if is_64 { 8 } else { 4 };
    let mut numbers = Vec::new();
    for (table, size, words) in tables {
        let (Some(table), Some(size)) = (dynamic.value(*table), dynamic.value(*size)) else {
            continue;
        };
        if size == 0 {
            continue;
        }
        let (start, step) = (place(reader, table)?, words * wide);
        for entry in 0..(size / step).min(SYMBOLS_LIMIT) {
            let at = start + entry * step + wide;
            numbers.push(match is_64 {
                true => reader.at::<U64<Endianness>>(at, PART)?.get(reader.endian) >> 32,
                false => (reader.at::<U32<Endianness>>(at, PART)?.get(reader.endian) >> 8).into(),
            });
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "symbols_tests.rs"]
mod tests;
