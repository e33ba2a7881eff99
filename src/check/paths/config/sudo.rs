//! Rules of sudo that name what is not there.
//!
//! The grammar is that of sudoers(5), as far as rules name accounts, commands and files.

use std::collections::BTreeSet;

use super::faults::Faults;
use super::image::{Image, logical_lines};
use crate::check::paths::launch::Wanted;
use crate::check::paths::shell::UNKNOWN;
use crate::check::{FindingKind, Weight};
use crate::layout::parent;
use crate::path::RelPath;
use crate::tree::view::ViewError;

const FILE: &[u8] = b"etc/sudoers";

const HINT: &str = "rebuild the layer of the rule on today's lower layers, or take the rule out";

/// What one line names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    User(String),
    Group(String),
    Command(String),
    /// Another file of rules.
    Include(String),
    /// A directory of such files.
    IncludeDir(String),
}

/// Finds users, groups, commands and files that rules name: `sudo:PATH:NAME`.
///
/// A rule for what is not there gives nobody anything, so that it weighs little; a file that cannot
/// be included makes sudo complain each time.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if !image.has_program("usr/bin/sudo") {
        return Ok(());
    }
    let mut todo: Vec<RelPath> = image.file(FILE).into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        for name in names(&image.text(path.as_bytes())?) {
            match name {
                Name::Include(file) => {
                    let file = beside(&path, &file);
                    match image.file(file.as_bytes()) {
                        Some(next) => todo.push(next),
                        None => add(&path, &file, "file", Weight::Grave, faults),
                    }
                }
                Name::IncludeDir(dir) => {
                    let dir = beside(&path, &dir);
                    todo.extend(image.files(dir.as_bytes(), is_of_directory));
                }
                Name::User(name) if image.lacks_user(&name) => {
                    faults.add_account(FindingKind::Sudo, &path, ("user", &name), Weight::Minor);
                }
                Name::Group(name) if image.lacks_group(&name) => {
                    faults.add_account(FindingKind::Sudo, &path, ("group", &name), Weight::Minor);
                }
                Name::Command(command) => {
                    if Wanted::Program(command.clone()).fault(image.tree).is_some() {
                        add(&path, &command, "command", Weight::Minor, faults);
                    }
                }
                Name::User(_) | Name::Group(_) => {}
            }
        }
    }
    Ok(())
}

/// Returns the absolute path of what a file includes, which may lie beside it.
fn beside(file: &RelPath, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!(
            "/{}/{path}",
            String::from_utf8_lossy(parent(file.as_bytes()))
        ),
    }
}

/// Says whether sudo reads a file of this name in a directory.
fn is_of_directory(name: &[u8]) -> bool {
    !name.contains(&b'.') && !name.ends_with(b"~")
}

fn add(path: &RelPath, name: &str, what: &str, weight: Weight, faults: &mut Faults) {
    let reason = format!("names the {what} '{name}', which does not exist");
    faults.add(FindingKind::Sudo, path, name, weight, &reason, HINT);
}

/// Reads what all lines of a file name.
fn names(text: &str) -> Vec<Name> {
    let mut found = Vec::new();
    for line in includes(text) {
        found.push(line);
    }
    for line in logical_lines(text) {
        let line = line.trim();
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match first {
            _ if first.starts_with(['@', '#']) || first.starts_with("Defaults") => {}
            "Cmnd_Alias" | "Cmd_Alias" => {
                for definition in rest.split(':') {
                    let (_, commands) = definition.split_once('=').unwrap_or_default();
                    add_commands(commands, &mut found);
                }
            }
            "User_Alias" | "Runas_Alias" | "Host_Alias" => {}
            _ => add_rule(line, &mut found),
        }
    }
    found
}

/// Reads `@include` and its like, which may start with `#` as comments do.
fn includes(text: &str) -> impl Iterator<Item = Name> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix('@').or_else(|| line.strip_prefix('#'))?;
        let (word, path) = line.split_once(char::is_whitespace)?;
        let path = path.trim().trim_matches('"');
        // A host's name may stand in it.
        if path.contains('%') || path.contains('\\') || path.is_empty() {
            return None;
        }
        match word {
            "include" => Some(Name::Include(path.to_owned())),
            "includedir" => Some(Name::IncludeDir(path.to_owned())),
            _ => None,
        }
    })
}

/// Reads `USERS HOSTS = (RUNAS) COMMANDS`.
fn add_rule(line: &str, found: &mut Vec<Name>) {
    let Some((left, right)) = line.split_once('=') else {
        return;
    };
    if left.contains(['"', '\\']) {
        return;
    }
    let is_between = |c: char| c.is_whitespace() || c == ',';
    let words: Vec<&str> = left
        .split(is_between)
        .filter(|word| !word.is_empty())
        .collect();
    // The last one is the host.
    for word in words.iter().take(words.len().saturating_sub(1)) {
        found.extend(account(word));
    }
    add_commands(right, found);
}

/// Reads a user or a group; numbers, aliases and what another system knows are no names.
fn account(word: &str) -> Option<Name> {
    let word = word.trim_start_matches('!');
    let is_alias = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if word.chars().all(is_alias) || word.starts_with(['#', '+']) || word.starts_with("%#") {
        return None;
    }
    if word.starts_with("%:") {
        return None;
    }
    Some(match word.strip_prefix('%') {
        Some(group) => Name::Group(group.to_owned()),
        None => Name::User(word.to_owned()),
    })
}

/// Reads the accounts in brackets and the commands of a list.
fn add_commands(list: &str, found: &mut Vec<Name>) {
    let list = list.replace("\\,", "\u{fffd}").replace("\\ ", "\u{fffd}");
    let mut rest = list.as_str();
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once('(') {
        plain.push_str(before);
        let (inside, next) = after.split_once(')').unwrap_or((after, ""));
        add_runas(inside, found);
        rest = next;
    }
    plain.push_str(rest);
    for command in plain.split(',') {
        let mut words = command.split_whitespace();
        // Tags and digests stand before it.
        let path = words.find_map(|word| {
            let word = word
                .rsplit(':')
                .next()
                .unwrap_or(word)
                .trim_start_matches('!');
            word.starts_with('/').then_some(word)
        });
        let is_known =
            |path: &&str| !path.ends_with('/') && !path.contains(['*', '?', '[', '\\', UNKNOWN]);
        found.extend(
            path.filter(is_known)
                .map(|path| Name::Command(path.to_owned())),
        );
    }
}

fn add_runas(text: &str, found: &mut Vec<Name>) {
    let (users, groups) = text.split_once(':').unwrap_or((text, ""));
    let words = |text: &str| -> Vec<String> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    found.extend(words(users).iter().filter_map(|word| account(word)));
    for group in words(groups) {
        if let Some(Name::User(group)) = account(&group) {
            found.push(Name::Group(group));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &[&str]) {
        let shown = |name: &Name| match name {
            Name::User(name) => name.clone(),
            Name::Group(name) => format!("%{name}"),
            Name::Command(path) => path.clone(),
            Name::Include(path) => format!("<{path}"),
            Name::IncludeDir(path) => format!("<{path}/"),
        };
        let found: Vec<String> = names(text).iter().map(shown).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn rules_name_accounts_commands_and_files() {
        check("# joe ALL=/x\nDefaults secure_path=\"/x\"\n", &[]);
        check("root ALL=(ALL:ALL) ALL", &["root"]);
        check("%sudo\tALL=(ALL : ALL) ALL", &["%sudo"]);
        check(
            "#0 ALL=ALL\nADMINS ALL=ALL\n+net ALL=ALL\n%#5 ALL = ALL",
            &[],
        );
        check(
            "joe, %web ALL = (www, ann : adm) NOPASSWD: /bin/a x, sha224:abc /bin/b, !/bin/c",
            &[
                "joe", "%web", "www", "ann", "%adm", "/bin/a", "/bin/b", "/bin/c",
            ],
        );
        check(
            "Cmnd_Alias A = /bin/a, /bin/d/ : B = /bin/b *, /x/*",
            &["/bin/a", "/bin/b"],
        );
        check("joe ALL = \\\n  /bin/a", &["joe", "/bin/a"]);
        check(
            "@includedir /etc/sudoers.d\n#include local\n",
            &["</etc/sudoers.d/", "<local"],
        );
        check("@include /etc/%h.conf", &[]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(ALL|=|[(:),!%#@\\\\\n ]|include |/[a-z]+|[^x])*") {
            names(&text);
        }
    }
}
