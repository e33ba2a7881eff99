//! Modules of Perl that a program loads at its start and that are not there.
//!
//! The search path is that of Debian's perl (`perl -V`); other installations of Perl know theirs
//! by themselves, and are not looked at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::perl_source::{self, PerlFacts};
use super::python_path::real_dir;
use super::report::{Missing, Report};
use super::runs::{Run, Runs, multiarch};
use crate::check::paths::lookup::{self, Lookup};
use crate::check::paths::told::Told;
use crate::check::paths::{ModuleOf, command};
use crate::layout::{join, name, parent};
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

/// Where Debian's perl looks in each directory of an architecture, and in the others; `V` stands
/// for the version, `A` for the architecture.
const PLACES: [&str; 13] = [
    "etc/perl",
    "usr/local/lib/A/perl/V",
    "usr/local/share/perl/V",
    "usr/lib/A/perl5/V",
    "usr/share/perl5",
    "usr/lib/A/perl-base",
    "usr/lib/A/perl/V",
    "usr/share/perl/V",
    "usr/local/lib/site_perl",
    "usr/lib/A/perl5-debug/V",
    "usr/lib/A/perl5",
    "usr/local/lib/A/perl",
    "usr/local/share/perl",
];

/// Modules that perl has in itself, or that follow from how it is built.
const BUILTIN: [&str; 12] = [
    "B",
    "Config",
    "DB",
    "Internals",
    "PerlIO",
    "UNIVERSAL",
    "builtin",
    "mro",
    "re",
    "utf8",
    "version",
    "feature",
];

struct Checker<'a> {
    tree: &'a Tree,
    view: &'a dyn ImageView,
    dirs: Vec<Vec<u8>>,
    /// Modules by their paths below the search path.
    found: HashMap<String, Option<RelPath>>,
    facts: HashMap<RelPath, Rc<PerlFacts>>,
    seen: HashSet<RelPath>,
    /// The paths of all modules of the tree.
    all: Option<BTreeSet<&'a [u8]>>,
}

/// Reports what the programs of Perl among `runs` load and do not find.
pub(super) fn check(
    tree: &Tree,
    view: &dyn ImageView,
    runs: &Runs,
    report: &mut Report,
) -> Result<(), ViewError> {
    // Almost always there is one perl. The modules of another version are not for it.
    let mut checkers: HashMap<Vec<u8>, Option<Checker<'_>>> = HashMap::new();
    let mut with = |started: &[u8], work: Work<'_>| -> Result<(), ViewError> {
        let Ok(program) = lookup::program(tree, started) else {
            return Ok(());
        };
        if parent(&program) != b"usr/bin" || !name(&program).starts_with(b"perl") {
            return Ok(());
        }
        let checker = checkers.entry(program).or_insert_with_key(|program| {
            search_path(tree, program).map(|dirs| Checker {
                tree,
                view,
                dirs,
                found: HashMap::new(),
                facts: HashMap::new(),
                seen: HashSet::new(),
                all: None,
            })
        });
        match (checker, work) {
            (None, _) => Ok(()),
            (Some(checker), Work::Run(run)) => checker.start(run, report),
            (Some(checker), Work::Load(told)) => {
                checker.load(told, report);
                Ok(())
            }
        }
    };
    for run in runs.files.iter().filter(|run| run.is_main) {
        with(&run.interpreter, Work::Run(run))?;
    }
    for told in runs.told.iter().filter(|told| told.of == ModuleOf::Perl) {
        let started = match told.program.starts_with('/') {
            true => Some(told.program.clone().into_bytes()),
            false => command(tree, told.program.as_bytes()),
        };
        if let Some(started) = started {
            with(&started, Work::Load(told))?;
        }
    }
    Ok(())
}

/// What perl is started for.
#[derive(Clone, Copy)]
enum Work<'a> {
    Run(&'a Run),
    Load(&'a Told),
}

/// Returns the versions that `program` may be: that of its other name, `perl5.40.1`, and all that
/// the tree has where it has no other name. `perl-base` ships both names; `perl` of another release
/// above it brings `perl5.40-x86_64-linux-gnu` alone, and `/usr/bin/perl` does not become 5.40 by
/// that.
fn versions(tree: &Tree, program: &[u8]) -> BTreeSet<Vec<u8>> {
    let object = |path: &[u8]| tree.get(path).and_then(Inode::object);
    let wanted = object(program);
    let numbered: Vec<&RelPath> = tree
        .starting_with(b"usr/bin/perl5.")
        .map(|(path, _)| path)
        .collect();
    let is_it = |path: &&&RelPath| wanted.is_some() && object(path.as_bytes()) == wanted;
    let same: Vec<&RelPath> = numbered.iter().filter(is_it).copied().collect();
    let mut versions = BTreeSet::new();
    for path in if same.is_empty() { numbered } else { same } {
        let version = &path.name()[b"perl".len()..];
        let end = version.iter().position(|byte| *byte == b'-');
        let version = &version[..end.unwrap_or(version.len())];
        let mut parts = version.split(|byte| *byte == b'.');
        if let (Some(major), Some(minor)) = (parts.next(), parts.next()) {
            let short = [major, b".", minor].concat();
            versions.insert(short);
        }
        versions.insert(version.to_vec());
    }
    versions
}

/// Returns the directories that Debian's perl at `program` searches; `None` says that the tree is
/// not arranged as Debian's.
fn search_path(tree: &Tree, program: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut archs = BTreeSet::new();
    for dir in multiarch(tree) {
        if real_dir(tree, &join(&dir, b"perl-base")).is_some() {
            archs.insert(name(&dir).to_vec());
        }
    }
    let versions = versions(tree, program);
    if archs.is_empty() {
        // Debian's perl is nothing without this directory: that it is gone is no reason to look away.
        archs.extend(multiarch(tree).iter().map(|dir| name(dir).to_vec()));
    }
    if archs.is_empty() {
        return None;
    }
    let mut dirs = Vec::new();
    for place in PLACES {
        for arch in &archs {
            for version in &versions {
                let place = place
                    .split('/')
                    .map(|part| match part {
                        "A" => arch.as_slice(),
                        "V" => version.as_slice(),
                        other => other.as_bytes(),
                    })
                    .fold(Vec::new(), |path, part| join(&path, part));
                if let Some(dir) = real_dir(tree, &place)
                    && !dirs.contains(&dir)
                {
                    dirs.push(dir);
                }
            }
        }
    }
    Some(dirs)
}

impl<'a> Checker<'a> {
    fn start(&mut self, run: &Run, report: &mut Report) -> Result<(), ViewError> {
        let facts = self.facts(&run.path)?;
        let own = parent(run.path.as_bytes());
        let mut local = Vec::new();
        for dir in &facts.dirs {
            let at = match dir.strip_prefix("$Bin") {
                Some(rest) => lookup::walk(self.tree, own, rest.trim_start_matches('/').as_bytes()),
                None => lookup::walk(self.tree, b"", dir.as_bytes()),
            };
            if let Lookup::Found(at, _) = at {
                local.push(at);
            }
        }
        let mut is_open = facts.extends_path;
        let mut todo = vec![run.path.clone()];
        let mut seen_here = HashSet::new();
        while let Some(path) = todo.pop() {
            let facts = self.facts(&path)?;
            is_open |= facts.extends_path;
            for module in &facts.modules {
                if BUILTIN.contains(&module.as_str()) {
                    continue;
                }
                let file = format!("{}.pm", module.replace("::", "/"));
                if let Some(found) = self.find_in(&local, &file) {
                    if seen_here.insert(found.clone()) {
                        todo.push(found);
                    }
                } else if let Some(found) = self.find(&file) {
                    if self.seen.insert(found.clone()) {
                        todo.push(found);
                    }
                } else if !(is_open && self.is_anywhere(&file)) {
                    report.add(&missing(&path, &run.path, module));
                }
            }
        }
        Ok(())
    }

    /// Looks for a module that perl is told to load.
    fn load(&mut self, told: &Told, report: &mut Report) {
        let file = format!("{}.pm", told.module.replace("::", "/"));
        if BUILTIN.contains(&told.module.as_str())
            || self.find(&file).is_some()
            || told.dir.is_none() && self.is_anywhere(&file)
        {
            return;
        }
        report.add(&missing(&told.path, &told.path, &told.module));
    }

    fn facts(&mut self, path: &RelPath) -> Result<Rc<PerlFacts>, ViewError> {
        if let Some(known) = self.facts.get(path) {
            return Ok(known.clone());
        }
        let compute =
            |bytes: &[u8]| serde_json::to_vec(&perl_source::read(bytes)).unwrap_or_default();
        let bytes = self
            .view
            .computed(path.as_bytes(), perl_source::KIND, &compute)?;
        let facts: PerlFacts = serde_json::from_slice(&bytes).unwrap_or_default();
        let facts = Rc::new(facts);
        self.facts.insert(path.clone(), facts.clone());
        Ok(facts)
    }

    fn find_in(&self, dirs: &[Vec<u8>], file: &str) -> Option<RelPath> {
        dirs.iter().find_map(|dir| {
            let real = self.tree.resolve(&join(dir, file.as_bytes()))?;
            let inode = self.tree.get(real.as_bytes())?;
            Inode::object(inode).map(|_| real)
        })
    }

    fn find(&mut self, file: &str) -> Option<RelPath> {
        if let Some(known) = self.found.get(file) {
            return known.clone();
        }
        let found = self.find_in(&self.dirs, file);
        self.found.insert(file.to_owned(), found.clone());
        found
    }

    /// Says whether a directory of the tree has the module.
    fn is_anywhere(&mut self, file: &str) -> bool {
        let tree = self.tree;
        let all = self.all.get_or_insert_with(|| {
            let paths = tree.iter().map(|(path, _)| path.as_bytes());
            paths.filter(|path| path.ends_with(b".pm")).collect()
        });
        let end = [b"/", file.as_bytes()].concat();
        all.iter().any(|path| path.ends_with(&end))
    }
}

fn missing(path: &RelPath, program: &RelPath, module: &str) -> Missing {
    Missing {
        path: path.clone(),
        program: program.clone(),
        module: module.to_owned(),
        part: String::new(),
        language: "Perl",
        why: "which is not in the directories that perl searches in this tree".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::problems;
    use crate::check::paths::testing::{Image, assert_ids};

    fn check(image: &Image, expect: &[&str]) {
        assert_ids(&problems(&image.tree, &image.view).unwrap(), expect);
    }

    fn debian() -> Image {
        Image::new()
            .program("usr/bin/perl")
            .program("usr/bin/perl5.36.0")
            .file(
                "usr/lib/x86_64-linux-gnu/perl-base/strict.pm",
                b"package strict;\n",
            )
            .exec(
                "opt/app/bin/run",
                b"#!/usr/bin/perl -w\nuse strict;\nuse JSON;\n",
            )
    }

    #[test]
    fn a_module_that_a_unit_or_a_script_has_loaded_is_looked_for() {
        let image = debian()
            .file("usr/share/perl5/JSON.pm", b"")
            .program("usr/bin/sh")
            .exec("opt/a", b"#!/usr/bin/sh\nperl -MJSON -MGone::A -e 1\n")
            .file(
                "etc/systemd/system/a.service",
                b"[Service]\nExecStart=/usr/bin/perl -MGone -e 1\nExecStartPre=-/usr/bin/perl -MMay -e 1\n",
            );
        let expect = [
            "!import:/etc/systemd/system/a.service:Gone",
            "!import:/opt/a:Gone::A",
        ];
        check(&image, &expect);
    }

    #[test]
    fn a_module_of_each_directory_is_found_and_one_of_none_is_named() {
        check(&debian(), &["!import:/opt/app/bin/run:JSON"]);
        for place in [
            "usr/share/perl5/JSON.pm",
            "usr/local/share/perl/5.36.0/JSON.pm",
            "usr/lib/x86_64-linux-gnu/perl5/5.36/JSON.pm",
            "etc/perl/JSON.pm",
        ] {
            check(&debian().file(place, b""), &[]);
        }
        for place in [
            "usr/lib/x86_64-linux-gnu/perl5/5.40/JSON.pm",
            "usr/local/share/perl/5.40.1/JSON.pm",
            "opt/app/lib/JSON.pm",
        ] {
            check(
                &debian().file(place, b""),
                &["!import:/opt/app/bin/run:JSON"],
            );
        }
    }

    #[test]
    fn modules_of_another_version_are_not_for_the_perl_that_runs() {
        let image = debian()
            .exec(
                "usr/bin/perl5.34-x86_64-linux-gnu",
                b"\x7fELF of another release",
            )
            .file("usr/lib/x86_64-linux-gnu/perl5/5.34/JSON.pm", b"")
            .exec(
                "opt/old/run",
                b"#!/usr/bin/perl5.34-x86_64-linux-gnu\nuse JSON;\n",
            );
        check(&image, &["!import:/opt/app/bin/run:JSON"]);
    }

    #[test]
    fn a_perl_without_its_library_starts_nothing() {
        let image = Image::new()
            .program("usr/bin/perl")
            .program("usr/bin/perl5.36.0")
            .dir("usr/lib/x86_64-linux-gnu")
            .exec("opt/run", b"#!/usr/bin/perl -w\nuse strict;\n");
        check(&image, &["!import:/opt/run:strict"]);
    }

    #[test]
    fn modules_of_a_program_are_looked_at_and_its_own_directories_count() {
        let run = b"#!/usr/bin/env perl\nuse FindBin;\nuse lib \"$FindBin::Bin/../lib\";\nuse App::Core;\n";
        let image = debian()
            .program("usr/bin/env")
            .file("usr/share/perl5/FindBin.pm", b"")
            .file("usr/share/perl5/JSON.pm", b"use DBI;\n")
            .exec("opt/app/bin/own", run)
            .exec(
                "opt/app/bin/open",
                b"#!/usr/bin/perl\npush @INC, $x;\nuse App::Core;\nuse Gone;\n",
            )
            .file("opt/app/lib/App/Core.pm", b"use App::None;\n");
        check(
            &image,
            &[
                "!import:/opt/app/bin/open:Gone",
                "!import:/opt/app/lib/App/Core.pm:App::None",
                "!import:/usr/share/perl5/JSON.pm:DBI",
            ],
        );
    }
}
