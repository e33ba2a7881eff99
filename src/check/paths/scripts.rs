//! Scripts whose interpreter is not there.

use std::collections::BTreeMap;

use super::launch::{self, Wanted};
use super::lookup::{self, ProgramError, passes, within};
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::view::{FileFacts, ImageView, Script, ViewError};
use crate::tree::{Node, Tree};

/// Where `env` looks when nobody has set a PATH, in Debian.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The most scripts that may be each other's interpreters, as in Linux.
const MAX_SCRIPTS: usize = 5;

/// Places whose scripts are there to be read.
const PAPER: [&[u8]; 3] = [b"usr/share/doc", b"usr/src", b"usr/include"];

/// Components that say the same wherever they stand; `info` below the package database are
/// maintainer scripts, which an image has run already.
const PAPER_NAMES: [&[u8]; 8] = [
    b"contrib",
    b"demo",
    b"doc",
    b"examples",
    b"info",
    b"test",
    b"testsuite",
    b"tests",
];

/// Finds executable scripts that the kernel cannot start: `script:PATH`.
///
/// The interpreter has to be an executable file, and the program that `/usr/bin/env` is asked for
/// has to be in Debian's default PATH. Scripts among documentation, examples and tests are
/// [`Minor`](Weight::Minor).
pub fn scripts(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let mut known = BTreeMap::new();
    let mut problems = Vec::new();
    for (path, inode) in tree.iter() {
        // Nothing shorter than '#!x' asks for an interpreter.
        let may_be = matches!(inode.node, Node::File { size, .. } if size >= 3);
        if !may_be || inode.mode & 0o111 == 0 {
            continue;
        }
        let FileFacts::Script(script) = view.facts(path.as_bytes())? else {
            continue;
        };
        let key = (script.interpreter.clone(), script.argument.clone());
        if !known.contains_key(&key) {
            known.insert(key.clone(), fault_in_chain(tree, view, script)?);
        }
        if let Some(Some(fault)) = known.get(&key) {
            problems.push(problem(path, fault));
        }
    }
    Ok(problems)
}

/// Says what is wrong with a script's first line, or with that of a script which is its
/// interpreter, and so on.
fn fault_in_chain(
    tree: &Tree,
    view: &dyn ImageView,
    mut script: Script,
) -> Result<Option<String>, ViewError> {
    let mut asked = String::new();
    for _ in 0..MAX_SCRIPTS {
        if let Some(fault) = fault(tree, &script.interpreter, &script.argument) {
            return Ok(Some(asked + &fault));
        }
        let Ok(found) = lookup::program(tree, &script.interpreter) else {
            return Ok(None);
        };
        // What comes as factory content has another place in the tree.
        if tree.get(&found).is_none() {
            return Ok(None);
        }
        let FileFacts::Script(next) = view.facts(&found)? else {
            return Ok(None);
        };
        let shown = escape(&script.interpreter);
        asked += &format!("asks for the interpreter '{shown}', a script which ");
        script = next;
    }
    Ok(Some(
        "asks for an interpreter that is itself a script, and so on in a circle or too often"
            .to_owned(),
    ))
}

/// Says what is wrong with a script's first line, after the word "which".
fn fault(tree: &Tree, interpreter: &[u8], argument: &[u8]) -> Option<String> {
    let shown = escape(interpreter);
    if interpreter.is_empty() {
        return Some(
            "asks for an interpreter whose path is longer than the kernel reads".to_owned(),
        );
    }
    if !interpreter.starts_with(b"/") {
        return Some(format!(
            "asks for the interpreter '{shown}', which is not an absolute path"
        ));
    }
    let found = match lookup::program(tree, interpreter) {
        Ok(found) => found,
        Err(none) => {
            return Some(match interpreter.strip_suffix(b"\r") {
                Some(plain) => format!(
                    "asks for the interpreter '{}' with a carriage return at its end: the file has DOS line endings",
                    escape(plain)
                ),
                None => format!(
                    "asks for the interpreter '{shown}', which {}",
                    none.reason()
                ),
            });
        }
    };
    // A multi-call binary goes by the name of its link, so the name in the script counts, too.
    if lookup::name(interpreter) != b"env" && lookup::name(&found) != b"env" {
        return missing_file(tree, &[interpreter, argument]);
    }
    if argument.is_empty() {
        return Some(
            "asks env for no program, so that env starts the script again, forever".to_owned(),
        );
    }
    let wanted = wanted_of_env(argument)?;
    let found = if wanted.starts_with(b"/") {
        lookup::program(tree, wanted)
    } else if wanted.contains(&b'/') {
        return None;
    } else {
        lookup::search(tree, &PATH, wanted)
    };
    let Err(none) = found else {
        let words = split_string(argument)?.split(u8::is_ascii_whitespace);
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        return missing_file(tree, &[&[interpreter], words.as_slice()].concat());
    };
    let shown = escape(wanted);
    Some(match none {
        ProgramError::Missing(_) if wanted.ends_with(b"\r") => format!(
            "asks env for '{}' with a carriage return at its end: the file has DOS line endings",
            escape(&wanted[..wanted.len() - 1])
        ),
        ProgramError::Missing(_) if !wanted.starts_with(b"/") => {
            format!("asks env for '{shown}', which is not in the default PATH")
        }
        none => format!("asks env for '{shown}', which {}", none.reason()),
    })
}

/// Says which file a first line has its interpreter read, where it is not there.
fn missing_file(tree: &Tree, words: &[&[u8]]) -> Option<String> {
    let words: Vec<String> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let files = launch::of_words(&words).into_iter();
    let mut faults = files
        .filter(|wanted| matches!(wanted, Wanted::File(_)))
        .filter_map(|wanted| {
            let shown = escape(wanted.name().as_bytes());
            let fault = wanted.fault(tree)?;
            Some(format!("has its interpreter run '{shown}', which {fault}"))
        });
    faults.next()
}

/// Returns the program that env(1) starts with this one argument; `None` where that cannot be told.
fn wanted_of_env(argument: &[u8]) -> Option<&[u8]> {
    if !argument.starts_with(b"-") {
        // The whole of it is one argument: a name with blanks in it, or else a variable for
        // nothing.
        return Some(argument).filter(|name| !name.is_empty() && !name.contains(&b'='));
    }
    let line = split_string(argument)?;
    if line.iter().any(|byte| b"\\\"'$#".contains(byte)) {
        return None;
    }
    let mut words = line
        // A carriage return at the end of a line of DOS is one of them.
        .split(|byte| byte.is_ascii_whitespace() || *byte == 0x0b)
        .filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            b"-u" | b"-C" | b"-a" | b"--unset" | b"--chdir" | b"--argv0" => {
                words.next();
            }
            _ if word.starts_with(b"-") || word.contains(&b'=') => {}
            _ => return Some(word),
        }
    }
    None
}

/// Returns what follows `-S` in the one argument, which may stand among other short options.
fn split_string(argument: &[u8]) -> Option<&[u8]> {
    if let Some(line) = argument.strip_prefix(b"--split-string") {
        return line.strip_prefix(b"=");
    }
    let at = argument.iter().position(|byte| *byte == b'S')?;
    let others = &argument[1..at];
    others
        .iter()
        .all(|byte| b"i0v".contains(byte))
        .then_some(&argument[at + 1..])
}

/// Returns the absolute path of the program that a script is run by, where that can be started.
pub(in crate::check) fn interpreter_of(tree: &Tree, script: &Script) -> Option<Vec<u8>> {
    let found = lookup::program(tree, &script.interpreter).ok()?;
    if lookup::name(&script.interpreter) != b"env" && lookup::name(&found) != b"env" {
        return Some(script.interpreter.clone());
    }
    let wanted = wanted_of_env(&script.argument)?;
    match wanted.starts_with(b"/") {
        true => Some(wanted.to_vec()),
        false => command(tree, wanted),
    }
}

/// Returns the absolute path of a command in the default PATH.
pub(in crate::check) fn command(tree: &Tree, name: &[u8]) -> Option<Vec<u8>> {
    if name.contains(&b'/') {
        return None;
    }
    let mut places = PATH.iter().map(|dir| [dir.as_bytes(), b"/", name].concat());
    places.find(|place| lookup::program(tree, place).is_ok())
}

/// Says whether what is executable at a path is there to be read: documentation, examples, tests.
pub(in crate::check) fn is_paper(path: &[u8]) -> bool {
    PAPER.iter().any(|dir| within(path, dir))
        || passes(path, &PAPER_NAMES)
        // What builds Debian packages.
        || path.ends_with(b"/debian/rules")
}

fn problem(path: &RelPath, fault: &str) -> Problem {
    let paper = is_paper(path.as_bytes());
    Problem {
        id: FindingKind::Script.at(path),
        subject: Subject::Path(path.clone()),
        package: None,
        other: None,
        weight: if paper { Weight::Minor } else { Weight::Grave },
        reason: format!("the script '{path}' {fault}"),
        hint: "rebuild the layer of the script on today's lower layers, or add the package of the interpreter".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::{Image, assert_ids};

    fn fault_of(tree: &Tree, line: &str) -> Option<String> {
        let script = Script::parse(line.as_bytes())?;
        fault(tree, &script.interpreter, &script.argument)
    }

    fn image() -> Image {
        Image::new()
            .link("bin", "usr/bin")
            .program("usr/bin/dash")
            .link("usr/bin/sh", "dash")
            .program("usr/bin/env")
            .program("usr/bin/python3.13")
            .link("usr/bin/python3", "python3.13")
            .link("usr/bin/gone", "nowhere")
            .file("usr/bin/data", b"")
            .program("usr/lib/tool")
    }

    #[test]
    fn the_interpreter_is_found_as_the_kernel_and_env_find_it() {
        let image = image();
        let check = |line: &str, expect: Option<&str>| {
            let fault = fault_of(&image.tree, line);
            match expect {
                None => assert_eq!(fault, None, "{line}"),
                Some(part) => {
                    let fault = fault.unwrap_or_default();
                    assert!(fault.contains(part), "{line}: {fault}");
                }
            }
        };
        for line in [
            "#!/bin/sh",
            "#! /bin/sh -e",
            "#!/usr/bin/env python3",
            "#!/usr/bin/env -S python3 -u",
            "#!/usr/bin/env -S -i A=b -u C python3 -u",
            "#!/usr/bin/env -vS/usr/lib/tool x",
            "#!/usr/bin/env --split-string=python3 -u",
            "#!/usr/bin/env -i",
            "#!/usr/bin/env -S \"odd\" x",
            "#!/usr/bin/env ./here",
            "#!/bin/sh /usr/lib/tool",
            "#!/usr/bin/env -S python3 /usr/lib/tool x",
        ] {
            check(line, None);
        }
        check("#!/usr/bin/perl", Some("does not exist"));
        check("#!/bin/sh /etc/rc.common", Some("run '/etc/rc.common'"));
        check(
            "#!/usr/bin/env -S python3 -u /opt/x.py",
            Some("run '/opt/x.py'"),
        );
        check("#!/bin/gone", Some("does not exist"));
        check("#!/bin/data", Some("not an executable file"));
        check("#!/bin", Some("not an executable file"));
        check("#!/bin/sh/x", Some("does not exist"));
        check("#!/bin/sh\r\n", Some("carriage return"));
        check(
            "#!/usr/bin/env python3\r\n",
            Some("'python3' with a carriage return"),
        );
        check("#!/usr/bin/env -S python3\r\n", None);
        check("#!/bin/env", Some("forever"));
        check("#!python3", Some("not an absolute path"));
        check("#!/usr/bin/env ruby", Some("asks env for 'ruby'"));
        check("#!/usr/bin/env python3 -u", Some("'python3\\x20-u'"));
        check("#!/usr/bin/env -S ruby -w", Some("asks env for 'ruby'"));
        check("#!/usr/bin/env -S -u A ruby", Some("asks env for 'ruby'"));
        check(
            "#!/usr/bin/env /bin/none",
            Some("'/bin/none', which does not"),
        );
    }

    #[test]
    fn only_what_may_be_executed_is_a_script_and_examples_weigh_little() {
        let perl = b"#!/usr/bin/perl\n";
        let image = image()
            .exec("usr/bin/a", perl)
            .file("usr/bin/not", perl)
            .exec("usr/bin/fine", b"#!/bin/sh\n")
            .exec("usr/bin/by-fine", b"#!/usr/bin/fine\n")
            .exec("usr/bin/by-a", b"#!/usr/bin/a\n")
            .exec("usr/bin/circle", b"#!/usr/bin/circle\n")
            .exec("usr/bin/other", b"#\n\n\n\n")
            .exec("usr/bin/empty", b"")
            .exec("etc/cron.daily/a b", perl)
            .exec("usr/share/app/debian/rules", perl)
            .exec("usr/share/app/run", perl)
            .exec("usr/share/doc/a/run", perl)
            .exec("usr/lib/a/examples/run", perl)
            .exec("usr/lib/sysimage/var/lib/dpkg/info/a.postinst", perl);
        assert_ids(
            &scripts(&image.tree, &image.view).unwrap(),
            &[
                "!script:/etc/cron.daily/a\\x20b",
                "!script:/usr/bin/a",
                "!script:/usr/bin/by-a",
                "!script:/usr/bin/circle",
                "script:/usr/lib/a/examples/run",
                "script:/usr/lib/sysimage/var/lib/dpkg/info/a.postinst",
                "script:/usr/share/app/debian/rules",
                "!script:/usr/share/app/run",
                "script:/usr/share/doc/a/run",
            ],
        );
    }
}
