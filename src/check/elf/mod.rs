//! Whether all programs and libraries of a tree find what they need, by the rules of glibc's
//! loader: man 8 ld.so, elf/dl-load.c, elf/dl-deps.c and elf/dl-version.c.
//!
//! A program is wrong if the loader would not start it. A library is loaded by programs that cannot
//! be known, so it is looked at by itself, and what it lacks there counts unless some process of
//! the image has it: a program or another library that loads it with the paths or the companions
//! that it relies on. One exception is made for what libraries of one private directory are to each
//! other (`libjava.so` and `libjvm.so`): some program loads both by their paths.
//!
//! The steps: the files (`collect`), the image's loaders (`loaders`), what each object's needs lead
//! to (`search`), which of them cannot go wrong (`plain`), the processes of the others (`process`),
//! the symbols in them (`symbols`), and the problems (`report`).
//!
//! Not checked: what is loaded by name while a program runs (a note says what may be, `opened`), filters (`DT_FILTER`, `DT_AUXILIARY`),
//! `LD_LIBRARY_PATH` and its like, the restrictions on `$ORIGIN` in set-user-ID programs, and the
//! rules of loaders other than glibc's: these only have to exist.

mod collect;
mod image;
mod loaders;
mod names;
mod object;
mod opened;
mod plain;
mod process;
mod report;
mod search;
mod symbols;
mod tokens;

use std::collections::{BTreeMap, HashSet};

use super::problem::Problem;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError, parent};
use collect::Collected;
use image::{Image, InstanceNo, ObjectNo};
use loaders::Interpreter;
use names::{Name, Stop};
use plain::PlainObjects;
use process::{MissingNeed, Process};
use report::Report;
use search::Search;

pub use search::Library;

/// Finds ELF files of `tree` that do not find what they need; sorted by id, each id once.
///
/// `view` shows the same tree with its contents; `cache` has the lines of its `ld.so.cache` in the
/// loader's order.
///
/// - `elf:broken:<path>`: a program or library that is no readable ELF file.
/// - `elf:interp:<path>`: a program whose interpreter is missing, or is not an interpreter for it.
/// - `elf:needed:<path>:<soname>`: a library that is not found, or cannot be loaded.
/// - `elf:version:<path>:<soname>:<version>`: a version that the library found does not define.
/// - `elf:symbol:<path>:<symbol>`: a symbol that no library of a program defines in any version;
///   [`Minor`](super::Weight::Minor) where the loader looks for it only when it is called.
/// - `elf:opened:<path>:<soname>`: a library that a file of no package names, and that is not in the
///   tree; [`Minor`](super::Weight::Minor).
/// - `elf:unchecked`: the files need each other in more ways than this check follows; problems
///   found until then are reported.
pub fn problems(
    tree: &Tree,
    view: &dyn ImageView,
    cache: &[Library],
) -> Result<Vec<Problem>, ViewError> {
    problems_of(tree, view, cache, PlainObjects::is_plain)
}

/// Like [`problems`]; `is_sound` says which programs and libraries are known to be sound without
/// loading them.
fn problems_of(
    tree: &Tree,
    view: &dyn ImageView,
    cache: &[Library],
    is_sound: fn(&PlainObjects, InstanceNo) -> bool,
) -> Result<Vec<Problem>, ViewError> {
    let mut report = Report::default();
    match check(tree, view, cache, is_sound, &mut report) {
        Ok(()) => {}
        Err(Stop::Exhausted) => report.unchecked(),
        Err(Stop::View(error)) => return Err(error),
    }
    Ok(report.finish())
}

fn check(
    tree: &Tree,
    view: &dyn ImageView,
    cache: &[Library],
    is_sound: fn(&PlainObjects, InstanceNo) -> bool,
    report: &mut Report,
) -> Result<(), Stop> {
    let mut image = Image::new(view);
    let mut found = collect::collect(tree, &mut image, &mut |path, why| report.broken(path, why))?;
    let votes: Vec<(ObjectNo, Interpreter)> = found
        .programs
        .iter()
        .map(|program| (program.object, program.interp))
        .collect();
    let loaders = loaders::choose(&mut image, &votes)?;
    for program in &found.programs {
        // Without any loader a program is data, unless it is where programs are started from.
        let abi = image.objects[program.object].abi;
        let path = &image.objects[program.object].path;
        if loaders[abi].is_some() || collect::is_command(path) {
            report.interp(&image, program);
        }
    }
    let mut search = Search::new(image, loaders, cache);
    found.keep(|number| {
        let object = &search.image.objects[number];
        let is_musl = |interp: &String| loaders::is_musl(interp.as_bytes());
        search.loaders[object.abi].is_some() && !object.interp.as_ref().is_some_and(is_musl)
    });
    let mut lacks = MissingNeeds::default();
    let result = lacks.find(&mut search, &found, is_sound);
    lacks.report(&search, &found, report);
    result?;
    symbols::check(&mut search, &found, tree, report)?;
    opened::check(&search, &found, tree, report)
}

/// What is missing, and where.
#[derive(Default)]
struct MissingNeeds {
    /// By key: what is missing, and the first program that does not start because of it.
    of_programs: BTreeMap<(ObjectNo, Name, Option<Name>), (MissingNeed, ObjectNo)>,
    /// What libraries miss when they are loaded alone.
    of_libraries: BTreeMap<(ObjectNo, Name, Option<Name>), MissingNeed>,
    /// What some process has, although others miss it.
    had: HashSet<(ObjectNo, Name, Option<Name>)>,
}

impl MissingNeeds {
    fn find(
        &mut self,
        search: &mut Search,
        found: &Collected,
        is_sound: fn(&PlainObjects, InstanceNo) -> bool,
    ) -> Result<(), Stop> {
        let mut programs = Vec::new();
        for program in &found.programs {
            let instance = instance(search, program.object)?;
            programs.push((instance, program));
        }
        let mut libraries = Vec::new();
        for object in &found.libraries {
            libraries.push(instance(search, *object)?);
        }
        let roots: Vec<InstanceNo> = programs.iter().map(|(instance, _)| *instance).collect();
        let plain = PlainObjects::of(search, &[roots, libraries.clone()].concat())?;
        for (root, program) in programs {
            let interp = match program.interp {
                Interpreter::Loader(interp) => Some(interp),
                _ => None,
            };
            let usual = search.loader(root).map(|loader| loader.instance);
            let usual = usual.map(|instance| search.image.instances[instance].object);
            if is_sound(&plain, root) && (interp.is_none() || interp == usual) {
                continue;
            }
            let process = process::start(search, root, interp)?;
            self.remember(search, &plain, &process);
            for lack in process.lacks {
                let first = self.of_programs.entry(lack.key());
                first.or_insert((lack, program.object));
            }
        }
        for root in libraries {
            if is_sound(&plain, root) {
                continue;
            }
            let process = process::start(search, root, None)?;
            self.remember(search, &plain, &process);
            for lack in process.lacks {
                self.of_libraries.entry(lack.key()).or_insert(lack);
            }
        }
        Ok(())
    }

    /// Records what the suspects of a process do find in it.
    fn remember(&mut self, search: &Search, plain: &PlainObjects, process: &Process) {
        let lacks: HashSet<_> = process.lacks.iter().map(MissingNeed::key).collect();
        for (object, instance) in &process.members {
            if !plain.is_suspect_itself(*instance) {
                continue;
            }
            let object_facts = &search.image.objects[*object];
            let needed = object_facts.needed.iter().map(|name| (*name, None));
            let wants = object_facts.wants.iter();
            let wants = wants.map(|(file, version)| (*file, Some(*version)));
            let keys = needed
                .chain(wants)
                .map(|(name, version)| (*object, name, version));
            self.had.extend(keys.filter(|key| {
                // If a library is missing, so is each version of it.
                !lacks.contains(key) && !lacks.contains(&(key.0, key.1, None))
            }));
        }
    }

    fn report(&self, search: &Search, found: &Collected, report: &mut Report) {
        for (lack, program) in self.of_programs.values() {
            report.lack(search, lack, Some(*program));
        }
        let neighbours = report::PrivateLibraries::of(search, found);
        for (key, lack) in &self.of_libraries {
            if !self.had.contains(key) && !neighbours.have(search, lack) {
                report.lack(search, lack, None);
            }
        }
    }
}

fn instance(search: &mut Search, object: ObjectNo) -> Result<InstanceNo, Stop> {
    let dir = parent(&search.image.objects[object].path).to_vec();
    let dir = search.image.real_dir(&dir);
    search.image.instance(object, dir)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod hostile_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
