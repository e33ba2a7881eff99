//! Directories and files that come out the same whatever the surroundings are.
//!
//! The kernel lets the directory above speak for what is made in it: a default access list
//! (acl(5)) is inherited, a setgid bit hands on its group and itself, and the umask of the process
//! takes bits away. None of that may decide who reads a machine's `/etc/shadow`, so what is new is
//! put right by its descriptor before anything is in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags};
use rustix::io::Errno;

/// Access lists as the kernel keeps them: the file's own, and the one that is handed on.
const ACCESS_LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// Gives what this process just made its mode and its group, and takes away access lists that it
/// inherited.
///
/// A filesystem without modes, groups or access lists (FAT, some network filesystems) is left as it
/// is: whoever mounted it decided.
pub fn make_exact(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    for list in ACCESS_LISTS {
        // Asked first, because the answer is in the cache and a removal writes to the disk.
        match rustix::fs::fgetxattr(file, list, &mut [0u8; 4][..]) {
            Ok(_) | Err(Errno::RANGE) => match rustix::fs::fremovexattr(file, list) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            },
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let group = rustix::process::getegid();
    if rustix::fs::fstat(file)?.st_gid != group.as_raw() {
        tolerated(rustix::fs::fchown(
            file,
            None,
            Some(Gid::from_raw(group.as_raw())),
        ))?;
    }
    // After the owner, whose change takes setuid and setgid away.
    if rustix::fs::fstat(file)?.st_mode & 0o7777 != mode {
        tolerated(rustix::fs::fchmod(file, Mode::from_raw_mode(mode)))?;
    }
    Ok(())
}

/// Who made a file may set its mode; a refusal says that the filesystem has none.
fn tolerated(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
        result => Ok(result?),
    }
}

/// Makes a directory with exactly this mode; one that exists is an error.
pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    // Made with its mode at once: a power cut before it is exact leaves it too narrow at worst.
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(
            OFlags::DIRECTORY.bits().cast_signed() | OFlags::NOFOLLOW.bits().cast_signed(),
        )
        .open(path)?;
    make_exact(dir.as_fd(), mode)
}

/// Makes a file with exactly this mode, to be written to; one that exists is an error.
pub(super) fn make_file(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    make_exact(file.as_fd(), mode)?;
    Ok(file)
}

/// Makes a directory with those above it that are missing, each with exactly this mode; what exists
/// is left as it is.
pub fn make_dirs(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_dirs(above, mode)?;
    }
    match make_dir(path, mode) {
        // Somebody else made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}
