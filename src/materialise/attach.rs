//! Where mounts are: private namespaces, binds, unmounting, and what the kernel's mount table says.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::materialise::MaterialiseError;

/// Runs `work` on a thread with a mount namespace of its own, in which mounts neither come in nor
/// go out.
///
/// The kernel drops the namespace with its last process, however that ends: no mount survives a
/// `kill -9`.
pub fn private_namespace<T, E, F>(work: F) -> Result<T, E>
where
    T: Send,
    E: Send + From<MaterialiseError>,
    F: FnOnce() -> Result<T, E> + Send,
{
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_private_namespace()?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Gives this thread, and those that it starts from now on, a mount namespace of their own, in which
/// mounts neither come in nor go out.
pub fn enter_private_namespace() -> Result<(), MaterialiseError> {
    let root = Path::new("/");
    // The safe name is deprecated for CLONE_FILES' sake; a mount namespace concerns this thread and
    // its children only.
    #[allow(deprecated)]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)
        .map_err(|errno| MaterialiseError::mount("make a mount namespace for", root, "", errno))?;
    rustix::mount::mount_change(
        root,
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|errno| MaterialiseError::mount("make private", root, "", errno))
}

/// Moves this thread into another mount namespace. It has to share its root and its working directory
/// with no other thread, as one of [`private_namespace`].
pub fn enter_namespace(namespace: BorrowedFd<'_>) -> Result<(), MaterialiseError> {
    let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
    rustix::thread::move_into_link_name_space(namespace, kind).map_err(|errno| {
        MaterialiseError::mount("enter a mount namespace with", Path::new("/"), "", errno)
    })
}

/// Sets what the uppermost mount at `at` allows: of `nosuid`, `nodev`, `noexec` and `ro`, those in
/// `flags`, and no others.
pub fn set_mount_flags(at: &Path, flags: MountFlags) -> Result<(), MaterialiseError> {
    rustix::mount::mount_remount(at, flags | MountFlags::BIND, "")
        .map_err(|errno| MaterialiseError::mount("set the flags of the mount at", at, "", errno))
}

/// Whether a bind mount may be written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindAccess {
    /// Only reading.
    ReadOnly,
    /// Reading and writing, as the source allows.
    ReadWrite,
}

/// Binds `source` at `at`, with everything mounted below it.
///
/// Read-only holds for the bound mount itself; mounts below keep their own flags, as with `mount
/// --rbind`.
pub fn bind(source: &Path, at: &Path, access: BindAccess) -> Result<(), MaterialiseError> {
    let fail = |verb, path: &Path| {
        let path = path.to_owned();
        move |errno| MaterialiseError::mount(verb, &path, "", errno)
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, source, flags).map_err(fail("bind", source))?;
    rustix::mount::move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(fail("attach a mount at", at))?;
    if access == BindAccess::ReadOnly {
        rustix::mount::mount_remount(at, MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(fail("make read-only", at))
            .inspect_err(|_| {
                // The error that is reported is the first one; a half-made bind must not stay.
                let _ = unmount_lazily(at);
            })?;
    }
    Ok(())
}

/// Whether programs of a mount get the privileges of their setuid and setgid bits and of their file
/// capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetuidPrograms {
    /// They do, as in every running system.
    Honoured,
    /// They start as plain programs: `nosuid`.
    Ignored,
}

/// Says what becomes of setuid programs of the mount at `at`, for those that start from now on. Its
/// other flags stay.
pub fn set_setuid(at: &Path, programs: SetuidPrograms) -> Result<(), MaterialiseError> {
    use rustix::fs::StatVfsMountFlags as Known;
    let fail = |errno| MaterialiseError::mount("set the flags of the mount at", at, "", errno);
    let found = rustix::fs::statvfs(at).map_err(fail)?.f_flag;
    let is_ignored = found.contains(Known::NOSUID);
    if is_ignored == (programs == SetuidPrograms::Ignored) {
        return Ok(());
    }
    let mut flags = MountFlags::BIND;
    for (known, flag) in [
        (Known::RDONLY, MountFlags::RDONLY),
        (Known::NODEV, MountFlags::NODEV),
        (Known::NOEXEC, MountFlags::NOEXEC),
    ] {
        flags.set(flag, found.contains(known));
    }
    flags.set(MountFlags::NOSUID, !is_ignored);
    rustix::mount::mount_remount(at, flags, "").map_err(fail)
}

/// Unmounts what is mounted at `at`; fails while it is in use.
pub fn unmount(at: &Path) -> Result<(), MaterialiseError> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW)
        .map_err(|errno| MaterialiseError::mount("unmount", at, "", errno))
}

/// Detaches what is mounted at `at`: gone from the tree at once, freed when its last user is done.
pub fn unmount_lazily(at: &Path) -> Result<(), MaterialiseError> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
        .map_err(|errno| MaterialiseError::mount("unmount", at, "", errno))
}

/// Says whether something is mounted exactly at `at`; a path that does not exist is no mount point.
pub fn is_mountpoint(at: &Path) -> Result<bool, MaterialiseError> {
    match rustix::fs::statx(CWD, at, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(MaterialiseError::io("examine", at)(errno)),
    }
}

/// Returns the source name of the uppermost mount at `at`, e.g. `layerset:<image id>`; `None` when
/// nothing is mounted there.
pub fn mount_source(at: &Path) -> Result<Option<String>, MaterialiseError> {
    if !is_mountpoint(at)? {
        return Ok(None);
    }
    // The thread's table, not the process's: a build thread lives in a namespace of its own.
    let table = Path::new("/proc/thread-self/mountinfo");
    let text = std::fs::read(table).map_err(MaterialiseError::io("read", table))?;
    let at: PathBuf = std::fs::canonicalize(at).map_err(MaterialiseError::io("resolve", at))?;
    Ok(source_of(&text, &at))
}

/// Finds the source in a mount table (`proc_pid_mountinfo(5)`); of several mounts at one place the
/// last line is the uppermost.
fn source_of(table: &[u8], at: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let wanted = at.as_os_str().as_bytes();
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|b| *b == b' ');
            let point = fields.nth(4)?;
            if unescape_octal(point) != wanted {
                return None;
            }
            fields.find(|field| *field == b"-")?;
            let source = fields.nth(1)?;
            Some(String::from_utf8_lossy(&unescape_octal(source)).into_owned())
        })
        .next_back()
}

/// Undoes the table's `\040` escapes.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let value = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_mount_at_a_place_names_its_source() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/vda rw\n\
            9 1 0:5 / /a\\040b rw,relatime shared:4 master:2 - overlay layerset:one ro\n\
            10 9 0:6 / /a\\040b rw - overlay layerset:t\\040wo ro\n";
        assert_eq!(
            source_of(table, Path::new("/a b")).unwrap(),
            "layerset:t wo"
        );
        assert_eq!(source_of(table, Path::new("/")).unwrap(), "/dev/vda");
        assert_eq!(source_of(table, Path::new("/a")), None);
    }
}
