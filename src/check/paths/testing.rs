//! A tree with the contents of its files, made by hand, for the tests of these checks.

use crate::elf::ElfClass;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::testing::{MemoryView, library};
use crate::tree::{Inode, Tree};

/// A tree and a view of it.
#[derive(Debug, Clone, Default)]
pub(in crate::check) struct Image {
    pub(in crate::check) tree: Tree,
    pub(in crate::check) view: MemoryView,
}

impl Image {
    pub(in crate::check) fn new() -> Self {
        Self::default()
    }

    fn put(mut self, path: &str, inode: Inode) -> Self {
        let path = RelPath::from_text(path).unwrap();
        let mut above = path.parent();
        while let Some(dir) = above {
            above = dir.parent();
            if self.tree.get(dir.as_bytes()).is_none() {
                self.tree.insert(dir, Inode::directory(0o755));
            }
        }
        self.tree.insert(path, inode);
        self
    }

    fn put_file(self, path: &str, contents: &[u8], mode: u16) -> Self {
        let object = ObjectId::of(contents);
        let mut image = self.put(path, Inode::file(object, contents.len() as u64, mode));
        image.view = image.view.file(path, contents);
        image
    }

    pub(in crate::check) fn dir(self, path: &str) -> Self {
        self.put(path, Inode::directory(0o755))
    }

    pub(in crate::check) fn link(self, path: &str, target: &str) -> Self {
        self.put(path, Inode::symlink(target))
    }

    pub(in crate::check) fn file(self, path: &str, contents: &[u8]) -> Self {
        self.put_file(path, contents, 0o644)
    }

    /// An executable script or file.
    pub(in crate::check) fn exec(self, path: &str, contents: &[u8]) -> Self {
        self.put_file(path, contents, 0o755)
    }

    /// An ELF program; in the tree it is empty, so that nobody looks for a first line in it.
    pub(in crate::check) fn program(self, path: &str) -> Self {
        let mut image = self.put(path, Inode::file(ObjectId::of(b"elf"), 0, 0o755));
        image.view = image.view.elf(path, library(62, ElfClass::Elf64, ""));
        image
    }
}

/// Asserts the ids of `problems`, grave ones with a `!` before.
pub(in crate::check) fn assert_ids(problems: &[crate::check::Problem], expect: &[&str]) {
    let ids: Vec<String> = problems.iter().map(marked).collect();
    assert_eq!(ids, expect, "{problems:#?}");
}

fn marked(problem: &crate::check::Problem) -> String {
    assert!(
        !problem.id.as_str().contains(char::is_whitespace),
        "{}",
        problem.id
    );
    match problem.weight {
        crate::check::Weight::Grave => format!("!{}", problem.id),
        crate::check::Weight::Minor => problem.id.to_string(),
    }
}
