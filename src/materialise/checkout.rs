//! Writes a tree as plain files: shared extents where the file system can, else copied in the
//! kernel, on all processors.
//!
//! Order matters and is fixed: directories (open to the owner only), files, further names of hard
//! links, then the directories' own modes and times from the deepest up. What is exact: owners,
//! modes, times, attributes, links, devices.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::durable::make_exact;
use crate::materialise::plan::CheckoutPlan;
use crate::materialise::write::{CheckoutReport, Ownership, Writer};
use crate::materialise::{IdLookup, MaterialiseError, ObjectSource};
use crate::tree::Tree;

/// Writes the whole of `tree` into `dest`, an empty directory or one that does not exist yet.
pub fn checkout(
    tree: &Tree,
    objects: &dyn ObjectSource,
    dest: &Path,
    ids: &dyn IdLookup,
    ownership: Ownership,
) -> Result<CheckoutReport, MaterialiseError> {
    checkout_subtree(tree, b"", objects, dest, ids, ownership)
}

/// Writes what lies at `subtree`, a directory of `tree`, as the directory `dest`.
///
/// Hard links to names outside of the subtree become files of their own.
pub fn checkout_subtree(
    tree: &Tree,
    subtree: &[u8],
    objects: &dyn ObjectSource,
    dest: &Path,
    ids: &dyn IdLookup,
    ownership: Ownership,
) -> Result<CheckoutReport, MaterialiseError> {
    let plan = CheckoutPlan::new(tree, subtree, ids)?;
    let dest_fd = open_dest(dest)?;
    let writer = Writer::new(dest, dest_fd, objects, ownership);
    writer.write(&plan)?;
    Ok(CheckoutReport {
        entries: plan.entries,
        ..writer.report()
    })
}

fn open_dest(dest: &Path) -> Result<OwnedFd, MaterialiseError> {
    match rustix::fs::mkdir(dest, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(MaterialiseError::io("create", dest)(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, dest, flags, Mode::empty())
        .map_err(MaterialiseError::io("open", dest))?;
    // Before anything is made in it: what the directory above hands on, this one would hand on too.
    make_exact(dir.as_fd(), 0o700).map_err(MaterialiseError::io("set the mode of", dest))?;
    Ok(dir)
}
