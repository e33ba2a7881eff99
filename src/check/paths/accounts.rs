//! The users and groups that services may name.

use std::collections::BTreeSet;

use super::lookup::{self, Lookup};
use super::unit_file;
use crate::layout::accounts::{GROUP, PASSWD};
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// Where systemd-sysusers(8) and nss-systemd(8) find accounts, links followed.
pub(super) const SYSUSERS: [&[u8]; 3] = [
    b"etc/sysusers.d",
    b"usr/local/lib/sysusers.d",
    b"usr/lib/sysusers.d",
];
const USERDB: [&[u8]; 3] = [b"etc/userdb", b"usr/local/lib/userdb", b"usr/lib/userdb"];

/// Names that exist in an image, or will exist after its first boot.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: BTreeSet<Vec<u8>>,
    groups: BTreeSet<Vec<u8>>,
}

impl Accounts {
    /// Reads the names of a tree.
    pub(super) fn of(tree: &Tree, view: &dyn ImageView) -> Result<Self, ViewError> {
        let mut accounts = Self::default();
        // systemd knows these two without any file.
        for name in [&b"root"[..], b"nobody"] {
            accounts.add_both(name);
        }
        accounts.groups.insert(b"nogroup".to_vec());
        accounts
            .users
            .extend(database(tree, view, PASSWD.as_bytes())?);
        accounts
            .groups
            .extend(database(tree, view, GROUP.as_bytes())?);
        for dir in SYSUSERS {
            for (path, _) in tree.below(dir) {
                if path.as_bytes().ends_with(b".conf") {
                    accounts.add_sysusers(&contents(tree, view, path.as_bytes())?);
                }
            }
        }
        for dir in USERDB {
            for (path, _) in tree.below(dir) {
                let name = path.name();
                accounts
                    .users
                    .extend(name.strip_suffix(b".user").map(<[u8]>::to_vec));
                accounts
                    .groups
                    .extend(name.strip_suffix(b".group").map(<[u8]>::to_vec));
            }
        }
        Ok(accounts)
    }

    fn add_both(&mut self, name: &[u8]) {
        self.users.insert(name.to_vec());
        self.groups.insert(name.to_vec());
    }

    /// Takes the names of sysusers.d(5): a user has a group of its name, a membership makes what it
    /// names.
    fn add_sysusers(&mut self, bytes: &[u8]) {
        for words in sysusers_lines(&String::from_utf8_lossy(bytes)) {
            let word = |n: usize| words.get(n).map_or("", String::as_str);
            match word(0).trim_end_matches(['!', '-']) {
                "u" => self.add_both(word(1).as_bytes()),
                "g" => {
                    self.groups.insert(word(1).into());
                }
                "m" => {
                    self.add_both(word(1).as_bytes());
                    self.groups.insert(word(2).into());
                }
                _ => {}
            }
        }
    }

    /// Says whether there is a user of this name, or it is a number.
    pub(super) fn has_user(&self, name: &str) -> bool {
        is_number(name) || self.users.contains(name.as_bytes())
    }

    /// Says whether there is a group of this name, or it is a number.
    pub(super) fn has_group(&self, name: &str) -> bool {
        is_number(name) || self.groups.contains(name.as_bytes())
    }
}

/// Returns the words of each line of sysusers.d(5) and tmpfiles.d(5).
pub(super) fn sysusers_lines(text: &str) -> impl Iterator<Item = Vec<String>> {
    let lines = text.lines().map(str::trim_start);
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(unit_file::words)
        .map(|words| words.into_iter().map(|word| word.text).collect())
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the first field of each line.
fn database(tree: &Tree, view: &dyn ImageView, path: &[u8]) -> Result<Vec<Vec<u8>>, ViewError> {
    let bytes = contents(tree, view, path)?;
    let names = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.iter().position(|byte| *byte == b':')?;
        Some(line[..end].to_vec())
    });
    Ok(names.collect())
}

/// Returns what the file that a path leads to holds; nothing, if there is none.
pub(super) fn contents(
    tree: &Tree,
    view: &dyn ImageView,
    path: &[u8],
) -> Result<Vec<u8>, ViewError> {
    match lookup::walk(tree, b"", path) {
        Lookup::Found(at, inode) if inode.object().is_some() => view.read(&at),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::Image;

    #[test]
    fn names_come_from_all_the_places_that_make_accounts() {
        let image = Image::new()
            .file("usr/etc/passwd", b"www:x:33:33::/:/bin/sh\nbroken\n")
            .link("etc/passwd", "../usr/etc/passwd")
            .file("etc/group", b"www:x:33:\nadm:x:4:\n")
            .file(
                "usr/lib/sysusers.d/a.conf",
                b"# x\nu alice - \"A B\"\nu! bob -\ng staff -\nm carol wheel\nu \"open\n",
            )
            .file("usr/lib/sysusers.d/README", b"u none -\n")
            .file("usr/lib/userdb/dave.user", b"{}");
        let accounts = Accounts::of(&image.tree, &image.view).unwrap();
        for (name, user, group) in [
            ("www", true, true),
            ("adm", false, true),
            ("alice", true, true),
            ("bob", true, true),
            ("staff", false, true),
            ("carol", true, true),
            ("wheel", false, true),
            ("dave", true, false),
            ("root", true, true),
            ("1000", true, true),
            ("none", false, false),
            ("broken", false, false),
            ("", false, false),
        ] {
            assert_eq!(accounts.has_user(name), user, "user {name}");
            assert_eq!(accounts.has_group(name), group, "group {name}");
        }
    }
}
