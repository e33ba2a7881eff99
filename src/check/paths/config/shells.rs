//! Login shells: without its shell nobody logs in to an account.

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::accounts::{SYSUSERS, sysusers_lines};
use crate::check::paths::launch::Wanted;
use crate::check::{FindingKind, Weight};
use crate::layout::accounts::PASSWD;
use crate::layout::name;
use crate::path::RelPath;
use crate::tree::view::ViewError;

/// Programs that let nobody in: accounts that have them lose nothing.
const CLOSED: [&[u8]; 2] = [b"nologin", b"false"];

/// Where the shell of new accounts is set, and by which word.
const NEW: [(&[u8], &str); 2] = [
    (b"etc/adduser.conf", "DSHELL"),
    (b"etc/default/useradd", "SHELL"),
];

/// Finds accounts whose shell cannot be started: `account:PATH:NAME`. Accounts that nobody may log
/// in to are left out. The shell of new accounts weighs little.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if let Some(path) = image.file(PASSWD.as_bytes()) {
        let text = image.text(path.as_bytes())?;
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            // Lines of NIS, and comments, are no accounts.
            if let [user, _, _, _, _, _, shell] = fields.as_slice()
                && !user.starts_with(['+', '-', '#'])
            {
                judge(image, &path, user, shell, faults);
            }
        }
    }
    for path in image.overriding(&SYSUSERS, b".conf") {
        let text = image.text(path.as_bytes())?;
        for words in sysusers_lines(&text) {
            if let [kind, user, _, _, _, shell, ..] = words.as_slice()
                && kind.starts_with('u')
                && shell != "-"
            {
                judge(image, &path, user, shell, faults);
            }
        }
    }
    new_accounts(image, faults)
}

fn new_accounts(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    for (path, word) in NEW {
        let Some(path) = image.file(path) else {
            continue;
        };
        let text = image.text(path.as_bytes())?;
        let mut values = text
            .lines()
            .rev()
            .filter_map(|line| line.trim().split_once('='));
        let shell = values.find(|(key, _)| *key == word);
        let Some((_, shell)) = shell else {
            continue;
        };
        let shell = shell.trim_matches(['"', '\'']);
        if let Some(fault) = Wanted::Program(shell.to_owned()).fault(image.tree) {
            faults.add(
                FindingKind::Account,
                &path,
                word,
                Weight::Minor,
                &format!("gives new accounts the shell '{shell}', which {fault}"),
                "add the package of the shell, or give new accounts another one",
            );
        }
    }
    Ok(())
}

fn judge(image: &Image<'_>, path: &RelPath, user: &str, shell: &str, faults: &mut Faults) {
    let shell = match shell {
        "" => "/bin/sh",
        shell => shell,
    };
    if CLOSED.contains(&name(shell.as_bytes())) || !shell.starts_with('/') {
        return;
    }
    if let Some(fault) = Wanted::Program(shell.to_owned()).fault(image.tree) {
        faults.add(
            FindingKind::Account,
            path,
            user,
            Weight::Grave,
            &format!("gives '{user}' the shell '{shell}', which {fault}: nobody logs in to it"),
            "add the package of the shell, or give the account another shell",
        );
    }
}
