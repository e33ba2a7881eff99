//! Whom a command runs as, and whom it gives files to.

use super::Wanted;

/// How a program names accounts, by its options.
struct Options {
    user: &'static [&'static str],
    group: &'static [&'static str],
    /// Other options that have a value of their own.
    with_value: &'static [&'static str],
    /// Whether a command may follow.
    starts: bool,
}

/// Returns the accounts that a program is told, by its name and its arguments, and where the command
/// begins that it starts.
pub(super) fn accounts(name: &str, words: &[String]) -> (Vec<Wanted>, Option<usize>) {
    let options = match name {
        "runuser" => Options {
            user: &["-u", "--user"],
            group: &["-g", "-G", "--group", "--supp-group"],
            with_value: &["-c", "-s", "-w", "-T"],
            starts: true,
        },
        "sudo" => Options {
            user: &["-u", "--user"],
            group: &["-g", "--group"],
            with_value: &["-C", "-D", "-h", "-p", "-r", "-R", "-t", "-T", "-U"],
            starts: true,
        },
        "setpriv" => Options {
            user: &["--reuid", "--ruid", "--euid"],
            group: &["--regid", "--rgid", "--egid"],
            with_value: &[
                "--groups",
                "--inh-caps",
                "--ambient-caps",
                "--bounding-set",
                "--securebits",
                "--pdeathsig",
            ],
            starts: true,
        },
        "install" => Options {
            user: &["-o", "--owner"],
            group: &["-g", "--group"],
            with_value: &["-m", "-S", "-t", "--mode", "--suffix", "--target-directory"],
            starts: false,
        },
        "chown" | "chgrp" => return (of_chown(name, words), None),
        _ => return (Vec::new(), None),
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if word == "--" {
            at += 1;
            break;
        }
        // Options of install may follow its files.
        if !word.starts_with('-') {
            if options.starts {
                break;
            }
            at += 1;
            continue;
        }
        at += 1;
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let (is_user, is_group) = (
            options.user.contains(&option),
            options.group.contains(&option),
        );
        if !(is_user || is_group || options.with_value.contains(&option)) {
            continue;
        }
        let value = value.or_else(|| {
            at += 1;
            words.get(at - 1).cloned()
        });
        let Some(value) = value.filter(|value| is_account(value)) else {
            continue;
        };
        if is_user {
            found.push(Wanted::User(value));
        } else if is_group {
            found.push(Wanted::Group(value));
        }
    }
    // Without a user, runuser takes one from what would be the command.
    let starts = options.starts && (name != "runuser" || !found.is_empty());
    (found, (starts && at < words.len()).then_some(at))
}

/// Reads `chown USER:GROUP FILE` and `chgrp GROUP FILE`.
fn of_chown(name: &str, words: &[String]) -> Vec<Wanted> {
    if words
        .iter()
        .any(|word| word.starts_with("--reference") || word.starts_with("--from"))
    {
        return Vec::new();
    }
    let Some(owner) = words.iter().find(|word| !word.starts_with('-')) else {
        return Vec::new();
    };
    let (user, group) = match owner.split_once(':') {
        _ if name == "chgrp" => ("", owner.as_str()),
        Some(both) => both,
        None => (owner.as_str(), ""),
    };
    let user = is_account(user).then(|| Wanted::User(user.to_owned()));
    let group = is_account(group).then(|| Wanted::Group(group.to_owned()));
    user.into_iter().chain(group).collect()
}

/// Says whether a word is the name of an account for certain.
fn is_account(word: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.chars().all(is_of_name)
}
