//! A directory of this machine as an image.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use layerset::id::ObjectId;
use layerset::path::RelPath;
use layerset::tree::view::{FileFacts, ImageView, ViewError, ViewNode, join};
use layerset::tree::{Inode, Tree};

/// A directory of this machine as an image.
pub struct DirView(pub PathBuf);

impl DirView {
    /// Returns where a path of the image is on this machine.
    pub fn at(&self, path: &[u8]) -> PathBuf {
        self.0.join(std::ffi::OsStr::from_bytes(path))
    }

    /// Returns the tree of what is below some of its directories, without contents; what cannot be read is left out.
    pub fn tree(&self, dirs: &[&str]) -> Tree {
        let mut tree = Tree::new();
        let mut todo: Vec<Vec<u8>> = dirs.iter().map(|dir| dir.as_bytes().to_vec()).collect();
        while let Some(dir) = todo.pop() {
            for name in self.names(&dir) {
                let path = join(&dir, &name);
                let Ok(metadata) = std::fs::symlink_metadata(self.at(&path)) else {
                    continue;
                };
                let mode = (metadata.mode() & 0o7777) as u16;
                let inode = match self.node(&path) {
                    Some(ViewNode::Dir) => {
                        todo.push(path.clone());
                        Inode::directory(mode)
                    }
                    Some(ViewNode::File) => Inode::file(ObjectId::of(&path), metadata.len(), mode),
                    _ => continue,
                };
                tree.insert(RelPath::new(&path).unwrap(), inode);
            }
        }
        tree
    }
}

impl ImageView for DirView {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        let at = self.at(path);
        let kind = std::fs::symlink_metadata(&at).ok()?.file_type();
        Some(if kind.is_dir() {
            ViewNode::Dir
        } else if kind.is_file() {
            ViewNode::File
        } else if kind.is_symlink() {
            ViewNode::Symlink(std::fs::read_link(&at).ok()?.into_os_string().into_vec())
        } else {
            ViewNode::Other
        })
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.at(dir)).into_iter().flatten();
        let mut names: Vec<Vec<u8>> = entries
            .map(|entry| entry.unwrap().file_name().into_vec())
            .collect();
        names.sort();
        names
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        std::fs::read(self.at(path)).map_err(|source| ViewError::Read {
            path: String::from_utf8_lossy(path).into_owned(),
            source: source.into(),
        })
    }

    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        Ok(FileFacts::of(self.read(path)?.as_slice()))
    }
}
