//! What may become of a path that a layer changes.

use super::everybody::{FILES, PROGRAMS, is_apart, is_code, is_common, is_library, is_shared};
use crate::compose::standard::{is_spare, is_standard};
use crate::layout::parent;
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// Where services expect the directories of their packages.
const STATE: [&[u8]; 3] = [b"var/lib", b"var/log", b"var/spool"];
/// How the names of program interpreters start.
const LOADERS: [&[u8]; 3] = [b"ld-linux", b"ld.so.", b"ld64.so."];

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Gone,
    NotExecutable,
    Empty,
    /// Perhaps: only its content tells.
    Cut,
    Unreadable,
    Closed,
    /// A directory is in its place.
    Covered,
    /// Perhaps: only what it was tells.
    Replaced,
}

impl Fault {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Gone => "is gone",
            Self::NotExecutable => "is not executable any more",
            Self::Empty => "is empty",
            Self::Cut => "is cut off: only the start of it is left",
            Self::Unreadable => "can be read by its owner only: programs of others cannot use it",
            Self::Covered => "is a directory now",
            Self::Replaced => "was a program and is no such file now",
            Self::Closed => "can be entered by its owner only: nothing in it is found by others",
        }
    }

    /// Says whether somebody may want it for a program that nobody relies on.
    pub(super) fn is_wanted(self, path: &RelPath) -> bool {
        let is_off = matches!(
            self,
            Self::Gone | Self::NotExecutable | Self::Empty | Self::Replaced
        );
        is_off && PROGRAMS.contains(&parent(path.as_bytes()))
    }
}

/// Says what is wrong with a path that was `before`.
pub(super) fn fault(tree: &Tree, path: &RelPath, before: &Inode) -> Option<Fault> {
    let bytes = path.as_bytes();
    let dir = parent(bytes);
    let now = tree.get(bytes);
    let loses = |bits: u16| {
        let is_link = now.is_none_or(|now| matches!(now.node, Node::Symlink { .. }));
        !is_link && before.mode & bits == bits && now.is_some_and(|now| now.mode & bits != bits)
    };
    // Who gives it to a group says who is to have it.
    let is_for_all = is_shared(bytes) && now.is_some_and(|now| now.group == before.group);
    if before.is_dir() && now.is_none() {
        let is_state = STATE.contains(&dir);
        return is_state.then_some(Fault::Gone);
    }
    if before.is_dir() {
        let is_open = is_common(bytes) || is_for_all;
        return (is_open && now.is_some_and(Inode::is_dir) && loses(0o001))
            .then_some(Fault::Closed);
    }
    let starts = |inode: &Inode| inode.mode & 0o111 != 0;
    let is_file = |inode: &Inode| inode.object().is_some();
    let is_empty = |inode: &Inode| matches!(inode.node, Node::File { size: 0, .. });
    if PROGRAMS.contains(&dir) {
        let is_program = match &before.node {
            Node::Symlink { .. } => true,
            _ => is_file(before) && starts(before) && !is_empty(before),
        };
        let real = tree.resolve(bytes);
        let real = real.as_ref().and_then(|real| tree.get(real.as_bytes()));
        return match real {
            _ if !is_program => None,
            None => Some(Fault::Gone),
            // What a link leads to is another path.
            Some(_) if !is_file(before) => None,
            Some(real) if real.is_dir() => Some(Fault::Covered),
            Some(real) if !is_file(real) => Some(Fault::Gone),
            Some(real) if !starts(real) => Some(Fault::NotExecutable),
            Some(real) if is_empty(real) => Some(Fault::Empty),
            Some(real) if is_shorter(real, before) => Some(Fault::Cut),
            Some(real) if real.node != before.node => Some(Fault::Replaced),
            Some(_) => None,
        };
    }
    if is_file(before) && now.is_some_and(Inode::is_dir) {
        return (!is_apart(bytes)).then_some(Fault::Covered);
    }
    if now.is_none() {
        let is_lost = is_standard(bytes) || is_torn(tree, path);
        return (is_file(before) && is_lost).then_some(Fault::Gone);
    }
    let now = now.filter(|now| is_file(now) && is_file(before))?;
    if FILES.contains(&bytes) {
        return loses(0o004).then_some(Fault::Unreadable);
    }
    let is_library = bytes.starts_with(b"usr/lib") && is_library(path.name());
    if !is_library {
        let is_code = is_shared(bytes) && is_code(path.name());
        return match now {
            now if is_code && is_empty(now) && !is_empty(before) => Some(Fault::Empty),
            now if is_code && is_shorter(now, before) => Some(Fault::Cut),
            _ => (is_for_all && loses(0o004)).then_some(Fault::Unreadable),
        };
    }
    let is_loader = LOADERS.iter().any(|start| path.name().starts_with(start));
    if is_loader && starts(before) && !starts(now) {
        return Some(Fault::NotExecutable);
    }
    loses(0o004).then_some(Fault::Unreadable)
}

/// Says whether a module that is gone was taken out of the middle of others. Who wants to be rid of a
/// part takes its whole directory.
fn is_torn(tree: &Tree, path: &RelPath) -> bool {
    let bytes = path.as_bytes();
    let is_module = |name: &[u8]| is_code(name) && !name.ends_with(b".jar");
    is_shared(bytes)
        && is_module(path.name())
        && !is_spare(bytes)
        && tree.names(parent(bytes)).any(is_module)
}

/// Says whether another version of the package may do this to one of its files.
pub(super) fn is_for_package(path: &RelPath, fault: Fault) -> bool {
    let is_of_all = PROGRAMS.contains(&parent(path.as_bytes())) || is_library(path.name());
    matches!(fault, Fault::Cut | Fault::Covered | Fault::Replaced) || !is_of_all
}

fn is_shorter(now: &Inode, before: &Inode) -> bool {
    match (&now.node, &before.node) {
        (Node::File { size: now, .. }, Node::File { size: before, .. }) => now < before,
        _ => false,
    }
}
