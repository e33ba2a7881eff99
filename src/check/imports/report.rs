//! The problems, in words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::{FindingKind, Problem, Subject, Weight};
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

/// One problem in words; as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// The path of the file that imports.
    path: Vec<u8>,
    module: String,
    reason: String,
}

/// The problems so far, by the file and the module.
#[derive(Debug, Default)]
pub(super) struct Report {
    told: BTreeMap<(Vec<u8>, String), Told>,
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
        let so = match path == program {
            true => String::new(),
            false => format!(", so '{program}' does not start"),
        };
        self.tell(Told {
            path: path.as_bytes().to_vec(),
            reason: format!("'{path}' imports the {language} module '{module}', {why}{so}"),
            module,
        });
    }

    fn tell(&mut self, told: Told) {
        let key = (told.path.clone(), told.module.clone());
        self.told.entry(key).or_insert(told);
    }

    /// Returns the problems as bytes that [`decode`](Self::decode) reads.
    pub(super) fn encode(&self) -> Vec<u8> {
        let all: Vec<&Told> = self.told.values().collect();
        serde_json::to_vec(&all).unwrap_or_default()
    }

    pub(super) fn decode(&mut self, bytes: &[u8]) {
        let all: Vec<Told> = serde_json::from_slice(bytes).unwrap_or_default();
        all.into_iter().for_each(|told| self.tell(told));
    }

    /// Returns the problems, sorted by id.
    pub(super) fn finish(self) -> Vec<Problem> {
        let problem = |told: Told| {
            let path = RelPath::new(&told.path).ok()?;
            Some(Problem {
                id: FindingKind::Import.at(format_args!("{path}:{}", told.module)),
                subject: Subject::Path(path),
                package: None,
                other: None,
                weight: Weight::Grave,
                reason: told.reason,
                hint: "add the package of the module to the layer of the file or to one below it, or change the file"
                    .to_owned(),
            })
        };
        let mut problems: Vec<Problem> = self.told.into_values().filter_map(problem).collect();
        problems.sort_by(|a, b| a.id.cmp(&b.id));
        problems
    }
}
