//! Removing trees in which others may write: by descriptor, through no link.
//!
//! A service that owns a directory in such a tree may put a link in the place of another directory at
//! any moment. What is removed is what was opened, so the link itself goes, and nothing behind it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use super::{Disk, DurableError, parent};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes `path` with all that is below it, through the primitives; removing what is absent
/// succeeds. Links are removed, not followed; those above `path` are its owner's own.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> Result<(), DurableError> {
    let above = parent(path);
    let flags = DIRECTORY - OFlags::NOFOLLOW;
    let dir = match rustix::fs::openat(CWD, above, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(DurableError::new("open", above, errno.into())),
    };
    match path.file_name() {
        Some(name) => remove_entry(disk, dir.as_fd(), name, path),
        None => disk.remove(path),
    }
}

fn remove_entry(
    disk: &dyn Disk,
    above: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<(), DurableError> {
    loop {
        let dir = match rustix::fs::openat(above, name, DIRECTORY, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            // A file, or a link (`O_DIRECTORY` with `O_NOFOLLOW`).
            Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(errno) => return Err(DurableError::new("open", path, errno.into())),
        };
        // Removing must never walk into somebody else's files, such as a `/proc` that a killed
        // bootstrap left mounted.
        if is_mount(&dir, path)? {
            let held = format!("/proc/self/fd/{}", dir.as_raw_fd());
            rustix::mount::unmount(held, rustix::mount::UnmountFlags::DETACH)
                .map_err(|errno| DurableError::new("unmount", path, errno.into()))?;
            continue;
        }
        for name in names(&dir).map_err(|errno| DurableError::new("list", path, errno.into()))? {
            remove_entry(disk, dir.as_fd(), &name, &path.join(&name))?;
        }
        break;
    }
    disk.remove_in(above, path)
}

fn is_mount(dir: &OwnedFd, path: &Path) -> Result<bool, DurableError> {
    let stat = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
        .map_err(|errno| DurableError::new("look at", path, errno.into()))?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::durable::RealDisk;
    use crate::durable::hooked::HookedDisk;

    #[test]
    fn a_tree_goes_with_its_links_and_nothing_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("tree/a/b")).unwrap();
        fs::create_dir_all(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/precious"), "").unwrap();
        fs::write(at("tree/a/b/file"), "").unwrap();
        symlink("../elsewhere", at("tree/dir")).unwrap();
        symlink("../elsewhere/precious", at("tree/file")).unwrap();
        remove_tree(&RealDisk, &at("tree")).unwrap();
        assert!(!at("tree").exists() && at("elsewhere/precious").exists());
        remove_tree(&RealDisk, &at("tree")).unwrap();
        remove_tree(&RealDisk, &at("no/tree")).unwrap();
        symlink("elsewhere", at("link")).unwrap();
        remove_tree(&RealDisk, &at("link")).unwrap();
        assert!(!at("link").is_symlink() && at("elsewhere/precious").exists());
    }

    /// The service that owns `a` replaces it by a link as soon as removing it has begun.
    #[test]
    fn a_link_that_comes_meanwhile_leads_no_removal_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["tree/a/b", "elsewhere/b"] {
            fs::create_dir_all(at(name)).unwrap();
            for number in 0..3 {
                fs::write(at(name).join(number.to_string()), "").unwrap();
            }
        }
        let (from, to) = (at("tree/a"), at("away"));
        let elsewhere = at("elsewhere");
        let disk = HookedDisk::new(move || {
            fs::rename(&from, &to).unwrap();
            symlink(&elsewhere, &from).unwrap();
        });
        // What the service took away in time is its own; the rest may fail, and harms nobody.
        let _ = remove_tree(&disk, &at("tree"));
        assert!(disk.was_hooked());
        assert_eq!(fs::read_dir(at("elsewhere/b")).unwrap().count(), 3);
        remove_tree(&RealDisk, &at("tree")).unwrap();
        assert_eq!(fs::read_dir(at("elsewhere/b")).unwrap().count(), 3);
    }
}
