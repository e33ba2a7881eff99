//! What configuration is judged against: the files, programs and accounts of one tree.

use crate::check::paths::accounts::Accounts;
use crate::check::paths::lookup::{self, Lookup};
use crate::check::paths::shell::UNKNOWN;
use crate::glob::{GlobSyntax, name_matches};
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Node, Tree};

/// What is larger than this, in bytes, is no configuration that people write.
const MAX_SIZE: u64 = 4 << 20;

/// The most directories and names that one pattern may lead to.
const MAX_MATCHES: usize = 100_000;

/// One tree with its accounts.
pub(super) struct Image<'a> {
    pub(super) tree: &'a Tree,
    pub(super) view: &'a dyn ImageView,
    pub(super) accounts: &'a Accounts,
}

impl Image<'_> {
    /// Returns the regular file that a path leads to, links followed.
    pub(super) fn file(&self, path: &[u8]) -> Option<RelPath> {
        match lookup::walk(self.tree, b"", path) {
            Lookup::Found(at, inode) if inode.object().is_some() => RelPath::new(&at).ok(),
            _ => None,
        }
    }

    /// Says whether there is an entry of this absolute path, be it a link that leads nowhere.
    pub(super) fn has_entry(&self, path: &str) -> bool {
        let path = path.as_bytes();
        match lookup::walk(self.tree, b"", lookup::parent(path)) {
            Lookup::Found(dir, _) => {
                let at = lookup::join(&dir, lookup::name(path));
                self.tree.get(&at).is_some()
            }
            _ => false,
        }
    }

    /// Returns the text of the regular file that a path leads to; nothing if there is none, or it
    /// is far too large. Bytes that are no text become U+FFFD, and no name that holds one is
    /// judged.
    pub(super) fn text(&self, path: &[u8]) -> Result<String, ViewError> {
        match lookup::walk(self.tree, b"", path) {
            Lookup::Found(at, inode) => match inode.node {
                Node::File { size, .. } if size <= MAX_SIZE => {
                    Ok(String::from_utf8_lossy(&self.view.read(&at)?).into_owned())
                }
                _ => Ok(String::new()),
            },
            _ => Ok(String::new()),
        }
    }

    /// Returns the names of what is in a directory, links to it followed, in their order.
    pub(super) fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        match lookup::walk(self.tree, b"", dir) {
            Lookup::Found(at, inode) if inode.is_dir() => {
                self.tree.names(&at).map(<[u8]>::to_vec).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the regular files in a directory whose own names `keep` takes, links followed, in
    /// the order of their names.
    pub(super) fn files(&self, dir: &[u8], keep: impl Fn(&[u8]) -> bool) -> Vec<RelPath> {
        let names = self.names(dir).into_iter().filter(|name| keep(name));
        names
            .filter_map(|name| self.file(&lookup::join(dir, &name)))
            .collect()
    }

    /// Returns the files in `dirs`, of which an earlier one overrides later ones of the same name.
    pub(super) fn overriding(&self, dirs: &[&[u8]], suffix: &[u8]) -> Vec<RelPath> {
        let mut seen = std::collections::BTreeSet::new();
        let mut files = Vec::new();
        for dir in dirs {
            for name in self.names(dir) {
                if name.ends_with(suffix) && seen.insert(name.clone()) {
                    files.extend(self.file(&lookup::join(dir, &name)));
                }
            }
        }
        files
    }

    /// Says whether nothing is at an absolute path, and nothing will be when the image runs.
    pub(super) fn lacks(&self, path: &str) -> bool {
        match lookup::walk(self.tree, b"", path.as_bytes()) {
            Lookup::Found(..) => false,
            Lookup::Lost(at) => !path.contains(UNKNOWN) && !lookup::may_appear(self.tree, &at),
            Lookup::Loop(_) => true,
        }
    }

    /// Says what is wrong where a program reads a file, after the word "which": [`Image::lacks`]
    /// it, or a directory is there.
    pub(super) fn file_fault(&self, path: &str) -> Option<&'static str> {
        match lookup::walk(self.tree, b"", path.as_bytes()) {
            Lookup::Found(_, inode) => inode.is_dir().then_some("is a directory"),
            _ => self.lacks(path).then_some("does not exist"),
        }
    }

    /// Says whether a program is there, by its path without a leading slash.
    pub(super) fn has_program(&self, path: &str) -> bool {
        lookup::program(self.tree, path.as_bytes()).is_ok()
    }

    /// Says whether nobody makes this user; a name that nobody can read is not judged.
    pub(super) fn lacks_user(&self, name: &str) -> bool {
        is_name(name) && !self.accounts.has_user(name)
    }

    /// The same for a group.
    pub(super) fn lacks_group(&self, name: &str) -> bool {
        is_name(name) && !self.accounts.has_group(name)
    }

    /// Returns what an absolute pattern of glob(7) leads to, sorted; dangling links in the last
    /// place are left out.
    pub(super) fn glob(&self, pattern: &str) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = vec![Vec::new()];
        let parts = pattern.split('/').filter(|part| !part.is_empty());
        for part in parts {
            let mut next = Vec::new();
            for dir in &found {
                if !has_magic(part) {
                    next.push(lookup::join(dir, part.as_bytes()));
                    continue;
                }
                let is_it = |name: &Vec<u8>| name_matches(part.as_bytes(), name, GlobSyntax::Shell);
                let names = self.names(dir).into_iter().filter(is_it);
                next.extend(names.map(|name| lookup::join(dir, &name)));
            }
            next.truncate(MAX_MATCHES);
            found = next;
        }
        let is_there = |path: &Vec<u8>| {
            !path.is_empty() && matches!(lookup::walk(self.tree, b"", path), Lookup::Found(..))
        };
        found.retain(is_there);
        found
    }
}

/// Says whether a pattern is more than a name.
pub(super) fn has_magic(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Says whether a word can be the name of an account: no specifier, no variable, no broken text.
fn is_name(name: &str) -> bool {
    let is_odd =
        |c: char| c.is_whitespace() || c.is_control() || c == UNKNOWN || "%${}\"'\\:".contains(c);
    !name.is_empty() && !name.contains(is_odd)
}

/// Returns the lines of a text without comments, blank ones left out; a backslash at the end of a
/// line joins it with the next one.
pub(super) fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = String::new();
    for line in text.lines() {
        if pending.is_empty() && line.trim_start().starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(start) => {
                pending.push_str(start);
                pending.push(' ');
            }
            None => {
                pending.push_str(line);
                lines.push(std::mem::take(&mut pending));
            }
        }
    }
    lines.push(pending);
    lines.retain(|line| !line.trim().is_empty());
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing;

    #[test]
    fn patterns_lead_through_links_to_what_is_there() {
        let image = testing::Image::new()
            .file("etc/a/x.conf", b"")
            .file("etc/a/.hidden.conf", b"")
            .file("etc/b/y.conf", b"")
            .link("etc/c", "b")
            .link("etc/a/gone.conf", "nowhere");
        let accounts = Accounts::default();
        let image = Image {
            tree: &image.tree,
            view: &image.view,
            accounts: &accounts,
        };
        let glob = |pattern: &str| -> Vec<String> {
            let found = image.glob(pattern).into_iter();
            found.map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(
            glob("/etc/*/*.conf"),
            ["etc/a/x.conf", "etc/b/y.conf", "etc/c/y.conf"]
        );
        assert_eq!(glob("/etc/c/[xy].conf"), ["etc/c/y.conf"]);
        assert_eq!(glob("//etc//b//y.conf"), ["etc/b/y.conf"]);
        assert_eq!(glob("/etc/a/gone.conf"), [""; 0]);
        assert_eq!(glob(""), [""; 0]);
        assert_eq!(glob("/none/*"), [""; 0]);
    }

    #[test]
    fn lines_lose_their_comments_and_are_joined() {
        let lines = logical_lines("# a\\\nb \\\n# c\nd\n\n  # e\n f\\");
        assert_eq!(lines, ["b  # c", "d", " f "]);
    }
}
