//! The problems, in words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::collect::{Collected, Program};
use super::image::{Image, ObjectNo};
use super::loaders::Interpreter;
use super::names::Name;
use super::process::MissingNeed;
use super::search::Search;
use super::symbols::LackingSymbol;
use crate::check::{FindingId, FindingKind, Problem, Subject, Weight};
use crate::path::RelPath;
use crate::tree::view::parent;

/// The most libraries of one name looked at for each that is lacking.
const NAMESAKES_LIMIT: usize = 256;

const REBUILD: &str = "rebuild the layer on today's lower layers";

/// The problems so far, by id.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: BTreeMap<FindingId, Problem>,
}

impl Report {
    fn add(&mut self, id: FindingId, path: RelPath, reason: String, hint: &str) {
        let problem = Problem {
            id: id.clone(),
            subject: Subject::Path(path),
            package: None,
            other: None,
            weight: Weight::Grave,
            reason,
            hint: hint.to_owned(),
        };
        self.problems.entry(id).or_insert(problem);
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems.into_values().collect()
    }

    pub(super) fn broken(&mut self, path: &RelPath, why: &str) {
        self.add(
            FindingKind::Elf.at(format_args!("broken:{}", word(&path.to_string()))),
            path.clone(),
            format!("'{path}' cannot be loaded: {why}"),
            "rebuild the layer, and look at what wrote the file if it is broken again",
        );
    }

    pub(super) fn interp(&mut self, image: &Image, program: &Program) {
        let object = &image.objects[program.object];
        let what = match program.interp {
            Interpreter::Loader(_) => return,
            Interpreter::Missing => "does not exist",
            Interpreter::Unfit => "is not a loader for it",
        };
        let path = rel(&object.path);
        let interp = line(object.interp.as_deref().unwrap_or_default());
        self.add(
            FindingKind::Elf.at(format_args!("interp:{}", word(&path.to_string()))),
            path.clone(),
            format!("'{path}' is started by '{interp}', which {what}"),
            REBUILD,
        );
    }

    pub(super) fn lack(&mut self, search: &Search, lack: &MissingNeed, program: Option<ObjectNo>) {
        let image = &search.image;
        let path = rel(&image.objects[lack.object()].path);
        let text = |name: Name| String::from_utf8_lossy(image.names.text(name)).into_owned();
        let place = word(&path.to_string());
        let (id, mut reason) = match *lack {
            MissingNeed::Library { name, .. } => {
                let name = text(name);
                let what = match name.contains('/') {
                    true => "which cannot be loaded from there",
                    false => "which is in no directory that the loader searches",
                };
                (
                    FindingKind::Elf.at(format_args!("needed:{place}:{}", word(&name))),
                    format!("'{path}' needs '{}', {what}", line(&name)),
                )
            }
            MissingNeed::Version {
                file,
                version,
                provider,
                ..
            } => {
                let (file, version) = (text(file), text(version));
                let what = match provider {
                    Some(provider) => {
                        let provider = rel(&image.objects[provider].path);
                        format!("which '{provider}' does not define")
                    }
                    None => "which none of its libraries provides".to_owned(),
                };
                (
                    FindingKind::Elf.at(format_args!(
                        "version:{place}:{}:{}",
                        word(&file),
                        word(&version)
                    )),
                    format!(
                        "'{path}' needs version '{}' of '{}', {what}",
                        line(&version),
                        line(&file)
                    ),
                )
            }
        };
        if let Some(program) = program.filter(|program| *program != lack.object()) {
            let program = rel(&image.objects[program].path);
            reason.push_str(&format!(", so '{program}' does not start"));
        }
        self.add(id, path, reason, REBUILD);
    }

    /// A symbol that nothing in a process defines.
    pub(super) fn symbol(&mut self, symbol: &LackingSymbol) {
        let LackingSymbol { name, at_start, .. } = symbol;
        let (path, program) = (rel(&symbol.path), rel(&symbol.program));
        let place = word(&path.to_string());
        let id = FindingKind::Elf.at(format_args!("symbol:{place}:{}", word(name)));
        let what = match at_start {
            true => format!("so '{program}' does not start"),
            false => format!("so '{program}' ends when it is called"),
        };
        let reason = format!(
            "'{path}' needs the symbol '{}', which nothing that it is loaded with defines, {what}",
            line(name)
        );
        self.add(id.clone(), path, reason, REBUILD);
        if !at_start && let Some(problem) = self.problems.get_mut(&id) {
            problem.weight = Weight::Minor;
        }
    }

    /// A library that an object may open by its name, and that is not there.
    pub(super) fn opened(&mut self, search: &Search, object: ObjectNo, name: &str) {
        let path = rel(&search.image.objects[object].path);
        let place = word(&path.to_string());
        let id = FindingKind::Elf.at(format_args!("opened:{place}:{}", word(name)));
        let reason = format!(
            "'{path}' may open the library '{}', which this tree does not have",
            line(name)
        );
        let hint = "add the package of the library, if the program needs it";
        self.add(id.clone(), path, reason, hint);
        if let Some(problem) = self.problems.get_mut(&id) {
            problem.weight = Weight::Minor;
        }
    }

    pub(super) fn unchecked(&mut self) {
        self.add(
            FindingKind::Elf.at("unchecked"),
            RelPath::root(),
            "the ELF files of the tree need each other in more ways than this check follows"
                .to_owned(),
            "look for files made to need each other without end",
        );
    }
}

/// Paths of the image are real ones, so this never gives the root.
fn rel(path: &[u8]) -> RelPath {
    RelPath::new(path).unwrap_or_default()
}

/// Text on one line.
fn line(text: &str) -> String {
    escaped(text, char::is_control)
}

/// Text without white space.
fn word(text: &str) -> String {
    escaped(text, |c| c.is_whitespace() || c.is_control())
}

fn escaped(text: &str, is_unwanted: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unwanted(c) {
            true => escaped.extend(c.escape_unicode()),
            false => escaped.push(c),
        }
    }
    escaped
}

/// Libraries of private directories, by their names.
pub(super) struct PrivateLibraries {
    by_name: HashMap<Vec<u8>, Vec<ObjectNo>>,
    /// Directories that loaders search for any program, and those above them.
    public: BTreeSet<Vec<u8>>,
}

impl PrivateLibraries {
    pub(super) fn of(search: &Search, found: &Collected) -> Self {
        let mut by_name: HashMap<Vec<u8>, Vec<ObjectNo>> = HashMap::new();
        for number in &found.libraries {
            let object = &search.image.objects[*number];
            let soname = object.soname.map(|name| search.image.names.text(name));
            let name = object.path.rsplit(|byte| *byte == b'/').next();
            let names: BTreeSet<&[u8]> = soname.into_iter().chain(name).collect();
            for name in names {
                by_name.entry(name.to_vec()).or_default().push(*number);
            }
        }
        let mut public = BTreeSet::from([Vec::new()]);
        for dir in search.public_dirs() {
            let mut dir = dir.as_slice();
            while !dir.is_empty() && public.insert(dir.to_vec()) {
                dir = parent(dir);
            }
        }
        Self { by_name, public }
    }

    /// Says whether a library that is lacking is private to a directory that also holds the one
    /// that needs it.
    pub(super) fn have(&self, search: &Search, lack: &MissingNeed) -> bool {
        let MissingNeed::Library { object, name } = *lack else {
            return false;
        };
        let objects = &search.image.objects;
        let named = self.by_name.get(search.image.names.text(name));
        named
            .into_iter()
            .flatten()
            .take(NAMESAKES_LIMIT)
            .any(|other| {
                let common = common_dir(&objects[object].path, &objects[*other].path);
                let abis = &search.image.abis;
                abis[objects[*other].abi].accepts(&abis[objects[object].abi])
                    && !self.public.contains(common)
            })
    }
}

/// The nearest directory above both paths.
fn common_dir<'a>(left: &'a [u8], right: &[u8]) -> &'a [u8] {
    let mut dir = parent(left);
    while !dir.is_empty()
        && !right
            .strip_prefix(dir)
            .is_some_and(|rest| rest.starts_with(b"/"))
    {
        dir = parent(dir);
    }
    dir
}
