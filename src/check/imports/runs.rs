//! Which files of a tree an interpreter runs.

use std::collections::BTreeSet;

use super::python_path::real_dir;
use crate::check::paths::lookup::{self, Lookup};
use crate::check::paths::told::{self, Told};
use crate::check::paths::{interpreter_of, is_paper, unit_file};
use crate::layout::{join, name};
use crate::path::RelPath;
use crate::tree::view::{FileFacts, ImageView, ViewError};
use crate::tree::{Inode, Node, Tree};

/// Where units of systemd lie.
const UNIT_DIRS: [&[u8]; 6] = [
    b"etc/systemd/system",
    b"etc/systemd/user",
    b"usr/lib/systemd/system",
    b"usr/lib/systemd/user",
    b"usr/local/lib/systemd/system",
    b"lib/systemd/system",
];

/// Where tables of cron lie.
const CRON: [&[u8]; 2] = [b"etc/crontab", b"etc/cron.d"];

/// The endings of files that are run without being executable, with their interpreters.
const ENDINGS: [(&[u8], &[u8]); 6] = [
    (b".py", b"/usr/bin/python3"),
    (b".pl", b"/usr/bin/perl"),
    (b".js", b"/usr/bin/node"),
    (b".cjs", b"/usr/bin/node"),
    (b".mjs", b"/usr/bin/node"),
    (b".rb", b"/usr/bin/ruby"),
];

/// The directories of architectures below `/usr/lib`, of those that Debian has.
const MULTIARCH: [&str; 10] = [
    "aarch64-linux-gnu",
    "arm-linux-gnueabi",
    "arm-linux-gnueabihf",
    "i386-linux-gnu",
    "loongarch64-linux-gnu",
    "mips64el-linux-gnuabi64",
    "powerpc64le-linux-gnu",
    "riscv64-linux-gnu",
    "s390x-linux-gnu",
    "x86_64-linux-gnu",
];

/// Returns the directories of architectures that a tree has, relative to the root.
pub(super) fn multiarch(tree: &Tree) -> Vec<Vec<u8>> {
    MULTIARCH
        .iter()
        .map(|arch| join(b"usr/lib", arch.as_bytes()))
        .filter(|dir| tree.get(dir).is_some())
        .collect()
}

/// A file that an interpreter runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// The file.
    pub(super) path: RelPath,
    /// The absolute path that the interpreter is started by.
    pub(super) interpreter: Vec<u8>,
    /// Real directories that are searched for modules besides.
    pub(super) dirs: Vec<Vec<u8>>,
    /// Whether the file is the program, and no module of it.
    pub(super) is_main: bool,
}

/// What interpreters run and load.
pub(super) struct Runs {
    /// Files, each once for each interpreter.
    pub(super) files: Vec<Run>,
    /// Modules that an option names.
    pub(super) told: Vec<Told>,
}

/// Collects what is run.
pub(super) fn collect(tree: &Tree, view: &dyn ImageView) -> Result<Runs, ViewError> {
    let mut runs = BTreeSet::new();
    let mut told: BTreeSet<Told> = told::by_scripts(tree, view)?.into_iter().collect();
    for (path, inode) in tree.iter() {
        let may_be = matches!(inode.node, Node::File { size, .. } if size >= 3);
        if !may_be || inode.mode & 0o111 == 0 || is_paper(path.as_bytes()) {
            continue;
        }
        if let FileFacts::Script(script) = view.facts(path.as_bytes())?
            && let Some(interpreter) = interpreter_of(tree, &script)
        {
            runs.insert(Run {
                path: path.clone(),
                interpreter,
                dirs: Vec::new(),
                is_main: true,
            });
        }
    }
    let starters = |dirs: &[&[u8]]| -> Vec<RelPath> {
        let below = dirs.iter().flat_map(|dir| tree.subtree(dir));
        let files = below.filter(|(_, inode)| inode.object().is_some());
        files.map(|(path, _)| path.clone()).collect()
    };
    for path in starters(&UNIT_DIRS) {
        let settings = unit_file::parse(&view.read(path.as_bytes())?).unwrap_or_default();
        let last = |key: &str| {
            let mut own = settings.iter().rev().filter(|setting| setting.key == key);
            own.next().map(|setting| setting.value.as_str())
        };
        let dir = last("WorkingDirectory").map(|dir| dir.trim_start_matches('-'));
        told.extend(told::by_unit(&path, &settings));
        for setting in settings.iter().filter(|own| own.key.starts_with("Exec")) {
            take_command(tree, &setting.value, dir, &mut runs);
        }
    }
    for path in starters(&CRON) {
        let text = view.read(path.as_bytes())?;
        for line in String::from_utf8_lossy(&text).lines() {
            if !line.trim_start().starts_with('#') {
                take_command(tree, line, None, &mut runs);
            }
        }
    }
    Ok(Runs {
        files: runs.into_iter().collect(),
        told: told.into_iter().collect(),
    })
}

/// Finds the files that a command line has run, commands inside quotes included.
fn take_command(tree: &Tree, line: &str, dir: Option<&str>, runs: &mut BTreeSet<Run>) {
    let is_between = |c: char| c.is_whitespace() || "'\"();&|<>`".contains(c);
    let mut interpreter: Option<Vec<u8>> = None;
    let mut is_module = false;
    let dir = dir.and_then(|dir| real_dir(tree, dir.as_bytes()));
    let dirs: Vec<Vec<u8>> = dir.iter().cloned().collect();
    for word in line.split(is_between).filter(|word| !word.is_empty()) {
        let word = word
            .trim_start_matches(['@', '-', '+', '!', ':'])
            .as_bytes();
        let started = match word.starts_with(b"/") {
            true => lookup::program(tree, word).ok().map(|_| word.to_vec()),
            false => super::super::paths::command(tree, word),
        };
        if let Some(program) = started.filter(|_| is_interpreter(name(word))) {
            interpreter = Some(program);
            is_module = false;
            continue;
        }
        if word == b"m" {
            is_module = true;
            continue;
        }
        let mut add = |path: RelPath, interpreter: Vec<u8>, is_main: bool| {
            runs.insert(Run {
                path,
                interpreter,
                dirs: dirs.clone(),
                is_main,
            });
        };
        if let Some((_, usual)) = ENDINGS.iter().find(|(ending, _)| word.ends_with(ending)) {
            let from = dir.as_deref().unwrap_or_default();
            if let Lookup::Found(at, inode) = lookup::walk(tree, from, word)
                && inode.object().is_some()
                && let Ok(path) = RelPath::new(&at)
            {
                let own = interpreter.clone().unwrap_or_else(|| usual.to_vec());
                add(path, own, true);
            }
            continue;
        }
        // `-m app.main`, or `gunicorn app.wsgi:application`.
        if let Some(dir) = &dir
            && let Some(path) = module_file(tree, dir, word)
        {
            let own = match (&interpreter, is_module) {
                (Some(own), true) => own.clone(),
                _ => b"/usr/bin/python3".to_vec(),
            };
            add(path, own, is_module);
        }
    }
}

fn is_interpreter(name: &[u8]) -> bool {
    let stems: [&[u8]; 5] = [b"python", b"perl", b"nodejs", b"node", b"ruby"];
    let rest = stems.iter().find_map(|stem| name.strip_prefix(*stem));
    rest.is_some_and(|rest| {
        rest.iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    })
}

/// Returns the file of a Python module by its dotted name, below a directory.
fn module_file(tree: &Tree, dir: &[u8], word: &[u8]) -> Option<RelPath> {
    let module = word.split(|byte| *byte == b':').next()?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    if module.is_empty() || !module.iter().all(is_name) || module.starts_with(b".") {
        return None;
    }
    let place: Vec<u8> = module
        .iter()
        .map(|byte| if *byte == b'.' { b'/' } else { *byte })
        .collect();
    let place = join(dir, &place);
    [&b".py"[..], b"/__main__.py", b"/__init__.py"]
        .iter()
        .find_map(|end| {
            let path = [&place, *end].concat();
            let (path, inode) = tree.get_key_value(&path)?;
            Inode::object(inode).map(|_| path.clone())
        })
}
