//! Mount namespaces other than that of PID 1: those of services with `ProtectSystem=`, `PrivateTmp=`
//! and the like.
//!
//! What is mounted in the namespace of PID 1 comes into theirs by propagation, but not what they
//! forbid: a service for which `/etc` was read-only could write to a new one. So a new tree comes with
//! everything forbidden, and each namespace allows again what it allowed before. Where that fails, too
//! little is allowed, never too much.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::table;
use crate::causes::chain;
use crate::materialise::{enter_namespace, set_mount_flags};

/// What a new tree comes with.
pub(super) const CLOSED: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV);

/// A mount namespace of somebody else.
#[derive(Debug)]
pub(super) struct Namespace {
    handle: File,
    /// A program that is in it, for messages.
    program: String,
    /// What the mounts of deployments forbid there, by their places.
    flags: BTreeMap<PathBuf, MountFlags>,
}

/// The processes of this system, as long as they are there: a directory of `/proc` for each.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Returns the number of the mount namespace of a process or thread.
pub(super) fn number(process: &Path) -> Option<u64> {
    // What the link names is the namespace; its inode is its number.
    Some(std::fs::metadata(process.join("ns/mnt")).ok()?.ino())
}

/// Returns each mount namespace once, with a process in it, without those in `known`.
fn namespaces(known: &mut BTreeSet<u64>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for process in processes() {
        if number(&process).is_some_and(|number| known.insert(number)) {
            found.push(process);
        }
    }
    found
}

/// Looks at all mount namespaces but those in `known`, and remembers what deployments' mounts at some
/// places forbid there. Adds them to `known`.
pub(super) fn look(known: &mut BTreeSet<u64>, places: &[&Path]) -> Vec<Namespace> {
    let found = namespaces(known).into_iter();
    let look_at = |process: PathBuf| {
        // Whoever is gone needs nothing.
        let handle = File::open(process.join("ns/mnt")).ok()?;
        let table = std::fs::read(process.join("mountinfo")).ok()?;
        let program = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some(Namespace {
            handle,
            program: program.trim_end().to_owned(),
            flags: flags_at(&table, places),
        })
    };
    found.filter_map(look_at).collect()
}

/// Returns what the mounts of deployments at some places forbid.
pub(super) fn flags_at(table: &[u8], places: &[&Path]) -> BTreeMap<PathBuf, MountFlags> {
    let at = |place: &&Path| {
        let found = table::top(table, place.as_os_str().as_encoded_bytes())?;
        found.deployment()?;
        Some((place.to_path_buf(), found.flags()))
    };
    places.iter().filter_map(at).collect()
}

impl Namespace {
    /// Forbids there what was forbidden before, and nothing else. The thread stays in that namespace.
    pub(super) fn restore(&self) -> Result<(), String> {
        if self.flags.is_empty() {
            return Ok(());
        }
        let restored = enter_namespace(self.handle.as_fd()).and_then(|()| {
            let mut places = self.flags.iter();
            places.try_for_each(|(place, flags)| set_mount_flags(place, *flags))
        });
        restored.map_err(|error| format!("{}: {}", self.program, chain(&error)))
    }

    /// Says whether something of a deployment is forbidden there that is not forbidden at home: a
    /// service that started in the middle of an exchange.
    pub(super) fn is_closed(&self, home: &BTreeMap<PathBuf, MountFlags>) -> bool {
        self.flags.iter().any(|(place, flags)| {
            let at_home = home.get(place).copied().unwrap_or(CLOSED);
            flags.contains(CLOSED) && !at_home.contains(CLOSED)
        })
    }

    /// Names a program that is in it.
    pub(super) fn program(&self) -> &str {
        &self.program
    }
}

/// Returns the deployments that mounts of any process name, but those of this process.
pub(super) fn in_use() -> BTreeSet<u64> {
    let mut known = BTreeSet::new();
    known.extend(number(Path::new("/proc/self")));
    known.extend(number(Path::new("/proc/thread-self")));
    let tables = namespaces(&mut known).into_iter();
    let tables = tables.filter_map(|process| std::fs::read(process.join("mountinfo")).ok());
    tables
        .flat_map(|table| {
            let numbers: Vec<u64> = table::all(&table).filter_map(|m| m.deployment()).collect();
            numbers
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_remembers_what_mounts_of_deployments_forbid_and_no_others() {
        let table = b"\
21 1 0:20 / / ro - overlay layerset:2 ro
30 21 0:20 /usr /usr ro,nosuid - overlay layerset:2 ro
31 21 254:3 /layerset/deployments/2/etc /etc ro,noexec,relatime - ext4 /dev/root rw
33 21 0:40 / /opt rw - tmpfs tmpfs rw
";
        let places = ["/usr", "/opt", "/etc"].map(Path::new);
        let found = flags_at(table, &places);
        let expected: BTreeMap<PathBuf, MountFlags> = [
            ("/usr".into(), MountFlags::RDONLY | MountFlags::NOSUID),
            ("/etc".into(), MountFlags::RDONLY | MountFlags::NOEXEC),
        ]
        .into();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_started_in_the_middle_of_an_exchange_is_seen() {
        let of = |flags| BTreeMap::from([(PathBuf::from("/etc"), flags)]);
        let namespace = |flags| Namespace {
            handle: File::open("/proc/self/ns/mnt").unwrap(),
            program: String::new(),
            flags: of(flags),
        };
        let home = of(MountFlags::empty());
        assert!(namespace(CLOSED).is_closed(&home));
        assert!(!namespace(MountFlags::RDONLY).is_closed(&home));
        assert!(!namespace(CLOSED).is_closed(&of(CLOSED)));
    }
}
