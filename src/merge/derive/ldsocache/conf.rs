//! Which directories hold libraries: `/etc/ld.so.conf`, the built-in ones, and their `glibc-hwcaps`
//! subdirectories.

use std::collections::HashSet;

use super::glob::glob;
use super::{LdConfig, LdSoCacheError};
use crate::tree::view::{ImageView, ViewNode, join, parent, resolve};

/// The most configuration files read, so that files including each other come to an end.
const INCLUDE_LIMIT: usize = 4096;

/// A directory to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LibraryDir {
    /// The path as configured, which the cache's paths start with: `/lib/…` even where `/lib` is a
    /// symlink.
    pub(super) path: Vec<u8>,
    /// The path without symlinks, relative to the root.
    pub(super) real: Vec<u8>,
    /// The name of the hwcaps subdirectory, if it is one.
    pub(super) hwcaps: Option<Vec<u8>>,
}

/// The directories to search, in order.
#[derive(Debug, Default)]
pub(super) struct LibraryDirs {
    pub(super) dirs: Vec<LibraryDir>,
    /// The names of all hwcaps subdirectories come across, which go into the cache's strings even
    /// if nothing is in them.
    pub(super) hwcaps_names: Vec<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
}

/// Returns the directories that `ldconfig` would search.
pub(super) fn directories(
    view: &dyn ImageView,
    ldconfig: &LdConfig,
) -> Result<LibraryDirs, LdSoCacheError> {
    let mut reader = Reader {
        view,
        found: LibraryDirs::default(),
        open: Vec::new(),
        files: 0,
    };
    reader.file(b"/etc/ld.so.conf")?;
    for dir in &ldconfig.system_dirs {
        reader.dir(dir);
    }
    Ok(reader.found)
}

struct Reader<'a> {
    view: &'a dyn ImageView,
    found: LibraryDirs,
    /// The configuration files being read, outermost first.
    open: Vec<Vec<u8>>,
    files: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &[u8]) -> Result<(), LdSoCacheError> {
        let Some(real) = resolve(self.view, path) else {
            return Ok(());
        };
        // A file that includes itself would be read until ldconfig runs out of file descriptors: to
        // the same effect.
        if self.view.node(&real) != Some(ViewNode::File) || self.open.contains(&real) {
            return Ok(());
        }
        self.files += 1;
        if self.files > INCLUDE_LIMIT {
            return Err(LdSoCacheError::TooManyIncludes {
                limit: INCLUDE_LIMIT,
            });
        }
        let contents = self.view.read(&real)?;
        self.open.push(real);
        for line in contents.split(|byte| *byte == b'\n') {
            self.line(path, line)?;
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, file: &[u8], line: &[u8]) -> Result<(), LdSoCacheError> {
        let end = line.iter().position(|byte| matches!(byte, b'#' | 0));
        let line = &line[..end.unwrap_or(line.len())];
        let blank = line.iter().take_while(|byte| is_space(byte)).count();
        let line = &line[blank..];
        if let Some(patterns) = after_word(line, b"include") {
            for pattern in patterns.split(|byte| matches!(byte, b' ' | b'\t')) {
                if !pattern.is_empty() {
                    self.include(file, pattern)?;
                }
            }
        } else if after_word(&line.to_ascii_lowercase(), b"hwcap").is_none() {
            // The hwcap directive is a thing of the past that ldconfig ignores.
            self.dir(line);
        }
        Ok(())
    }

    fn include(&mut self, file: &[u8], pattern: &[u8]) -> Result<(), LdSoCacheError> {
        let pattern = match pattern {
            [b'/', ..] => pattern.to_vec(),
            _ => [parent(file), b"/", pattern].concat(),
        };
        for path in glob(self.view, &pattern) {
            self.file(&path)?;
        }
        Ok(())
    }

    fn dir(&mut self, path: &[u8]) {
        let spaces = path.iter().rev().take_while(|byte| is_space(byte)).count();
        let path = &path[..path.len() - spaces];
        let slashes = path.iter().rev().take_while(|byte| **byte == b'/').count();
        let path = &path[..path.len() - slashes];
        if path.is_empty() {
            return;
        }
        if let Some(real) = self.real_dir(path)
            && self.add(path, real.clone(), None)
        {
            self.hwcaps(path, &real);
        }
    }

    fn hwcaps(&mut self, path: &[u8], real: &[u8]) {
        let Some(parent) = self.real_dir(&join(real, b"glibc-hwcaps")) else {
            return;
        };
        for name in self.view.names(&parent) {
            // The loader's search path is a list separated by colons.
            if name.starts_with(b".") || name.contains(&b':') {
                continue;
            }
            if let Some(real) = self.real_dir(&join(&parent, &name)) {
                let path = [path, b"/glibc-hwcaps/", &name].concat();
                self.found.hwcaps_names.push(name.clone());
                self.add(&path, real, Some(name));
            }
        }
    }

    fn real_dir(&self, path: &[u8]) -> Option<Vec<u8>> {
        let real = resolve(self.view, path)?;
        (self.view.node(&real) == Some(ViewNode::Dir)).then_some(real)
    }

    /// Adds a directory unless it is there by another name, as `/lib` and `/usr/lib` are in a
    /// merged-/usr system.
    fn add(&mut self, path: &[u8], real: Vec<u8>, hwcaps: Option<Vec<u8>>) -> bool {
        let new = self.found.seen.insert(real.clone());
        if new {
            self.found.dirs.push(LibraryDir {
                path: path.to_vec(),
                real,
                hwcaps,
            });
        }
        new
    }
}

/// White space as in C's `isspace`, which knows the vertical tab.
fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

fn after_word<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(word)?;
    rest.strip_prefix(b" ").or(rest.strip_prefix(b"\t"))
}
