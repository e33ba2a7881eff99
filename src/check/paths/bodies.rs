//! What scripts of a shell run whatever happens, and that is not there.
//!
//! The reader ends at the first branch, loop or function: what comes after it nobody is told.

use super::launch::{Wanted, of_shell};
use super::lookup;
use super::scripts::{interpreter_of, is_paper};
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::view::{FileFacts, ImageView, ViewError};
use crate::tree::{Node, Tree};

/// The version of what [`wanted`] returns.
const KIND: &str = "shell-wanted-1";
/// Larger files are made by programs, in bytes.
const MAX_SIZE: u64 = 256 << 10;
/// Shells whose grammar the reader knows.
const SHELLS: [&[u8]; 4] = [b"sh", b"dash", b"bash", b"ksh"];

/// Finds programs and files that executable scripts of a shell need for certain, and that the tree
/// lacks: `script:PATH:NAME`.
pub(super) fn bodies(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let mut problems = Vec::new();
    for (path, inode) in tree.iter() {
        let may_be =
            matches!(inode.node, Node::File { size, .. } if (3..=MAX_SIZE).contains(&size));
        if !may_be || inode.mode & 0o111 == 0 || is_paper(path.as_bytes()) {
            continue;
        }
        let FileFacts::Script(script) = view.facts(path.as_bytes())? else {
            continue;
        };
        let shell = interpreter_of(tree, &script);
        if !shell.is_some_and(|shell| SHELLS.contains(&lookup::name(&shell))) {
            continue;
        }
        let known = view.computed(path.as_bytes(), KIND, &wanted)?;
        for line in String::from_utf8_lossy(&known).lines() {
            let wanted = match line.split_at_checked(1) {
                Some(("f", file)) => Wanted::File(file.to_owned()),
                Some((_, program)) => Wanted::Program(program.to_owned()),
                None => continue,
            };
            if let Some(fault) = wanted.fault(tree) {
                problems.push(problem(path, &wanted, fault));
            }
        }
    }
    problems.sort();
    problems.dedup_by(|a, b| a.id == b.id);
    Ok(problems)
}

/// Returns what a script needs, one on a line: `p` and a program, or `f` and a file.
fn wanted(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    // Who sets PATH says himself where his programs are.
    let sets_path = text.contains("PATH=");
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
            let kind = if matches!(wanted, Wanted::File(_)) {
                'f'
            } else {
                'p'
            };
            lines.push_str(&format!("{kind}{name}\n"));
        }
    }
    lines.into_bytes()
}

fn problem(path: &RelPath, wanted: &Wanted, fault: &str) -> Problem {
    let name = escape(wanted.name().as_bytes());
    let verb = if matches!(wanted, Wanted::File(_)) {
        "reads"
    } else {
        "runs"
    };
    Problem {
        id: FindingKind::Script.at(format_args!("{path}:{name}")),
        subject: Subject::Path(path.clone()),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!("the script '{path}' {verb} '{name}', which {fault}"),
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
