//! Units of systemd that cannot start: a program, another unit or an account is not there.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::{Accounts, contents};
use super::lookup;
use super::unit_file::{self, Setting};
use super::unit_names::{Scope, UnitNames};
use crate::check::{FindingId, FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// Where systemd looks for a program without a path (`DEFAULT_PATH` of its build).
pub(super) const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

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
struct UnitFile<'a> {
    scope: Scope,
    /// The unit that it is about.
    unit: &'a [u8],
    drop_in: bool,
    path: &'a RelPath,
    settings: Vec<Setting>,
}

/// What all files of one unit say together.
#[derive(Default)]
struct UnitSummary {
    /// Files without which the unit is skipped in silence.
    conditions: BTreeSet<String>,
    /// Those of which one suffices (`|`).
    alternatives: BTreeSet<String>,
    dynamic_user: bool,
    /// Lists that a drop-in starts anew.
    resets: BTreeSet<String>,
}

/// Finds units and services of D-Bus that cannot start: `unit:PATH:EXECUTABLE`, `unit:PATH:requires:UNIT`,
/// `unit:PATH:user:NAME` and `unit:PATH:group:NAME`.
///
/// Each is said of the file that names what is missing. A file that another one of its name overrides is not looked at,
/// nor is a program that a condition of its unit asks for.
pub fn units(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let names = UnitNames::of(tree);
    let accounts = Accounts::of(tree, view)?;
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
    let mut summaries: BTreeMap<(Scope, &[u8]), UnitSummary> = BTreeMap::new();
    for file in &files {
        summaries
            .entry((file.scope, file.unit))
            .or_default()
            .add(file);
    }
    let mut problems = Problems::default();
    for file in &files {
        let summary = &summaries[&(file.scope, file.unit)];
        programs(tree, file, summary, &mut problems);
        requirements(file, &names, &mut problems);
        if file.scope == Scope::System && !summary.dynamic_user {
            owners(file, &accounts, &mut problems);
        }
    }
    super::dbus::services(tree, view, &accounts, &mut problems)?;
    Ok(problems.0.into_values().collect())
}

impl UnitSummary {
    fn add(&mut self, file: &UnitFile<'_>) {
        for Setting { key, value, .. } in &file.settings {
            match key.as_str() {
                "ConditionPathExists" | "ConditionFileIsExecutable" => {
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
                _ if file.drop_in && key.starts_with("Exec") && value.is_empty() => {
                    self.resets.insert(key.clone());
                }
                _ => {}
            }
        }
    }

    /// Says whether the unit is skipped when this program is missing.
    fn asks_for(&self, program: &str) -> bool {
        let only_alternative = self.alternatives.len() == 1 && self.alternatives.contains(program);
        self.conditions.contains(program) || only_alternative
    }
}

/// Problems by id, of equal ones the one that weighs most.
#[derive(Default)]
pub(super) struct Problems(BTreeMap<FindingId, Problem>);

impl Problems {
    /// Adds what is missing for the file at `path`; `what` ends the id.
    pub(super) fn add(
        &mut self,
        path: &RelPath,
        what: &str,
        weight: Weight,
        reason: String,
        hint: &str,
    ) {
        let id = FindingKind::Unit.at(format_args!("{path}:{what}"));
        let heavier = self.0.get(&id).is_none_or(|known| known.weight < weight);
        if heavier {
            let problem = Problem {
                id: id.clone(),
                subject: Subject::Path(path.clone()),
                package: None,
                other: None,
                weight,
                reason,
                hint: hint.to_owned(),
            };
            self.0.insert(id, problem);
        }
    }

    /// Adds a program that cannot be started, if so.
    pub(super) fn add_program(
        &mut self,
        tree: &Tree,
        path: &RelPath,
        program: &str,
        may_fail: bool,
    ) {
        let found = if program.starts_with('/') {
            lookup::program(tree, program.as_bytes())
        } else if !program.is_empty() && !program.contains('/') {
            lookup::search(tree, &PATH, program.as_bytes())
        } else {
            return;
        };
        let Err(error) = found else {
            return;
        };
        let weight = if may_fail || error.may_appear() {
            Weight::Minor
        } else {
            Weight::Grave
        };
        let program = escape(program.as_bytes());
        self.add(
            path,
            &program,
            weight,
            format!("'{path}' starts '{program}', which {}", error.reason()),
            "rebuild the layer of the unit on today's lower layers, or add the package of the program",
        );
    }

    /// Adds a user that nothing makes, if so.
    pub(super) fn add_user(&mut self, accounts: &Accounts, path: &RelPath, name: &str) {
        if !accounts.has_user(name) {
            self.add_account(path, "user", name);
        }
    }

    fn add_account(&mut self, path: &RelPath, kind: &str, name: &str) {
        let name = escape(name.as_bytes());
        self.add(
            path,
            &format!("{kind}:{name}"),
            Weight::Grave,
            format!("'{path}' runs as the {kind} '{name}', which neither /etc/{} nor sysusers.d has", database(kind)),
            "rebuild the layer of the unit on today's lower layers, or declare the account in sysusers.d",
        );
    }
}

fn database(kind: &str) -> &'static str {
    if kind == "user" { "passwd" } else { "group" }
}

/// Expands the one specifier that stands for itself; `None` where a running system has to say.
fn expand(text: &str) -> Option<String> {
    let plain = text.replace("%%", "\0");
    (!plain.contains('%')).then(|| plain.replace('\0', "%"))
}

fn programs(tree: &Tree, file: &UnitFile<'_>, summary: &UnitSummary, problems: &mut Problems) {
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
        if !is_command || (!file.drop_in && summary.resets.contains(key)) {
            continue;
        }
        let list = lists.entry(key).or_default();
        if value.is_empty() {
            list.clear();
        } else {
            list.push(value);
        }
    }
    for command in lists.into_values().flatten().flat_map(unit_file::commands) {
        if let Some(program) = expand(&command.program)
            && !summary.asks_for(&program)
        {
            problems.add_program(tree, file.path, &program, command.may_fail);
        }
    }
}

fn requirements(file: &UnitFile<'_>, names: &UnitNames<'_>, problems: &mut Problems) {
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

/// Returns the unit that must be a file for this requirement; an instance by a specifier stands for its template.
fn needed_unit(name: &str) -> Option<String> {
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

fn owners(file: &UnitFile<'_>, accounts: &Accounts, problems: &mut Problems) {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for Setting { key, value, .. } in &file.settings {
        match key.as_str() {
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

fn check_group(path: &RelPath, name: &str, accounts: &Accounts, problems: &mut Problems) {
    if !name.is_empty() && !name.contains('%') && !accounts.has_group(name) {
        problems.add_account(path, "group", name);
    }
}

/// Returns the settings of a file of D-Bus; nothing for what cannot be read as one.
pub(super) fn settings_at(
    tree: &Tree,
    view: &dyn ImageView,
    path: &RelPath,
) -> Result<Vec<Setting>, ViewError> {
    let bytes = contents(tree, view, path.as_bytes())?;
    Ok(unit_file::parse(&bytes).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "units_tests.rs"]
mod tests;
