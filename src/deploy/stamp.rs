//! A stamp of a directory: changes whenever anything in it was touched, and is made without reading
//! contents.
//!
//! It covers each entry's path, inode number and change time (`ctime`, which nobody can set back).
//! So a stamp is only good on the filesystem where it was made, and an edit back and forth still
//! counts as an edit.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::DeployError;
use crate::id::hex;

/// What an entry was like: its inode's number and change time.
type Touch = (u64, i64, u64);

/// A directory as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The stamp of all of it.
    pub(super) stamp: String,
    /// Each entry, by its path below the directory; the directory itself is the empty path.
    entries: BTreeMap<PathBuf, Touch>,
}

impl Seen {
    /// Lists what was touched, came or went between this look and a later one.
    pub(super) fn moved_to(&self, later: &Self) -> BTreeSet<PathBuf> {
        let (old, new) = (&self.entries, &later.entries);
        let paths = old.keys().chain(new.keys());
        paths
            .filter(|path| old.get(*path) != new.get(*path))
            .cloned()
            .collect()
    }
}

/// Makes the stamp of everything below `dir`.
pub(super) fn stamp(dir: &Path) -> Result<String, DeployError> {
    Ok(look(dir)?.stamp)
}

/// Looks at everything in a directory.
pub(super) fn look(dir: &Path) -> Result<Seen, DeployError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut hasher = blake3::Hasher::new();
    let mut seen = BTreeMap::new();
    let top = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(fail("open", dir))?;
    // A service may put a link in the place of a directory while we look.
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut pending = vec![dir.to_owned()];
    let mut buffer = Vec::with_capacity(32 * 1024);
    while let Some(at) = pending.pop() {
        let inner = at.strip_prefix(dir).unwrap_or(Path::new("")).to_owned();
        let below = match inner.as_os_str().is_empty() {
            false => inner.as_path(),
            true => Path::new("."),
        };
        let fd = match rustix::fs::openat2(&top, below, flags, Mode::empty(), inside) {
            // It went, or became something else: the directory above says so next time.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            result => result.map_err(fail("open", &at))?,
        };
        let mut names = Vec::new();
        let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // The directory itself was removed.
                Err(Errno::NOENT) => break,
                entry => entry.map_err(fail("list", &at))?,
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort();
        hasher.update(at.as_os_str().as_bytes());
        let own = rustix::fs::fstat(&fd).map_err(fail("examine", &at))?;
        seen.insert(inner.clone(), update(&mut hasher, &own));
        for name in names {
            let path = Path::new(std::ffi::OsStr::from_bytes(&name));
            let stat = match rustix::fs::statat(&fd, path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It went while we looked: the directory's own change time says so next time.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(fail("examine", &at.join(path))(errno)),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                pending.push(at.join(path));
            } else {
                hasher.update(&name);
                seen.insert(inner.join(path), update(&mut hasher, &stat));
            }
        }
    }
    Ok(Seen {
        stamp: hex(hasher.finalize().as_bytes()),
        entries: seen,
    })
}

fn fail(verb: &'static str, path: &Path) -> impl FnOnce(Errno) -> DeployError {
    move |errno| DeployError::io(verb, path, errno.into())
}

fn update(hasher: &mut blake3::Hasher, stat: &rustix::fs::Stat) -> Touch {
    hasher.update(&stat.st_ino.to_le_bytes());
    hasher.update(&stat.st_ctime.to_le_bytes());
    hasher.update(&stat.st_ctime_nsec.to_le_bytes());
    (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_touch_changes_the_stamp_and_reading_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("etc");
        std::fs::create_dir_all(at.join("sub/deep")).unwrap();
        std::fs::write(at.join("sub/deep/file"), "one").unwrap();
        let mut last = stamp(&at).unwrap();
        std::fs::read(at.join("sub/deep/file")).unwrap();
        assert_eq!(stamp(&at).unwrap(), last);
        let changes: [&dyn Fn(); 4] = [
            &|| std::fs::write(at.join("sub/deep/file"), "two").unwrap(),
            &|| std::fs::write(at.join("sub/new"), "").unwrap(),
            &|| std::fs::rename(at.join("sub/new"), at.join("sub/newer")).unwrap(),
            &|| std::fs::remove_dir_all(at.join("sub/deep")).unwrap(),
        ];
        for change in changes {
            // Change times advance with the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(12));
            change();
            let now = stamp(&at).unwrap();
            assert_ne!(now, last);
            last = now;
        }
    }
}
