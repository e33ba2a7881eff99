//! An image in memory, for tests.

use std::collections::BTreeMap;

use super::view::{FileFacts, ImageView, ViewError, ViewNode, join, parent};
use crate::elf::{ByteOrder, ElfClass, ElfFacts, ElfKind};

#[derive(Debug, Clone)]
enum Node {
    Plain(ViewNode),
    File(Vec<u8>),
    Elf(Box<ElfFacts>),
    BrokenElf,
}

/// An image made by hand; directories appear with what is put in them.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryView {
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl MemoryView {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn put(mut self, path: &str, node: Node) -> Self {
        let mut dir = parent(path.as_bytes());
        while !dir.is_empty() {
            let plain = Node::Plain(ViewNode::Dir);
            self.nodes.entry(dir.to_vec()).or_insert(plain);
            dir = parent(dir);
        }
        self.nodes.insert(path.into(), node);
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.put(path, Node::Plain(ViewNode::Dir))
    }

    pub(crate) fn fifo(self, path: &str) -> Self {
        self.put(path, Node::Plain(ViewNode::Other))
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.put(path, Node::Plain(ViewNode::Symlink(target.into())))
    }

    pub(crate) fn file(self, path: &str, contents: &[u8]) -> Self {
        self.put(path, Node::File(contents.to_vec()))
    }

    pub(crate) fn broken_elf(self, path: &str) -> Self {
        self.put(path, Node::BrokenElf)
    }

    pub(crate) fn elf(self, path: &str, facts: ElfFacts) -> Self {
        self.put(path, Node::Elf(Box::new(facts)))
    }

    /// An amd64 library.
    pub(crate) fn lib(self, path: &str, soname: &str) -> Self {
        self.elf(path, library(62, ElfClass::Elf64, soname))
    }
}

/// The facts of a library; an empty soname stands for none.
pub(crate) fn library(machine: u16, class: ElfClass, soname: &str) -> ElfFacts {
    ElfFacts {
        class,
        order: ByteOrder::Little,
        machine,
        flags: 0,
        kind: ElfKind::Shared,
        dynamic: true,
        interp: None,
        soname: Some(soname.to_owned()).filter(|soname| !soname.is_empty()),
        needed: vec!["libc.so.6".to_owned()],
        rpath: None,
        runpath: None,
        nodeflib: false,
        version_needs: Vec::new(),
        version_defs: Vec::new(),
        abi_tag: None,
        x86_isa_needed: 0,
    }
}

impl ImageView for MemoryView {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        if path.is_empty() {
            return Some(ViewNode::Dir);
        }
        Some(match self.nodes.get(path)? {
            Node::Plain(node) => node.clone(),
            Node::File(_) | Node::Elf(_) | Node::BrokenElf => ViewNode::File,
        })
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        self.nodes
            .keys()
            .filter(|path| parent(path) == dir)
            .map(|path| path[join(dir, b"").len()..].to_vec())
            .collect()
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        match self.nodes.get(path) {
            Some(Node::File(contents)) => Ok(contents.clone()),
            _ => Err(ViewError::Read {
                path: String::from_utf8_lossy(path).into_owned(),
                source: "it is not a regular file".into(),
            }),
        }
    }

    fn computed(
        &self,
        path: &[u8],
        _kind: &'static str,
        compute: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, ViewError> {
        match self.nodes.get(path) {
            // It has facts and no content.
            Some(Node::Elf(_) | Node::BrokenElf) => Ok(compute(b"")),
            _ => Ok(compute(&self.read(path)?)),
        }
    }

    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        match self.nodes.get(path) {
            Some(Node::Elf(facts)) => Ok(FileFacts::Elf(facts.clone())),
            Some(Node::BrokenElf) => Ok(FileFacts::BrokenElf("cut short".to_owned())),
            _ => Ok(FileFacts::of(self.read(path)?.as_slice())),
        }
    }
}
