//! What a command line starts: a program, and the program or file that this one is told to run.

mod account;
mod builtins;
mod config;
mod interpreter;

use builtins::BUILTINS;
use interpreter::{java_archive, modules, script};

use super::accounts::Accounts;
use super::lookup::{self, Lookup};
use super::shell::{self, UNKNOWN};
use super::unit_problems::PATH;
use crate::tree::Tree;

/// How often a command may start another one before the rest is left alone.
const MAX_DEPTH: usize = 8;

/// The language of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::check) enum ModuleOf {
    /// `python3 -m NAME`
    Python,
    /// `perl -MNAME`
    Perl,
}

/// What a command needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum Wanted {
    /// A program, by absolute path or by name.
    Program(String),
    /// A file that a program runs, by absolute path.
    File(String),
    /// A file of configuration that a program is told to read, by absolute path.
    Config(String),
    /// A user that the command runs as, or gives something to.
    User(String),
    /// A group, likewise.
    Group(String),
    /// A module that an interpreter is told to load: its language, the interpreter, its name. The
    /// checks of imports look for it.
    Module(ModuleOf, String, String),
}

impl Wanted {
    /// Returns what is wanted as it is named.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Program(name)
            | Self::File(name)
            | Self::Config(name)
            | Self::User(name)
            | Self::Group(name)
            | Self::Module(_, _, name) => name,
        }
    }

    /// Returns what ends the id of a problem with it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::User(name) => format!("user:{name}"),
            Self::Group(name) => format!("group:{name}"),
            other => other.name().to_owned(),
        }
    }

    /// Says what a file does that wants it, before the word "which".
    pub(super) fn verb(&self, shown: &str) -> String {
        match self {
            Self::Program(_) | Self::File(_) => format!("runs '{shown}'"),
            Self::Config(_) => format!("has a program read '{shown}'"),
            Self::User(_) => format!("names the user '{shown}'"),
            Self::Group(_) => format!("names the group '{shown}'"),
            Self::Module(..) => format!("has the module '{shown}' run"),
        }
    }

    /// Says what is wrong with it in a tree, after the word "which"; `None` where nothing is, or
    /// where only a running system, a machine or its users can tell. Accounts are those of
    /// [`fault_of`](Self::fault_of).
    pub(super) fn fault(&self, tree: &Tree) -> Option<&'static str> {
        let name = self.name();
        if name.contains(UNKNOWN) || name.is_empty() {
            return None;
        }
        let found = match self {
            Self::User(_) | Self::Group(_) | Self::Module(..) => return None,
            Self::File(path) | Self::Config(path) => return missing_file(tree, path),
            Self::Program(path) if path.starts_with('/') => lookup::program(tree, path.as_bytes()),
            Self::Program(path) if path.contains('/') => return None,
            Self::Program(name) => lookup::search(tree, &PATH, name.as_bytes()),
        };
        let error = found.err().filter(|error| !error.may_appear())?;
        Some(error.reason())
    }

    /// The same, of accounts besides.
    pub(super) fn fault_of(&self, tree: &Tree, accounts: &Accounts) -> Option<&'static str> {
        let is_lost = match self {
            Self::User(name) => !accounts.has_user(name),
            Self::Group(name) => !accounts.has_group(name),
            _ => return self.fault(tree),
        };
        is_lost.then_some("is neither in /etc nor in sysusers.d")
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
        "" => {
            let (accounts, starts) = account::accounts(name, rest);
            found.extend(accounts);
            if let Some(at) = starts {
                return add_words(&rest[at..], depth + 1, found);
            }
            let files = config::files(name, rest).into_iter();
            let known = files.filter(|path| !path.contains(UNKNOWN));
            found.extend(known.map(|path| Wanted::Config(path.to_owned())));
        }
        family => {
            add_file(script(family, rest), found);
            found.extend(modules(program, family, rest));
        }
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
            Wanted::Config(path) => format!("={path}"),
            Wanted::User(name) => format!("u:{name}"),
            Wanted::Group(name) => format!("g:{name}"),
            Wanted::Module(of, _, name) => format!("{of:?}:{name}"),
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
    fn modules_that_an_interpreter_is_told_to_load_are_told() {
        check("python3|-m|app.main|x", &["python3", "Python:app.main"]);
        check("python3|-u|-W|x|-Im|app", &["python3", "Python:app"]);
        check("python3|-mapp", &["python3", "Python:app"]);
        check("python3|-c|x|-m|app", &["python3"]);
        check("python3|/o.py|-m|app", &["python3", "</o.py"]);
        check(
            "perl|-MJSON|-wMList::Util=sum|-M-strict|-mA|-e|x|-MNo",
            &["perl", "Perl:JSON", "Perl:A"],
        );
        check("perl|-I/lib|-MJSON|-e|x", &["perl"]);
    }

    #[test]
    fn accounts_that_a_command_is_told_are_told() {
        check(
            "runuser|-u|app|-g|web|--|/opt/a|-u|x",
            &["runuser", "u:app", "g:web", "/opt/a"],
        );
        check("runuser|-|app", &["runuser"]);
        check("sudo|-n|-u|app|-h|x|/opt/a", &["sudo", "u:app", "/opt/a"]);
        check(
            "setpriv|--reuid=app|--regid|web|--clear-groups|/opt/a",
            &["setpriv", "u:app", "g:web", "/opt/a"],
        );
        check(
            "install|-d|-o|app|-m|700|/run/a|--group=web",
            &["install", "u:app", "g:web"],
        );
        check("chown|-R|app:web|/run/a", &["chown", "u:app", "g:web"]);
        check("chown|app|/run/a", &["chown", "u:app"]);
        check("chown|--reference=/a|b", &["chown"]);
        check("chgrp|web|/run/a", &["chgrp", "g:web"]);
        check("chown|0:0|/run/a", &["chown"]);
    }

    #[test]
    fn files_of_configuration_that_a_program_is_told_are_told() {
        check("/x|--config=/etc/a", &["/x", "=/etc/a"]);
        check("/x|--conf-file|/etc/a|-z", &["/x", "=/etc/a"]);
        check(
            "/x|-c|/etc/a.conf|-f|/opt/b.yml",
            &["/x", "=/etc/a.conf", "=/opt/b.yml"],
        );
        check("/x|-c|/etc/a|--log=/etc/b.conf", &["/x"]);
        check("/x|--config=/var/a|--config-dir=/etc/a/", &["/x"]);
        check("test|-f|/etc/a.conf", &["test"]);
        check(
            "/x|--web.config.file=/etc/a|-Conf_File|/opt/b",
            &["/x", "=/etc/a", "=/opt/b"],
        );
        check("/x|--force-confold|/etc/a|--no-config|/etc/b", &["/x"]);
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
                "env|sh|bash|python3|perl|php|java|timeout|nice|runuser|sudo|chown|-[a-zA-Z]|--|-jar|-m|-M[A-Z:]*|--conf=?|/[a-z;&| ]*|[^x]*", 0..8)
        ) {
            of_words(&words);
            of_shell(&words.join(" "));
        }
    }
}
