//! What one ELF object says about itself: its interpreter, its needs and what it offers.
//!
//! [`parse`] reads headers, the dynamic section and the notes, nothing else, so that a mapped file
//! costs a few pages. Section headers are never looked at: the loader does not either, and stripped
//! files may lack them. Any bytes are safe to give: offsets are checked, chains only run forward,
//! and the text collected is bounded.
//!
//! The facts are a function of the bytes alone and may be cached by object id under
//! [`FACTS_VERSION`].

mod build_id;
mod read;
mod symbols;
mod windows;

use object::{ReadRef, elf};
use serde::{Deserialize, Serialize};

pub use build_id::{BuildId, build_id};
pub use symbols::{ElfSymbols, UndefinedSymbol, symbol_number, symbols};
pub use windows::Windows;

/// The version of [`ElfFacts`]' serialised form and meaning; cached facts of another version are
/// useless.
pub const FACTS_VERSION: u32 = 1;

/// The file type and ABI that glibc's `ldconfig` calls `libc6`.
const FLAG_ELF_LIBC6: u32 = 0x0003;

/// Whether an object is for 32-bit or 64-bit processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ElfClass {
    /// 32-bit file format, which x32 objects have too.
    Elf32,
    /// 64-bit file format.
    Elf64,
}

/// The byte order of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// What kind of file an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ElfKind {
    /// Input of a linker, or a kernel module (`ET_REL`).
    Relocatable,
    /// A program at fixed addresses (`ET_EXEC`).
    Executable,
    /// A library or a position-independent program (`ET_DYN`).
    Shared,
    /// A memory image (`ET_CORE`).
    Core,
    /// Any other type.
    Other(u16),
}

/// One version that an object needs of a file it needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionNeed {
    /// The soname of the file that should define it.
    pub file: String,
    /// The version, such as `GLIBC_2.34`.
    pub version: String,
    /// Whether the loader only warns when it is missing (`VER_FLG_WEAK`).
    pub weak: bool,
}

/// The oldest kernel an object says it runs on (`NT_GNU_ABI_TAG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AbiTag {
    /// The operating system; 0 is Linux.
    pub os: u32,
    /// Its version: major, minor, sub-minor.
    pub version: [u32; 3],
}

/// What one ELF object says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfFacts {
    /// 32-bit or 64-bit.
    pub class: ElfClass,
    /// The byte order.
    pub order: ByteOrder,
    /// The processor (`EM_*`).
    pub machine: u16,
    /// The processor-specific flags (`e_flags`).
    pub flags: u32,
    /// The file type.
    pub kind: ElfKind,
    /// Whether there is a dynamic section with a string table, so that a loader has work to do.
    pub dynamic: bool,
    /// The program interpreter, for programs.
    pub interp: Option<String>,
    /// The name under which others need this library.
    pub soname: Option<String>,
    /// The sonames of the libraries it needs, in load order.
    pub needed: Vec<String>,
    /// `DT_RPATH`, unexpanded; the loader ignores it when there is a `DT_RUNPATH`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`, unexpanded.
    pub runpath: Option<String>,
    /// Whether the loader must not look in the cache's and the default directories
    /// (`DF_1_NODEFLIB`).
    pub nodeflib: bool,
    /// The versions it needs, in file order.
    pub version_needs: Vec<VersionNeed>,
    /// The versions it defines, in file order, without the base definition, which is the file's own
    /// name.
    pub version_defs: Vec<String>,
    /// The highest ABI tag among its notes.
    pub abi_tag: Option<AbiTag>,
    /// The x86 instruction sets it needs, as bits (`GNU_PROPERTY_X86_ISA_1_NEEDED`); none stated is
    /// 0.
    pub x86_isa_needed: u32,
}

/// Why an ELF file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The file starts like ELF, and is broken or cut short.
    #[error("the {part} of this ELF file is broken or cut short")]
    Malformed {
        /// The part that cannot be read.
        part: &'static str,
    },
    /// A name in it is not UTF-8: no loader minds, but no toolchain makes such a thing.
    #[error("a name in the {part} of this ELF file is not UTF-8")]
    Encoding {
        /// The part that holds the name.
        part: &'static str,
    },
    /// Its dynamic section adds up to more text than any real object has.
    #[error("the dynamic section of this ELF file names more than {limit} bytes of text")]
    TooMuch {
        /// The most that is accepted, in bytes.
        limit: usize,
    },
}

/// Reads the facts of `data`, the content of one whole file, as bytes or as a file of which little
/// is read; `None` says that it is not ELF.
pub fn parse<'a>(data: impl ReadRef<'a>) -> Result<Option<ElfFacts>, ElfError> {
    read::parse(data)
}

impl ElfFacts {
    /// Returns the flags under which `ldconfig` lists this object: `None` if it is nothing a loader
    /// would load.
    ///
    /// Numbers as in glibc's `sysdeps/generic/ldconfig.h`; which object gets which, as in the
    /// `readelflib.c` of each port. The low byte says glibc, the next one tells ABIs apart that
    /// share a directory.
    pub fn cache_flags(&self) -> Option<u32> {
        if self.kind != ElfKind::Shared || !self.dynamic {
            return None;
        }
        let abi = match (elf::Machine(self.machine), self.class) {
            (elf::EM_386, ElfClass::Elf32) => 0,
            (elf::EM_386, ElfClass::Elf64) => return None,
            (elf::EM_X86_64, ElfClass::Elf64) => 0x0300,
            (elf::EM_X86_64, ElfClass::Elf32) => 0x0800,
            (elf::EM_AARCH64, ElfClass::Elf64) => 0x0a00,
            (elf::EM_ARM, ElfClass::Elf32) => self.arm_abi(),
            (elf::EM_S390, ElfClass::Elf64) => 0x0400,
            (elf::EM_PPC64, ElfClass::Elf64) => 0x0500,
            (elf::EM_SPARCV9, ElfClass::Elf64) => 0x0100,
            (elf::EM_MIPS, _) => self.mips_abi(),
            (elf::EM_RISCV, _) => self.riscv_abi()?,
            (elf::EM_LOONGARCH, ElfClass::Elf64) => self.loongarch_abi()?,
            _ => 0,
        };
        Some(FLAG_ELF_LIBC6 | abi)
    }

    /// Returns the number of the highest x86-64 level the object needs (0 is the baseline), as the
    /// cache records it.
    pub fn isa_level(&self) -> u32 {
        self.x86_isa_needed.checked_ilog2().unwrap_or(0)
    }

    fn arm_abi(&self) -> u32 {
        const EABI_MASK: u32 = 0xff00_0000;
        const EABI_VER5: u32 = 0x0500_0000;
        if self.flags & EABI_MASK != EABI_VER5 {
            0
        } else if self.flags & elf::EF_ARM_ABI_FLOAT_HARD != 0 {
            0x0900
        } else if self.flags & elf::EF_ARM_ABI_FLOAT_SOFT != 0 {
            0x0b00
        } else {
            // Made before objects were marked; the loader takes it for either.
            0
        }
    }

    fn mips_abi(&self) -> u32 {
        const ABI2: u32 = 0x20;
        const NAN2008: u32 = 0x400;
        let nan2008 = self.flags & NAN2008 != 0;
        match (self.class, self.flags & ABI2 != 0) {
            (ElfClass::Elf64, _) if nan2008 => 0x0e00,
            (ElfClass::Elf64, _) => 0x0700,
            (ElfClass::Elf32, true) if nan2008 => 0x0d00,
            (ElfClass::Elf32, true) => 0x0600,
            (ElfClass::Elf32, false) if nan2008 => 0x0c00,
            (ElfClass::Elf32, false) => 0,
        }
    }

    fn riscv_abi(&self) -> Option<u32> {
        const COMPRESSED: u32 = 0x1;
        // Anything but the float ABI and compressed instructions has no glibc port.
        match self.flags & !COMPRESSED {
            0 => Some(0x0f00),
            4 => Some(0x1000),
            _ => None,
        }
    }

    fn loongarch_abi(&self) -> Option<u32> {
        // Says something about static relocations only; some linkers set it on libraries.
        const OBJABI_V1: u32 = 0x40;
        match self.flags & !OBJABI_V1 {
            1 => Some(0x1100),
            3 => Some(0x1200),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests;
