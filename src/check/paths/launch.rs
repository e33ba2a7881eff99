//! What a command line starts: a program, and the program or file that this one is told to run.

use super::lookup::{self, Lookup};
use super::shell::{self, UNKNOWN};
use super::unit_problems::PATH;
use crate::tree::Tree;

/// How often a command may start another one before the rest is left alone.
const MAX_DEPTH: usize = 8;

/// Words that a shell knows itself.
const BUILTINS: [&str; 60] = [
    ".",
    ":",
    "[",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "cd",
    "command",
    "compgen",
    "complete",
    "continue",
    "declare",
    "dirs",
    "disown",
    "echo",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unset",
    "wait",
];

/// What a command needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A program, by absolute path or by name.
    Program(String),
    /// A file that a program reads, by absolute path.
    File(String),
}

impl Wanted {
    /// Returns the program or file as it is named.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Program(name) | Self::File(name) => name,
        }
    }

    /// Says what is wrong with it in a tree, after the word "which"; `None` where nothing is, or
    /// where only a running system, a machine or its users can tell.
    pub(super) fn fault(&self, tree: &Tree) -> Option<&'static str> {
        let name = self.name();
        if name.contains(UNKNOWN) || name.is_empty() {
            return None;
        }
        let found = match self {
            Self::File(path) => return missing_file(tree, path),
            Self::Program(path) if path.starts_with('/') => lookup::program(tree, path.as_bytes()),
            Self::Program(path) if path.contains('/') => return None,
            Self::Program(name) => lookup::search(tree, &PATH, name.as_bytes()),
        };
        let error = found.err().filter(|error| !error.may_appear())?;
        Some(error.reason())
    }
}

fn missing_file(tree: &Tree, path: &str) -> Option<&'static str> {
    match lookup::walk(tree, b"", path.as_bytes()) {
        Lookup::Found(..) => None,
        Lookup::Lost(at) => (!lookup::may_appear(tree, &at)).then_some("does not exist"),
        Lookup::Loop(_) => Some("is a link that leads in a circle"),
    }
}

/// Returns what a command of these words needs, the program itself first.
pub(super) fn of_words(words: &[String]) -> Vec<Wanted> {
    let mut found = Vec::new();
    add_words(words, 0, &mut found);
    found
}

/// Returns what lines of shell need whatever happens.
pub(super) fn of_shell(text: &str) -> Vec<Wanted> {
    let mut found = Vec::new();
    add_shell(text, 0, &mut found);
    found
}

fn add_shell(text: &str, depth: usize, found: &mut Vec<Wanted>) {
    for words in shell::commands(text) {
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        match first.as_str() {
            "exec" if rest.first().is_some_and(|word| !word.starts_with('-')) => {
                add_words(rest, depth + 1, found);
            }
            "." | "source" => add_file(rest.first(), found),
            word if BUILTINS.contains(&word) || word == "}" => {}
            _ => add_words(&words, depth + 1, found),
        }
    }
}

fn add_words(words: &[String], depth: usize, found: &mut Vec<Wanted>) {
    let Some((program, rest)) = words.split_first() else {
        return;
    };
    if depth > MAX_DEPTH || program.contains(UNKNOWN) {
        return;
    }
    found.push(Wanted::Program(program.clone()));
    let name = lookup::name(program.as_bytes());
    let name = std::str::from_utf8(name).unwrap_or_default();
    match family(name) {
        "env" => add_of_env(rest, depth, found),
        "wrapper" => add_wrapped(name, rest, depth, found),
        "sh" => add_of_shell(rest, depth, found),
        "java" => add_file(java_archive(rest), found),
        "" => {}
        family => add_file(script(family, rest), found),
    }
}

/// Says how a program reads its arguments, by its name.
fn family(name: &str) -> &str {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match plain {
        "sh" | "dash" | "bash" | "ksh" | "mksh" | "zsh" => "sh",
        "nohup" | "setsid" | "nice" | "ionice" | "chronic" | "timeout" => "wrapper",
        "env" | "python" | "perl" | "ruby" | "node" | "nodejs" | "php" | "java" => plain,
        _ => "",
    }
}

fn add_file(path: Option<&String>, found: &mut Vec<Wanted>) {
    let is_known = |path: &&String| path.starts_with('/') && !path.contains(UNKNOWN);
    found.extend(path.filter(is_known).cloned().map(Wanted::File));
}

/// Takes the command that env(1) starts.
fn add_of_env(words: &[String], depth: usize, found: &mut Vec<Wanted>) {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        match word.as_str() {
            "-" | "-i" | "--ignore-environment" | "--" => {}
            "-u" | "-C" | "--unset" | "--chdir" => at += 1,
            "-S" | "--split-string" => {
                let line = words.get(at).map_or("", String::as_str);
                if !line.contains(['"', '\'', '\\', '$', '#']) {
                    let split = line.split_whitespace().map(str::to_owned);
                    let rest = words.get(at + 1..).unwrap_or_default().iter().cloned();
                    let whole: Vec<String> = split.chain(rest).collect();
                    add_of_env_line(&whole, depth, found);
                }
                return;
            }
            word if word.starts_with("--unset=") || word.starts_with("--chdir=") => {}
            word if word.starts_with('-') => return,
            word if word.contains('=') => {}
            _ => return add_words(&words[at - 1..], depth + 1, found),
        }
    }
}

/// Takes what `-S` gave to env, which are arguments of env again.
fn add_of_env_line(words: &[String], depth: usize, found: &mut Vec<Wanted>) {
    if depth < MAX_DEPTH {
        add_of_env(words, depth + 1, found);
    }
}

/// Takes the command behind a program that starts another one.
fn add_wrapped(name: &str, words: &[String], depth: usize, found: &mut Vec<Wanted>) {
    let with_value: &[&str] = match name {
        "nice" => &["-n"],
        "ionice" => &["-c", "-n"],
        "timeout" => &["-k", "-s"],
        _ => &[],
    };
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        at += 1 + usize::from(with_value.contains(&word.as_str()));
    }
    // How long it may take.
    at += usize::from(name == "timeout");
    add_words(words.get(at..).unwrap_or_default(), depth + 1, found);
}

/// Takes the script that a shell is told to run, or the lines of `-c`.
fn add_of_shell(words: &[String], depth: usize, found: &mut Vec<Wanted>) {
    let mut runs_text = false;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let is_flags = word.starts_with('-') || word.starts_with('+');
        if !is_flags {
            break;
        }
        at += 1;
        match word.as_str() {
            "--" => break,
            "--login" | "--norc" | "--noprofile" | "--posix" => {}
            word if word.starts_with("--") || word.contains('s') => return,
            word => {
                runs_text |= word.starts_with('-') && word.contains('c');
                at += usize::from(word.ends_with(['o', 'O']));
            }
        }
    }
    match words.get(at) {
        Some(text) if runs_text => add_shell(text, depth + 1, found),
        path => add_file(path, found),
    }
}

/// Returns the script that an interpreter is told to run; `None` where it runs something else, or
/// that cannot be told.
fn script<'a>(family: &str, words: &'a [String]) -> Option<&'a String> {
    let (flags, with_value): (&str, &[&str]) = match family {
        "python" => ("BbdEiIOPqRsStuvx", &["-W", "-X"]),
        "perl" => ("wTtWXUsS", &["-I"]),
        "ruby" => ("wWvS", &["-I", "-r", "-C"]),
        "php" => ("qnCH", &["-d", "-c"]),
        _ => ("", &[]),
    };
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let is_of_flags = |word: &str| {
            let rest = word.strip_prefix('-').unwrap_or_default();
            !rest.is_empty() && rest.chars().all(|c| flags.contains(c))
        };
        match word.as_str() {
            "-f" if family == "php" => return words.get(at),
            "--" => return words.get(at),
            word if with_value.contains(&word) => at += 1,
            word if with_value.iter().any(|start| word.starts_with(start)) => {}
            word if is_of_flags(word) => {}
            word if word.starts_with('-') => return None,
            _ => return Some(word),
        }
    }
    None
}

/// Returns the archive of `java -jar`.
fn java_archive(words: &[String]) -> Option<&String> {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        at += 1;
        match word.as_str() {
            "-jar" => return words.get(at),
            "-cp" | "-classpath" | "--class-path" | "-p" | "--module-path" | "--add-modules" => {
                at += 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns what is wanted, files with a `<` before.
    fn shown(wanted: Vec<Wanted>) -> Vec<String> {
        let one = |wanted| match wanted {
            Wanted::Program(name) => name,
            Wanted::File(path) => format!("<{path}"),
        };
        wanted.into_iter().map(one).collect()
    }

    fn check(line: &str, expect: &[&str]) {
        let words: Vec<String> = line.split('|').map(str::to_owned).collect();
        assert_eq!(shown(of_words(&words)), expect, "{line}");
    }

    #[test]
    fn what_a_program_is_told_to_run_is_told() {
        check("/bin/a|/b", &["/bin/a"]);
        check("/usr/bin/env|-i|A=b|-u|C|jq|x", &["/usr/bin/env", "jq"]);
        check(
            "env|-S|python3 -u /opt/x.py",
            &["env", "python3", "</opt/x.py"],
        );
        check("/bin/sh|/opt/a.sh|/b", &["/bin/sh", "</opt/a.sh"]);
        check("bash|-e|-o|pipefail|/opt/a", &["bash", "</opt/a"]);
        check("sh|-s|/opt/a", &["sh"]);
        check("sh|relative", &["sh"]);
        check("/bin/sh|-ec|/opt/a; /b && /c", &["/bin/sh", "/opt/a", "/b"]);
        check("sh|-c|exec /opt/a|x", &["sh", "/opt/a"]);
        check("sh|-c|. /etc/x; echo y", &["sh", "</etc/x"]);
        check(
            "python3.11|-u|-W|ignore|/o.py|-m",
            &["python3.11", "</o.py"],
        );
        check("python3|-m|/x", &["python3"]);
        check("perl|-w|-I|/lib|/o.pl", &["perl", "</o.pl"]);
        check("perl|-e|/x", &["perl"]);
        check("php8.2|-d|a=b|-f|/o.php", &["php8.2", "</o.php"]);
        check("node|/o.js", &["node", "</o.js"]);
        check("node|--require|/x|/o.js", &["node"]);
        check("java|-Xmx1g|-cp|/x|-jar|/o.jar|y", &["java", "</o.jar"]);
        check("java|-cp|/x|Main", &["java"]);
        check("nice|-n|5|ionice|-c3|/opt/a", &["nice", "ionice", "/opt/a"]);
        check("timeout|-k|5|10|/opt/a", &["timeout", "/opt/a"]);
        check("", &[""]);
    }

    #[test]
    fn commands_in_circles_end() {
        let many = vec!["env".to_owned(); 100_000];
        assert_eq!(of_words(&many).len(), MAX_DEPTH + 1);
    }

    proptest! {
        #[test]
        fn no_words_make_the_reader_panic(
            words in proptest::collection::vec(
                "env|sh|bash|python3|php|java|timeout|nice|-[a-zA-Z]|--|-jar|/[a-z;&| ]*|[^x]*", 0..8)
        ) {
            of_words(&words);
            of_shell(&words.join(" "));
        }
    }
}
