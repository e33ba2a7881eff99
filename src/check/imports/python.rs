//! Modules of Python that a program imports at its start and that are not there.
//!
//! From each program the check goes to the modules that it imports, and to those that they import,
//! as the interpreter would. It looks at what is imported for certain only.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::python_path::{self, Module, Python};
use super::python_source::{self, Import, PythonFacts};
use super::report::{Missing, Report};
use super::runs::{Run, Runs};
use crate::check::paths::told::Told;
use crate::check::paths::{ModuleOf, command};
use crate::layout::{name, parent, within};
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// Modules that left the standard library: the last minor version that has them.
const REMOVED: [(u32, &str); 5] = [
    (8, "dummy_threading"),
    (9, "formatter parser symbol"),
    (10, "binhex"),
    (11, "asynchat asyncore distutils imp smtpd"),
    (
        12,
        "aifc audioop cgi cgitb chunk crypt imghdr mailcap msilib nis nntplib ossaudiodev pipes sndhdr spwd sunau \
         telnetlib uu xdrlib lib2to3",
    ),
];

/// What each interpreter imports before it runs anything.
const AT_START: [&str; 3] = ["encodings", "io", "site"];

/// Where one program looks: the directories of its own come first.
struct Context {
    python: usize,
    local: Vec<Vec<u8>>,
    /// Whether it finds modules in directories that only running it tells.
    is_open: bool,
}

/// A file that is run in a context.
struct Visit {
    path: RelPath,
    context: usize,
    is_main: bool,
    /// The program that it is run by.
    program: RelPath,
}

struct Checker<'a> {
    tree: &'a Tree,
    view: &'a dyn ImageView,
    pythons: Vec<Python>,
    /// By the path that they are started by.
    by_program: BTreeMap<Vec<u8>, Option<usize>>,
    contexts: Vec<Context>,
    /// The context of an interpreter without a program.
    plain: HashMap<usize, usize>,
    found: HashMap<(usize, String), Option<Module>>,
    seen: HashSet<(usize, RelPath)>,
    todo: Vec<Visit>,
    missing: Vec<(usize, Missing)>,
    facts: HashMap<RelPath, std::rc::Rc<PythonFacts>>,
}

/// Reports what the programs of Python among `runs` import and do not find.
pub(super) fn check(
    tree: &Tree,
    view: &dyn ImageView,
    runs: &Runs,
    report: &mut Report,
) -> Result<(), ViewError> {
    let mut checker = Checker {
        tree,
        view,
        pythons: Vec::new(),
        by_program: BTreeMap::new(),
        contexts: Vec::new(),
        plain: HashMap::new(),
        found: HashMap::new(),
        seen: HashSet::new(),
        todo: Vec::new(),
        missing: Vec::new(),
        facts: HashMap::new(),
    };
    // The interpreters themselves import something, whatever runs.
    for program in [&b"/usr/bin/python3"[..], b"/usr/local/bin/python3"] {
        if checker.python(program)?.is_none()
            && let Some(program) = python_path::without_library(tree, program)
        {
            report.add(&Missing {
                path: program.clone(),
                program,
                module: "os".to_owned(),
                part: String::new(),
                language: "Python",
                why: "which is not in its library, so that nothing starts".to_owned(),
            });
        }
        checker.drain()?;
    }
    for run in &runs.files {
        checker.start(run)?;
    }
    for told in runs.told.iter().filter(|told| told.of == ModuleOf::Python) {
        checker.load(told)?;
    }
    checker.report(report);
    Ok(())
}

impl Checker<'_> {
    fn python(&mut self, program: &[u8]) -> Result<Option<usize>, ViewError> {
        if let Some(known) = self.by_program.get(program) {
            return Ok(*known);
        }
        let Some(python) = Python::of(self.tree, self.view, program)? else {
            self.by_program.insert(program.to_vec(), None);
            return Ok(None);
        };
        let (number, path) = (self.pythons.len(), python.program.clone());
        self.pythons.push(python);
        self.by_program.insert(program.to_vec(), Some(number));
        let context = self.plain(number);
        let itself = Visit {
            path: path.clone(),
            context,
            is_main: false,
            program: path,
        };
        for module in AT_START {
            self.import(&itself, &Import::of(module))?;
        }
        Ok(Some(number))
    }

    /// Returns the context of an interpreter without a program.
    fn plain(&mut self, python: usize) -> usize {
        if let Some(plain) = self.plain.get(&python) {
            return *plain;
        }
        let plain = self.context(Context {
            python,
            local: Vec::new(),
            is_open: false,
        });
        self.plain.insert(python, plain);
        plain
    }

    fn context(&mut self, context: Context) -> usize {
        self.contexts.push(context);
        self.contexts.len() - 1
    }

    /// Follows one program through all that it imports.
    fn start(&mut self, run: &Run) -> Result<(), ViewError> {
        let Some(python) = self.python(&run.interpreter)? else {
            return Ok(());
        };
        let facts = self.facts(&run.path)?;
        let mut local = vec![parent(run.path.as_bytes()).to_vec()];
        local.extend(run.dirs.iter().cloned());
        for dir in &facts.dirs {
            local.extend(python_path::real_dir(self.tree, dir.as_bytes()));
        }
        let context = self.context(Context {
            python,
            local,
            is_open: facts.extends_path,
        });
        self.visit(run.path.clone(), context, run.is_main, &run.path);
        self.drain()
    }

    /// Follows a module that an interpreter is told to run, and that is looked for where it is started
    /// first.
    fn load(&mut self, told: &Told) -> Result<(), ViewError> {
        let name = told.program.as_bytes();
        let program = match name.starts_with(b"/") {
            true => Some(name.to_vec()),
            false => command(self.tree, name),
        };
        let Some(program) = program else {
            return Ok(());
        };
        let Some(python) = self.python(&program)? else {
            return Ok(());
        };
        let dir = told.dir.as_deref();
        let real = dir.and_then(|dir| python_path::real_dir(self.tree, dir.as_bytes()));
        let context = self.context(Context {
            python,
            // A directory that only a machine has may hold anything.
            is_open: real.is_none(),
            local: real.into_iter().collect(),
        });
        let visit = Visit {
            path: told.path.clone(),
            context,
            is_main: true,
            program: told.path.clone(),
        };
        self.import(&visit, &Import::of(&told.module))?;
        self.drain()
    }

    fn drain(&mut self) -> Result<(), ViewError> {
        while let Some(visit) = self.todo.pop() {
            self.look_at(&visit)?;
        }
        Ok(())
    }

    fn visit(&mut self, path: RelPath, context: usize, is_main: bool, program: &RelPath) {
        // What lies in the interpreter's own directories is the same for all its programs.
        let Context { python, local, .. } = &self.contexts[context];
        let python = *python;
        let is_of = |dir: &Vec<u8>| within(path.as_bytes(), dir);
        let is_local = local.iter().any(is_of) && !self.pythons[python].dirs.iter().any(is_of);
        let context = match is_local || is_main {
            true => context,
            false => self.plain(python),
        };
        if self.seen.insert((context, path.clone())) {
            self.todo.push(Visit {
                path,
                context,
                is_main,
                program: program.clone(),
            });
        }
    }

    fn facts(&mut self, path: &RelPath) -> Result<std::rc::Rc<PythonFacts>, ViewError> {
        if let Some(known) = self.facts.get(path) {
            return Ok(known.clone());
        }
        let compute =
            |bytes: &[u8]| serde_json::to_vec(&python_source::read(bytes)).unwrap_or_default();
        let bytes = self
            .view
            .computed(path.as_bytes(), python_source::KIND, &compute)?;
        let facts: PythonFacts = serde_json::from_slice(&bytes).unwrap_or_default();
        let facts = std::rc::Rc::new(facts);
        self.facts.insert(path.clone(), facts.clone());
        Ok(facts)
    }

    fn look_at(&mut self, visit: &Visit) -> Result<(), ViewError> {
        let facts = self.facts(&visit.path)?;
        self.contexts[visit.context].is_open |= facts.extends_path || !facts.dirs.is_empty();
        for import in &facts.imports {
            if !import.main || visit.is_main {
                self.import(visit, import)?;
            }
        }
        Ok(())
    }

    fn import(&mut self, visit: &Visit, import: &Import) -> Result<(), ViewError> {
        let mut parts = import.module.split('.').filter(|part| !part.is_empty());
        let mut shown = ".".repeat(import.level.into());
        let mut at = match import.level {
            0 => {
                let Some(first) = parts.next() else {
                    return Ok(());
                };
                shown.push_str(first);
                let Some(found) = self.first(visit.context, first) else {
                    self.lacks(visit, shown, first);
                    return Ok(());
                };
                found
            }
            level => {
                let mut dir = parent(visit.path.as_bytes());
                for _ in 1..level {
                    dir = parent(dir);
                }
                // The file itself is the package's first, or in it.
                Module::Package {
                    dirs: vec![dir.to_vec()],
                    init: None,
                }
            }
        };
        self.follow(&at, visit);
        for part in parts {
            let Module::Package { dirs, init } = &at else {
                return Ok(());
            };
            let minor = self.pythons[self.contexts[visit.context].python].minor;
            let Some(found) = python_path::find(self.tree, dirs, part, minor) else {
                let makes = match init {
                    Some(init) => self.facts(&init.clone())?.makes_modules,
                    None => import.level > 0 && self.facts(&visit.path)?.makes_modules,
                };
                if !makes {
                    if !shown.ends_with('.') {
                        shown.push('.');
                    }
                    shown.push_str(part);
                    self.lacks(visit, shown, part);
                }
                return Ok(());
            };
            if !shown.ends_with('.') {
                shown.push('.');
            }
            shown.push_str(part);
            at = found;
            self.follow(&at, visit);
        }
        if let Module::Package { dirs, .. } = &at {
            let minor = self.pythons[self.contexts[visit.context].python].minor;
            for taken in &import.names {
                if let Some(found) = python_path::find(self.tree, dirs, taken, minor) {
                    self.follow(&found, visit);
                }
            }
        }
        Ok(())
    }

    /// Finds a module by the first part of its name.
    fn first(&mut self, context: usize, module: &str) -> Option<Module> {
        let key = (context, module.to_owned());
        if let Some(known) = self.found.get(&key) {
            return known.clone();
        }
        let Context { python, local, .. } = &self.contexts[context];
        let python = &self.pythons[*python];
        let found = if python.has_builtin(module) {
            Some(Module::Compiled)
        } else {
            let dirs: Vec<Vec<u8>> = local.iter().chain(&python.dirs).cloned().collect();
            let found = python_path::find(self.tree, &dirs, module, python.minor);
            found.or_else(|| python.is_opaque.then_some(Module::Compiled))
        };
        self.found.insert(key, found.clone());
        found
    }

    fn follow(&mut self, module: &Module, visit: &Visit) {
        let file = match module {
            Module::File(path) => path,
            Module::Package {
                init: Some(path), ..
            } => path,
            _ => return,
        };
        self.visit(file.clone(), visit.context, false, &visit.program.clone());
    }

    fn lacks(&mut self, visit: &Visit, module: String, part: &str) {
        let python = &self.pythons[self.contexts[visit.context].python];
        let minor = python.minor;
        let left = REMOVED
            .iter()
            .find(|(last, names)| *last < minor && names.split(' ').any(|own| own == module));
        let why = match left {
            Some((last, _)) => format!("which left the standard library after Python 3.{last}"),
            None => format!("which Python 3.{minor} does not find in this tree"),
        };
        let missing = Missing {
            path: visit.path.clone(),
            program: visit.program.clone(),
            module,
            part: part.to_owned(),
            language: "Python",
            why,
        };
        self.missing.push((visit.context, missing));
    }

    fn report(&self, report: &mut Report) {
        let mut all = None;
        for (context, missing) in &self.missing {
            let context = &self.contexts[*context];
            let is_open = context.is_open || self.pythons[context.python].is_hooked;
            if is_open {
                let all = all.get_or_insert_with(|| every_module(self.tree));
                if all.contains(missing.part.as_bytes()) {
                    continue;
                }
            }
            report.add(missing);
        }
    }
}

/// Returns the names of all modules of a tree, wherever they are.
fn every_module(tree: &Tree) -> BTreeSet<&[u8]> {
    let mut all = BTreeSet::new();
    for (path, _) in tree.iter().filter(|(_, inode)| !inode.is_dir()) {
        let file = path.name();
        if file == b"__init__.py" {
            all.insert(name(parent(path.as_bytes())));
        } else if let Some(stem) = file.strip_suffix(b".py") {
            all.insert(stem);
        } else if file.ends_with(b".so")
            && let Some(stem) = file.split(|byte| *byte == b'.').next()
        {
            all.insert(stem);
        }
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "python_tests.rs"]
mod tests;
