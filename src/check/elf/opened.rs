//! Libraries that a file of no package opens by a name which is written in it, and that are not in
//! the tree. Nobody knows whether it can do without: this is worth a note.

use std::collections::BTreeSet;

use super::collect::Collected;
use super::image::ObjectNo;
use super::names::Stop;
use super::report::Report;
use super::search::Search;
use crate::layout::within;
use crate::tree::Tree;

/// The version of what [`read`] returns.
const KIND: &str = "elf-opened-1";

/// Where packages put programs and libraries. What they open by name they recommend or suggest.
const OF_PACKAGES: [&[u8]; 9] = [
    b"bin",
    b"lib",
    b"lib32",
    b"lib64",
    b"sbin",
    b"usr/bin",
    b"usr/lib",
    b"usr/libexec",
    b"usr/sbin",
];

/// The most names taken from one file, and the longest one.
const NAMES_LIMIT: usize = 256;
const NAME_LIMIT: usize = 128;

/// Reports the libraries that files name and that the tree lacks.
pub(super) fn check(
    search: &Search,
    found: &Collected,
    tree: &Tree,
    report: &mut Report,
) -> Result<(), Stop> {
    let programs = found.programs.iter().map(|program| program.object);
    let own = programs
        .chain(found.libraries.iter().copied())
        .filter(|object| {
            let path = &search.image.objects[*object].path;
            !OF_PACKAGES.iter().any(|dir| within(path, dir))
        });
    let own: Vec<ObjectNo> = own.collect();
    if own.is_empty() {
        return Ok(());
    }
    let all: BTreeSet<&[u8]> = tree
        .iter()
        .map(|(path, _)| path.name())
        .filter(|name| name.starts_with(b"lib"))
        .collect();
    for number in own {
        let object = &search.image.objects[number];
        let compute = |bytes: &[u8]| read(bytes).join(&b'\n');
        let names = search.image.view.computed(&object.path, KIND, &compute)?;
        for name in names
            .split(|byte| *byte == b'\n')
            .filter(|name| !name.is_empty())
        {
            // What it needs, and asks versions of, is looked for by the loader.
            let texts = object.needed.iter().chain(&object.soname);
            let texts = texts.chain(object.wants.iter().map(|(file, _)| file));
            let is_needed = texts
                .map(|text| search.image.names.text(*text))
                .any(|text| text == name);
            if !is_needed && !all.contains(name) {
                report.opened(search, number, &String::from_utf8_lossy(name));
            }
        }
    }
    Ok(())
}

/// Finds the strings of a file that are names of libraries, `libNAME.so.NUMBER`; sorted.
fn read(bytes: &[u8]) -> Vec<&[u8]> {
    const PART: &[u8] = b".so.";
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == b'.') {
        let dot = at + next;
        at = dot + 1;
        if !bytes[dot..].starts_with(PART) || found.len() >= NAMES_LIMIT {
            continue;
        }
        let low = dot.saturating_sub(NAME_LIMIT);
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(byte);
        let start = bytes[low..dot].iter().rposition(|byte| !is_of_name(byte));
        let start = start.map_or(low, |start| low + start + 1);
        let high = (dot + NAME_LIMIT).min(bytes.len());
        let Some(end) = bytes[dot..high].iter().position(|byte| *byte == 0) else {
            continue;
        };
        let name = &bytes[start..dot + end];
        let numbers = &bytes[dot + PART.len()..dot + end];
        let is_number = !numbers.is_empty()
            && numbers[0].is_ascii_digit()
            && numbers
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let is_apart = start == 0 || matches!(bytes[start - 1], 0 | b'/');
        if is_number && is_apart && name.starts_with(b"lib") && name.len() > b"lib.so.1".len() {
            found.insert(name);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_libraries_are_told_from_other_text() {
        let names = |bytes: &[u8]| -> Vec<String> {
            let found = read(bytes).into_iter();
            found
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        let text = b"\0libpcre2-posix.so.3\0/usr/lib/liba.so.1.2\0lib%s.so.1\0use libb.so.2 here\0libc.so.x\0 libd.so.4\0libe.so.5";
        assert_eq!(names(text), ["liba.so.1.2", "libpcre2-posix.so.3"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(text in "(lib|[a-z]|\\.so\\.|[0-9]|\0|/| ){0,80}") {
            for name in read(text.as_bytes()) {
                prop_assert!(name.starts_with(b"lib"));
            }
        }
    }
}
