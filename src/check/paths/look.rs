//! How the checks of paths find their way in a composed tree: links followed inside it, and what a dead end means.

use crate::tree::{Inode, Node, Tree};

/// The most symlinks followed in one path, as in Linux.
const MAX_LINKS: usize = 40;

/// What only a running system fills; what is not there in an image says nothing.
const VOLATILE: [&[u8]; 10] = [
    b"dev",
    b"proc",
    b"run",
    b"sys",
    b"tmp",
    b"var/cache",
    b"var/lock",
    b"var/run",
    b"var/tmp",
    // Names one machine; links to it wait for its first boot.
    b"etc/machine-id",
];

/// What belongs to a machine and its users: programs and administrators put there what an image lacks.
const MACHINE: [&[u8]; 6] = [b"home", b"media", b"mnt", b"root", b"srv", b"var"];

/// Content of `/var` that is copied to a machine at its first switch.
const FACTORY: &[u8] = b"usr/share/factory/";

/// Where a path leads, every symlink in it followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Walk<'a> {
    /// To this inode.
    Found(Vec<u8>, &'a Inode),
    /// Nowhere: this is the path that it would lead to, as far as it can be told.
    Lost(Vec<u8>),
    /// In circles: this is where it was given up.
    Loop(Vec<u8>),
}

/// Follows `path` inside the tree, as Linux does, from the real directory `dir`; an absolute path starts at the root.
pub(super) fn walk<'a>(tree: &'a Tree, dir: &[u8], path: &[u8]) -> Walk<'a> {
    let mut at = Vec::new();
    if !path.starts_with(b"/") {
        at.extend_from_slice(dir);
    }
    // Components still to walk, the next one last.
    let mut todo: Vec<&[u8]> = Vec::new();
    let mut links = 0;
    push(&mut todo, path);
    while let Some(name) = todo.pop() {
        match name {
            b"" | b"." => continue,
            b".." => {
                at.truncate(parent_len(&at));
                continue;
            }
            _ => {}
        }
        let up = at.len();
        descend(&mut at, name);
        match tree.get(&at).map(|inode| &inode.node) {
            Some(Node::Symlink { target }) => {
                links += 1;
                if links > MAX_LINKS {
                    return Walk::Loop(at);
                }
                at.truncate(if target.starts_with(b"/") { 0 } else { up });
                push(&mut todo, target);
            }
            Some(Node::Directory) => {}
            // A trailing slash and '.' and '..' ask for a directory too.
            Some(_) if todo.is_empty() => {}
            Some(_) | None => {
                for name in todo.iter().rev() {
                    match *name {
                        b"" | b"." => {}
                        b".." => at.truncate(parent_len(&at)),
                        name => descend(&mut at, name),
                    }
                }
                return Walk::Lost(at);
            }
        }
    }
    match tree.get(&at) {
        Some(inode) => Walk::Found(at, inode),
        None => Walk::Lost(at),
    }
}

fn push<'a>(todo: &mut Vec<&'a [u8]>, path: &'a [u8]) {
    todo.extend(path.split(|byte| *byte == b'/').rev());
}

fn descend(at: &mut Vec<u8>, name: &[u8]) {
    if !at.is_empty() {
        at.push(b'/');
    }
    at.extend_from_slice(name);
}

fn parent_len(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}

/// Returns the directory of a path, "" for what stands in the root.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    &path[..parent_len(path)]
}

/// Returns the last component of a path.
pub(super) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Says whether `path` is `dir` or lies below it.
pub(super) fn within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Says whether a component of `path` is one of `names`.
pub(super) fn passes(path: &[u8], names: &[&[u8]]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| names.contains(&part))
}

/// Says whether only a running system has what is at `path`.
pub(super) fn is_volatile(path: &[u8]) -> bool {
    VOLATILE.iter().any(|dir| within(path, dir))
}

/// Says whether a machine or its users may have put something at `path` that the image lacks.
pub(super) fn is_of_machine(path: &[u8]) -> bool {
    MACHINE.iter().any(|dir| within(path, dir))
}

/// Says whether the image brings what is missing at `path` of `/var` as factory content.
pub(super) fn comes_from_factory(tree: &Tree, path: &[u8]) -> bool {
    within(path, b"var") && matches!(walk(tree, b"", &[FACTORY, path].concat()), Walk::Found(..))
}

/// What keeps a program from being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoProgram {
    /// It is not there; the path that it should have, links followed.
    Missing(Vec<u8>),
    /// What is there is no file that may be executed.
    NotExecutable(Vec<u8>),
}

impl NoProgram {
    /// Says what is wrong, after the name of the program.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "does not exist",
            Self::NotExecutable(_) => "is not an executable file",
        }
    }

    /// Says whether a running system may have the program all the same.
    pub(super) fn may_appear(&self) -> bool {
        match self {
            Self::Missing(at) => is_volatile(at) || is_of_machine(at),
            Self::NotExecutable(_) => false,
        }
    }
}

/// Looks whether the program at an absolute path can be started: a regular file that somebody may execute.
pub(super) fn program(tree: &Tree, path: &[u8]) -> Result<Vec<u8>, NoProgram> {
    match walk(tree, b"", path) {
        Walk::Found(at, inode) if inode.object().is_some() && inode.mode & 0o111 != 0 => Ok(at),
        Walk::Found(at, _) => Err(NoProgram::NotExecutable(at)),
        Walk::Lost(at) if comes_from_factory(tree, &at) => Ok(at),
        Walk::Lost(at) | Walk::Loop(at) => Err(NoProgram::Missing(at)),
    }
}

/// Looks for a program by name in these directories, as execvp(3) does.
pub(super) fn search(tree: &Tree, dirs: &[&str], name: &[u8]) -> Result<Vec<u8>, NoProgram> {
    let at = |dir: &&str| program(tree, &[dir.as_bytes(), b"/", name].concat()).ok();
    dirs.iter()
        .find_map(at)
        .ok_or_else(|| NoProgram::Missing(name.to_vec()))
}

/// Joins a directory and a name in it.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    descend(&mut path, name);
    path
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::Image;

    #[test]
    fn a_path_leads_to_what_linux_finds_or_says_where_it_ends() {
        let image = Image::new()
            .link("lib", "usr/lib")
            .link("var/run", "/run")
            .file("usr/lib/a/file", b"")
            .link("usr/lib/rel", "a/../a/./file")
            .link("usr/lib/gone", "../../../../opt/x/../y")
            .link("usr/lib/loop", "loop")
            .link("usr/lib/under", "a/file/x");
        let check = |path: &str, expect: Result<&str, &str>| {
            let found = match walk(&image.tree, b"usr/lib", path.as_bytes()) {
                Walk::Found(at, _) => Ok(at),
                Walk::Lost(at) | Walk::Loop(at) => Err(at),
            };
            let expect = expect.map(str::as_bytes).map_err(str::as_bytes);
            assert_eq!(found.as_deref().map_err(|e| e.as_slice()), expect, "{path}");
        };
        check("", Ok("usr/lib"));
        check("a/file", Ok("usr/lib/a/file"));
        check("/lib/rel", Ok("usr/lib/a/file"));
        check("../../../../lib//rel", Ok("usr/lib/a/file"));
        check("a/file/", Err("usr/lib/a/file"));
        check("a/file/.", Err("usr/lib/a/file"));
        check("gone", Err("opt/y"));
        check("under", Err("usr/lib/a/file/x"));
        check("loop", Err("usr/lib/loop"));
        check("/var/run/x/y", Err("run/x/y"));
        check("none", Err("usr/lib/none"));
    }
}
