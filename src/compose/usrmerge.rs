//! Links of the merged `/usr`: what a layer puts in their place hides every program and library
//! that others know by them.

use super::composition::Composition;
use super::member::Member;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::{SYSIMAGE, within};
use crate::path::{RelPath, escape};
use crate::tree::{Inode, Node, Tree};

/// What the image brings below these is for people and tools of packaging.
const PAPER: [&[u8]; 3] = [b"usr/share/doc", b"usr/share/man", b"usr/src"];

/// Finds links to directories that a layer has replaced by something else: `merged:PATH`. An
/// archive that is unpacked over the root does so with `/bin`, `/lib` and `/lib64`.
pub(super) fn replaced_links(composition: &Composition, members: &[Member]) -> Vec<Problem> {
    let tree = &composition.tree;
    let mut problems: Vec<Problem> = Vec::new();
    for (number, member) in members.iter().enumerate().skip(1) {
        for (path, change) in member.changeset.iter() {
            let Some(Node::Symlink { target }) = change.pre.as_ref().map(|inode| &inode.node)
            else {
                continue;
            };
            let is_last = match &change.post {
                Some(_) => composition.origin.get(path) == Some(&number),
                None => true,
            };
            let is_top = !path.as_bytes().contains(&b'/');
            if is_last && (is_top || !is_paper(path)) && hides(tree, path, target, is_top) {
                problems.push(problem(path, target, tree.get(path.as_bytes())));
            }
        }
    }
    problems
}

fn is_paper(path: &RelPath) -> bool {
    PAPER.iter().any(|dir| within(path.as_bytes(), dir))
}

/// Says whether names below `path` lead elsewhere than the link to `target` led them.
fn hides(tree: &Tree, path: &RelPath, target: &[u8], is_top: bool) -> bool {
    let parent = path.parent().unwrap_or_default();
    let absolute = match target.strip_prefix(b"/") {
        Some(rest) => rest.to_vec(),
        None => [parent.as_bytes(), b"/", target].concat(),
    };
    let Some(before) = tree.resolve(&absolute) else {
        return false;
    };
    if !tree.get(before.as_bytes()).is_some_and(Inode::is_dir) {
        return false;
    }
    match tree.get(path.as_bytes()) {
        // A link of the root that is gone takes everything with it, and so does one that leads from
        // `/var` into the image. Elsewhere a layer may take away what it does not want.
        None => is_top || within(before.as_bytes(), SYSIMAGE.as_bytes()),
        // Packages move directories, and their links with them.
        Some(inode) if !is_top && matches!(inode.node, Node::Symlink { .. }) => false,
        Some(_) => tree.resolve(path.as_bytes()).as_ref() != Some(&before),
    }
}

fn problem(path: &RelPath, target: &[u8], now: Option<&Inode>) -> Problem {
    let target = escape(target);
    let what = match now {
        None => "is gone".to_owned(),
        Some(inode) if inode.is_dir() => "is a directory now".to_owned(),
        Some(inode) => format!("is a {} now", inode.node.kind()),
    };
    Problem {
        id: FindingKind::Merged.at(path),
        subject: Subject::Path(path.clone()),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!(
            "'{path}' was a link to '{target}' and {what}: nothing of '{target}' is found by that name any more"
        ),
        hint: match now {
            None => format!("leave the link, or remove what is in '{target}' with it"),
            Some(_) => format!(
                "put the files into '{target}' itself; `tar --keep-directory-symlink` unpacks an archive through such links"
            ),
        },
    }
}
