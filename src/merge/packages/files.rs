//! Where the files of packages are: lists of paths, diversions, and the links of an image that lead
//! elsewhere.

use std::collections::{HashMap, HashSet};

use crate::layout::{self, FACTORY, OnMissing, Resolution, SYSIMAGE, join, parent};
use crate::packages::Diversions;
use crate::path::RelPath;
use crate::tree::{Inode, Node};

/// What is at a path on one side.
pub(super) type InodeLookup<'s> = &'s dyn Fn(&[u8]) -> Option<&'s Inode>;

/// Finds the places of listed paths on one side; directories are resolved once.
pub(super) struct FileLocator<'s> {
    at: InodeLookup<'s>,
    diversions: &'s Diversions<'s>,
    directories: HashMap<Vec<u8>, Option<RelPath>>,
}

impl<'s> FileLocator<'s> {
    pub(super) fn new(at: InodeLookup<'s>, diversions: &'s Diversions<'s>) -> Self {
        Self {
            at,
            diversions,
            directories: HashMap::new(),
        }
    }

    /// Calls `found` with each place that a path of `list`, the list of `package`, may be at, and
    /// the path as listed.
    pub(super) fn each(
        &mut self,
        list: &[u8],
        package: &[u8],
        found: &mut dyn FnMut(RelPath, &[u8]),
    ) {
        let lines = || list.split(|byte| *byte == b'\n');
        let directories: HashSet<&[u8]> = lines().map(parent).collect();
        for line in lines() {
            let path = self.diversions.follow(line, package);
            let Some(path) = path.strip_prefix(b"/") else {
                continue;
            };
            // As in dpkg: a listed directory may be a link on the system, and that link does not
            // belong to the package.
            let place = if directories.contains(line) {
                resolve(self.at, path)
            } else {
                self.place(path)
            };
            let Some(place) = place.filter(|place| !self.is_frame(place)) else {
                continue;
            };
            if place.starts_with(b"var") {
                // Settling moves what is below /var, and may leave a link.
                for home in [SYSIMAGE, FACTORY] {
                    if let Ok(moved) = RelPath::new(&join(home.as_bytes(), place.as_bytes())) {
                        found(moved, line);
                    }
                }
            }
            found(place, line);
        }
    }

    /// Says whether a path is the root, or a directory or link in it, as `/lib` and `/opt`: those
    /// stay, whoever lists them.
    fn is_frame(&self, path: &RelPath) -> bool {
        let is_frame = |inode: &Inode| matches!(inode.node, Node::Directory | Node::Symlink { .. });
        !path.as_bytes().contains(&b'/') && (self.at)(path.as_bytes()).is_some_and(is_frame)
    }

    /// Follows the links of the directories of a path, not one at its end; the root has no place.
    fn place(&mut self, path: &[u8]) -> Option<RelPath> {
        let directory = parent(path);
        let name = path.rsplit(|byte| *byte == b'/').next()?;
        if matches!(name, b"" | b"." | b"..") {
            return None;
        }
        if let Some(known) = self.directories.get(directory) {
            return known.as_ref()?.join(name).ok();
        }
        let resolved = resolve(self.at, directory);
        let place = resolved.as_ref().and_then(|dir| dir.join(name).ok());
        self.directories.insert(directory.to_vec(), resolved);
        place
    }
}

/// Follows symlinks inside the image; what is not there (yet) stays as it is written.
fn resolve(at: InodeLookup<'_>, path: &[u8]) -> Option<RelPath> {
    let look = |path: &[u8]| at(path).map(|inode| inode.node.entry_kind());
    match layout::walk(&look, b"", path, OnMissing::AssumeDirectory) {
        Resolution::Found(at) => RelPath::new(&at).ok(),
        Resolution::Lost(_) | Resolution::Loop(_) => None,
    }
}

/// Returns the Python source that the byte code at `path` was made of, as py3compile(1) places it.
pub(super) fn source_of_bytecode(path: &RelPath) -> Option<RelPath> {
    let cache = path.parent().filter(|dir| dir.name() == b"__pycache__")?;
    let name = path.name();
    let stem = &name[..name.iter().position(|byte| *byte == b'.')?];
    let is_bytecode = name.ends_with(b".pyc");
    is_bytecode.then(|| cache.parent()?.join(&[stem, b".py"].concat()).ok())?
}

/// Replaces the lines of some packages in a file of dpkg's `triggers` directory by those that
/// `from` has of them.
///
/// A line ends with the package, as `info` has its name, and perhaps `/noawait`
/// (lib/dpkg/trigdeferred.l, trignote.c).
pub(super) fn swap_interests(file: &[u8], from: &[u8], is_one: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    let package = |line: &'_ [u8]| -> Vec<u8> {
        let word = line.rsplit(|byte| *byte == b' ').next().unwrap_or(line);
        let end = word.iter().position(|byte| *byte == b'/');
        word[..end.unwrap_or(word.len())].to_vec()
    };
    let lines = |file| <[u8]>::split_inclusive(file, |byte: &u8| *byte == b'\n');
    let theirs = lines(file).filter(|line| !is_one(&package(line.trim_ascii_end())));
    let ours = lines(from).filter(|line| is_one(&package(line.trim_ascii_end())));
    theirs.chain(ours).flatten().copied().collect()
}
