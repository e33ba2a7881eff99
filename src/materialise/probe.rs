//! What this machine can do with a directory: found by trying, not by version numbers.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::id::ObjectId;
use crate::materialise::mount::refusal;
use crate::materialise::{DetachedMount, MaterialiseError, ObjectDir, PasswdIds, erofs_image};
use crate::path::RelPath;
use crate::tree::{Inode, Tree};

/// Whether something works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// It was tried, and worked.
    Works,
    /// It does not, for this reason.
    Missing(String),
}

impl Support {
    /// Says whether it works.
    pub fn works(&self) -> bool {
        *self == Self::Works
    }

    fn of(result: Result<(), MaterialiseError>) -> Self {
        match result {
            Ok(()) => Self::Works,
            Err(error) => Self::Missing(refusal(&error)),
        }
    }
}

/// How trees can be materialised in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Mounting a metadata image over an object directory.
    pub composefs: Support,
    /// Sharing extents between files (`FICLONE`).
    pub reflink: Support,
}

const PROBE_CONTENT: &[u8] = b"layerset probe\n";

impl Capabilities {
    /// Tries both in a scratch directory inside `dir`, which is removed again; no mount is ever
    /// visible to others.
    pub fn probe(dir: &Path) -> Result<Self, MaterialiseError> {
        let scratch = ScratchDir::create(dir)?;
        Ok(Self {
            composefs: Support::of(try_composefs(&scratch.0)),
            reflink: Support::of(try_reflink(&scratch.0)),
        })
    }
}

/// A directory that goes away with the value.
struct ScratchDir(std::path::PathBuf);

impl ScratchDir {
    fn create(dir: &Path) -> Result<Self, MaterialiseError> {
        let mut count = 0u32;
        loop {
            let path = dir.join(format!(".layerset-probe-{}-{count}", std::process::id()));
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => return Ok(Self(path)),
                Err(rustix::io::Errno::EXIST) if count < 1000 => count += 1,
                Err(errno) => return Err(MaterialiseError::io("create", path)(errno)),
            }
        }
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // A probe that cannot clean up leaves one small directory; nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), MaterialiseError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(MaterialiseError::io("create", parent))?;
    }
    std::fs::write(path, bytes).map_err(MaterialiseError::io("write", path))
}

/// Mounts a tree of one file, detached, and reads that file through the mount.
fn try_composefs(dir: &Path) -> Result<(), MaterialiseError> {
    let id = ObjectId::of(PROBE_CONTENT);
    let objects = dir.join("objects");
    write(&objects.join(ObjectDir::relative_path(&id)), PROBE_CONTENT)?;
    let file = Inode::file(id, PROBE_CONTENT.len() as u64, 0o644);
    let name = RelPath::new(b"probe").map_err(|error| {
        MaterialiseError::io("name", dir)(std::io::Error::other(error.to_string()))
    })?;
    let tree: Tree = [(RelPath::root(), Inode::directory(0o755)), (name, file)]
        .into_iter()
        .collect();
    let image = dir.join("image");
    write(&image, &erofs_image(&tree, &PasswdIds::parse(b"", b""))?)?;
    let mounted = DetachedMount::readonly(&image, &objects, "layerset:probe")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(mounted.as_fd(), "probe", flags, Mode::empty())
        .map_err(MaterialiseError::io("open through the mount of", &image))?;
    let mut bytes = Vec::new();
    File::from(file)
        .read_to_end(&mut bytes)
        .map_err(MaterialiseError::io("read through the mount of", &image))?;
    if bytes != PROBE_CONTENT {
        return Err(MaterialiseError::Changed { path: image });
    }
    Ok(())
}

fn try_reflink(dir: &Path) -> Result<(), MaterialiseError> {
    let (from, to) = (dir.join("reflink-from"), dir.join("reflink-to"));
    write(&from, PROBE_CONTENT)?;
    let source = File::open(&from).map_err(MaterialiseError::io("open", &from))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(CWD, &to, flags, Mode::RUSR | Mode::WUSR)
        .map_err(MaterialiseError::io("create", &to))?;
    rustix::fs::ioctl_ficlone(&target, &source)
        .map_err(MaterialiseError::io("share extents of", &from))
}
