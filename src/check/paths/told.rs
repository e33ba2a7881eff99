//! Modules that units and scripts of a shell have an interpreter load by an option.

use super::bodies;
use super::launch::{self, ModuleOf, Wanted};
use super::unit_file::{self, Setting};
use super::units::{expand, known_words};
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// A module that an interpreter is told to load by an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::check) struct Told {
    /// The file that says so.
    pub(in crate::check) path: RelPath,
    /// The language.
    pub(in crate::check) of: ModuleOf,
    /// The interpreter, by its path or its name.
    pub(in crate::check) program: String,
    /// The module as the language writes it.
    pub(in crate::check) module: String,
    /// Where the interpreter is started, as far as the file says; relative to the root.
    pub(in crate::check) dir: Option<String>,
}

/// Returns what the settings of the unit file at `path` have loaded. A unit whose environment may
/// name directories of modules says nothing.
pub(in crate::check) fn by_unit(path: &RelPath, settings: &[Setting]) -> Vec<Told> {
    let says_more = settings.iter().any(|setting| {
        let is_environment = matches!(setting.key.as_str(), "Environment" | "PassEnvironment");
        let has_path = setting.value.contains("PYTHON") || setting.value.contains("PERL");
        let has_root = matches!(setting.key.as_str(), "RootDirectory" | "RootImage");
        setting.key == "EnvironmentFile" || has_root || is_environment && has_path
    });
    if says_more {
        return Vec::new();
    }
    let mut dirs = settings.iter().filter(|own| own.key == "WorkingDirectory");
    let dir = dirs.next_back().map_or("/", |setting| &setting.value);
    let dir = dir.trim_start_matches('-').to_owned();
    let starts = settings.iter().filter(|own| own.key.starts_with("Exec"));
    let commands = starts.flat_map(|setting| unit_file::commands(&setting.value));
    let mut found = Vec::new();
    for command in commands.filter(|command| !command.may_fail) {
        let Some(program) = expand(&command.program) else {
            continue;
        };
        for wanted in launch::of_words(&known_words(&command, &program)) {
            found.extend(told(path, wanted, Some(&dir)));
        }
    }
    found
}

/// Returns what the scripts of a shell have loaded.
pub(in crate::check) fn by_scripts(
    tree: &Tree,
    view: &dyn ImageView,
) -> Result<Vec<Told>, ViewError> {
    let mut found = Vec::new();
    bodies::each(tree, view, |path, wanted| {
        found.extend(told(path, wanted, None))
    })?;
    Ok(found)
}

fn told(path: &RelPath, wanted: Wanted, dir: Option<&str>) -> Option<Told> {
    match wanted {
        Wanted::Module(of, program, module) => Some(Told {
            path: path.clone(),
            of,
            program,
            module,
            dir: dir.map(str::to_owned),
        }),
        _ => None,
    }
}
