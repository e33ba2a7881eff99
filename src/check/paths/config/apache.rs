//! Apache: files, modules and accounts without which it does not start.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::Faults;
use super::image::{Image, has_magic, logical_lines};
use crate::check::paths::shell::UNKNOWN;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

const PROGRAM: &str = "usr/sbin/apache2";
const FILE: &[u8] = b"etc/apache2/apache2.conf";
/// The values of `${NAME}`, as lines of shell.
const VARIABLES: &[u8] = b"etc/apache2/envvars";
const ROOT: &str = "/etc/apache2";

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of what it names";

/// How deep files may include each other, as in Apache.
const MAX_DEPTH: usize = 128;

/// The most files that are read: they may include each other in many ways.
const MAX_FILES: usize = 10_000;

/// Modules that are part of the program in Debian.
const BUILT_IN: [&str; 8] = [
    "core",
    "so",
    "http",
    "watchdog",
    "log_config",
    "logio",
    "version",
    "unixd",
];

/// Finds what Apache's configuration names and the image lacks: `include:PATH:NAME`,
/// `include:PATH:user:NAME`.
///
/// `IncludeOptional` may find nothing. What stands in a section for a module that is not loaded is
/// not read; what stands in a section for something else may be, and weighs little.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let Some(path) = image.file(FILE).filter(|_| image.has_program(PROGRAM)) else {
        return Ok(());
    };
    let mut reader = Reader {
        image,
        faults,
        variables: variables(&image.text(VARIABLES)?),
        modules: BUILT_IN.iter().map(|name| (*name).to_owned()).collect(),
        open: BTreeSet::new(),
        left: MAX_FILES,
    };
    reader.read(&path, Section::Read)
}

/// Whether Apache reads what stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Read,
    Perhaps,
    Skipped,
}

struct Reader<'a, 'b> {
    image: &'a Image<'b>,
    faults: &'a mut Faults,
    variables: BTreeMap<String, String>,
    /// The modules loaded so far, without `mod_` and `_module`.
    modules: BTreeSet<String>,
    /// The files that are being read.
    open: BTreeSet<RelPath>,
    /// How many files may be read yet.
    left: usize,
}

impl Reader<'_, '_> {
    fn read(&mut self, path: &RelPath, outer: Section) -> Result<(), ViewError> {
        let is_too_much = self.left == 0 || self.open.len() >= MAX_DEPTH;
        if is_too_much || !self.open.insert(path.clone()) {
            return Ok(());
        }
        self.left -= 1;
        let mut sections = vec![outer];
        for line in logical_lines(&self.image.text(path.as_bytes())?) {
            let section = sections.last().copied().unwrap_or(outer);
            let line = line.trim();
            if let Some(tag) = line.strip_prefix('<') {
                if tag.starts_with('/') {
                    sections.truncate(sections.len().saturating_sub(1).max(1));
                } else {
                    sections.push(section.max(self.section(tag)));
                }
            } else if section != Section::Skipped {
                self.directive(path, line, section)?;
            }
        }
        self.open.remove(path);
        Ok(())
    }

    fn section(&self, tag: &str) -> Section {
        let words = words(tag.trim_end_matches('>'));
        let (name, argument) = match words.as_slice() {
            [name, argument, ..] => (name.to_ascii_lowercase(), argument.as_str()),
            _ => return Section::Read,
        };
        let plain = argument.strip_prefix('!').unwrap_or(argument);
        match name.as_str() {
            "ifmodule" => match self.modules.contains(module(plain)) == (plain == argument) {
                true => Section::Read,
                false => Section::Skipped,
            },
            name if name.starts_with("if") => Section::Perhaps,
            _ => Section::Read,
        }
    }

    fn directive(&mut self, path: &RelPath, line: &str, section: Section) -> Result<(), ViewError> {
        let words: Vec<String> = words(line).iter().map(|word| self.expand(word)).collect();
        let [name, values @ ..] = words.as_slice() else {
            return Ok(());
        };
        let weight = match section {
            Section::Read => Weight::Grave,
            Section::Perhaps | Section::Skipped => Weight::Minor,
        };
        let kind = FindingKind::Include;
        match (name.to_ascii_lowercase().as_str(), values) {
            ("include", [pattern, ..]) => {
                self.include(path, pattern, Some(weight), section)?;
            }
            ("includeoptional", [pattern, ..]) => self.include(path, pattern, None, section)?,
            ("loadmodule", [module_name, file, ..]) => {
                self.modules.insert(module(module_name).to_owned());
                self.file(path, file, weight);
            }
            ("loadfile", files) => files.iter().for_each(|file| self.file(path, file, weight)),
            ("user", [user, ..]) if self.image.lacks_user(user) => {
                self.faults.add_account(kind, path, ("user", user), weight);
            }
            ("group", [group, ..]) if self.image.lacks_group(group) => {
                self.faults
                    .add_account(kind, path, ("group", group), weight);
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads what a pattern leads to; without `missing` it may lead nowhere.
    fn include(
        &mut self,
        path: &RelPath,
        pattern: &str,
        missing: Option<Weight>,
        section: Section,
    ) -> Result<(), ViewError> {
        if pattern.contains(UNKNOWN) {
            return Ok(());
        }
        let pattern = absolute(pattern);
        let found = self.image.glob(&pattern);
        let is_fault = found.is_empty() && (has_magic(&pattern) || self.image.lacks(&pattern));
        if let Some(weight) = missing.filter(|_| is_fault) {
            self.add(path, &pattern, ("includes", "does not exist"), weight);
        }
        let mut files: Vec<RelPath> = Vec::new();
        for at in found {
            match self.image.file(&at) {
                Some(file) => files.push(file),
                // Of a directory all files are read.
                None => files.extend(self.image.files(&at, |_| true)),
            }
        }
        files.iter().try_for_each(|file| self.read(file, section))
    }

    fn file(&mut self, path: &RelPath, file: &str, weight: Weight) {
        let file = absolute(file);
        if let Some(fault) = self.image.file_fault(&file) {
            self.add(path, &file, ("loads", fault), weight);
        }
    }

    fn add(&mut self, path: &RelPath, name: &str, (does, fault): (&str, &str), weight: Weight) {
        let reason = format!("{does} '{name}', which {fault}: Apache does not start");
        let kind = FindingKind::Include;
        self.faults.add(kind, path, name, weight, &reason, HINT);
    }

    /// Puts the values of `${NAME}` into a word.
    fn expand(&self, word: &str) -> String {
        let mut out = String::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let (name, next) = after.split_once('}').unwrap_or((after, ""));
            match self.variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push(UNKNOWN),
            }
            rest = next;
        }
        out.push_str(rest);
        out
    }
}

/// Returns a module's name without what surrounds it: `mod_ssl.c`, `ssl_module`.
fn module(name: &str) -> &str {
    let name = name.strip_suffix("_module").unwrap_or(name);
    let name = name.strip_prefix("mod_").unwrap_or(name);
    name.strip_suffix(".c").unwrap_or(name)
}

fn absolute(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{ROOT}/{path}"),
    }
}

/// Reads `export NAME=VALUE` of lines of shell; other values are not known.
fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let is_plain = !value.contains(['$', '`', '\\', '\'', '"', ' ']);
        is_plain.then(|| (name.trim().to_owned(), value.to_owned()))
    });
    lines.collect()
}

/// Splits a line into words, with quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, next) = match first {
            '"' | '\'' => rest[1..].split_once(first).unwrap_or((&rest[1..], "")),
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = next.trim_start();
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_modules_and_variables_are_read() {
        assert_eq!(
            words(" Include  \"a b\" 'c' d\"e "),
            ["Include", "a b", "c", "d\"e"]
        );
        assert_eq!(words("x \"open"), ["x", "open"]);
        assert_eq!((module("mod_ssl.c"), module("ssl_module")), ("ssl", "ssl"));
        let known = variables("export A=b\nC=$D\nexport E=\"f\"\nx");
        assert_eq!(
            known.into_iter().collect::<Vec<_>>(),
            [("A".into(), "b".into())]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(<IfModule |</IfModule>|Include |[\"'\\\\ \n$={}]|[^x])*") {
            let image = crate::check::paths::testing::Image::new()
                .program("usr/sbin/apache2")
                .file("etc/apache2/apache2.conf", text.as_bytes())
                .file("etc/apache2/envvars", text.as_bytes());
            crate::check::paths::config(&image.tree, &image.view).unwrap();
        }
    }
}
