//! The shared `/var`: gets what an image needs there, and never loses anything.
//!
//! Two sources. The **skeleton**: each directory and symbolic link that the image has below `var/`.
//! **Factory content**: everything below `usr/share/factory/var/`. Only what is absent is added, by
//! these rules:
//!
//! - A directory that exists is left as it is, and entered. Anything else that exists is left
//!   wholly alone; a symbolic link is never followed, so a database moved elsewhere by a link stays
//!   there.
//! - A factory directory that directly holds files is a **unit**, such as a PostgreSQL cluster: it
//!   is added whole or, when its name exists, not at all. Not a unit is a directory that the image
//!   has in its skeleton and that belongs to root (`/var/lib`): that is shared ground, and its
//!   entries are added one by one.
//!
//! Staging writes what is absent to `var-new` in the deployment; the first switch renames it into
//! place, each piece by one rename. So a deployment that never becomes current leaves no trace in
//! the shared state.
//!
//! What the image has otherwise than the machine is told, and taken where somebody decides so: see
//! [`super::factory`].

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::DeployError;
use crate::durable::Disk;
use crate::path::RelPath;
use crate::tree::{Inode, Node, Owner, Tree};

/// The part of the factory content that is for `/var`.
pub(super) const FACTORY_VAR: &[u8] = b"usr/share/factory/var";

/// What is to be added, with paths below `var`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct VarPlan {
    /// What is absent, and the directories above it; empty when nothing is.
    pub(super) tree: Tree,
    /// Directories in there that are added whole or not at all.
    pub(super) units: Vec<RelPath>,
}

/// Plans what the image with `image` adds to the shared state at `state`.
pub(super) fn plan(image: &Tree, state: &Path) -> Result<VarPlan, DeployError> {
    let full = wanted(image);
    let units = units(image, &full);
    let mut absent = Vec::new();
    let mut closed: Option<RelPath> = None;
    let mut missing: Option<RelPath> = None;
    for (path, inode) in full.iter().filter(|(path, _)| !path.is_root()) {
        let below = |top: &Option<RelPath>| {
            top.as_ref()
                .is_some_and(|top| path.starts_with(top.as_bytes()))
        };
        if below(&closed) {
            continue;
        }
        if below(&missing) {
            absent.push(path.clone());
            continue;
        }
        match kind_at(&state.join(path.as_path()))? {
            None => {
                missing = Some(path.clone());
                absent.push(path.clone());
            }
            Some(EntryKind::Directory) if inode.is_dir() && !units.contains(path) => {}
            Some(_) => closed = Some(path.clone()),
        }
    }
    let mut plan = VarPlan::default();
    for path in &absent {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(inode) = full.get(path.as_bytes()) {
                plan.tree.insert(path.clone(), inode.clone());
            }
            at = path.parent();
        }
    }
    plan.tree.canonicalize_hardlinks();
    plan.units = units
        .into_iter()
        .filter(|unit| plan.tree.get(unit.as_bytes()).is_some())
        .collect();
    Ok(plan)
}

/// Joins skeleton and factory content; what stands below something that is no directory is dropped.
pub(super) fn wanted(image: &Tree) -> Tree {
    let mut full = Tree::new();
    full.insert(RelPath::root(), Inode::directory(0o755));
    for (path, inode) in image.subtree(FACTORY_VAR) {
        if let Some(path) = path.rebase(FACTORY_VAR, b"") {
            full.insert(path, inode.clone());
        }
    }
    for (path, inode) in image.subtree(b"var") {
        if let (Node::Directory | Node::Symlink { .. }, Some(path)) =
            (&inode.node, path.rebase(b"var", b""))
        {
            let inode = Inode {
                hardlink: 0,
                ..inode.clone()
            };
            full.insert(path, inode);
        }
    }
    let mut rooted = Tree::new();
    for (path, inode) in full {
        let parent = path.parent();
        if parent.is_none_or(|dir| rooted.get(dir.as_bytes()).is_some_and(Inode::is_dir)) {
            rooted.insert(path, inode);
        }
    }
    rooted
}

/// Returns the directories of an image that go to the shared state whole or not at all.
pub(super) fn units_of(image: &Tree) -> BTreeSet<RelPath> {
    units(image, &wanted(image))
}

fn units(image: &Tree, full: &Tree) -> BTreeSet<RelPath> {
    let is_shared = |dir: &RelPath| {
        let skeleton = dir.rebase(b"", b"var");
        dir.is_root()
            || skeleton
                .and_then(|path| image.get(path.as_bytes()))
                .is_some_and(|inode| inode.is_dir() && is_root(&inode.owner))
    };
    image
        .below(FACTORY_VAR)
        .filter(|(_, inode)| !inode.is_dir())
        .filter_map(|(path, _)| path.rebase(FACTORY_VAR, b"")?.parent())
        .filter(|dir| full.get(dir.as_bytes()).is_some_and(Inode::is_dir) && !is_shared(dir))
        .collect()
}

fn is_root(owner: &Owner) -> bool {
    *owner == Owner::root() || *owner == Owner::Number(0)
}

enum EntryKind {
    Directory,
    Other,
}

fn kind_at(path: &Path) -> Result<Option<EntryKind>, DeployError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Some(EntryKind::Directory)),
        Ok(_) => Ok(Some(EntryKind::Other)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DeployError::io("look at", path, error)),
    }
}

/// Moves what was prepared in `new` into `state`; stopping anywhere, it can be done again. What is
/// left of `new` is wanted no more.
///
/// What has come into being in `state` since it was prepared stays.
pub(super) fn settle(
    disk: &dyn Disk,
    new: &Path,
    state: &Path,
    units: &[RelPath],
) -> Result<(), DeployError> {
    if !new.exists() {
        return Ok(());
    }
    let units: BTreeSet<PathBuf> = units.iter().map(|unit| unit.as_path().to_owned()).collect();
    let (from, to) = (open_dir(CWD, new)?, open_dir(CWD, state)?);
    let move_in = Settling {
        disk,
        new,
        state,
        units,
    };
    if let (Some(from), Some(to)) = (from, to) {
        move_in.dir(from.as_fd(), to.as_fd(), Path::new(""))?;
    }
    Ok(())
}

struct Settling<'a> {
    disk: &'a dyn Disk,
    new: &'a Path,
    state: &'a Path,
    units: BTreeSet<PathBuf>,
}

impl Settling<'_> {
    /// Moves what the open directory `to` lacks of the open directory `from`.
    ///
    /// Directories below `state` belong to services, which may put links in their places at any
    /// moment: they are held open, and no link is followed.
    fn dir(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, at: &Path) -> Result<(), DeployError> {
        let mut moved = false;
        let fail =
            |verb, path: PathBuf| move |errno: Errno| DeployError::io(verb, &path, errno.into());
        for entry in Dir::read_from(from).map_err(fail("list", self.new.join(at)))? {
            let entry = entry.map_err(fail("list", self.new.join(at)))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let path = at.join(name);
            let (old, new) = (self.new.join(&path), self.state.join(&path));
            match rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {
                    moved |= self.disk.rename_in(from, &old, to, &new)?;
                    continue;
                }
                found => found.map(drop).map_err(fail("look at", new.clone()))?,
            }
            if self.units.contains(&path) {
                continue;
            }
            if let (Some(from), Some(to)) = (
                open_dir(from, Path::new(name))?,
                open_dir(to, Path::new(name))?,
            ) {
                self.dir(from.as_fd(), to.as_fd(), &path)?;
            }
        }
        if moved {
            self.disk.sync_dir(&self.state.join(at))?;
        }
        Ok(())
    }
}

/// Opens a directory; `None` where there is something else, a link among that, or nothing.
fn open_dir(above: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, DeployError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(above, path, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(DeployError::io("open", path, errno.into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;
    use crate::format::parse_tree;

    const IMAGE: &str = "\
/ dir 0755 root root 0.0 -
/usr dir 0755 root root 0.0 -
/usr/share dir 0755 root root 0.0 -
/usr/share/factory dir 0755 root root 0.0 -
/usr/share/factory/var dir 0755 root root 0.0 -
/usr/share/factory/var/lib dir 0755 root root 0.0 -
/usr/share/factory/var/lib/pg dir 0755 postgres postgres 0.0 -
/usr/share/factory/var/lib/pg/15 dir 0755 postgres postgres 0.0 -
/usr/share/factory/var/lib/pg/15/main dir 0700 postgres postgres 0.0 -
/usr/share/factory/var/lib/pg/15/main/VERSION link 0777 root root 0.0 15
/usr/share/factory/var/lib/pg/15/main/base dir 0700 postgres postgres 0.0 -
/usr/share/factory/var/lib/seed link 0777 root root 0.0 x
/var dir 0755 root root 0.0 -
/var/lib dir 0755 root root 0.0 -
/var/lib/pg dir 0755 postgres postgres 0.0 -
/var/lib/pg/15 dir 0755 postgres postgres 0.0 -
/var/lib/pg/15/main dir 0700 postgres postgres 0.0 -
/var/log dir 0755 root root 0.0 -
/var/run link 0777 root root 0.0 /run
";

    fn planned(state: &Path) -> Vec<String> {
        let image = parse_tree(IMAGE).unwrap();
        let plan = plan(&image, state).unwrap();
        plan.tree.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn everything_is_new_at_first_and_a_cluster_is_a_unit() {
        let state = tempfile::tempdir().unwrap();
        let image = parse_tree(IMAGE).unwrap();
        let plan = plan(&image, state.path()).unwrap();
        assert_eq!(plan.units, [RelPath::new(b"lib/pg/15/main").unwrap()]);
        assert_eq!(plan.tree.len(), 10);
        plan.tree.validate().unwrap();
    }

    #[test]
    fn an_existing_cluster_gets_nothing_and_shared_directories_only_what_they_lack() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("lib/pg/15/main")).unwrap();
        assert_eq!(
            planned(state.path()),
            ["/", "/lib", "/lib/seed", "/log", "/run"]
        );
        std::fs::write(state.path().join("lib/seed"), "own").unwrap();
        std::fs::write(state.path().join("log"), "a file").unwrap();
        std::os::unix::fs::symlink("elsewhere", state.path().join("run")).unwrap();
        assert_eq!(planned(state.path()), [] as [&str; 0]);
    }

    #[test]
    fn a_database_moved_away_by_a_link_stays_where_it_is() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("lib")).unwrap();
        std::os::unix::fs::symlink("/srv/pg", state.path().join("lib/pg")).unwrap();
        assert_eq!(
            planned(state.path()),
            ["/", "/lib", "/lib/seed", "/log", "/run"]
        );
    }

    #[test]
    fn settling_moves_what_is_absent_and_can_be_done_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (new, state) = (dir.path().join("new"), dir.path().join("state"));
        std::fs::create_dir_all(new.join("lib/unit")).unwrap();
        std::fs::create_dir_all(new.join("lib/plain")).unwrap();
        std::fs::write(new.join("lib/unit/a"), "factory").unwrap();
        std::fs::write(new.join("lib/plain/b"), "factory").unwrap();
        std::fs::create_dir_all(state.join("lib/unit")).unwrap();
        std::fs::create_dir_all(state.join("lib/plain")).unwrap();
        let units = [RelPath::new(b"lib/unit").unwrap()];
        settle(&RealDisk, &new, &state, &units).unwrap();
        assert!(state.join("lib/plain/b").exists() && !state.join("lib/unit/a").exists());
        settle(&RealDisk, &new, &state, &units).unwrap();
    }

    /// The service that owns `lib/shop` puts a link there as soon as the first piece has come.
    #[test]
    fn no_link_of_a_service_leads_what_is_settled_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (new, state) = (dir.path().join("new"), dir.path().join("state"));
        let elsewhere = dir.path().join("elsewhere");
        for name in ["one", "two", "three"] {
            std::fs::create_dir_all(new.join("lib/shop").join(name)).unwrap();
        }
        for at in [&state.join("lib/shop"), &elsewhere] {
            std::fs::create_dir_all(at).unwrap();
        }
        let (from, away, to) = (
            state.join("lib/shop"),
            dir.path().join("away"),
            elsewhere.clone(),
        );
        let disk = crate::durable::hooked::HookedDisk::new(move || {
            std::fs::rename(&from, &away).unwrap();
            std::os::unix::fs::symlink(&to, &from).unwrap();
        });
        settle(&disk, &new, &state, &[]).unwrap();
        assert!(disk.was_hooked());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert_eq!(
            std::fs::read_dir(dir.path().join("away")).unwrap().count(),
            3
        );
        // Nor does a link that was there before.
        std::fs::create_dir_all(new.join("lib/shop/four")).unwrap();
        settle(&RealDisk, &new, &state, &[]).unwrap();
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}
