//! A read-only look at a composed tree with the contents of its files: what derivers and checks
//! work on.

use std::io;
use std::ops::Range;

use object::ReadRef;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::elf::{self, ElfFacts, Windows};
use crate::layout::{self, EntryKind, OnMissing, Resolution};

pub use crate::layout::{join, parent};

/// What is at a path of an image, not following a symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewNode {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symlink with its target.
    Symlink(Vec<u8>),
    /// A device, a fifo or a socket.
    Other,
}

impl From<&Node> for ViewNode {
    fn from(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Dir,
            Node::File { .. } => Self::File,
            Node::Symlink { target } => Self::Symlink(target.to_vec()),
            _ => Self::Other,
        }
    }
}

/// Why a file of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Its contents cannot be read.
    #[error("cannot read '{path}' of the image")]
    Read {
        /// The path, escaped.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The version of [`FileFacts`]' serialised form and meaning; cached facts of another version are
/// useless.
pub const FACTS_VERSION: u32 = 200 + elf::FACTS_VERSION;

/// What the content of one regular file says about itself; a function of its bytes alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFacts {
    /// A program or library.
    Elf(Box<ElfFacts>),
    /// It starts like ELF, but cannot be read as ELF, for this reason.
    BrokenElf(String),
    /// It starts with `#!`.
    Script(Script),
    /// Anything else.
    Other,
}

/// The first line of a script, as the kernel reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The interpreter's path, verbatim: a carriage return at its end belongs to it. Empty where
    /// the path is longer than what the kernel reads, so that it starts nothing.
    pub interpreter: Vec<u8>,
    /// What follows it on the line, without blanks around; the kernel passes it as one argument.
    pub argument: Vec<u8>,
}

impl FileFacts {
    /// Reads the facts of `data`, the content of one whole file, as bytes or as a file of which
    /// little is read.
    pub fn of<'a>(data: impl ReadRef<'a>) -> Self {
        match elf::parse(data) {
            Ok(Some(facts)) => Self::Elf(Box::new(facts)),
            Err(error) => Self::BrokenElf(error.to_string()),
            Ok(None) => {
                let head = data.len().unwrap_or(0).min(Script::LIMIT as u64);
                let head = data.read_bytes_at(0, head).unwrap_or_default();
                Script::parse(head).map_or(Self::Other, Self::Script)
            }
        }
    }

    /// Reads the facts of a large file of `len` bytes, of which `read` returns ranges; few are
    /// asked for.
    pub fn of_large(
        len: u64,
        mut read: impl FnMut(Range<u64>) -> io::Result<Vec<u8>>,
    ) -> io::Result<Self> {
        let mut windows = Windows::new(len);
        loop {
            let facts = Self::of(&windows);
            match windows.missed() {
                None => return Ok(facts),
                Some(range) => windows.fill(range.start, read(range)?),
            }
        }
    }
}

impl Script {
    /// The kernel looks at this many bytes (`BINPRM_BUF_SIZE`), and takes the last one for the end
    /// of a line at most.
    const LIMIT: usize = 256;

    /// Reads the first line of a file as `load_script` of Linux's `fs/binfmt_script.c` does; `None`
    /// says that it is no script.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head = &bytes[..bytes.len().min(Self::LIMIT)];
        // Behind the end of a file the kernel sees zeros, which end a line too.
        let end = head.iter().position(|byte| matches!(byte, b'\n' | 0));
        let is_cut = end.is_none() && head.len() == Self::LIMIT;
        let end = end.unwrap_or(head.len());
        let line = head[..end].strip_prefix(b"#!")?;
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = line.iter().position(|byte| !is_blank(byte))?;
        let line = &line[start..];
        let end = line.iter().position(is_blank);
        if is_cut && end.is_none() {
            return Some(Self {
                interpreter: Vec::new(),
                argument: Vec::new(),
            });
        }
        let line = &line[..line.len() - usize::from(is_cut)];
        let (interpreter, rest) = line.split_at(end.unwrap_or(line.len()));
        let from = rest.iter().position(|byte| !is_blank(byte));
        let to = rest.iter().rposition(|byte| !is_blank(byte));
        let argument = match (from, to) {
            (Some(from), Some(to)) => rest[from..=to].to_vec(),
            _ => Vec::new(),
        };
        Some(Self {
            interpreter: interpreter.to_vec(),
            argument,
        })
    }
}

/// A read-only look at a composed tree; paths are bytes relative to the root, without a leading
/// slash, "" is the root.
pub trait ImageView {
    /// Returns what is at `path`, whose directories are real ones: no symlink in it is followed.
    fn node(&self, path: &[u8]) -> Option<ViewNode>;
    /// Returns the sorted names of what is in the directory `dir`; none, if it is not one.
    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>>;
    /// Returns the content of the regular file at `path`.
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError>;
    /// Returns what the regular file at `path` says about itself.
    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError>;

    /// Returns what `compute` makes of the content of the regular file at `path`. It depends on the
    /// content alone, so that a view may keep it; `kind` names what it is, with a version.
    fn computed(
        &self,
        path: &[u8],
        kind: &'static str,
        compute: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, ViewError> {
        let _ = kind;
        Ok(compute(&self.read(path)?))
    }

    /// Returns what `conclude` makes of several files. It depends on `key` alone, so that a view may
    /// keep it; `kind` names what it is, with a version.
    fn concluded(
        &self,
        kind: &'static str,
        key: &[u8],
        conclude: &mut dyn FnMut() -> Result<Vec<u8>, ViewError>,
    ) -> Result<Vec<u8>, ViewError> {
        let _ = (kind, key);
        conclude()
    }

    /// Returns the ELF facts of the regular file at `path`; `None` says that it is not ELF, or
    /// broken, which a loader could not use either.
    fn elf(&self, path: &[u8]) -> Result<Option<ElfFacts>, ViewError> {
        Ok(match self.facts(path)? {
            FileFacts::Elf(facts) => Some(*facts),
            _ => None,
        })
    }
}

/// Follows every symlink of `path` inside the image and returns the path of what it leads to, if
/// that exists.
///
/// An absolute target starts at the image's root, and `..` at the root stays there.
pub fn resolve(view: &dyn ImageView, path: &[u8]) -> Option<Vec<u8>> {
    let look = |path: &[u8]| {
        Some(match view.node(path)? {
            ViewNode::Dir => EntryKind::Directory,
            ViewNode::Symlink(target) => EntryKind::Link(target.into()),
            ViewNode::File | ViewNode::Other => EntryKind::Other,
        })
    };
    match layout::walk(&look, b"", path, OnMissing::LeadsNowhere) {
        Resolution::Found(at) => Some(at),
        Resolution::Lost(_) | Resolution::Loop(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::testing::MemoryView;

    fn check(view: &MemoryView, path: &str, expect: Option<&str>) {
        let found = resolve(view, path.as_bytes());
        let found = found.map(|path| String::from_utf8(path).unwrap());
        assert_eq!(found.as_deref(), expect, "'{path}'");
    }

    #[test]
    fn symlinks_are_followed_inside_the_image_only() {
        let view = MemoryView::new()
            .link("lib", "usr/lib")
            .dir("usr/lib/a")
            .link("usr/lib/up", "../../../../etc")
            .link("usr/lib/abs", "/lib/a")
            .link("usr/lib/gone", "nowhere")
            .link("usr/lib/slash", "a/")
            .file("etc/conf", b"");
        check(&view, "", Some(""));
        check(&view, "lib", Some("usr/lib"));
        check(&view, "lib/a", Some("usr/lib/a"));
        check(&view, "lib/up/conf", Some("etc/conf"));
        check(&view, "/lib//./abs/../abs", Some("usr/lib/a"));
        check(&view, "../..", Some(""));
        check(&view, "lib/gone", None);
        check(&view, "lib/slash", Some("usr/lib/a"));
        check(&view, "etc/conf/", None);
        check(&view, "etc/conf/..", None);
        check(&view, "lib/../etc", None);
    }

    #[test]
    fn a_loop_of_symlinks_leads_nowhere() {
        let view = MemoryView::new()
            .link("a", "b")
            .link("b", "a")
            .link("self", "self/x");
        check(&view, "a", None);
        check(&view, "self", None);
    }

    #[test]
    fn the_first_line_of_a_script_is_read_as_the_kernel_does() {
        let read = |text: &str| {
            Script::parse(text.as_bytes()).map(|script| {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                (text(script.interpreter), text(script.argument))
            })
        };
        let of = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(read("#!/bin/sh\nexit"), of("/bin/sh", ""));
        assert_eq!(
            read("#! \t/usr/bin/env  perl -w \n"),
            of("/usr/bin/env", "perl -w")
        );
        assert_eq!(read("#!/bin/sh\r\n"), of("/bin/sh\r", ""));
        assert_eq!(read("#!/bin/sh"), of("/bin/sh", ""));
        assert_eq!(read("#!  \n/bin/sh"), None);
        assert_eq!(read("# /bin/sh"), None);
        assert_eq!(read("#!"), None);
        assert_eq!(read("#!/bin/sh\0-e\n"), of("/bin/sh", ""));
        // What stands at the 256th byte is lost, unless it ends the name.
        let name = format!("/{}", "x".repeat(252));
        assert_eq!(read(&format!("#!{name}\n")), of(&name, ""));
        assert_eq!(read(&format!("#!{name} y")), of(&name, ""));
        assert_eq!(read(&format!("#!{name}x\n")), of("", ""));
        let argument = "y".repeat(245);
        let expect = of("/bin/sh", &argument);
        assert_eq!(read(&format!("#!/bin/sh {argument}zz\n")), expect);
    }
}
