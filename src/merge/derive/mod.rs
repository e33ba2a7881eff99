//! Files that are functions of the rest of the tree, computed again after every merge; a layer never carries one.
//!
//! A deriver is pure: it looks at a composed tree through [`ImageView`] and says what should be there. Equal trees give
//! equal bytes, in whatever order their layers came.

pub mod alternatives;
pub mod ldsocache;

use crate::elf::{ElfError, ElfFacts};

/// The most symlinks followed in one path, as in Linux.
const MAX_LINKS: usize = 40;

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

/// Why a file of an image cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Its bytes cannot be had.
    #[error("cannot read '{path}' of the image")]
    Read {
        /// The path, escaped.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It claims to be ELF and is not readable as such.
    #[error("cannot read the ELF file '{path}' of the image")]
    Elf {
        /// The path, escaped.
        path: String,
        /// What is wrong with it.
        #[source]
        source: ElfError,
    },
}

/// A read-only look at a composed tree; paths are bytes relative to the root, without a leading slash, "" is the root.
pub trait ImageView {
    /// Returns what is at `path`, whose directories are real ones: no symlink in it is followed.
    fn node(&self, path: &[u8]) -> Option<ViewNode>;
    /// Returns the sorted names of what is in the directory `dir`; none, if it is not one.
    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>>;
    /// Returns the content of the regular file at `path`.
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError>;
    /// Returns the ELF facts of the regular file at `path`; `None` says that it is not ELF.
    fn elf(&self, path: &[u8]) -> Result<Option<ElfFacts>, ViewError>;
}

/// A file whose content was derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Where it belongs.
    pub path: Vec<u8>,
    /// What it holds.
    pub contents: Vec<u8>,
}

/// A symlink that a generator would make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DerivedLink {
    /// Where it belongs.
    pub path: Vec<u8>,
    /// What it points to, verbatim.
    pub target: Vec<u8>,
}

/// Follows every symlink of `path` inside the image and returns the path of what it leads to, if that exists.
///
/// An absolute target starts at the image's root, and `..` at the root stays there.
pub fn resolve(view: &dyn ImageView, path: &[u8]) -> Option<Vec<u8>> {
    let mut done: Vec<u8> = Vec::new();
    // Components still to walk, the next one last.
    let mut todo: Vec<Vec<u8>> = components(path);
    let mut in_dir = true;
    let mut links = 0;
    while let Some(name) = todo.pop() {
        // A name after something that is no directory leads nowhere, even '.' and '..'.
        if !in_dir {
            return None;
        }
        match name.as_slice() {
            b"." => continue,
            b".." => {
                done.truncate(parent(&done).len());
                continue;
            }
            _ => {}
        }
        let at = join(&done, &name);
        match view.node(&at)? {
            ViewNode::Symlink(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.starts_with(b"/") {
                    done.clear();
                }
                todo.extend(components(&target));
            }
            node => {
                in_dir = node == ViewNode::Dir;
                done = at;
            }
        }
    }
    Some(done)
}

/// Joins a directory of the image and a name in it.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// A trailing slash asks for a directory, as the name `.` after it does.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if path.ends_with(b"/") && !names.is_empty() {
        names.push(b".".to_vec());
    }
    names.reverse();
    names
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::testing::MemoryView;
    use super::*;

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
    fn forty_symlinks_are_followed_and_one_more_is_not() {
        let mut view = MemoryView::new().file("0", b"");
        for n in 1..=41 {
            view = view.link(&n.to_string(), &(n - 1).to_string());
        }
        check(&view, "40", Some("0"));
        check(&view, "41", None);
    }
}
