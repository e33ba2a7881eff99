//! Reads [`ElfFacts`] from bytes that may be broken or hostile.

use object::elf::{self, Vernaux, Verneed};
use object::read::elf::{Dyn, FileHeader, NoteIterator, ProgramHeader};
use object::{Endian, Endianness, FileKind, Pod, ReadRef};

use super::{AbiTag, ByteOrder, ElfClass, ElfError, ElfFacts, ElfKind, VersionNeed};

/// The most text and entries taken from one object; the richest real ones stay below a tenth of it.
const TEXT_LIMIT_BYTES: usize = 4 << 20;

/// The most segments of notes looked at, and the most notes in each: overlapping ones would take
/// quadratic time.
const NOTE_SEGMENTS_LIMIT: usize = 16;
const NOTES_LIMIT: usize = 1024;

const HEADER: &str = "header";
const SEGMENTS: &str = "program header table";
const INTERP: &str = "interpreter segment";
const DYNAMIC: &str = "dynamic section";
const STRINGS: &str = "dynamic string table";
const NEEDS: &str = "table of needed versions";
const DEFS: &str = "table of defined versions";

pub(super) fn parse<'a>(data: impl ReadRef<'a>) -> Result<Option<ElfFacts>, ElfError> {
    let magic = data.read_bytes_at(0, elf::ELFMAG.len() as u64);
    if magic != Ok(&elf::ELFMAG) {
        return Ok(None);
    }
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => Reader::<elf::FileHeader32<Endianness>, _>::open(data)?.facts(),
        Ok(FileKind::Elf64) => Reader::<elf::FileHeader64<Endianness>, _>::open(data)?.facts(),
        _ => Err(malformed(HEADER)),
    }
    .map(Some)
}

fn malformed(part: &'static str) -> ElfError {
    ElfError::Malformed { part }
}

fn text(bytes: &[u8], part: &'static str) -> Result<String, ElfError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(ElfError::Encoding { part }),
    }
}

pub(super) struct Reader<'a, H: FileHeader<Endian = Endianness>, R: ReadRef<'a>> {
    pub(super) data: R,
    pub(super) header: &'a H,
    pub(super) endian: Endianness,
    pub(super) segments: &'a [H::ProgramHeader],
    /// What may still be collected, in bytes: an object of a few kilobytes can point at one long
    /// name a million times.
    budget: usize,
}

impl<'a, H: FileHeader<Endian = Endianness>, R: ReadRef<'a>> Reader<'a, H, R> {
    pub(super) fn open(data: R) -> Result<Self, ElfError> {
        let header = H::parse(data).map_err(|_| malformed(HEADER))?;
        let endian = header.endian().map_err(|_| malformed(HEADER))?;
        let segments = header
            .program_headers(endian, data)
            .map_err(|_| malformed(SEGMENTS))?;
        Ok(Self {
            data,
            header,
            endian,
            segments,
            budget: TEXT_LIMIT_BYTES,
        })
    }

    fn facts(mut self) -> Result<ElfFacts, ElfError> {
        let endian = self.endian;
        let mut facts = ElfFacts {
            class: match self.header.is_class_64() {
                true => ElfClass::Elf64,
                false => ElfClass::Elf32,
            },
            order: match endian {
                Endianness::Little => ByteOrder::Little,
                Endianness::Big => ByteOrder::Big,
            },
            machine: self.header.e_machine(endian).0,
            flags: self.header.e_flags(endian).0,
            kind: match self.header.e_type(endian) {
                elf::ET_REL => ElfKind::Relocatable,
                elf::ET_EXEC => ElfKind::Executable,
                elf::ET_DYN => ElfKind::Shared,
                elf::ET_CORE => ElfKind::Core,
                other => ElfKind::Other(other.0),
            },
            dynamic: false,
            interp: None,
            soname: None,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
            nodeflib: false,
            version_needs: Vec::new(),
            version_defs: Vec::new(),
            abi_tag: None,
            x86_isa_needed: 0,
        };
        let mut note_segments = 0;
        for segment in self.segments {
            let kind = segment.p_type(endian);
            if matches!(kind, elf::PT_NOTE | elf::PT_GNU_PROPERTY) {
                note_segments += 1;
                if note_segments > NOTE_SEGMENTS_LIMIT {
                    continue;
                }
            }
            match kind {
                elf::PT_INTERP => {
                    let interp = segment.interpreter(endian, self.data);
                    let interp = interp.ok().flatten().ok_or_else(|| malformed(INTERP))?;
                    facts.interp = Some(self.charge(interp, INTERP)?);
                }
                elf::PT_NOTE => facts.abi_tag = facts.abi_tag.max(self.abi_tag(segment)),
                elf::PT_GNU_PROPERTY => facts.x86_isa_needed = self.x86_isa_needed(segment),
                _ => {}
            }
        }
        // If there are several, the last one counts, as in glibc.
        let dynamic = self
            .segments
            .iter()
            .rfind(|segment| segment.p_type(endian) == elf::PT_DYNAMIC);
        if let Some(dynamic) = dynamic
            && dynamic.p_filesz(endian).into() != 0
        {
            let entries = dynamic.dynamic(endian, self.data);
            let entries = entries.ok().flatten().ok_or_else(|| malformed(DYNAMIC))?;
            self.dynamic_section(entries, &mut facts)?;
        }
        Ok(facts)
    }

    fn dynamic_section(
        &mut self,
        entries: &[H::Dyn],
        facts: &mut ElfFacts,
    ) -> Result<(), ElfError> {
        let endian = self.endian;
        let entries = || {
            entries
                .iter()
                .map(|entry| (entry.d_tag(endian), entry.d_val(endian).into()))
                .take_while(|(tag, _)| *tag != elf::DT_NULL)
        };
        let value = |wanted| entries().find(|(tag, _)| *tag == wanted).map(|(_, v)| v);
        let Some(strings) = value(elf::DT_STRTAB) else {
            return Ok(());
        };
        let strings = self
            .file_offset(strings)
            .ok_or_else(|| malformed(STRINGS))?;
        facts.dynamic = true;
        for (tag, value) in entries() {
            match tag {
                elf::DT_NEEDED => facts.needed.push(self.string(strings, value)?),
                elf::DT_SONAME if facts.soname.is_none() => {
                    facts.soname = Some(self.string(strings, value)?);
                }
                elf::DT_RPATH => facts.rpath = Some(self.string(strings, value)?),
                elf::DT_RUNPATH => facts.runpath = Some(self.string(strings, value)?),
                elf::DT_FLAGS_1 => facts.nodeflib = value & elf::DF_1_NODEFLIB.0 != 0,
                _ => {}
            }
        }
        if let Some(address) = value(elf::DT_VERNEED) {
            let start = self.file_offset(address).ok_or_else(|| malformed(NEEDS))?;
            let count = value(elf::DT_VERNEEDNUM).unwrap_or(u64::MAX);
            facts.version_needs = self.version_needs(start, count, strings)?;
        }
        if let Some(address) = value(elf::DT_VERDEF) {
            let start = self.file_offset(address).ok_or_else(|| malformed(DEFS))?;
            let count = value(elf::DT_VERDEFNUM).unwrap_or(u64::MAX);
            facts.version_defs = self.version_defs(start, count, strings)?;
        }
        Ok(())
    }

    fn version_needs(
        &mut self,
        start: u64,
        count: u64,
        strings: u64,
    ) -> Result<Vec<VersionNeed>, ElfError> {
        let endian = self.endian;
        let mut needs = Vec::new();
        let mut files = Chain::new(start, count, NEEDS);
        while let Some(at) = files.at() {
            let file: &Verneed<Endianness> = self.at(at, NEEDS)?;
            let name = file.vn_file.get(endian).into();
            let aux = at + u64::from(file.vn_aux.get(endian));
            let mut versions = Chain::new(aux, file.vn_cnt.get(endian).into(), NEEDS);
            while let Some(at) = versions.at() {
                let need: &Vernaux<Endianness> = self.at(at, NEEDS)?;
                needs.push(VersionNeed {
                    file: self.string(strings, name)?,
                    version: self.string(strings, need.vna_name.get(endian).into())?,
                    weak: need.vna_flags.get(endian).0 & elf::VER_FLG_WEAK.0 != 0,
                });
                versions.advance(need.vna_next.get(endian))?;
            }
            files.advance(file.vn_next.get(endian))?;
        }
        Ok(needs)
    }

    fn version_defs(
        &mut self,
        start: u64,
        count: u64,
        strings: u64,
    ) -> Result<Vec<String>, ElfError> {
        let endian = self.endian;
        let mut defs = Vec::new();
        let mut chain = Chain::new(start, count, DEFS);
        while let Some(at) = chain.at() {
            let def: &elf::Verdef<Endianness> = self.at(at, DEFS)?;
            let base = def.vd_flags.get(endian).0 & elf::VER_FLG_BASE.0 != 0;
            if !base && def.vd_cnt.get(endian) > 0 {
                // The first name is the version; the others are the versions it succeeds.
                let aux = at + u64::from(def.vd_aux.get(endian));
                let name: &elf::Verdaux<Endianness> = self.at(aux, DEFS)?;
                defs.push(self.string(strings, name.vda_name.get(endian).into())?);
            }
            chain.advance(def.vd_next.get(endian))?;
        }
        Ok(defs)
    }

    /// A broken note says nothing, rather than making the object unreadable: the loader ignores it
    /// as well.
    fn abi_tag(&self, segment: &H::ProgramHeader) -> Option<AbiTag> {
        let notes = segment.notes(self.endian, self.data).ok().flatten()?;
        notes
            .take(NOTES_LIMIT)
            .map_while(Result::ok)
            .filter(|note| {
                note.name() == elf::ELF_NOTE_GNU && note.n_type(self.endian) == elf::NT_GNU_ABI_TAG
            })
            .filter_map(|note| {
                let words: Vec<u32> = note
                    .desc()
                    .chunks_exact(4)
                    .take(4)
                    .map(|word| self.endian.read_u32([word[0], word[1], word[2], word[3]]))
                    .collect();
                match words[..] {
                    [os, major, minor, sub] => Some(AbiTag {
                        os,
                        version: [major, minor, sub],
                    }),
                    _ => None,
                }
            })
            .max()
    }

    /// The rules of glibc: the segment must be aligned like its class, only its first property note
    /// counts, and properties come in ascending order.
    fn x86_isa_needed(&self, segment: &H::ProgramHeader) -> u32 {
        let machine = self.header.e_machine(self.endian);
        let align = if self.header.is_class_64() { 8 } else { 4 };
        if !matches!(machine, elf::EM_X86_64 | elf::EM_386)
            || segment.p_align(self.endian).into() != align
        {
            return 0;
        }
        let found = segment.data(self.endian, self.data).ok().and_then(|data| {
            let notes =
                NoteIterator::<H>::new(self.endian, segment.p_align(self.endian), data).ok()?;
            notes
                .take(NOTES_LIMIT)
                .map_while(Result::ok)
                .find_map(|note| note.gnu_properties(self.endian))?
                .map_while(Result::ok)
                .take_while(|property| property.pr_type().0 <= elf::GNU_PROPERTY_X86_ISA_1_NEEDED.0)
                .find(|property| property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED)
                .filter(|property| property.pr_data().len() == 4)?
                .data_u32(self.endian)
                .ok()
        });
        found.unwrap_or(0)
    }

    /// Translates an address of the loaded object to an offset in the file.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let start: u64 = segment.p_vaddr(self.endian).into();
            let size: u64 = segment.p_filesz(self.endian).into();
            let offset: u64 = segment.p_offset(self.endian).into();
            let inside = address.checked_sub(start).filter(|inside| *inside < size)?;
            (segment.p_type(self.endian) == elf::PT_LOAD)
                .then(|| offset.checked_add(inside))
                .flatten()
        })
    }

    pub(super) fn at<T: Pod>(&self, offset: u64, part: &'static str) -> Result<&'a T, ElfError> {
        self.data.read_at(offset).map_err(|()| malformed(part))
    }

    pub(super) fn string(&mut self, strings: u64, offset: u64) -> Result<String, ElfError> {
        let start = strings
            .checked_add(offset)
            .ok_or_else(|| malformed(STRINGS))?;
        let rest = self.data.len().unwrap_or(0).saturating_sub(start);
        // One byte further than the budget tells a name that is too long from one that just fits.
        let most = self.budget as u64 + 1;
        let end = start.saturating_add(rest.min(most));
        match self.data.read_bytes_at_until(start..end, 0) {
            Ok(name) => self.charge(name, STRINGS),
            Err(()) if rest >= most => Err(too_much()),
            Err(()) => Err(malformed(STRINGS)),
        }
    }

    fn charge(&mut self, name: &[u8], part: &'static str) -> Result<String, ElfError> {
        // An empty name costs memory too.
        let cost = name.len() + std::mem::size_of::<String>();
        self.budget = self.budget.checked_sub(cost).ok_or_else(too_much)?;
        text(name, part)
    }
}

fn too_much() -> ElfError {
    ElfError::TooMuch {
        limit: TEXT_LIMIT_BYTES,
    }
}

/// A list whose elements each say how far away the next one is; it only runs forward, so it ends.
struct Chain {
    at: u64,
    left: u64,
    part: &'static str,
}

impl Chain {
    fn new(at: u64, count: u64, part: &'static str) -> Self {
        Self {
            at,
            left: count,
            part,
        }
    }

    fn at(&self) -> Option<u64> {
        (self.left > 0).then_some(self.at)
    }

    fn advance(&mut self, distance: u32) -> Result<(), ElfError> {
        self.left = if distance == 0 { 0 } else { self.left - 1 };
        let next = self.at.checked_add(distance.into());
        self.at = next.ok_or_else(|| malformed(self.part))?;
        Ok(())
    }
}
