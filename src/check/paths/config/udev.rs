//! Rules of udev(7) whose programs and accounts are not there.

use super::faults::Faults;
use super::image::{Image, logical_lines};
use crate::check::paths::launch;
use crate::check::paths::shell::UNKNOWN;
use crate::check::paths::unit_file;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

/// Where rules are, in order of precedence.
const DIRS: [&[u8]; 4] = [
    b"etc/udev/rules.d",
    b"usr/local/lib/udev/rules.d",
    b"usr/lib/udev/rules.d",
    b"lib/udev/rules.d",
];

/// Where a program without a path is.
const PROGRAMS: &str = "/usr/lib/udev";

/// A key of a rule, and its value in quotes.
type Pair = (String, String);

/// Finds programs, users and groups that rules name: `udev:PATH:NAME`.
///
/// A rule that first tests for a file which is not there is left out.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if !image.has_program("usr/bin/udevadm") {
        return Ok(());
    }
    for path in image.overriding(&DIRS, b".rules") {
        let text = image.text(path.as_bytes())?;
        for rule in logical_lines(&text).iter().map(|line| pairs(line)) {
            let is_off = rule.iter().any(|(key, value)| {
                key.starts_with("TEST") && value.starts_with('/') && image.lacks(value)
            });
            if !is_off {
                rule.iter()
                    .for_each(|pair| judge(image, &path, pair, faults));
            }
        }
    }
    Ok(())
}

fn judge(image: &Image<'_>, path: &RelPath, (key, value): &Pair, faults: &mut Faults) {
    match key.as_str() {
        "OWNER" if image.lacks_user(value) => {
            faults.add_account(FindingKind::Udev, path, ("user", value), Weight::Minor);
        }
        "GROUP" if image.lacks_group(value) => {
            faults.add_account(FindingKind::Udev, path, ("group", value), Weight::Minor);
        }
        "RUN" | "RUN{program}" => program(image, path, value, Weight::Grave, faults),
        // What it tells is missing, and the rule goes on or does not match.
        "PROGRAM" | "IMPORT{program}" => program(image, path, value, Weight::Minor, faults),
        _ => {}
    }
}

fn program(image: &Image<'_>, path: &RelPath, line: &str, weight: Weight, faults: &mut Faults) {
    let words = unit_file::words(line).unwrap_or_default();
    let mut words: Vec<String> = words
        .into_iter()
        .map(|word| {
            word.text
                .replace(['%', '$'], UNKNOWN.encode_utf8(&mut [0; 4]))
        })
        .collect();
    match words.first_mut() {
        Some(first) if !first.starts_with(['/', UNKNOWN]) => *first = format!("{PROGRAMS}/{first}"),
        _ => {}
    }
    for wanted in launch::of_words(&words) {
        if let Some(fault) = wanted.fault_of(image.tree, image.accounts) {
            faults.add(
                FindingKind::Udev,
                path,
                &wanted.place(),
                weight,
                &format!("{}, which {fault}", wanted.verb(wanted.name())),
                "rebuild the layer of the rule on today's lower layers, or add the package of the program",
            );
        }
    }
}

/// Reads `KEY=="VALUE", KEY+="VALUE"`, without what stands between them.
fn pairs(line: &str) -> Vec<Pair> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('"') {
        // A letter before the quote says how the value is written.
        let key = before.trim_end_matches(['e', 'i']);
        let key = key.trim_end().trim_end_matches(['=', '!', '+', '-', ':']);
        let key = key.trim_matches(|c: char| c.is_whitespace() || c == ',');
        let Some((value, next)) = quoted(after) else {
            break;
        };
        found.push((key.to_owned(), value));
        rest = next;
    }
    found
}

/// Takes a value up to its quote; `\"` is part of it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' if text[at + 1..].starts_with('"') => {
                chars.next();
                value.push('"');
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_are_read_as_keys_and_values() {
        let read = |line: &str| -> Vec<String> {
            let pairs = pairs(line).into_iter();
            pairs.map(|(key, value)| format!("{key}|{value}")).collect()
        };
        assert_eq!(
            read(r#"ACTION=="add", ENV{A-B}!="x\"y" , RUN{program}+="/a b" GROUP:=e"c""#),
            [
                "ACTION|add",
                "ENV{A-B}|x\"y",
                "RUN{program}|/a b",
                "GROUP|c"
            ]
        );
        assert_eq!(read(r#"A="open"#), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(RUN\\+=|\"|\\\\|GROUP=|[^x])*") {
            pairs(&text);
        }
    }
}
