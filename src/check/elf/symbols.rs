//! Symbols that no object of a process defines in any version: the loader does not start the
//! program, or ends it when it calls the symbol first.
//!
//! Only programs are looked at, with all that they load. What a library lacks may be in the program
//! that opens it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::collect::Collected;
use super::image::ObjectNo;
use super::instance;
use super::loaders::Interpreter;
use super::names::Stop;
use super::process;
use super::report::Report;
use super::search::Search;
use crate::elf::{self, ElfSymbols, UndefinedSymbol, symbol_number};
use crate::id::ObjectId;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

/// The versions of what is kept: symbols of an object, and what a process and a tree lack.
pub(super) const SYMBOLS: &str = "elf-symbols-2";
const LACKING: &str = "elf-lacking-2";
const OF_TREE: &str = "elf-lacking-of-tree-2";

/// The most symbols reported of one object: a library that was replaced may lack hundreds.
const REPORTED_LIMIT: usize = 8;

/// A symbol that is lacking, by the paths of who needs it and of the program that loads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LackingSymbol {
    pub(super) path: Vec<u8>,
    pub(super) program: Vec<u8>,
    pub(super) name: String,
    pub(super) at_start: bool,
}

/// Reports the symbols that the programs of a tree lack. The result for a tree is kept.
pub(super) fn check(
    search: &mut Search,
    found: &Collected,
    tree: &Tree,
    report: &mut Report,
) -> Result<(), Stop> {
    let view = search.image.view;
    let mut find = || match lacking_in_tree(search, found, tree) {
        Ok(all) => Ok(serde_json::to_vec(&all).unwrap_or_default()),
        Err(Stop::View(error)) => Err(error),
        // Nothing is kept of it that could be read.
        Err(Stop::Exhausted) => Ok(Vec::new()),
    };
    let kept = view.concluded(OF_TREE, tree.digest().as_bytes(), &mut find)?;
    let all: Vec<LackingSymbol> = serde_json::from_slice(&kept).unwrap_or_default();
    for symbol in &all {
        report.symbol(symbol);
    }
    match kept.is_empty() {
        true => Err(Stop::Exhausted),
        false => Ok(()),
    }
}

fn lacking_in_tree(
    search: &mut Search,
    found: &Collected,
    tree: &Tree,
) -> Result<Vec<LackingSymbol>, Stop> {
    let mut all = Vec::new();
    for program in &found.programs {
        let root = instance(search, program.object)?;
        let interp = match program.interp {
            Interpreter::Loader(interp) => Some(interp),
            _ => None,
        };
        let process = process::start(search, root, interp)?;
        // What is in a library that is missing is missing, too.
        if !process.lacks.is_empty() {
            continue;
        }
        let mut members: Vec<ObjectNo> = process.members.iter().map(|own| own.0).collect();
        if let Some(loader) = search.loader(root) {
            let loader = search.image.instances[loader.instance].object;
            if !members.contains(&loader) {
                members.push(loader);
            }
        }
        let path = |object: ObjectNo| search.image.objects[object].path.clone();
        for (member, UndefinedSymbol { name, at_start }) in lacking(search, &members, tree)? {
            all.push(LackingSymbol {
                path: path(members[member]),
                program: path(program.object),
                name,
                at_start,
            });
        }
    }
    Ok(all)
}

/// Returns the symbols that no member of a process defines, each with who needs it.
fn lacking(
    search: &Search,
    members: &[ObjectNo],
    tree: &Tree,
) -> Result<Vec<(usize, UndefinedSymbol)>, ViewError> {
    let view = search.image.view;
    let paths = || {
        members
            .iter()
            .map(|own| search.image.objects[*own].path.as_slice())
    };
    let mut ids = Vec::new();
    for path in paths() {
        match tree.get(path).and_then(Inode::object) {
            Some(id) => ids.extend_from_slice(id.as_bytes()),
            None => return Ok(Vec::new()),
        }
    }
    let mut conclude = || -> Result<Vec<u8>, ViewError> {
        let mut all = Vec::new();
        for path in paths() {
            all.push(symbols(view, path)?);
        }
        let defined: HashSet<u64> = all.iter().flat_map(|own| &own.defined).copied().collect();
        let mut text = String::new();
        for (member, own) in all.iter().enumerate() {
            let lacks = |symbol: &&UndefinedSymbol| {
                !defined.contains(&symbol_number(symbol.name.as_bytes()))
            };
            for symbol in own.undefined.iter().filter(lacks).take(REPORTED_LIMIT) {
                let UndefinedSymbol { name, at_start } = symbol;
                text.push_str(&format!("{member} {} {name}\n", u8::from(*at_start)));
            }
        }
        Ok(text.into_bytes())
    };
    let key = ObjectId::of(&ids);
    let text = view.concluded(LACKING, key.as_bytes(), &mut conclude)?;
    let text = String::from_utf8_lossy(&text);
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let member: usize = words.next()?.parse().ok()?;
        let at_start = words.next()? == "1";
        let name = words.next()?.to_owned();
        (member < members.len()).then_some((member, UndefinedSymbol { name, at_start }))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Returns the symbols of an object; a broken one has none, which is another problem.
fn symbols(view: &dyn ImageView, path: &[u8]) -> Result<ElfSymbols, ViewError> {
    let compute = |bytes: &[u8]| encode(&elf::symbols(bytes).unwrap_or_default());
    Ok(decode(&view.computed(path, SYMBOLS, &compute)?))
}

/// The numbers of what is defined as eight bytes each, behind their count, and then a line for each
/// symbol that is not.
pub(super) fn encode(symbols: &ElfSymbols) -> Vec<u8> {
    let mut bytes = (symbols.defined.len() as u64).to_le_bytes().to_vec();
    for number in &symbols.defined {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for UndefinedSymbol { name, at_start } in &symbols.undefined {
        if !name.contains('\n') {
            bytes.extend_from_slice(format!("{}{name}\n", u8::from(*at_start)).as_bytes());
        }
    }
    bytes
}

fn decode(bytes: &[u8]) -> ElfSymbols {
    let mut words = bytes.chunks_exact(8).map(|word| {
        let mut number = [0; 8];
        number.copy_from_slice(word);
        u64::from_le_bytes(number)
    });
    let count = words.next().unwrap_or(0) as usize;
    let defined: Vec<u64> = words.take(count).collect();
    let rest = bytes.get((defined.len() + 1) * 8..).unwrap_or_default();
    let rest = String::from_utf8_lossy(rest);
    let undefined = rest.lines().filter_map(|line| {
        let name = line.get(1..)?.to_owned();
        let at_start = line.starts_with('1');
        Some(UndefinedSymbol { name, at_start })
    });
    ElfSymbols {
        undefined: undefined.collect(),
        defined,
    }
}
