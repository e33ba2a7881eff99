//! Where an interpreter of Python looks for modules (`Modules/getpath.py` and `Lib/site.py` of
//! CPython, with Debian's own directories), and what it finds there.

use std::collections::BTreeSet;

use crate::check::paths::lookup::{self, Lookup};
use crate::check::paths::unit_file;
use crate::layout::{join, name, parent};
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

/// Modules that may be part of the interpreter, as of 3.9 to 3.14, by CPython and by Debian. Those
/// with a digit behind them are there up to this minor version.
const BUILTIN: &str = "__main__ _abc _ast _bisect _blake2 _codecs _collections _csv _datetime _elementtree \
     _frozen_importlib _frozen_importlib_external _functools _heapq _imp _interpchannels _interpqueues _interpreters \
     _io _json _locale _md5 _opcode _operator _peg_parser:9 _pickle _posixsubprocess _random _sha1 _sha2 _sha256:11 \
     _sha3 _sha512:11 _signal _socket _sre _stat _statistics _string _struct _suggestions _symtable _sysconfig _thread \
     _tokenize _tracemalloc _types _typing _warnings _weakref array atexit binascii builtins cmath errno faulthandler \
     fcntl gc grp itertools marshal math parser:9 posix pwd pyexpat resource select spwd:12 sys syslog time \
     unicodedata xxsubtype zlib";

/// One interpreter with the directories that it searches.
#[derive(Debug)]
pub(super) struct Python {
    pub(super) minor: u32,
    /// Real directories, in order.
    pub(super) dirs: Vec<Vec<u8>>,
    /// The interpreter itself, links followed.
    pub(super) program: RelPath,
    /// Whether code that runs at each start may find modules elsewhere in the tree.
    pub(super) is_hooked: bool,
    /// Whether it finds modules where nobody can look, as in an archive.
    pub(super) is_opaque: bool,
    /// Whether setuptools stands in for the old `distutils`.
    has_distutils: bool,
}

/// What an import finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Module {
    /// Source.
    File(RelPath),
    /// A package: its real directories, of which a namespace may have several, and its first file.
    Package {
        dirs: Vec<Vec<u8>>,
        init: Option<RelPath>,
    },
    /// Nothing that could be read.
    Compiled,
}

/// Returns the interpreter that is started by an absolute path where it knows its minor version by
/// its name, and its library is gone.
pub(super) fn without_library(tree: &Tree, started: &[u8]) -> Option<RelPath> {
    let program = RelPath::new(&lookup::program(tree, started).ok()?).ok()?;
    let minor = minor_of(program.name())?;
    let prefix = parent(parent(program.as_bytes()));
    let is_file = |path: String| {
        let path = join(prefix, path.as_bytes());
        tree.get(&path).and_then(Inode::object).is_some()
    };
    let landmarks = [
        format!("lib/python3.{minor}/os.py"),
        format!("lib/python3.{minor}/os.pyc"),
        format!("lib/python3{minor}.zip"),
    ];
    let is_elsewhere = landmarks.into_iter().any(is_file);
    (name(program.as_bytes()).starts_with(b"python3") && !is_elsewhere).then_some(program)
}

impl Python {
    /// Looks at the interpreter that is started by an absolute path; `None` says that there is none
    /// of Python 3 with its library.
    pub(super) fn of(
        tree: &Tree,
        view: &dyn ImageView,
        started: &[u8],
    ) -> Result<Option<Self>, ViewError> {
        let Ok(real) = lookup::program(tree, started) else {
            return Ok(None);
        };
        let Ok(program) = RelPath::new(&real) else {
            return Ok(None);
        };
        if !name(&real).starts_with(b"python") {
            return Ok(None);
        }
        let dir = real_dir(tree, parent(started)).unwrap_or_default();
        let mut places = [dir.as_slice(), parent(&dir)].into_iter();
        let is_file = |path: &[u8]| tree.get(path).and_then(Inode::object).is_some();
        let venv = places.find(|place| is_file(&join(place, b"pyvenv.cfg")));
        let settings = match venv {
            Some(venv) => unit_file::parse(&view.read(&join(venv, b"pyvenv.cfg"))?),
            None => None,
        };
        let setting = |wanted: &str| {
            let settings = settings.iter().flatten();
            settings
                .filter(|setting| setting.key.eq_ignore_ascii_case(wanted))
                .map(|setting| setting.value.as_str())
                .next()
        };
        let home = setting("home").and_then(|home| real_dir(tree, home.as_bytes()));
        let bin = home.unwrap_or_else(|| parent(&real).to_vec());
        let prefix = parent(&bin);
        let version = setting("version").or_else(|| setting("version_info"));
        let minor = minor_of(name(&real))
            .or_else(|| version?.split('.').nth(1)?.parse().ok())
            .or_else(|| only_minor(tree, prefix));
        let Some(minor) = minor else { return Ok(None) };
        let versioned = format!("lib/python3.{minor}");
        let stdlib = join(prefix, versioned.as_bytes());
        if !is_file(&join(&stdlib, b"os.py")) {
            return Ok(None);
        }
        let mut sites = Vec::new();
        if let Some(venv) = venv {
            sites.push(join(venv, format!("{versioned}/site-packages").as_bytes()));
        }
        let is_shared = setting("include-system-site-packages")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if venv.is_none() || is_shared {
            sites.extend(system_sites(prefix, minor));
        }
        let mut python = Self {
            minor,
            dirs: vec![stdlib.clone(), join(&stdlib, b"lib-dynload")],
            program,
            is_hooked: false,
            is_opaque: false,
            has_distutils: false,
        };
        for site in sites {
            python.add_site(tree, view, &site)?;
        }
        Ok(Some(python))
    }

    /// Adds a directory and what its `.pth` files name.
    fn add_site(
        &mut self,
        tree: &Tree,
        view: &dyn ImageView,
        site: &[u8],
    ) -> Result<(), ViewError> {
        let Some(site) = real_dir(tree, site) else {
            return Ok(());
        };
        self.dirs.push(site.clone());
        let files: Vec<RelPath> = tree
            .below(&site)
            .filter(|(path, _)| path.name().ends_with(b".pth") && parent(path.as_bytes()) == site)
            .filter_map(|(path, _)| tree.resolve(path.as_bytes()))
            .collect();
        for path in files {
            if tree.get(path.as_bytes()).and_then(Inode::object).is_none() {
                continue;
            }
            let is_namespace = path.name().ends_with(b"-nspkg.pth");
            for line in view.read(path.as_bytes())?.split(|byte| *byte == b'\n') {
                let line = line.trim_ascii();
                let has = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
                if line.is_empty() || line.starts_with(b"#") {
                } else if line.starts_with(b"import ") || line.starts_with(b"import\t") {
                    self.has_distutils |= has(b"_distutils_hack");
                    let is_known = is_namespace || has(b"_distutils_hack") || has(b"_virtualenv");
                    self.is_hooked |= !is_known;
                } else if let Lookup::Found(at, inode) = lookup::walk(tree, &site, line) {
                    match inode.is_dir() {
                        true => self.dirs.push(at),
                        false => self.is_opaque = true,
                    }
                }
            }
        }
        Ok(())
    }

    /// Says whether the interpreter has a module in itself.
    pub(super) fn has_builtin(&self, module: &str) -> bool {
        if module == "distutils" && self.has_distutils {
            return true;
        }
        BUILTIN.split_ascii_whitespace().any(|entry| {
            let (own, until) = match entry.split_once(':') {
                Some((own, until)) => (own, until.parse().unwrap_or(0)),
                None => (entry, u32::MAX),
            };
            own == module && self.minor <= until
        })
    }
}

/// Finds a module by its simple name in real directories, the first first.
pub(super) fn find(tree: &Tree, dirs: &[Vec<u8>], module: &str, minor: u32) -> Option<Module> {
    let mut namespace = Vec::new();
    for dir in dirs {
        let place = join(dir, module.as_bytes());
        if let Some(inode) = tree.get(&place)
            && let Some(real) = dir_at(tree, &place, inode)
        {
            match package_file(tree, &real, minor) {
                Some(Module::File(init)) => {
                    return Some(Module::Package {
                        dirs: vec![real],
                        init: Some(init),
                    });
                }
                Some(_) => {
                    return Some(Module::Package {
                        dirs: vec![real],
                        init: None,
                    });
                }
                None if has_content(tree, &real) => namespace.push(real),
                None => {}
            }
        }
        if let Some(found) = file(tree, &place, minor) {
            return Some(found);
        }
    }
    (!namespace.is_empty()).then_some(Module::Package {
        dirs: namespace,
        init: None,
    })
}

/// Finds `__init__` of a package.
fn package_file(tree: &Tree, dir: &[u8], minor: u32) -> Option<Module> {
    file(tree, &join(dir, b"__init__"), minor)
}

/// Finds the file of a module by its path without an ending.
fn file(tree: &Tree, place: &[u8], minor: u32) -> Option<Module> {
    let start = [place, b"."].concat();
    let tag = format!("cpython-3{minor}-");
    let mut compiled = None;
    for (path, _) in tree.starting_with(&start) {
        let rest = &path.as_bytes()[start.len()..];
        let is_library = rest == b"so"
            || rest.ends_with(b".so")
                && (rest.starts_with(b"abi3") || rest.starts_with(tag.as_bytes()));
        if rest != b"py" && rest != b"pyc" && !is_library {
            continue;
        }
        let Some(real) = tree.resolve(path.as_bytes()) else {
            continue;
        };
        if tree.get(real.as_bytes()).and_then(Inode::object).is_none() {
            continue;
        }
        if rest == b"py" {
            return Some(Module::File(real));
        }
        compiled = Some(Module::Compiled);
    }
    compiled
}

/// Says whether a directory without `__init__` has anything to import. What only holds old byte
/// code is what a removed package leaves.
fn has_content(tree: &Tree, dir: &[u8]) -> bool {
    tree.below(dir).any(|(path, inode)| {
        let inner = &path.as_bytes()[dir.len()..];
        !inode.is_dir() && !inner.starts_with(b"/__pycache__/")
    })
}

fn dir_at(tree: &Tree, place: &[u8], inode: &Inode) -> Option<Vec<u8>> {
    match inode.is_dir() {
        true => Some(place.to_vec()),
        false if inode.object().is_some() => None,
        false => real_dir(tree, place),
    }
}

/// Returns the real directory that a path leads to.
pub(super) fn real_dir(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    match lookup::walk(tree, b"", path) {
        Lookup::Found(at, inode) if inode.is_dir() || at.is_empty() => Some(at),
        _ => None,
    }
}

/// Reads `python3.11`.
pub(super) fn minor_of(name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(b"python3.")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Returns the version whose library lies in a prefix, where there is one only.
fn only_minor(tree: &Tree, prefix: &[u8]) -> Option<u32> {
    let start = join(prefix, b"lib/python3.");
    let minors: BTreeSet<u32> = tree
        .starting_with(&start)
        .filter(|(path, _)| path.name() == b"os.py")
        .filter_map(|(path, _)| minor_of(name(parent(path.as_bytes()))))
        .collect();
    let minor = *minors.first()?;
    (minors.len() == 1).then_some(minor)
}

fn system_sites(prefix: &[u8], minor: u32) -> Vec<Vec<u8>> {
    if prefix == b"usr" {
        return vec![
            format!("usr/local/lib/python3.{minor}/dist-packages").into_bytes(),
            b"usr/lib/python3/dist-packages".to_vec(),
            format!("usr/lib/python3.{minor}/dist-packages").into_bytes(),
        ];
    }
    ["site-packages", "dist-packages"]
        .iter()
        .map(|dir| join(prefix, format!("lib/python3.{minor}/{dir}").as_bytes()))
        .collect()
}
