//! What lies in a directory, as the checks of paths look at it.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layerset::id::ObjectId;
use layerset::path::RelPath;
use layerset::tree::view::{FileFacts, ImageView, ViewError, ViewNode};
use layerset::tree::{Inode, Node, Tree};

/// A directory of this machine as an image.
pub struct DirView(pub PathBuf);

impl DirView {
    fn at(&self, path: &[u8]) -> PathBuf {
        self.0.join(std::ffi::OsStr::from_bytes(path))
    }
}

impl ImageView for DirView {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        let at = self.at(path);
        let kind = fs::symlink_metadata(&at).ok()?.file_type();
        Some(if kind.is_dir() {
            ViewNode::Dir
        } else if kind.is_file() {
            ViewNode::File
        } else if kind.is_symlink() {
            ViewNode::Symlink(fs::read_link(&at).ok()?.into_os_string().into_vec())
        } else {
            ViewNode::Other
        })
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.at(dir)).into_iter().flatten();
        let mut names: Vec<Vec<u8>> = entries
            .map(|entry| entry.unwrap().file_name().into_vec())
            .collect();
        names.sort();
        names
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        fs::read(self.at(path)).map_err(|source| ViewError::Read {
            path: String::from_utf8_lossy(path).into_owned(),
            source: source.into(),
        })
    }

    /// Reads the first lines only, which is all that a script is known by.
    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        let mut head = Vec::new();
        // An ordinary user may start what it cannot read.
        if let Ok(file) = fs::File::open(self.at(path)) {
            file.take(4096).read_to_end(&mut head).unwrap();
        }
        Ok(FileFacts::of(head.as_slice()))
    }
}

/// What an image has; the rest of a machine is its own.
const SYSTEM: [&[u8]; 11] = [
    b"", b"bin", b"boot", b"etc", b"lib", b"lib32", b"lib64", b"opt", b"sbin", b"usr", b"var",
];

/// Reads what the checks look at: kinds, modes and targets. Other filesystems are left out.
pub fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let device = fs::metadata(root).unwrap().dev();
    let mut todo = vec![RelPath::root()];
    while let Some(path) = todo.pop() {
        let at = root.join(path.as_path());
        // What is removed meanwhile is not there.
        let Ok(metadata) = fs::symlink_metadata(&at) else {
            continue;
        };
        let kind = metadata.file_type();
        let mode = (metadata.mode() & 0o7777) as u16;
        let inode = if kind.is_dir() {
            let top = path.as_bytes().split(|byte| *byte == b'/').next().unwrap();
            if metadata.dev() == device && SYSTEM.contains(&top) {
                for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
                    todo.push(path.join(entry.file_name().as_bytes()).unwrap());
                }
            }
            Inode::directory(mode)
        } else if kind.is_symlink() {
            let target = fs::read_link(&at).unwrap();
            let target = target.as_os_str().as_bytes().into();
            Inode::new(Node::Symlink { target }, mode)
        } else if kind.is_file() {
            Inode::file(ObjectId::of(path.as_bytes()), metadata.size(), mode)
        } else {
            Inode::new(Node::Fifo, mode)
        };
        tree.insert(path, inode);
    }
    tree
}
