//! Images in memory, for tests.

use super::*;
use crate::elf::{ElfClass, ElfFacts, ElfSymbols, UndefinedSymbol, VersionNeed, symbol_number};
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::Inode;
use crate::tree::testing::{MemoryView, library};
use crate::tree::view::{FileFacts, ViewNode};

pub(super) const LIBS: &str = "usr/lib/x86_64-linux-gnu";
pub(super) const INTERP: &str = "/lib64/ld-linux-x86-64.so.2";
pub(super) const LOADER: &[u8] =
    b"x\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0x";

/// An image with its tree and its loader's cache.
#[derive(Debug, Clone)]
pub(super) struct World {
    view: MemoryView,
    pub(super) tree: Tree,
    pub(super) cache: Vec<Library>,
    symbols: BTreeMap<Vec<u8>, ElfSymbols>,
}

/// A loader's directories are read from its bytes; in memory it is ELF and has contents.
impl ImageView for World {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        self.view.node(path)
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        self.view.names(dir)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        let name = &path[parent(path).len()..];
        match name.starts_with(b"/ld-") {
            true => Ok(LOADER.to_vec()),
            false => self.view.read(path),
        }
    }

    fn computed(
        &self,
        path: &[u8],
        kind: &'static str,
        compute: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, ViewError> {
        match kind == symbols::SYMBOLS {
            true => Ok(symbols::encode(
                &self.symbols.get(path).cloned().unwrap_or_default(),
            )),
            false => self.view.computed(path, kind, compute),
        }
    }

    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        self.view.facts(path)
    }
}

impl World {
    /// Debian's loader and C library.
    pub(super) fn new() -> Self {
        let world = Self {
            view: MemoryView::new(),
            tree: Tree::new(),
            cache: Vec::new(),
            symbols: BTreeMap::new(),
        };
        let libc = ElfFacts {
            version_defs: vec!["GLIBC_2.17".to_owned(), "GLIBC_2.34".to_owned()],
            ..lib("libc.so.6", &["ld-linux-x86-64.so.2"])
        };
        world
            .link("lib", "usr/lib")
            .link("lib64", "usr/lib64")
            .elf(
                &at("ld-linux-x86-64.so.2"),
                lib("ld-linux-x86-64.so.2", &[]),
            )
            .link(
                "usr/lib64/ld-linux-x86-64.so.2",
                "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            )
            .elf(&at("libc.so.6"), libc)
    }

    fn note(mut self, path: &str) -> Self {
        let inode = Inode::file(ObjectId::of(b""), 4096, 0o755);
        self.tree.insert(RelPath::from_text(path).unwrap(), inode);
        self
    }

    pub(super) fn elf(mut self, path: &str, facts: ElfFacts) -> Self {
        self.view = self.view.elf(path, facts);
        self.note(path)
    }

    /// Adds a file that starts as ELF and is none.
    pub(super) fn broken(mut self, path: &str) -> Self {
        self.view = self.view.broken_elf(path);
        self.note(path)
    }

    /// Says what the object at `path` needs before its start, and what it defines.
    pub(super) fn symbols(mut self, path: &str, undefined: &[&str], defined: &[&str]) -> Self {
        let need = |name: &&str| UndefinedSymbol {
            name: (*name).trim_start_matches('~').to_owned(),
            at_start: !name.starts_with('~'),
        };
        let number = |name: &&str| symbol_number(name.as_bytes());
        let symbols = ElfSymbols {
            undefined: undefined.iter().map(need).collect(),
            defined: defined.iter().map(number).collect(),
        };
        self.symbols.insert(path.into(), symbols);
        self
    }

    pub(super) fn link(mut self, path: &str, target: &str) -> Self {
        self.view = self.view.link(path, target);
        self
    }

    pub(super) fn file(mut self, path: &str, contents: &[u8]) -> Self {
        self.view = self.view.file(path, contents);
        self.note(path)
    }

    pub(super) fn dir(mut self, path: &str) -> Self {
        self.view = self.view.dir(path);
        self
    }

    pub(super) fn cached(mut self, soname: &str, path: &str) -> Self {
        self.cache.push(Library {
            soname: soname.into(),
            path: path.into(),
            flags: 0x303,
            hwcaps: None,
        });
        self
    }

    pub(super) fn cached_for(self, hwcaps: &str, soname: &str, path: &str) -> Self {
        let mut world = self.cached(soname, path);
        world.cache.last_mut().unwrap().hwcaps = Some(hwcaps.into());
        world
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        problems(&self.tree, self, &self.cache).unwrap()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.problems()
            .into_iter()
            .map(|problem| problem.id.to_string())
            .collect()
    }

    pub(super) fn check(&self, expect: &[&str]) {
        assert_eq!(self.ids(), expect);
    }
}

pub(super) fn at(name: &str) -> String {
    format!("{LIBS}/{name}")
}

pub(super) fn lib(soname: &str, needed: &[&str]) -> ElfFacts {
    ElfFacts {
        needed: needed.iter().map(|name| (*name).to_owned()).collect(),
        ..library(62, ElfClass::Elf64, soname)
    }
}

pub(super) fn program(needed: &[&str]) -> ElfFacts {
    ElfFacts {
        interp: Some(INTERP.to_owned()),
        ..lib("", needed)
    }
}

pub(super) fn with_rpath(path: &str, facts: ElfFacts) -> ElfFacts {
    ElfFacts {
        rpath: Some(path.to_owned()),
        ..facts
    }
}

pub(super) fn with_runpath(path: &str, facts: ElfFacts) -> ElfFacts {
    ElfFacts {
        runpath: Some(path.to_owned()),
        ..facts
    }
}

pub(super) fn with_versions(versions: &[&str], facts: ElfFacts) -> ElfFacts {
    ElfFacts {
        version_defs: versions.iter().map(|name| (*name).to_owned()).collect(),
        ..facts
    }
}

pub(super) fn wanting(file: &str, version: &str, facts: ElfFacts) -> ElfFacts {
    let need = VersionNeed {
        file: file.to_owned(),
        version: version.to_owned(),
        weak: false,
    };
    ElfFacts {
        version_needs: [facts.version_needs.clone(), vec![need]].concat(),
        ..facts
    }
}
