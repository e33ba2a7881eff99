//! How the checks of paths follow a path in a composed tree, and what a dead end means.

use crate::layout::{self, FACTORY, OnMissing};
use crate::tree::{Inode, Tree};

pub(in crate::check) use crate::layout::{join, name, parent, within};

/// What only a running system fills: nothing follows from what an image lacks here.
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

/// What belongs to a machine and its users: programs and administrators put there what an image
/// lacks.
const MACHINE: [&[u8]; 6] = [b"home", b"media", b"mnt", b"root", b"srv", b"var"];

/// Where a path leads, every symlink in it followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum Lookup<'a> {
    /// To this inode.
    Found(Vec<u8>, &'a Inode),
    /// Nowhere: the path that it would lead to, as far as known.
    Lost(Vec<u8>),
    /// In a circle: the place where the walk ended.
    Loop(Vec<u8>),
}

/// Follows `path` inside the tree, as Linux does, from the real directory `dir`; an absolute path
/// starts at the root.
pub(in crate::check) fn walk<'a>(tree: &'a Tree, dir: &[u8], path: &[u8]) -> Lookup<'a> {
    let look = |path: &[u8]| tree.get(path).map(|inode| inode.node.entry_kind());
    match layout::walk(&look, dir, path, OnMissing::LeadsNowhere) {
        layout::Resolution::Found(at) => match tree.get(&at) {
            Some(inode) => Lookup::Found(at, inode),
            None => Lookup::Lost(at),
        },
        layout::Resolution::Lost(at) => Lookup::Lost(at),
        layout::Resolution::Loop(at) => Lookup::Loop(at),
    }
}

/// Says whether a component of `path` is one of `names`.
pub(in crate::check) fn passes(path: &[u8], names: &[&[u8]]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| names.contains(&part))
}

/// Says whether only a running system has what is at `path`.
pub(in crate::check) fn is_volatile(path: &[u8]) -> bool {
    VOLATILE.iter().any(|dir| within(path, dir))
}

/// Says whether a machine or its users may have put something at `path` that the image lacks.
pub(in crate::check) fn is_of_machine(path: &[u8]) -> bool {
    MACHINE.iter().any(|dir| within(path, dir))
}

/// Says whether the image brings what is missing at `path` of `/var` as factory content.
pub(in crate::check) fn comes_from_factory(tree: &Tree, path: &[u8]) -> bool {
    within(path, b"var")
        && matches!(
            walk(tree, b"", &join(FACTORY.as_bytes(), path)),
            Lookup::Found(..)
        )
}

/// Says whether what is missing at `path` may be there all the same when the image runs.
pub(super) fn may_appear(tree: &Tree, path: &[u8]) -> bool {
    is_volatile(path) || is_of_machine(path) || comes_from_factory(tree, path)
}

/// What keeps a program from being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum ProgramError {
    /// It does not exist. The path is the one that it should have, links followed.
    Missing(Vec<u8>),
    /// Something else than an executable file is there.
    NotExecutable(Vec<u8>),
}

impl ProgramError {
    /// Says what is wrong, after the name of the program.
    pub(in crate::check) fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "does not exist",
            Self::NotExecutable(_) => "is not an executable file",
        }
    }

    /// Says whether a running system may have the program all the same.
    pub(in crate::check) fn may_appear(&self) -> bool {
        match self {
            Self::Missing(at) => is_volatile(at) || is_of_machine(at),
            Self::NotExecutable(_) => false,
        }
    }
}

/// Finds out whether the program at an absolute path can be started: a regular file that somebody
/// may execute.
pub(in crate::check) fn program(tree: &Tree, path: &[u8]) -> Result<Vec<u8>, ProgramError> {
    match walk(tree, b"", path) {
        Lookup::Found(at, inode) if inode.object().is_some() && inode.mode & 0o111 != 0 => Ok(at),
        Lookup::Found(at, _) => Err(ProgramError::NotExecutable(at)),
        Lookup::Lost(at) if comes_from_factory(tree, &at) => Ok(at),
        Lookup::Lost(at) | Lookup::Loop(at) => Err(ProgramError::Missing(at)),
    }
}

/// Looks for a program by name in these directories, as execvp(3) does.
pub(in crate::check) fn search(
    tree: &Tree,
    dirs: &[&str],
    name: &[u8],
) -> Result<Vec<u8>, ProgramError> {
    let at = |dir: &&str| program(tree, &[dir.as_bytes(), b"/", name].concat()).ok();
    dirs.iter()
        .find_map(at)
        .ok_or_else(|| ProgramError::Missing(name.to_vec()))
}
