//! Reads the upper directory of an overlay only to find which paths could differ from the tree
//! below.
//!
//! Its contents are not trusted further. A path is touched when it exists in the upper directory at
//! all: as a whiteout, a metadata-only copy or a whole file. Below an opaque or a renamed
//! directory, every path is touched. The attributes are those of
//! `Documentation/filesystems/overlayfs.rst`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use crate::materialise::{ScanDepth, ScanOptions, Selection};
use crate::path::RelPath;
use crate::sandbox::SandboxError;
use crate::tree::{Inode, Node, Tree};

const OPAQUE: &str = "trusted.overlay.opaque";
const REDIRECT: &str = "trusted.overlay.redirect";
const METACOPY: &str = "trusted.overlay.metacopy";

/// Paths that an upper directory touches.
#[derive(Debug, Default)]
pub(super) struct TouchedPaths {
    /// What to look at in the merged view.
    pub(super) selections: Vec<Selection>,
    /// Regular files of which only metadata was copied up: their contents are those of the tree
    /// below, at the same path.
    pub(super) metadata_only: HashSet<RelPath>,
    /// Renamed files and directories: their contents likely exist below, at another path.
    pub(super) renamed: Vec<RelPath>,
}

/// Reads `upper`, the upper directory of an overlay above `lower`.
pub(super) fn touched(
    upper: &Path,
    lower: &Tree,
    options: &ScanOptions,
) -> Result<TouchedPaths, SandboxError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(upper, flags, Mode::empty()).map_err(SandboxError::io("open", upper))?;
    let mut walk = UpperWalk {
        upper,
        root,
        lower,
        options,
        touched: TouchedPaths::default(),
        pending: vec![RelPath::root()],
    };
    walk.select(RelPath::root(), ScanDepth::InodeOnly);
    while let Some(dir) = walk.pending.pop() {
        walk.list(&dir)?;
    }
    Ok(walk.touched)
}

struct UpperWalk<'a> {
    upper: &'a Path,
    root: OwnedFd,
    lower: &'a Tree,
    options: &'a ScanOptions,
    touched: TouchedPaths,
    pending: Vec<RelPath>,
}

impl UpperWalk<'_> {
    fn list(&mut self, path: &RelPath) -> Result<(), SandboxError> {
        let fail = |verb| SandboxError::io::<Errno>(verb, self.upper.join(path.as_path()));
        let name = if path.is_root() {
            Path::new(".")
        } else {
            path.as_path()
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve)
            .map_err(fail("open"))?;
        let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
        let mut entries = RawDir::new(&dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(fail("list"))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let child = path.join(name).map_err(|error| {
                let error = std::io::Error::new(std::io::ErrorKind::InvalidFilename, error);
                SandboxError::io("name an entry of", self.upper.join(path.as_path()))(error)
            })?;
            if !self.options.omitted.contains(&child) {
                self.entry(&dir, child, entry.file_type())?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, path: RelPath, kind: FileType) -> Result<(), SandboxError> {
        let below = self.lower.get(path.as_bytes());
        match kind {
            FileType::Directory => {
                let renamed = self.attribute(dir, &path, REDIRECT)?.is_some();
                let opaque = self.attribute(dir, &path, OPAQUE)? == Some(b'y');
                let closed = self.options.closed.contains(&path);
                if renamed {
                    self.touched.renamed.push(path.clone());
                }
                let whole = renamed || opaque || !below.is_some_and(Inode::is_dir);
                if closed || !whole {
                    if !closed {
                        self.pending.push(path.clone());
                    }
                    self.select(path, ScanDepth::InodeOnly);
                } else {
                    self.select(path, ScanDepth::Subtree);
                }
            }
            FileType::RegularFile => {
                if self.attribute(dir, &path, METACOPY)?.is_some() {
                    let same_place = self.attribute(dir, &path, REDIRECT)?.is_none();
                    if same_place && below.is_some_and(|i| matches!(i.node, Node::File { .. })) {
                        self.touched.metadata_only.insert(path.clone());
                    } else {
                        self.touched.renamed.push(path.clone());
                    }
                }
                self.select(path, ScanDepth::InodeOnly);
            }
            // The file system does not tell kinds: look at everything below, which is slower but
            // correct.
            FileType::Unknown => self.select(path, ScanDepth::Subtree),
            _ => self.select(path, ScanDepth::InodeOnly),
        }
        Ok(())
    }

    fn select(&mut self, path: RelPath, depth: ScanDepth) {
        self.touched.selections.push(Selection { path, depth });
    }

    /// Returns the first byte of an attribute (0 for an empty one), or `None` when it is not set.
    fn attribute(
        &self,
        dir: &OwnedFd,
        path: &RelPath,
        name: &str,
    ) -> Result<Option<u8>, SandboxError> {
        let file: PathBuf = Path::new("/proc/self/fd")
            .join(dir.as_raw_fd().to_string())
            .join(OsStr::from_bytes(path.name()));
        let mut value = [0u8; 1];
        match rustix::fs::lgetxattr(&file, name, &mut value) {
            Ok(_) => Ok(Some(value[0])),
            // Longer than one byte.
            Err(Errno::RANGE) => Ok(Some(0)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(SandboxError::io(
                "read the attributes of",
                self.upper.join(path.as_path()),
            )(errno)),
        }
    }
}
