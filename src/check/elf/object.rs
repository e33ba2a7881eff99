//! One ELF file as the check sees it, and the ABI that it shares with what it can be loaded with.

use object::elf;

use super::names::{Budget, Name, Names, Stop};
use crate::elf::{ByteOrder, ElfClass, ElfFacts, ElfKind};

/// What two objects must have in common to be in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi {
    pub(super) class: ElfClass,
    pub(super) order: ByteOrder,
    pub(super) machine: u16,
    /// As the loader's cache has them; `None` for what no glibc runs on.
    pub(super) flags: Option<u32>,
}

/// How the loader treats a file that it finds while it searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadResult {
    /// It loads it.
    Loads,
    /// It goes on searching.
    Passes,
    /// It gives up.
    Fails,
}

/// ARM objects from before objects were marked with a float ABI; the loader takes them for either
/// ABI.
const ARM_UNMARKED: Option<u32> = Some(3);

impl Abi {
    pub(super) fn of(facts: &ElfFacts) -> Self {
        let flags = match facts.kind {
            // Programs at fixed addresses are not in the cache, and of the same ABIs.
            ElfKind::Executable => ElfFacts {
                kind: ElfKind::Shared,
                ..facts.clone()
            }
            .cache_flags(),
            _ => facts.cache_flags(),
        };
        Self {
            class: facts.class,
            order: facts.order,
            machine: facts.machine,
            flags,
        }
    }

    /// Says whether objects of the two ABIs can be in one process.
    pub(super) fn accepts(&self, other: &Self) -> bool {
        let unmarked = self.flags == ARM_UNMARKED || other.flags == ARM_UNMARKED;
        self.class == other.class
            && self.order == other.order
            && self.machine == other.machine
            && (self.flags == other.flags || elf::Machine(self.machine) == elf::EM_ARM && unmarked)
    }

    /// What the loader expands `$PLATFORM` to; it drops a path where it knows no name.
    pub(super) fn platform(&self) -> Option<&'static str> {
        match elf::Machine(self.machine) {
            elf::EM_X86_64 => Some("x86_64"),
            elf::EM_386 => Some("i686"),
            elf::EM_AARCH64 => Some("aarch64"),
            _ => None,
        }
    }
}

/// An ELF file with a dynamic section.
#[derive(Debug)]
pub(super) struct Object {
    /// Its real path.
    pub(super) path: Vec<u8>,
    /// The number of its ABI.
    pub(super) abi: usize,
    /// Whether it can be loaded as a library.
    pub(super) is_shared: bool,
    pub(super) interp: Option<String>,
    pub(super) soname: Option<Name>,
    /// What it needs, each name once.
    pub(super) needed: Vec<Name>,
    /// Absent where a `DT_RUNPATH` replaces it.
    pub(super) rpath: Option<String>,
    pub(super) runpath: Option<String>,
    pub(super) nodeflib: bool,
    /// The versions that it cannot do without: file, version; each once.
    pub(super) wants: Vec<(Name, Name)>,
    /// The versions that it defines, sorted.
    pub(super) defines: Vec<Name>,
    /// Whether what it loads depends on the directory that it is found in.
    pub(super) uses_origin: bool,
}

impl Object {
    pub(super) fn new(
        path: &[u8],
        abi: usize,
        facts: &ElfFacts,
        names: &mut Names,
        budget: &mut Budget,
    ) -> Result<Self, Stop> {
        budget.charge(1 + facts.needed.len() + facts.version_needs.len())?;
        budget.charge(facts.version_defs.len())?;
        let mut number = |text: &String| names.number(text.as_bytes(), budget);
        let mut needed = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for name in &facts.needed {
            let name = number(name)?;
            if seen.insert((name, name)) {
                needed.push(name);
            }
        }
        seen.clear();
        let mut wants = Vec::new();
        for need in facts.version_needs.iter().filter(|need| !need.weak) {
            let want = (number(&need.file)?, number(&need.version)?);
            if seen.insert(want) {
                wants.push(want);
            }
        }
        let defines: Result<Vec<Name>, Stop> = facts.version_defs.iter().map(&mut number).collect();
        let mut defines = defines?;
        defines.sort_unstable();
        let soname = facts.soname.as_ref().map(&mut number).transpose()?;
        let mut paths = [&facts.rpath, &facts.runpath].into_iter().flatten();
        Ok(Self {
            path: path.to_vec(),
            abi,
            is_shared: facts.kind == ElfKind::Shared,
            interp: facts.interp.clone(),
            soname,
            uses_origin: paths.any(|path| path.contains('$'))
                || facts.needed.iter().any(|name| name.contains('$')),
            needed,
            rpath: facts.rpath.clone().filter(|_| facts.runpath.is_none()),
            runpath: facts.runpath.clone(),
            nodeflib: facts.nodeflib,
            wants,
            defines,
        })
    }

    /// Says whether it has a version. An object without versions satisfies every request.
    pub(super) fn offers(&self, version: Name) -> bool {
        self.defines.is_empty() || self.defines.binary_search(&version).is_ok()
    }
}
