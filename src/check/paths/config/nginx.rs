//! nginx: files, modules and the user without which it does not start.

use std::collections::BTreeSet;

use super::faults::Faults;
use super::image::{Image, has_magic};
use crate::check::paths::shell::UNKNOWN;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

const PROGRAM: &str = "usr/sbin/nginx";
const FILE: &[u8] = b"etc/nginx/nginx.conf";
/// What relative paths of files start at.
const CONFIGURATION: &str = "/etc/nginx";
/// What relative paths of modules start at: the prefix of Debian's build.
const PREFIX: &str = "/usr/share/nginx";

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of what it names";

/// Finds what nginx's configuration names and the image lacks: `include:PATH:NAME`,
/// `include:PATH:user:NAME`. A pattern that matches nothing is no fault.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if !image.has_program(PROGRAM) {
        return Ok(());
    }
    let mut todo: Vec<RelPath> = image.file(FILE).into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        for directive in directives(&image.text(path.as_bytes())?) {
            let Some((name, [value, rest @ ..])) = directive.split_first() else {
                continue;
            };
            match name.as_str() {
                "include" => {
                    todo.extend(included(
                        image,
                        &path,
                        &absolute(CONFIGURATION, value),
                        faults,
                    ));
                }
                "load_module" => {
                    let at = absolute(PREFIX, value);
                    if let Some(fault) = image.file_fault(&at) {
                        add(&path, &at, ("loads the module", fault), faults);
                    }
                }
                "user" => {
                    // Without a group of its own, the group has the name of the user.
                    let (kind, weight) = (FindingKind::Include, Weight::Grave);
                    if image.lacks_user(value) {
                        faults.add_account(kind, &path, ("user", value), weight);
                    }
                    if let Some(group) = rest.first().filter(|group| image.lacks_group(group)) {
                        faults.add_account(kind, &path, ("group", group), weight);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn included(image: &Image<'_>, path: &RelPath, pattern: &str, faults: &mut Faults) -> Vec<RelPath> {
    if has_magic(pattern) {
        let found = image.glob(pattern).into_iter();
        return found.filter_map(|path| image.file(&path)).collect();
    }
    if let Some(fault) = image.file_fault(pattern) {
        add(path, pattern, ("includes", fault), faults);
    }
    image.file(pattern.as_bytes()).into_iter().collect()
}

fn add(path: &RelPath, name: &str, (does, fault): (&str, &str), faults: &mut Faults) {
    let reason = format!("{does} '{name}', which {fault}: nginx does not start");
    faults.add(
        FindingKind::Include,
        path,
        name,
        Weight::Grave,
        &reason,
        HINT,
    );
}

fn absolute(base: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{base}/{path}"),
    }
}

/// Reads all directives with their words, blocks opened up. Variables are [`UNKNOWN`].
fn directives(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            ';' | '}' => found.extend(Some(std::mem::take(&mut words)).filter(|w| !w.is_empty())),
            '{' => {
                if words
                    .first()
                    .is_some_and(|word| word.ends_with("_by_lua_block"))
                {
                    skip_block(&mut chars);
                }
                words.clear();
            }
            c if c.is_whitespace() => {}
            '"' | '\'' => words.push(quoted(&mut chars, c)),
            c => words.push(bare(&mut chars, c)),
        }
    }
    found
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips the text of another language up to the bracket that closes it.
fn skip_block(chars: &mut Chars<'_>) {
    let mut depth = 1_usize;
    for c in chars.by_ref() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

fn quoted(chars: &mut Chars<'_>, quote: char) -> String {
    let mut word = String::new();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => break,
            '\\' => word.extend(chars.next()),
            '$' => word.push(UNKNOWN),
            c => word.push(c),
        }
    }
    word
}

fn bare(chars: &mut Chars<'_>, first: char) -> String {
    let mut word = String::new();
    let mut next = Some(first);
    while let Some(c) = next {
        match c {
            '\\' => word.extend(chars.next()),
            // `${name}` is one word with its brackets.
            '$' if chars.next_if_eq(&'{').is_some() => {
                word.push(UNKNOWN);
                while chars.next().is_some_and(|c| c != '}') {}
            }
            '$' => word.push(UNKNOWN),
            c => word.push(c),
        }
        next = chars.next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '{' | '}'));
    }
    word
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn directives_are_read_with_their_words() {
        let text = "user www; # x;\nhttp { include a.conf;\n server { root \"/a b\"; if ($x) { return 1; } }\n set $y ${z}w;\n content_by_lua_block { if { } include x; }\n}\nlast 'open";
        let found: Vec<String> = directives(text)
            .iter()
            .map(|words| words.join("|"))
            .collect();
        assert_eq!(
            found,
            [
                "user|www",
                "include|a.conf",
                "root|/a b",
                "return|1",
                "set|\u{fffd}y|\u{fffd}w",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(include |a_by_lua_block|[{};\"'\\\\$# \n]|[^x])*") {
            for words in directives(&text) {
                prop_assert!(!words.is_empty());
            }
        }
    }
}
