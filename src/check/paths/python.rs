//! Modules for one minor version of Python, and whether the tree has an interpreter for them.
//!
//! Extension modules and byte code say their version in their names (PEP 3147, PEP 3149);
//! `lib/python3.N` is looked at by that version alone. Debian's `/usr/lib/python3/dist-packages`
//! serves the default interpreter.

use std::collections::{BTreeMap, BTreeSet};

use super::lookup::{self, Lookup};
use super::unit_file;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

const HINT: &str =
    "rebuild the layer of the modules on today's lower layers, whose Python has another version";

/// The minor versions that files of one name exist for.
struct Variants<'a> {
    first: &'a RelPath,
    minors: BTreeSet<u32>,
}

/// Files of one directory by the names that `import` knows.
type Modules<'a> = BTreeMap<(&'a [u8], &'a [u8]), Variants<'a>>;

/// Finds modules that no interpreter of the tree can load: `python:DIR/MODULE:abi` for an extension
/// module, `python:DIR/NAME:path` and `python:DIR:path` for what lies where only a missing version
/// looks, and `python:DIR:bytecode`, which is [`Minor`](Weight::Minor), for a package with byte
/// code of missing versions only.
///
/// Below `/usr` and `/usr/local`, which layers share, each name is a problem of its own; elsewhere
/// each directory is.
pub fn python(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let mut extensions = Modules::new();
    let mut bytecode = Modules::new();
    let mut versioned = BTreeMap::new();
    let mut embedded = BTreeSet::new();
    for (path, inode) in tree.iter() {
        let bytes = path.as_bytes();
        let name = lookup::name(bytes);
        if inode.is_dir() {
            if let b"dist-packages" | b"site-packages" = name
                && let Some(home) = ModuleHome::of(bytes)
            {
                versioned.insert(path, home);
            }
        } else if let Some((module, minor)) = extension(name) {
            add(&mut extensions, lookup::parent(bytes), module, minor, path);
        } else if let Some((module, minor)) = compiled(name) {
            let cache = lookup::parent(bytes);
            if lookup::name(cache) == b"__pycache__" {
                add(&mut bytecode, lookup::parent(cache), module, minor, path);
            }
        } else if let Some(minor) = library(name) {
            embedded.insert(minor);
        }
    }
    let mut pythons = Interpreters::of(tree, view, embedded);
    let mut problems = Vec::new();
    for (path, home) in versioned {
        if !pythons.serve(&home)? {
            vanished(tree, path, &home, &mut problems);
        }
    }
    for ((dir, module), variants) in &extensions {
        if !pythons.load(dir, &variants.minors)? && !has_plain_variant(tree, dir, module) {
            problems.push(unloadable(dir, module, variants));
        }
    }
    let mut told = BTreeSet::new();
    for ((dir, _), variants) in &bytecode {
        let package = package_of(dir);
        if !told.contains(package) && pythons.any() && !pythons.load(dir, &variants.minors)? {
            told.insert(package);
            problems.push(stale_bytecode(package, variants));
        }
    }
    Ok(problems)
}

fn add<'a>(
    modules: &mut Modules<'a>,
    dir: &'a [u8],
    module: &'a [u8],
    minor: u32,
    path: &'a RelPath,
) {
    let variants = modules.entry((dir, module)).or_insert_with(|| Variants {
        first: path,
        minors: BTreeSet::new(),
    });
    variants.minors.insert(minor);
}

/// Reads `NAME.cpython-311-x86_64-linux-gnu.so`; builds for debugging or without the global lock
/// are no variants of it.
fn extension(name: &[u8]) -> Option<(&[u8], u32)> {
    tagged(name.strip_suffix(b".so")?, b'-')
}

/// Reads `NAME.cpython-311.pyc` and `NAME.cpython-311.opt-1.pyc`.
fn compiled(name: &[u8]) -> Option<(&[u8], u32)> {
    tagged(name.strip_suffix(b".pyc")?, b'.')
}

fn tagged(name: &[u8], end: u8) -> Option<(&[u8], u32)> {
    const TAG: &[u8] = b".cpython-3";
    let at = name.windows(TAG.len()).rposition(|part| part == TAG)?;
    let rest = &name[at + TAG.len()..];
    let tag = rest.split(|byte| *byte == end).next()?;
    Some((&name[..at], number(tag)?))
}

/// Reads `libpython3.11.so.1.0`: a program with an interpreter inside.
fn library(name: &[u8]) -> Option<u32> {
    let rest = name.strip_prefix(b"libpython3.")?;
    let end = rest.iter().position(|byte| *byte == b'.')?;
    rest[end..].starts_with(b".so").then_some(())?;
    number(&rest[..end])
}

/// Reads `python3.11`.
fn versioned(name: &[u8]) -> Option<u32> {
    number(name.strip_prefix(b"python3.")?)
}

fn number(digits: &[u8]) -> Option<u32> {
    let plain = (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    })
}

/// Where a version's own modules lie: `PREFIX/lib/python3.N`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ModuleHome<'a> {
    prefix: &'a [u8],
    minor: u32,
}

impl<'a> ModuleHome<'a> {
    /// Returns the innermost one that `path` lies in.
    fn of(path: &'a [u8]) -> Option<Self> {
        let mut at = path;
        while !at.is_empty() {
            if let Some(minor) = versioned(lookup::name(at))
                && let lib = lookup::parent(at)
                && let b"lib" | b"lib64" = lookup::name(lib)
            {
                let prefix = lookup::parent(lib);
                return Some(Self { prefix, minor });
            }
            at = lookup::parent(at);
        }
        None
    }

    fn is_shared(&self) -> bool {
        matches!(self.prefix, b"usr" | b"usr/local")
    }
}

/// The interpreters of a tree.
struct Interpreters<'a> {
    tree: &'a Tree,
    view: &'a dyn ImageView,
    minors: BTreeSet<u32>,
    default: Option<u32>,
    /// What the homes seen so far have.
    served: BTreeMap<(Vec<u8>, u32), bool>,
}

impl<'a> Interpreters<'a> {
    fn of(tree: &'a Tree, view: &'a dyn ImageView, embedded: BTreeSet<u32>) -> Self {
        let mut minors = embedded;
        for dir in [&b"usr/bin"[..], b"usr/local/bin", b"bin"] {
            minors.extend(programs(tree, dir).filter_map(|(name, target)| {
                versioned(lookup::name(&target)).or_else(|| versioned(name))
            }));
        }
        let default = match lookup::walk(tree, b"", b"usr/bin/python3") {
            Lookup::Found(at, _) => versioned(lookup::name(&at)),
            _ => None,
        };
        Self {
            tree,
            view,
            minors,
            default,
            served: BTreeMap::new(),
        }
    }

    fn any(&self) -> bool {
        !self.minors.is_empty()
    }

    /// Says whether an interpreter of that version looks into its home.
    fn serve(&mut self, home: &ModuleHome<'_>) -> Result<bool, ViewError> {
        if home.is_shared() {
            return Ok(self.minors.contains(&home.minor));
        }
        let key = (home.prefix.to_vec(), home.minor);
        if let Some(known) = self.served.get(&key) {
            return Ok(*known);
        }
        let serves = self.serve_prefix(home)?;
        self.served.insert(key, serves);
        Ok(serves)
    }

    /// Asks the interpreters of a prefix of its own: a virtual environment, or a Python that an
    /// application brings.
    fn serve_prefix(&self, home: &ModuleHome<'_>) -> Result<bool, ViewError> {
        let mut any = false;
        // No listing of the directory: one look for each name, however many homes there are.
        for name in [
            "python3".to_owned(),
            "python".to_owned(),
            format!("python3.{}", home.minor),
        ] {
            let path = lookup::join(&lookup::join(home.prefix, b"bin"), name.as_bytes());
            let Ok(target) = lookup::program(self.tree, &path) else {
                continue;
            };
            any = true;
            // A copy is called 'python3', which does not tell its version.
            let minor = versioned(lookup::name(&target)).or_else(|| versioned(name.as_bytes()));
            if minor.is_none_or(|minor| minor == home.minor) {
                return Ok(minor.is_some() || self.is_version_of_environment(home)?);
            }
        }
        let is_environment = self
            .tree
            .get(&lookup::join(home.prefix, b"pyvenv.cfg"))
            .is_some();
        // Else a program embeds the interpreter.
        Ok(!any && !is_environment && self.minors.contains(&home.minor))
    }

    /// Says whether a `pyvenv.cfg` names the version of the home; without one, nothing says that it
    /// is another.
    fn is_version_of_environment(&self, home: &ModuleHome<'_>) -> Result<bool, ViewError> {
        let path = lookup::join(home.prefix, b"pyvenv.cfg");
        if self.tree.get(&path).and_then(Inode::object).is_none() {
            return Ok(true);
        }
        let settings = unit_file::parse(&self.view.read(&path)?).unwrap_or_default();
        let version = settings
            .iter()
            .find(|setting| matches!(setting.key.as_str(), "version" | "version_info"));
        let minor = version.and_then(|version| version.value.split('.').nth(1)?.parse().ok());
        Ok(minor.is_none_or(|minor: u32| minor == home.minor))
    }

    /// Says whether an interpreter that looks into `dir` takes one of these versions.
    fn load(&mut self, dir: &[u8], minors: &BTreeSet<u32>) -> Result<bool, ViewError> {
        if let Some(home) = ModuleHome::of(dir) {
            // If no interpreter looks there, that is the problem to report.
            return Ok(minors.contains(&home.minor) || !self.serve(&home)?);
        }
        let of_default = lookup::within(dir, b"usr/lib/python3");
        Ok(match self.default {
            Some(default) if of_default => minors.contains(&default),
            _ => !minors.is_disjoint(&self.minors),
        })
    }
}

/// Iterates over the interpreters in a directory that can be started: their names and what these
/// lead to.
fn programs<'a>(tree: &'a Tree, dir: &[u8]) -> impl Iterator<Item = (&'a [u8], Vec<u8>)> {
    let prefix = lookup::join(dir, b"python");
    let skip = prefix.len() - b"python".len();
    tree.below(dir).filter_map(move |(path, _)| {
        let name = &path.as_bytes()[skip..];
        let is_python = matches!(name, b"python" | b"python3") || versioned(name).is_some();
        if !path.as_bytes().starts_with(&prefix) || !is_python {
            return None;
        }
        Some((name, lookup::program(tree, path.as_bytes()).ok()?))
    })
}

/// Returns the package that a directory belongs to: the name below `dist-packages`, itself
/// elsewhere.
fn package_of(dir: &[u8]) -> &[u8] {
    let mut at = dir;
    while !at.is_empty() {
        let above = lookup::parent(at);
        if let b"dist-packages" | b"site-packages" = lookup::name(above) {
            return at;
        }
        at = above;
    }
    dir
}

/// An extension module for the stable interface, or without a version in its name.
fn has_plain_variant(tree: &Tree, dir: &[u8], module: &[u8]) -> bool {
    [&b".abi3.so"[..], b".so"].iter().any(|end| {
        tree.get(&lookup::join(dir, &[module, end].concat()))
            .is_some()
    })
}

fn list(minors: &BTreeSet<u32>) -> String {
    let names: Vec<String> = minors.iter().map(|minor| format!("3.{minor}")).collect();
    names.join(", ")
}

fn unloadable(dir: &[u8], module: &[u8], variants: &Variants<'_>) -> Problem {
    Problem {
        id: FindingKind::Python.at(format_args!("/{}/{}:abi", escape(dir), escape(module))),
        subject: Subject::Path(variants.first.clone()),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!(
            "the module '{}' is compiled only for Python {}, which does not load it in this tree",
            variants.first,
            list(&variants.minors)
        ),
        hint: HINT.to_owned(),
    }
}

fn stale_bytecode(dir: &[u8], variants: &Variants<'_>) -> Problem {
    let dir = escape(dir);
    Problem {
        id: FindingKind::Python.at(format_args!("/{dir}:bytecode")),
        subject: Subject::Path(variants.first.clone()),
        package: None,
        other: None,
        weight: Weight::Minor,
        reason: format!(
            "the byte code of '/{dir}' is for Python {}, which does not load it in this tree: modules load more slowly",
            list(&variants.minors)
        ),
        hint: HINT.to_owned(),
    }
}

/// Reports what is no longer found in a directory.
fn vanished(tree: &Tree, dir: &RelPath, home: &ModuleHome<'_>, problems: &mut Vec<Problem>) {
    let mut last: &[u8] = b"";
    for (path, inode) in tree.below(dir.as_bytes()) {
        let rest = &path.as_bytes()[dir.as_bytes().len() + 1..];
        let top = rest.split(|byte| *byte == b'/').next().unwrap_or(rest);
        // The first file of a directory stands for it: its layer is the one to name.
        if inode.is_dir() || top == last || is_beside(top) {
            continue;
        }
        last = top;
        let place = if home.is_shared() {
            format!("{dir}/{}", escape(top))
        } else {
            dir.to_string()
        };
        problems.push(Problem {
            id: FindingKind::Python.at(format_args!("{place}:path")),
            subject: Subject::Path(path.clone()),
            package: None,
            other: None,
            weight: Weight::Grave,
            reason: format!(
                "only Python 3.{} looks for '{place}', and this tree does not have it",
                home.minor
            ),
            hint: HINT.to_owned(),
        });
        if !home.is_shared() {
            return;
        }
    }
}

/// Says whether a name among modules is not a module.
fn is_beside(name: &[u8]) -> bool {
    name == b"__pycache__"
        || name.ends_with(b".dist-info")
        || name.ends_with(b".egg-info")
        || name.starts_with(b"README")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "python_tests.rs"]
mod tests;
