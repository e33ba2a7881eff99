//! The problems, in words.

use std::collections::BTreeMap;

use crate::check::{FindingId, FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};

/// A module that a file imports and that is not there.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    /// The file that imports it.
    pub(super) path: RelPath,
    /// The program that runs the file; the file itself, perhaps.
    pub(super) program: RelPath,
    /// The module as the language writes it, as far as it is missing.
    pub(super) module: String,
    /// The part of its name that is missing.
    pub(super) part: String,
    /// The language.
    pub(super) language: &'static str,
    /// What is wrong, after the name of the module.
    pub(super) why: String,
}

/// The problems so far, by id.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: BTreeMap<FindingId, Problem>,
}

impl Report {
    pub(super) fn add(&mut self, missing: &Missing) {
        let Missing {
            path,
            program,
            module,
            language,
            why,
            ..
        } = missing;
        let module = escape(module.as_bytes());
        let id = FindingKind::Import.at(format_args!("{path}:{module}"));
        let so = match path == program {
            true => String::new(),
            false => format!(", so '{program}' does not start"),
        };
        self.problems.entry(id.clone()).or_insert_with(|| Problem {
            id,
            subject: Subject::Path(path.clone()),
            package: None,
            other: None,
            weight: Weight::Grave,
            reason: format!("'{path}' imports the {language} module '{module}', {why}{so}"),
            hint: "add the package of the module to the layer of the file or to one below it, or change the file"
                .to_owned(),
        });
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems.into_values().collect()
    }
}
