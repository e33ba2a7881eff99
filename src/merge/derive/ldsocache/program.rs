//! What is built into an image's own `ldconfig`: the directories it always searches, and the
//! generator string that it writes into the cache.

use object::elf;

use crate::elf::{ByteOrder, ElfClass, ElfFacts};
use crate::tree::view::{ImageView, ViewError, ViewNode, resolve};

/// Ubuntu has a shell wrapper at the usual place.
const PROGRAM_PATHS: [&[u8]; 4] = [
    b"sbin/ldconfig.real",
    b"usr/sbin/ldconfig.real",
    b"sbin/ldconfig",
    b"usr/sbin/ldconfig",
];

/// One build of `ldconfig`, as far as its work depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdConfig {
    /// The text it signs its caches with, such as `ldconfig (Debian GLIBC 2.41-12) stable release
    /// version 2.41`.
    pub generator: Vec<u8>,
    /// The directories it searches after the configured ones.
    pub system_dirs: Vec<Vec<u8>>,
    /// The processor it was built for (`EM_*`).
    pub machine: u16,
    /// The byte order it writes.
    pub order: ByteOrder,
}

impl LdConfig {
    /// Reads what the `ldconfig` of an image has built in; `None` if it has none that writes the
    /// current format.
    pub fn of_image(view: &dyn ImageView) -> Result<Option<Self>, ViewError> {
        for path in PROGRAM_PATHS {
            let Some(path) = resolve(view, path) else {
                continue;
            };
            if view.node(&path) != Some(ViewNode::File) {
                continue;
            }
            if let Some(facts) = view.elf(&path)? {
                let found = Self::of_program(&view.read(&path)?, &facts);
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Reads what `program`, the bytes of an `ldconfig`, has built in; `None` if it is none since
    /// glibc 2.33.
    pub fn of_program(program: &[u8], facts: &ElfFacts) -> Option<Self> {
        let generator = generator(program)?;
        Some(Self {
            generator: generator.to_vec(),
            system_dirs: system_dirs(program, facts),
            machine: facts.machine,
            order: facts.order,
        })
    }

    /// Returns the flags under which this `ldconfig` lists an object, `None` if it leaves it out.
    ///
    /// glibc's x86 builds check for the machine; the others take any object of the right class for
    /// one of theirs. That would only ever list libraries that cannot be loaded, so foreign
    /// machines are left out here.
    pub(super) fn flags_of(&self, facts: &ElfFacts) -> Option<u32> {
        let flags = facts.cache_flags()?;
        if family(self.machine) != family(facts.machine) || facts.order != self.order {
            return None;
        }
        // Before 2.37, an i386 library that needs neither libc nor libm was put down as plain ELF
        // of unknown libc.
        let knows_libc = |name: &String| name == "libc.so.6" || name == "libm.so.6";
        let old = self.release().is_some_and(|release| release < (2, 37));
        if old
            && elf::Machine(facts.machine) == elf::EM_386
            && !facts.needed.iter().any(knows_libc)
            && facts.interp.as_deref() != Some("/lib/ld-linux.so.2")
        {
            return Some(1);
        }
        Some(flags)
    }

    fn release(&self) -> Option<(u32, u32)> {
        let text = std::str::from_utf8(&self.generator).ok()?;
        let (_, version) = text.rsplit_once(' ')?;
        let mut parts = version.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    }
}

/// Machines whose libraries one `ldconfig` handles.
fn family(machine: u16) -> u16 {
    match elf::Machine(machine) {
        elf::EM_X86_64 => elf::EM_386.0,
        elf::EM_AARCH64 => elf::EM_ARM.0,
        elf::EM_PPC64 => elf::EM_PPC.0,
        elf::EM_SPARCV9 | elf::EM_SPARC32PLUS => elf::EM_SPARC.0,
        _ => machine,
    }
}

/// The signature is one string of the program: "ldconfig ", the packager's name for it, and the
/// release.
fn generator(program: &[u8]) -> Option<&[u8]> {
    const START: &[u8] = b"ldconfig (";
    const MIDDLE: &[u8] = b" release version ";
    const LONGEST: usize = 256;
    let mut from = 0;
    while let Some(at) = find(&program[from..], START) {
        let text = &program[from + at..];
        let text = &text[..text.len().min(LONGEST)];
        if let Some(end) = text.iter().position(|byte| *byte == 0)
            && find(&text[..end], MIDDLE).is_some()
        {
            return Some(&text[..end]);
        }
        from += at + START.len();
    }
    None
}

/// Debian's builds search the multiarch directories and `/lib`, `/usr/lib`; others have variants of
/// the latter two.
///
/// A static program contains the loader's list of default directories, which tells the two kinds
/// apart.
fn system_dirs(program: &[u8], facts: &ElfFacts) -> Vec<Vec<u8>> {
    let multiarch = triplets(facts)
        .iter()
        .find(|triplet| find(program, format!("\0/lib/{triplet}/\0").as_bytes()).is_some());
    let dirs = |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    if let Some(triplet) = multiarch {
        let (lib, usr) = (format!("/lib/{triplet}"), format!("/usr/lib/{triplet}"));
        return dirs(&[&lib, &usr, "/lib", "/usr/lib"]);
    }
    // Each port's list is built from its two library directories, whose suffix does not change the
    // outcome.
    let suffixes: &[&str] = match elf::Machine(facts.machine) {
        elf::EM_X86_64 => &["", "64", "x32"],
        elf::EM_AARCH64 | elf::EM_SPARCV9 | elf::EM_PPC64 | elf::EM_S390 => &["", "64"],
        elf::EM_MIPS => &["", "32", "64"],
        elf::EM_RISCV => &["", "64/lp64d", "64/lp64", "32/ilp32d", "32/ilp32"],
        elf::EM_LOONGARCH => &["", "64", "64/sf"],
        _ => &[""],
    };
    ["/lib", "/usr/lib"]
        .iter()
        .flat_map(|base| suffixes.iter().map(move |suffix| format!("{base}{suffix}")))
        .map(String::into_bytes)
        .collect()
}

/// The names of Debian's library directories for a machine; the flags would tell more, the program
/// itself does too.
fn triplets(facts: &ElfFacts) -> &'static [&'static str] {
    match (elf::Machine(facts.machine), facts.class) {
        (elf::EM_X86_64, ElfClass::Elf64) => &["x86_64-linux-gnu"],
        (elf::EM_X86_64, ElfClass::Elf32) => &["x86_64-linux-gnux32"],
        (elf::EM_386, _) => &["i386-linux-gnu"],
        (elf::EM_AARCH64, _) => &["aarch64-linux-gnu"],
        (elf::EM_ARM, _) => &["arm-linux-gnueabihf", "arm-linux-gnueabi"],
        (elf::EM_RISCV, _) => &["riscv64-linux-gnu"],
        (elf::EM_LOONGARCH, _) => &["loongarch64-linux-gnu"],
        (elf::EM_S390, _) => &["s390x-linux-gnu"],
        (elf::EM_PPC64, _) => &["powerpc64le-linux-gnu", "powerpc64-linux-gnu"],
        (elf::EM_PPC, _) => &["powerpc-linux-gnu"],
        (elf::EM_MIPS, ElfClass::Elf64) => &["mips64el-linux-gnuabi64", "mips64-linux-gnuabi64"],
        (elf::EM_MIPS, ElfClass::Elf32) => &["mipsel-linux-gnu", "mips-linux-gnu"],
        (elf::EM_SPARCV9, _) => &["sparc64-linux-gnu"],
        _ => &[],
    }
}

/// Looks for the first byte before it compares: programs have a megabyte.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from
            + haystack
                .get(from..)?
                .iter()
                .position(|byte| *byte == first)?;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}
