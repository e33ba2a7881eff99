//! Problems of configuration as they are collected.

use std::collections::BTreeMap;

use crate::check::{FindingId, FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};

/// Problems by id; of two with one id, the graver one.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<FindingId, Problem>);

impl Faults {
    /// Returns the problems, sorted by id.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        self.0.into_values().collect()
    }

    /// Adds that the file at `file` names `name`, which is not there. `reason` follows the path of
    /// the file in the message, and `hint` says what to do.
    pub(super) fn add(
        &mut self,
        kind: FindingKind,
        file: &RelPath,
        name: &str,
        weight: Weight,
        reason: &str,
        hint: &str,
    ) {
        let id = kind.at(format_args!("{file}:{}", escape(name.as_bytes())));
        if self.0.get(&id).is_some_and(|known| known.weight >= weight) {
            return;
        }
        let problem = Problem {
            id: id.clone(),
            subject: Subject::Path(file.clone()),
            package: None,
            other: None,
            weight,
            reason: format!("'{file}' {}", escape_line(reason)),
            hint: hint.to_owned(),
        };
        self.0.insert(id, problem);
    }

    /// Adds that the file names an account that nobody makes.
    pub(super) fn add_account(
        &mut self,
        kind: FindingKind,
        file: &RelPath,
        account: (&str, &str),
        weight: Weight,
    ) {
        let (what, name) = account;
        self.add(
            kind,
            file,
            &format!("{what}:{name}"),
            weight,
            &format!("names the {what} '{name}', which is neither in /etc nor in sysusers.d"),
            "rebuild the layer of the file on today's lower layers, or declare the account in sysusers.d",
        );
    }
}

/// Keeps a reason on one line, whatever the names in it hold.
fn escape_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
