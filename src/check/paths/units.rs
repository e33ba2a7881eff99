//! Units of systemd that cannot start: a program, another unit or an account is not there.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::Accounts;
use super::launch;
use super::lookup::{self, Lookup, ProgramError};
use super::shell::{self, UNKNOWN};
use super::unit_file::{self, Command, Setting};
use super::unit_names::{Scope, UnitNames};
use super::unit_problems::{PATH, UnitProblems};
use super::{unit_keys, unit_places};
use crate::check::{Problem, Weight};
use crate::path::{RelPath, escape};
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// The types of units that are files; the others exist by name alone.
const TYPES: [&str; 10] = [
    ".automount",
    ".mount",
    ".path",
    ".scope",
    ".service",
    ".slice",
    ".socket",
    ".swap",
    ".target",
    ".timer",
];

/// The types that generators and the kernel make.
const MADE_TYPES: [&str; 6] = [
    ".automount",
    ".device",
    ".mount",
    ".scope",
    ".slice",
    ".swap",
];

/// Templates that only generators write.
const MADE_PREFIXES: [&str; 4] = [
    "systemd-cryptsetup@",
    "systemd-integritysetup@",
    "systemd-veritysetup@",
    "systemd-fsck@",
];

/// One file of a unit.
pub(super) struct UnitFile<'a> {
    pub(super) scope: Scope,
    /// The unit that it is about.
    pub(super) unit: &'a [u8],
    pub(super) drop_in: bool,
    pub(super) path: &'a RelPath,
    pub(super) settings: Vec<Setting>,
}

/// What all files of one unit say together.
#[derive(Default)]
pub(super) struct UnitSummary {
    /// Files without which the unit is skipped in silence.
    conditions: BTreeSet<String>,
    /// Those of which one suffices (`|`).
    alternatives: BTreeSet<String>,
    dynamic_user: bool,
    /// Keys that a drop-in clears or sets anew.
    resets: BTreeSet<String>,
    /// Whether the unit has a root directory of its own, so that paths are not those of the image.
    pub(super) has_own_root: bool,
    /// Directories below `/etc` that systemd makes for it.
    pub(super) configuration: BTreeSet<String>,
}

/// Finds units and services of D-Bus that cannot start: `unit:PATH:EXECUTABLE`,
/// `unit:PATH:requires:UNIT`, `unit:PATH:user:NAME`, `unit:PATH:group:NAME`, and what
/// `unit_keys` and `unit_places` say.
///
/// The problem belongs to the file that names what is missing. Files that another file of the same
/// name overrides are skipped, and so are programs that a condition of the unit asks for.
pub fn units(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let names = UnitNames::of(tree).with_generators(tree, view)?;
    let accounts = Accounts::of(tree, view)?;
    let files = read(&names, tree, view)?;
    let summaries = summaries(&files);
    let mut problems = UnitProblems::default();
    for file in &files {
        let summary = &summaries[&(file.scope, file.unit)];
        programs((tree, &accounts), file, summary, &mut problems);
        unit_keys::paths(tree, file, summary, &mut problems);
        requirements(file, &names, &mut problems);
        unit_keys::activated(file, &names, &mut problems);
        if file.scope == Scope::System && !summary.dynamic_user {
            owners(file, summary, &accounts, &mut problems);
        }
    }
    // Without systemd nobody misses its targets.
    if let Lookup::Found(..) = lookup::walk(tree, b"", b"usr/lib/systemd/systemd") {
        unit_places::extended(tree, view, &names, &mut problems)?;
        unit_places::enabled(tree, &names, &mut problems);
        unit_places::booted(tree, &mut problems);
    }
    super::dbus::services(tree, view, &accounts, &mut problems)?;
    Ok(problems.into_sorted())
}

/// Reads the files of all units; those that another file of the same name overrides are left out.
fn read<'a>(
    names: &'a UnitNames<'a>,
    tree: &Tree,
    view: &dyn ImageView,
) -> Result<Vec<UnitFile<'a>>, ViewError> {
    let mut files = Vec::new();
    for (scope, unit, drop_in, path) in names.files() {
        let is_file = tree
            .get(path.as_bytes())
            .is_some_and(|inode| inode.object().is_some());
        // The type drop-ins (`service.d`) have no dot.
        let text = std::str::from_utf8(unit).unwrap_or_default();
        let is_unit = drop_in || TYPES.iter().any(|suffix| text.ends_with(suffix));
        if !is_file || !is_unit {
            continue;
        }
        if let Some(settings) = unit_file::parse(&view.read(path.as_bytes())?) {
            files.push(UnitFile {
                scope,
                unit,
                drop_in,
                path,
                settings,
            });
        }
    }
    Ok(files)
}

fn summaries<'a>(files: &[UnitFile<'a>]) -> BTreeMap<(Scope, &'a [u8]), UnitSummary> {
    let mut summaries: BTreeMap<(Scope, &[u8]), UnitSummary> = BTreeMap::new();
    for file in files {
        summaries
            .entry((file.scope, file.unit))
            .or_default()
            .add(file);
    }
    summaries
}

/// Finds the programs that units start, whether or not they are there: the places where they are, or
/// would be.
///
/// A unit that is skipped without its program (`ConditionFileIsExecutable=`) counts like others. That
/// the package was never installed is one thing; that a layer takes the program from it is another.
pub fn started_by_units(tree: &Tree, view: &dyn ImageView) -> Result<BTreeSet<Vec<u8>>, ViewError> {
    let names = UnitNames::of(tree);
    let files = read(&names, tree, view)?;
    let summaries = summaries(&files);
    let mut found = BTreeSet::new();
    for file in &files {
        let summary = &summaries[&(file.scope, file.unit)];
        let commands = commands(file, summary).into_iter();
        let programs = commands
            .filter(|command| !command.may_fail)
            .filter_map(|command| expand(&command.program));
        found.extend(programs.filter_map(|program| place(tree, &program)));
    }
    Ok(found)
}

/// Does the same for the commands of a shell text, such as a health check.
pub fn started_by_shell(tree: &Tree, text: &str) -> BTreeSet<Vec<u8>> {
    let commands = shell::commands(text);
    let names = commands.iter().filter_map(|words| words.first());
    names
        .filter(|name| !name.contains(UNKNOWN))
        .filter_map(|name| place(tree, name))
        .collect()
}

/// Returns where a program is, or would be.
fn place(tree: &Tree, name: &str) -> Option<Vec<u8>> {
    let at = |path: &[u8]| match lookup::program(tree, path) {
        Ok(at) => Some((at, true)),
        Err(ProgramError::NotExecutable(at)) => Some((at, false)),
        Err(ProgramError::Missing(at)) => Some((at, false)),
    };
    if name.contains('/') {
        return at(name.as_bytes()).map(|(at, _)| at);
    }
    let candidates = PATH
        .iter()
        .filter_map(|dir| at(&[dir.as_bytes(), b"/", name.as_bytes()].concat()));
    let candidates: Vec<(Vec<u8>, bool)> = candidates.collect();
    let good = candidates.iter().find(|(_, works)| *works);
    let there = || candidates.iter().find(|(at, _)| tree.get(at).is_some());
    good.or_else(there).map(|(at, _)| at.clone())
}

impl UnitSummary {
    fn add(&mut self, file: &UnitFile<'_>) {
        for Setting { key, value, .. } in &file.settings {
            match key.as_str() {
                "ConditionPathExists"
                | "ConditionFileIsExecutable"
                | "ConditionFileNotEmpty"
                | "ConditionDirectoryNotEmpty"
                | "ConditionPathIsDirectory" => {
                    match value.strip_prefix('|') {
                        Some(path) => self.alternatives.insert(path.trim_start().to_owned()),
                        None => self.conditions.insert(value.clone()),
                    };
                }
                // Another kind of alternative lets the unit start without any file.
                _ if key.starts_with("Condition") && value.starts_with('|') => {
                    self.alternatives.insert(String::new());
                }
                "DynamicUser" => {
                    self.dynamic_user =
                        matches!(value.as_str(), "1" | "yes" | "true" | "on" | "y" | "t");
                }
                "RootDirectory" | "RootImage" => self.has_own_root |= !value.is_empty(),
                "ConfigurationDirectory" => {
                    let words = unit_file::words(value).unwrap_or_default().into_iter();
                    self.configuration.extend(words.map(|word| word.text));
                }
                _ if file.drop_in && (value.is_empty() || unit_keys::is_single(key)) => {
                    self.resets.insert(key.clone());
                }
                _ => {}
            }
        }
    }

    /// Says whether a drop-in clears what this file says for a key, or says it anew.
    pub(super) fn is_overridden(&self, file: &UnitFile<'_>, key: &str) -> bool {
        !file.drop_in && self.resets.contains(key)
    }

    /// Says whether the unit is skipped when this program or file is missing.
    pub(super) fn asks_for(&self, program: &str) -> bool {
        let only_alternative = self.alternatives.len() == 1 && self.alternatives.contains(program);
        self.conditions.contains(program) || only_alternative
    }
}

/// Expands `%%`; `None` for other specifiers, whose value only a running system knows.
pub(super) fn expand(text: &str) -> Option<String> {
    let plain = text.replace("%%", "\0");
    (!plain.contains('%')).then(|| plain.replace('\0', "%"))
}

/// Returns the commands of a file that are in force.
fn commands(file: &UnitFile<'_>, summary: &UnitSummary) -> Vec<Command> {
    let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Setting { key, value, .. } in &file.settings {
        let is_command = matches!(
            key.as_str(),
            "ExecCondition"
                | "ExecReload"
                | "ExecReloadPost"
                | "ExecStart"
                | "ExecStartPost"
                | "ExecStartPre"
                | "ExecStop"
                | "ExecStopPost"
                | "ExecStopPre"
        );
        if !is_command || summary.is_overridden(file, key) {
            continue;
        }
        let list = lists.entry(key).or_default();
        if value.is_empty() {
            list.clear();
        } else {
            list.push(value);
        }
    }
    let values = lists.into_values().flatten();
    values.flat_map(unit_file::commands).collect()
}

fn programs(
    (tree, accounts): (&Tree, &Accounts),
    file: &UnitFile<'_>,
    summary: &UnitSummary,
    problems: &mut UnitProblems,
) {
    for command in commands(file, summary) {
        if let Some(program) = expand(&command.program)
            && !summary.asks_for(&program)
        {
            problems.add_program(tree, file.path, &program, command.may_fail);
            for wanted in launch::of_words(&known_words(&command, &program))
                .iter()
                .skip(1)
                .filter(|wanted| !summary.asks_for(wanted.name()))
            {
                problems.add_wanted((tree, accounts), file.path, wanted, command.may_fail);
            }
        }
    }
}

/// Returns the words of a command as the program gets them; what only a running system knows is
/// [`UNKNOWN`] in them.
pub(super) fn known_words(command: &Command, program: &str) -> Vec<String> {
    let arguments = command.arguments.iter().map(|word| {
        let word = word.replace("%%", "\0").replace("$$", "\u{1}");
        let word = word.replace(['%', '$'], UNKNOWN.encode_utf8(&mut [0; 4]));
        word.replace('\0', "%").replace('\u{1}', "$")
    });
    std::iter::once(program.to_owned())
        .chain(arguments)
        .collect()
}

fn requirements(file: &UnitFile<'_>, names: &UnitNames<'_>, problems: &mut UnitProblems) {
    for Setting {
        section,
        key,
        value,
    } in &file.settings
    {
        let is_need = matches!(key.as_str(), "Requires" | "BindsTo" | "Requisite");
        if section != "Unit" || !is_need {
            continue;
        }
        for word in unit_file::words(value).unwrap_or_default() {
            let Some(unit) = needed_unit(&word.text) else {
                continue;
            };
            if names.has(file.scope, unit.as_bytes()) {
                continue;
            }
            let unit = escape(unit.as_bytes());
            problems.add(
                file.path,
                &format!("requires:{unit}"),
                Weight::Grave,
                format!("'{}' requires the unit '{unit}', which does not exist", file.path),
                "rebuild the layer of the unit on today's lower layers, or add the package of the unit that it requires",
            );
        }
    }
}

/// Returns the unit that must be a file for this requirement; an instance by a specifier stands for
/// its template.
pub(super) fn needed_unit(name: &str) -> Option<String> {
    if MADE_TYPES.iter().any(|made| name.ends_with(made))
        || MADE_PREFIXES.iter().any(|made| name.starts_with(made))
    {
        return None;
    }
    if let Some(plain) = expand(name) {
        return Some(plain);
    }
    let (prefix, rest) = name.split_once('@')?;
    let dot = rest.rfind('.')?;
    (!prefix.contains('%') && !rest[dot..].contains('%'))
        .then(|| format!("{prefix}@{}", &rest[dot..]))
}

fn owners(
    file: &UnitFile<'_>,
    summary: &UnitSummary,
    accounts: &Accounts,
    problems: &mut UnitProblems,
) {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for Setting { key, value, .. } in &file.settings {
        match key.as_str() {
            key if summary.is_overridden(file, key) => {}
            "User" | "SocketUser" | "Group" | "SocketGroup" => {
                last.insert(key, value);
            }
            "SupplementaryGroups" => {
                for word in unit_file::words(value).unwrap_or_default() {
                    check_group(file.path, &word.text, accounts, problems);
                }
            }
            _ => {}
        }
    }
    for (key, name) in last {
        if key.ends_with("Group") {
            check_group(file.path, name, accounts, problems);
        } else if !name.is_empty() && !name.contains('%') {
            problems.add_user(accounts, file.path, name);
        }
    }
}

fn check_group(path: &RelPath, name: &str, accounts: &Accounts, problems: &mut UnitProblems) {
    if !name.is_empty() && !name.contains('%') && !accounts.has_group(name) {
        problems.add_account(path, "group", name);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "units_tests.rs"]
mod tests;
