//! Rotation of logs by accounts that are not there: logrotate(8) skips the whole file then, and
//! fails. It also fails where its scripts run what is not there.

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::launch;
use crate::check::{FindingKind, Weight};
use crate::tree::view::ViewError;

const FILE: &[u8] = b"etc/logrotate.conf";
const DIR: &[u8] = b"etc/logrotate.d";

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of what it runs";

/// What starts lines of shell, up to `endscript`.
const SCRIPTS: [&str; 6] = [
    "prerotate",
    "postrotate",
    "firstaction",
    "lastaction",
    "preremove",
    "prescript",
];

/// An account that a line names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    User(String),
    Group(String),
}

/// Finds users and groups that nobody makes: `logrotate:PATH:user:NAME`,
/// `logrotate:PATH:group:NAME`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if !image.has_program("usr/sbin/logrotate") {
        return Ok(());
    }
    let is_read = |name: &[u8]| {
        ![
            &b"~"[..],
            b".dpkg-old",
            b".dpkg-dist",
            b".dpkg-new",
            b".bak",
            b".swp",
            b".disabled",
        ]
        .iter()
        .any(|end| name.ends_with(end))
    };
    let mut files = image.files(DIR, is_read);
    files.extend(image.file(FILE));
    for path in files {
        let text = image.text(path.as_bytes())?;
        for script in scripts(&text) {
            for wanted in launch::of_shell(&script) {
                if let Some(fault) = wanted.fault_of(image.tree, image.accounts) {
                    let (kind, name) = (FindingKind::Logrotate, wanted.place());
                    let reason = format!("{}, which {fault}", wanted.verb(wanted.name()));
                    faults.add(kind, &path, &name, Weight::Grave, &reason, HINT);
                }
            }
        }
        for name in names(&text) {
            let (kind, weight) = (FindingKind::Logrotate, Weight::Grave);
            match name {
                Name::User(name) if image.lacks_user(&name) => {
                    faults.add_account(kind, &path, ("user", &name), weight);
                }
                Name::Group(name) if image.lacks_group(&name) => {
                    faults.add_account(kind, &path, ("group", &name), weight);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Reads the lines of each script.
fn scripts(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut script: Option<String> = None;
    for line in text.lines() {
        let word = line.trim();
        match &mut script {
            Some(_) if word == "endscript" => found.extend(script.take()),
            Some(lines) => {
                lines.push_str(line);
                lines.push('\n');
            }
            None if SCRIPTS.contains(&word) => script = Some(String::new()),
            None => {}
        }
    }
    found
}

/// Reads the accounts of `su`, `create` and `createolddir`.
fn names(text: &str) -> Vec<Name> {
    let mut found = Vec::new();
    let mut in_script = false;
    for line in text.lines() {
        // A block may stand on one line.
        let line = line.trim().trim_end_matches('}');
        let line = line.rsplit('{').next().unwrap_or(line);
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if in_script || SCRIPTS.contains(&first) {
            in_script = first != "endscript";
            continue;
        }
        if !matches!(first, "su" | "create" | "createolddir") {
            continue;
        }
        let is_mode = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
        let mut accounts = words.filter(|word| !is_mode(word)).map(str::to_owned);
        found.extend(accounts.next().map(Name::User));
        found.extend(accounts.next().map(Name::Group));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn owners_of_logs_are_read_and_scripts_are_not() {
        let text = "su root adm # x\n/var/log/a {\n create 640 joe staff\n create 600\n postrotate\n  create x y\n su z\n endscript\n}\n/b { createolddir 755 ann web }\n";
        let shown = |name: &Name| match name {
            Name::User(name) => name.clone(),
            Name::Group(name) => format!("%{name}"),
        };
        let found: Vec<String> = names(text).iter().map(shown).collect();
        assert_eq!(found, ["root", "%adm", "joe", "%staff", "ann", "%web"]);
        assert_eq!(scripts(text), ["  create x y\n su z\n"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(su |create |postrotate|endscript|[{}#\n ]|[^x])*") {
            names(&text);
            scripts(&text);
        }
    }
}
