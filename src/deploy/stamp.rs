//! A stamp of a directory: changes whenever anything in it was touched, and is made without reading
//! contents.
//!
//! It covers each entry's path, inode number and change time (`ctime`, which nobody can set back).
//! So a stamp is only good on the filesystem where it was made, and an edit back and forth still
//! counts as an edit.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::DeployError;
use crate::id::hex;

/// Makes the stamp of everything below `dir`.
pub(super) fn stamp(dir: &Path) -> Result<String, DeployError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut hasher = blake3::Hasher::new();
    let top = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(fail("open", dir))?;
    // A service may put a link in the place of a directory while we look.
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut pending = vec![dir.to_owned()];
    let mut buffer = Vec::with_capacity(32 * 1024);
    while let Some(at) = pending.pop() {
        let below = match at.strip_prefix(dir) {
            Ok(below) if !below.as_os_str().is_empty() => below,
            _ => Path::new("."),
        };
        let fd = rustix::fs::openat2(&top, below, flags, Mode::empty(), inside)
            .map_err(fail("open", &at))?;
        let mut names = Vec::new();
        let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(fail("list", &at))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort();
        hasher.update(at.as_os_str().as_bytes());
        let own = rustix::fs::fstat(&fd).map_err(fail("examine", &at))?;
        update(&mut hasher, &own);
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
                update(&mut hasher, &stat);
            }
        }
    }
    Ok(hex(hasher.finalize().as_bytes()))
}

fn fail(verb: &'static str, path: &Path) -> impl FnOnce(Errno) -> DeployError {
    move |errno| DeployError::io(verb, path, errno.into())
}

fn update(hasher: &mut blake3::Hasher, stat: &rustix::fs::Stat) {
    hasher.update(&stat.st_ino.to_le_bytes());
    hasher.update(&stat.st_ctime.to_le_bytes());
    hasher.update(&stat.st_ctime_nsec.to_le_bytes());
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
