//! What keeps units and services of D-Bus from starting, in words.

use std::collections::BTreeMap;

use super::accounts::Accounts;
use super::launch::Wanted;
use super::lookup;
use crate::check::{FindingId, FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::Tree;

/// Where systemd looks for a program without a path (`DEFAULT_PATH` of its build).
pub(super) const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Problems by id; of two with one id, the graver one.
#[derive(Default)]
pub(super) struct UnitProblems(BTreeMap<FindingId, Problem>);

impl UnitProblems {
    /// Returns the problems, sorted by id.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        self.0.into_values().collect()
    }

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

    /// Adds a problem if the program cannot be started.
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

    /// Adds a problem if what a program is told to run is not there.
    pub(super) fn add_wanted(
        &mut self,
        (tree, accounts): (&Tree, &Accounts),
        path: &RelPath,
        wanted: &Wanted,
        may_fail: bool,
    ) {
        let Some(fault) = wanted.fault_of(tree, accounts) else {
            return;
        };
        let weight = if may_fail {
            Weight::Minor
        } else {
            Weight::Grave
        };
        let shown = escape(wanted.name().as_bytes());
        self.add(
            path,
            &escape(wanted.place().as_bytes()),
            weight,
            format!("'{path}' {}, which {fault}", wanted.verb(&shown)),
            "rebuild the layer of the unit on today's lower layers, or add the package of what it names",
        );
    }

    /// Adds a problem if nothing creates the user.
    pub(super) fn add_user(&mut self, accounts: &Accounts, path: &RelPath, name: &str) {
        if !accounts.has_user(name) {
            self.add_account(path, "user", name);
        }
    }

    pub(super) fn add_account(&mut self, path: &RelPath, kind: &str, name: &str) {
        let name = escape(name.as_bytes());
        self.add(
            path,
            &format!("{kind}:{name}"),
            Weight::Grave,
            format!("'{path}' runs as the {kind} '{name}', which is neither in /etc/{} nor in sysusers.d", database(kind)),
            "rebuild the layer of the unit on today's lower layers, or declare the account in sysusers.d",
        );
    }
}

fn database(kind: &str) -> &'static str {
    if kind == "user" { "passwd" } else { "group" }
}
