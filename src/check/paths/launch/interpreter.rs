//! What an interpreter is told to run.

use super::{ModuleOf, Wanted};

/// Returns the script that an interpreter is told to run; `None` where it runs something else, or
/// that cannot be told.
pub(super) fn script<'a>(family: &str, words: &'a [String]) -> Option<&'a String> {
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
pub(super) fn java_archive(words: &[String]) -> Option<&String> {
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

/// Returns the modules that an interpreter is told to load: `python3 -m NAME`, `perl -MNAME`.
pub(super) fn modules(program: &str, family: &str, words: &[String]) -> Vec<Wanted> {
    let wanted = |of: ModuleOf, name: &str| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        let is_name = !name.is_empty() && name.chars().all(is_of_name);
        is_name.then(|| Wanted::Module(of, program.to_owned(), name.to_owned()))
    };
    match family {
        "python" => {
            let name = python_module(words);
            name.and_then(|name| wanted(ModuleOf::Python, name))
                .into_iter()
                .collect()
        }
        "perl" => {
            let names = perl_modules(words).into_iter();
            names
                .filter_map(|name| wanted(ModuleOf::Perl, name))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the module of `-m`, which ends the options of Python.
fn python_module(words: &[String]) -> Option<&str> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let flags = word.strip_prefix('-').filter(|flags| !flags.is_empty())?;
        match flags.split_once('m') {
            Some((before, rest)) if before.chars().all(|c| "BbdEiIOPqRsSuvx".contains(c)) => {
                return match rest {
                    "" => words.get(at).map(String::as_str),
                    rest => Some(rest),
                };
            }
            _ if matches!(flags, "W" | "X") => at += 1,
            _ if flags.starts_with(['W', 'X']) => {}
            _ if flags.chars().all(|c| "BbdEiIOPqRsSuvx".contains(c)) => {}
            _ => return None,
        }
    }
    None
}

/// Returns the modules of `-M` and `-m`; none where perl is told to search elsewhere.
fn perl_modules(words: &[String]) -> Vec<&str> {
    let options = words.iter().map_while(|word| word.strip_prefix('-'));
    let mut found = Vec::new();
    for option in options {
        if option.starts_with('I') {
            return Vec::new();
        }
        if let Some(name) = option.strip_prefix(['M', 'm']) {
            let name = name.split('=').next().unwrap_or_default();
            // `-M-strict` is `no strict`.
            if !name.starts_with('-') {
                found.push(name);
            }
        }
        // What follows is the program's text.
        if option == "-" || option.ends_with(['e', 'E']) && !option.starts_with(['M', 'm']) {
            break;
        }
    }
    found
}
