//! PAM: modules and files without which nobody logs in.
//!
//! The grammar is that of pam.conf(5), and of `libpam/pam_handlers.c` where the page is silent.

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::launch::Wanted;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

/// Where services are, in order of precedence.
const DIRS: [&[u8]; 2] = [b"etc/pam.d", b"usr/lib/pam.d"];

/// Where libpam of no multiarch system looks for modules, and that of Debian after its own place.
const SHARED: [&str; 2] = ["/usr/lib/security", "/lib/security"];

/// Ends of names that no service has: what dpkg, ucf and editors leave.
const LEFT: [&[u8]; 8] = [
    b"~",
    b".bak",
    b".dpkg-dist",
    b".dpkg-new",
    b".dpkg-old",
    b".ucf-dist",
    b".ucf-old",
    b".orig",
];

/// One line, as far as it names something.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// Another file to read.
    Include(String),
    /// A module, and whether the service does without it.
    Module { name: String, may_fail: bool },
    /// A program that a module runs, and whether the service does without it.
    Program { name: String, may_fail: bool },
}

/// Finds modules and files that services name and the image lacks: `pam:PATH:NAME`.
///
/// An optional module weighs little, and nothing with a `-` before it, which silences libpam; a
/// module that is required stops the service all the same.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let places = module_dirs(image);
    // Without libpam nobody reads the files.
    if places.len() == SHARED.len() {
        return Ok(());
    }
    for path in image.overriding(&DIRS, b"") {
        if LEFT.iter().any(|end| path.as_bytes().ends_with(end)) {
            continue;
        }
        for line in lines(&image.text(path.as_bytes())?) {
            match line {
                Line::Include(name) => judge_include(image, &path, &name, faults),
                Line::Module { name, may_fail } => {
                    judge_module(image, &path, &places, (&name, may_fail), faults);
                }
                Line::Program { name, may_fail } => {
                    judge_program(image, &path, (name, may_fail), faults);
                }
            }
        }
    }
    Ok(())
}

/// Returns the directories where libpam looks for modules: beside each libpam there is one.
fn module_dirs(image: &Image<'_>) -> Vec<String> {
    let libraries = image.glob("/usr/lib/*/libpam.so.0");
    let beside = libraries.iter().map(|path| {
        let path = String::from_utf8_lossy(path);
        format!("/{}/security", path.trim_end_matches("/libpam.so.0"))
    });
    beside.chain(SHARED.map(str::to_owned)).collect()
}

fn judge_include(image: &Image<'_>, path: &RelPath, name: &str, faults: &mut Faults) {
    let is_there = match name.starts_with('/') {
        true => image.file_fault(name).is_none(),
        false => DIRS.iter().any(|dir| {
            let at = crate::layout::join(dir, name.as_bytes());
            image.file(&at).is_some()
        }),
    };
    if !is_there {
        faults.add(
            FindingKind::Pam,
            path,
            name,
            Weight::Grave,
            &format!("includes '{name}', which does not exist: nobody passes it"),
            "rebuild the layer of the file on today's lower layers, or add the package of what it includes",
        );
    }
}

fn judge_module(
    image: &Image<'_>,
    path: &RelPath,
    places: &[String],
    (name, may_fail): (&str, bool),
    faults: &mut Faults,
) {
    let is_there = match name.starts_with('/') {
        // `$ISA` was an architecture once.
        true => name.contains('$') || image.file_fault(name).is_none(),
        false => places
            .iter()
            .any(|dir| image.file(format!("{dir}/{name}").as_bytes()).is_some()),
    };
    if !is_there {
        let weight = match may_fail {
            true => Weight::Minor,
            false => Weight::Grave,
        };
        faults.add(
            FindingKind::Pam,
            path,
            name,
            weight,
            &format!("names the module '{name}', which does not exist: whoever needs it cannot log in"),
            "rebuild the layer of the file on today's lower layers, or add the package of the module",
        );
    }
}

fn judge_program(
    image: &Image<'_>,
    path: &RelPath,
    (name, may_fail): (String, bool),
    faults: &mut Faults,
) {
    let weight = match may_fail {
        true => Weight::Minor,
        false => Weight::Grave,
    };
    let wanted = Wanted::Program(name);
    if let Some(fault) = wanted.fault(image.tree) {
        let name = wanted.name();
        let reason = format!("runs '{name}', which {fault}: whoever needs it cannot log in");
        let hint = "rebuild the layer of the file on today's lower layers, or add the package of the program";
        faults.add(FindingKind::Pam, path, name, weight, &reason, hint);
    }
}

/// Reads what the lines of a service name, without modules that it misses in silence.
fn lines(text: &str) -> Vec<Line> {
    let lines = logical(text);
    let read = lines.iter().flat_map(|line| [read(line), program(line)]);
    read.flatten().collect()
}

/// Joins continued lines, and takes comments away: each line's ends at its end.
fn logical(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = String::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        match line.strip_suffix('\\') {
            Some(start) => {
                pending.push_str(start);
                pending.push(' ');
            }
            None => lines.push(std::mem::take(&mut pending) + line),
        }
    }
    lines.push(pending);
    lines
}

fn read(line: &str) -> Option<Line> {
    let (first, rest) = word(line)?;
    if first == "@include" {
        return Some(Line::Include(word(rest)?.0.to_owned()));
    }
    let kind = first.strip_prefix('-').unwrap_or(first);
    let is_kind = ["auth", "account", "password", "session"]
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known));
    if !is_kind {
        return None;
    }
    let (control, rest) = word(rest)?;
    let (name, _) = word(rest)?;
    let control = control.to_ascii_lowercase();
    match control.as_str() {
        "include" | "substack" => Some(Line::Include(name.to_owned())),
        _ => {
            let may_fail = may_fail(&control, kind);
            let is_silent = may_fail && first.starts_with('-');
            (!is_silent).then(|| Line::Module {
                name: name.to_owned(),
                may_fail,
            })
        }
    }
}

/// Reads the program that pam_exec(8) is told to run.
fn program(line: &str) -> Option<Line> {
    const WITH_VALUE: [&str; 2] = ["log=", "type="];
    const OPTIONS: [&str; 6] = [
        "debug",
        "expose_authtok",
        "quiet",
        "quiet_log",
        "seteuid",
        "stdout",
    ];
    let Line::Module { name, may_fail } = read(line)? else {
        return None;
    };
    if !name.ends_with("pam_exec.so") {
        return None;
    }
    let (_, arguments) = line.split_once("pam_exec.so")?;
    let mut words = arguments.split_whitespace();
    let path = words.find(|word| {
        let has_value = WITH_VALUE.iter().any(|start| word.starts_with(start));
        !has_value && !OPTIONS.contains(word)
    })?;
    let name = path.to_owned();
    Some(Line::Program { name, may_fail })
}

/// Says whether the service goes on without the module. A sufficient one lets somebody in, so that
/// it counts, unless it only ends a session.
fn may_fail(control: &str, kind: &str) -> bool {
    let Some(actions) = control.strip_prefix('[') else {
        let is_last = kind.eq_ignore_ascii_case("session") && control == "sufficient";
        return control == "optional" || is_last;
    };
    let action = |name: &str| {
        let mut pairs = actions
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, action)| action)
    };
    let is_ignored = |action: Option<&str>| action == Some("ignore");
    match action("module_unknown") {
        Some(unknown) => unknown == "ignore",
        None => {
            // What succeeds nowhere else lets somebody in here.
            let lets_in = action("success").is_some_and(|then| match then {
                "ignore" => false,
                "ok" => kind.eq_ignore_ascii_case("auth"),
                _ => true,
            });
            is_ignored(action("default")) && !lets_in
        }
    }
}

/// Takes the first word, or what stands in brackets, and returns what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    if text.starts_with('[') {
        let end = text.find(']')?;
        return Some((&text[..end], &text[end + 1..]));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    Some(text.split_at(end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &[&str]) {
        let shown = |line: &Line| match line {
            Line::Include(name) => format!("@{name}"),
            Line::Module { name, may_fail } => {
                format!("{}{name}", if *may_fail { "-" } else { "" })
            }
            Line::Program { name, may_fail } => {
                format!("{}!{name}", if *may_fail { "-" } else { "" })
            }
        };
        let found: Vec<String> = lines(text).iter().map(shown).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn lines_name_modules_and_files() {
        check(
            "@include common-auth\n# auth required x.so\n",
            &["@common-auth"],
        );
        check("auth include a\nsession substack b", &["@a", "@b"]);
        check("auth required pam_a.so x=y", &["pam_a.so"]);
        check("AUTH\tRequisite \\\n pam_a.so", &["pam_a.so"]);
        check("-session optional pam_a.so", &[]);
        check("session optional pam_a.so", &["-pam_a.so"]);
        check("-auth required pam_a.so", &["pam_a.so"]);
        check("auth sufficient pam_a.so", &["pam_a.so"]);
        check(
            "auth [success=1 default=ignore] pam_a.so x # y",
            &["pam_a.so"],
        );
        check("auth [default=ignore] pam_a.so", &["-pam_a.so"]);
        check(
            "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_a.so",
            &["-pam_a.so"],
        );
        check("session [default=1] pam_a.so", &["pam_a.so"]);
        check(
            "auth required pam_exec.so quiet log=/x /a/b c\nsession optional pam_exec.so /c",
            &["pam_exec.so", "!/a/b", "-pam_exec.so", "-!/c"],
        );
        check("other required pam_a.so\nauth\nauth [open x.so\n", &[]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "((auth|-session|@include) |[a-z]+\\.so|[\\[\\]=#\\\\ \n]|[^x])*") {
            lines(&text);
        }
    }
}
