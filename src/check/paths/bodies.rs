//! What scripts of a shell run whatever happens, and that is not there: executable ones, and those
//! that shells read when somebody logs in.
//!
//! The reader ends at the first branch, loop or function: what comes after it nobody is told.

use super::accounts::Accounts;
use super::launch::{ModuleOf, Wanted, of_shell};
use super::lookup;
use super::scripts::{interpreter_of, is_paper};
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::parent;
use crate::path::{RelPath, escape};
use crate::tree::view::{FileFacts, ImageView, ViewError};
use crate::tree::{Inode, Node, Tree};

/// The version of what [`wanted`] returns.
const KIND: &str = "shell-wanted-2";
/// Larger files are made by programs, in bytes.
const MAX_SIZE: u64 = 256 << 10;
/// Shells whose grammar the reader knows.
const SHELLS: [&[u8]; 4] = [b"sh", b"dash", b"bash", b"ksh"];

/// What shells read at a login.
const AT_LOGIN: [&[u8]; 2] = [b"etc/bash.bashrc", b"etc/profile"];
/// Where `/etc/profile` of Debian finds more of it, by its ending.
const LOGIN_DIR: &[u8] = b"etc/profile.d";

/// Finds programs and files that scripts of a shell need for certain, and that the tree lacks:
/// `script:PATH:NAME`.
pub(super) fn bodies(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let accounts = Accounts::of(tree, view)?;
    let mut problems = Vec::new();
    each(tree, view, |path, wanted| {
        if let Some(fault) = wanted.fault_of(tree, &accounts) {
            problems.push(problem(path, &wanted, fault));
        }
    })?;
    problems.sort();
    problems.dedup_by(|a, b| a.id == b.id);
    Ok(problems)
}

/// Calls `take` with all that each script of a shell needs for certain.
pub(super) fn each(
    tree: &Tree,
    view: &dyn ImageView,
    mut take: impl FnMut(&RelPath, Wanted),
) -> Result<(), ViewError> {
    for (path, inode) in tree.iter() {
        let may_be =
            matches!(inode.node, Node::File { size, .. } if (3..=MAX_SIZE).contains(&size));
        if !may_be || !is_shell(tree, view, path, inode)? {
            continue;
        }
        let known = view.computed(path.as_bytes(), KIND, &wanted)?;
        for line in String::from_utf8_lossy(&known).lines() {
            if let Some(wanted) = decode(line) {
                take(path, wanted);
            }
        }
    }
    Ok(())
}

/// Says whether a file is a script that a shell runs or reads.
fn is_shell(
    tree: &Tree,
    view: &dyn ImageView,
    path: &RelPath,
    inode: &Inode,
) -> Result<bool, ViewError> {
    let bytes = path.as_bytes();
    let is_of_login = parent(bytes) == LOGIN_DIR && bytes.ends_with(b".sh");
    if is_of_login || AT_LOGIN.contains(&bytes) {
        return Ok(true);
    }
    if inode.mode & 0o111 == 0 || is_paper(bytes) {
        return Ok(false);
    }
    let FileFacts::Script(script) = view.facts(bytes)? else {
        return Ok(false);
    };
    let shell = interpreter_of(tree, &script);
    Ok(shell.is_some_and(|shell| SHELLS.contains(&lookup::name(&shell))))
}

/// Returns what a script needs, one on a line: see [`encode`].
fn wanted(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    // Who sets PATH says himself where his programs are.
    let sets_path = text.contains("PATH=") || text.contains("PERL5LIB=");
    // What is read into the script may be functions.
    let has_more = text.lines().map(str::trim_start).any(|line| {
        [". ", "source ", "eval "]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let mut lines = String::new();
    for wanted in of_shell(&text) {
        let name = wanted.name();
        let is_told = name.starts_with('/') || !sets_path && !has_more;
        if is_told && !name.contains(char::is_whitespace) {
            lines.push_str(&encode(&wanted));
            lines.push('\n');
        }
    }
    lines.into_bytes()
}

/// Returns a letter for the kind, and the name; of a module its interpreter before it.
fn encode(wanted: &Wanted) -> String {
    let name = wanted.name();
    match wanted {
        Wanted::Program(_) => format!("p{name}"),
        Wanted::File(_) => format!("f{name}"),
        Wanted::Config(_) => format!("c{name}"),
        Wanted::User(_) => format!("u{name}"),
        Wanted::Group(_) => format!("g{name}"),
        Wanted::Module(ModuleOf::Python, program, _) => format!("y{program} {name}"),
        Wanted::Module(ModuleOf::Perl, program, _) => format!("m{program} {name}"),
    }
}

fn decode(line: &str) -> Option<Wanted> {
    let (kind, name) = line.split_at_checked(1)?;
    let name = name.to_owned();
    let module = |of: ModuleOf| {
        let (program, module) = name.split_once(' ')?;
        Some(Wanted::Module(of, program.to_owned(), module.to_owned()))
    };
    match kind {
        "p" => Some(Wanted::Program(name)),
        "f" => Some(Wanted::File(name)),
        "c" => Some(Wanted::Config(name)),
        "u" => Some(Wanted::User(name)),
        "g" => Some(Wanted::Group(name)),
        "y" => module(ModuleOf::Python),
        "m" => module(ModuleOf::Perl),
        _ => None,
    }
}

fn problem(path: &RelPath, wanted: &Wanted, fault: &str) -> Problem {
    let name = escape(wanted.name().as_bytes());
    let does = match wanted {
        Wanted::File(_) => format!("reads '{name}'"),
        other => other.verb(&name),
    };
    let place = escape(wanted.place().as_bytes());
    Problem {
        id: FindingKind::Script.at(format_args!("{path}:{place}")),
        subject: Subject::Path(path.clone()),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!("the script '{path}' {does}, which {fault}"),
        hint: "rebuild the layer of the script on today's lower layers, or add the package of what it needs".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::{Image, assert_ids};

    fn check(body: &str, expect: &[&str]) {
        let image = Image::new()
            .program("usr/bin/bash")
            .link("usr/bin/sh", "bash")
            .link("bin", "usr/bin")
            .program("usr/bin/jq")
            .file("etc/a.conf", b"x")
            .exec("opt/a", format!("#!/bin/sh\n{body}").as_bytes());
        assert_ids(&bodies(&image.tree, &image.view).unwrap(), expect);
    }

    #[test]
    fn what_a_script_runs_for_certain_has_to_be_there() {
        check("set -e\njq .\necho x\n", &[]);
        check(
            "set -e\nyq . | jq\nxq\n",
            &["!script:/opt/a:xq", "!script:/opt/a:yq"],
        );
        check("exec /usr/bin/yq \"$@\"\n", &["!script:/opt/a:/usr/bin/yq"]);
        check(
            ". /etc/a.conf\n. /etc/b.conf\n",
            &["!script:/opt/a:/etc/b.conf"],
        );
    }

    #[test]
    fn whom_a_script_names_and_what_it_has_read_has_to_be_there() {
        check(
            "/opt/x --config=/etc/gone.conf\nchown ghost:root /run/a\n",
            &[
                "!script:/opt/a:/etc/gone.conf",
                "!script:/opt/a:/opt/x",
                "!script:/opt/a:chown",
                "!script:/opt/a:user:ghost",
            ],
        );
        check("jq --config=/etc/a.conf\n", &[]);
    }

    #[test]
    fn what_a_script_may_do_without_is_no_fault() {
        check(
            "command -v yq && yq\n[ -x /usr/bin/yq ] || exit 0\nyq\n",
            &[],
        );
        check("if true; then yq; fi\nyq\n", &[]);
        check("yq() { :; }\nyq\n", &[]);
        check("yq . || true\n", &[]);
        check("PATH=/opt/bin:$PATH\nyq\n", &[]);
        check("$YQ .\n", &[]);
        check(". /etc/a.conf\nyq\n", &[]);
        check("time jq .\n", &[]);
    }

    #[test]
    fn what_a_login_runs_for_certain_has_to_be_there() {
        let image = Image::new()
            .program("usr/bin/jq")
            .file("etc/profile", b"jq .\nyq .\n")
            .file("etc/profile.d/a.sh", b". /opt/app/env\nexport A=`yq`\n")
            .file("etc/profile.d/b.csh", b"yq\n")
            .file("opt/c.sh", b"yq\n");
        let expect = [
            "!script:/etc/profile.d/a.sh:/opt/app/env",
            "!script:/etc/profile:yq",
        ];
        assert_ids(&bodies(&image.tree, &image.view).unwrap(), &expect);
    }

    #[test]
    fn other_languages_and_paper_are_not_read() {
        let image = Image::new()
            .program("usr/bin/sh")
            .program("usr/bin/perl")
            .exec("opt/a", b"#!/usr/bin/perl\nyq\n")
            .exec("usr/share/doc/a", b"#!/usr/bin/sh\nyq\n")
            .file("opt/b", b"#!/usr/bin/sh\nyq\n");
        assert_ids(&bodies(&image.tree, &image.view).unwrap(), &[]);
    }
}
