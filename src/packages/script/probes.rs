//! The programs that a maintainer script asks for before it uses them.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};

/// A program that a script asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// By its name: `command -v NAME` and the like.
    Name(String),
    /// By its path, without the leading slash: `[ -x /PATH ]`.
    Path(String),
}

/// Directories whose programs count; init scripts and hooks elsewhere belong to packages anyway.
const DIRECTORIES: [&str; 6] = [
    "usr/bin/",
    "usr/sbin/",
    "bin/",
    "sbin/",
    "usr/lib/",
    "usr/libexec/",
];
/// How deep substitutions may stand in each other.
const DEPTH: usize = 4;

/// Finds the programs that a script asks for: `command -v`, `which`, `hash`, `type`, `[ -x … ]`.
/// What is in a variable is not known.
pub fn probes(script: &[u8]) -> BTreeSet<Probe> {
    let mut found = BTreeSet::new();
    let text = String::from_utf8_lossy(script);
    if text.starts_with("#!") && text.lines().next().is_some_and(|line| line.contains("sh")) {
        collect(&text, DEPTH, &mut found);
    }
    found
}

fn collect(script: &str, depth: usize, found: &mut BTreeSet<Probe>) {
    let mut starts = true;
    let mut command: Vec<&str> = Vec::new();
    let all = tokens(script);
    for token in &all {
        match token {
            Token::Operator(_) => {
                found.extend(probe(&command));
                command.clear();
                starts = true;
            }
            Token::Redirection => {
                found.extend(probe(&command));
                command.clear();
                starts = false;
            }
            Token::Word(word) => {
                if depth > 0 {
                    for inner in &word.substitutions {
                        collect(inner, depth - 1, found);
                    }
                }
                let is_word = [
                    "if", "elif", "while", "until", "then", "else", "do", "!", "{",
                ];
                if starts && !(command.is_empty() && is_word.contains(&word.text.as_str())) {
                    command.push(&word.text);
                }
            }
        }
    }
    found.extend(probe(&command));
}

fn probe(command: &[&str]) -> Option<Probe> {
    let by_name = |name: &&str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        (is_name && name.chars().all(is_plain)).then(|| Probe::Name((*name).to_owned()))
    };
    let by_path = |path: &&str| {
        let path = path.strip_prefix('/')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-._/".contains(c);
        let is_program = DIRECTORIES.iter().any(|dir| path.starts_with(dir));
        (is_program && path.chars().all(is_plain)).then(|| Probe::Path(path.to_owned()))
    };
    match command {
        ["command", "-v" | "-V", name, ..]
        | [
            "which" | "hash" | "type",
            "-a" | "-s" | "-p" | "-P",
            name,
            ..,
        ]
        | ["which" | "hash" | "type", name, ..] => by_name(name).or_else(|| by_path(name)),
        ["[" | "[[" | "test", "-x", path, ..] | ["[" | "[[" | "test", "!", "-x", path, ..] => {
            by_path(path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_that_a_script_asks_for_are_found() {
        let script = b"#!/bin/sh
            # command -v nothing, which might be
            if command -v setcap > /dev/null; then setcap x; fi
            if [ -x \"$(command -v systemd-tmpfiles)\" ]; then true; fi
            [ -x /usr/sbin/update-x ] && update-x
            test -x /etc/init.d/x || exit 0
            if which update-menus >/dev/null 2>&1; then update-menus; fi
            if ! hash py3compile 2>/dev/null; then exit; fi
            command -v \"$COMMAND\"; echo which is it
            x=`which ypcat` || true
        ";
        let name = |text: &str| Probe::Name(text.to_owned());
        let expect = [
            name("py3compile"),
            name("setcap"),
            name("systemd-tmpfiles"),
            name("update-menus"),
            name("ypcat"),
            Probe::Path("usr/sbin/update-x".to_owned()),
        ];
        assert_eq!(probes(script).into_iter().collect::<Vec<_>>(), expect);
        assert!(probes(b"#!/usr/bin/perl\nsystem 'which x';").is_empty());
    }
}
