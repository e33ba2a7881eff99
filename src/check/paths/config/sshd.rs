//! sshd: programs, files and accounts without which somebody cannot log in or copy files.

use std::collections::BTreeSet;

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::launch::Wanted;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

const PROGRAM: &str = "usr/sbin/sshd";
const FILE: &[u8] = b"etc/ssh/sshd_config";

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of what it names";

/// Finds what sshd's configuration names and the image lacks: `include:PATH:NAME`,
/// `include:PATH:user:NAME`. An `Include` that finds nothing is no fault for sshd; one without a
/// pattern weighs little.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let Some(path) = image.file(FILE).filter(|_| image.has_program(PROGRAM)) else {
        return Ok(());
    };
    let mut todo = vec![path];
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        for line in image.text(path.as_bytes())?.lines() {
            let words = words(line);
            let Some((key, values)) = words.split_first() else {
                continue;
            };
            match (key.to_ascii_lowercase().as_str(), values) {
                ("include", patterns) => {
                    for pattern in patterns {
                        todo.extend(included(image, &path, pattern, faults));
                    }
                }
                (key, values) => judge(image, &path, key, values, faults),
            }
        }
    }
    Ok(())
}

fn included(image: &Image<'_>, path: &RelPath, pattern: &str, faults: &mut Faults) -> Vec<RelPath> {
    let pattern = match pattern.starts_with(['/', '~']) {
        true => pattern.to_owned(),
        false => format!("/etc/ssh/{pattern}"),
    };
    if !super::image::has_magic(&pattern) && pattern.starts_with('/') && image.lacks(&pattern) {
        add(path, &pattern, "includes", Weight::Minor, faults);
    }
    let found = image.glob(&pattern).into_iter();
    found.filter_map(|path| image.file(&path)).collect()
}

fn judge(image: &Image<'_>, path: &RelPath, key: &str, values: &[String], faults: &mut Faults) {
    let (command, value) = match (key, values) {
        ("subsystem", [_, command, ..]) => (Some(command), None),
        ("authorizedkeyscommand" | "authorizedprincipalscommand", [command, ..]) => {
            (Some(command), None)
        }
        // Without this file no key is taken.
        ("revokedkeys", [file, ..]) => (None, Some(file)),
        ("authorizedkeyscommanduser" | "authorizedprincipalscommanduser", [user, ..]) => {
            if image.lacks_user(user) {
                let kind = FindingKind::Include;
                faults.add_account(kind, path, ("user", user), Weight::Grave);
            }
            return;
        }
        _ => return,
    };
    if let Some(command) = command.filter(|command| command.starts_with('/'))
        && Wanted::Program(command.clone()).fault(image.tree).is_some()
    {
        add(path, command, "runs", Weight::Grave, faults);
    }
    if let Some(file) = value.filter(|file| file.starts_with('/') && image.lacks(file)) {
        add(
            path,
            file,
            "has the list of revoked keys in",
            Weight::Grave,
            faults,
        );
    }
}

fn add(path: &RelPath, name: &str, does: &str, weight: Weight, faults: &mut Faults) {
    let reason = format!("{does} '{name}', which does not exist or cannot be started");
    faults.add(FindingKind::Include, path, name, weight, &reason, HINT);
}

/// Splits a line into a key and its values, as sshd_config(5) has it; a comment has none.
fn words(line: &str) -> Vec<String> {
    let line = line.trim();
    if line.starts_with('#') {
        return Vec::new();
    }
    let is_end = |c: char| c.is_whitespace() || c == '=';
    let (key, rest) = line.split_once(is_end).unwrap_or((line, ""));
    let mut words = vec![key.to_owned()];
    let mut rest = rest.trim_start_matches(is_end);
    while let Some(first) = rest.chars().next() {
        let (word, next) = match first {
            '#' => break,
            '"' => rest[1..].split_once('"').unwrap_or((&rest[1..], "")),
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = next.trim_start();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_as_a_key_and_its_values() {
        assert_eq!(
            words(" Subsystem\tsftp  /a -x # y"),
            ["Subsystem", "sftp", "/a", "-x"]
        );
        assert_eq!(words("Include = \"a b\" c"), ["Include", "a b", "c"]);
        assert_eq!(words("# x"), [""; 0]);
        assert_eq!(words(""), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(Include|[\"=# \t]|[^x])*") {
            words(&text);
        }
    }
}
