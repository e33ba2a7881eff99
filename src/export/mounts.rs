//! Where filesystems are mounted, held against what the image has there.

use super::files::FileSet;
use super::split::split;
use crate::disk::Layout;
use crate::path::RelPath;
use crate::tree::{Inode, Tree};

/// Directories that are the machine's own on an updatable machine, which has them in [`STATE`].
const OWN: [&str; 4] = ["home", "root", "srv", "var"];
/// Where an updatable machine has what is its own, on the data filesystem.
const STATE: &str = "layerset/state";

/// Says why a machine could not mount anything at `mount`.
///
/// The root of an updatable machine cannot be written, so that nobody makes a directory there.
pub(super) fn check(tree: &Tree, layout: Layout, mount: &RelPath) -> Result<(), String> {
    let mut at = Some(mount.clone());
    while let Some(path) = at {
        if let Some(found) = tree.get(path.as_bytes()).filter(|inode| !inode.is_dir()) {
            return Err(format!("'{path}' of the image is a {}", found.node.kind()));
        }
        at = path.parent();
    }
    let is_writable = layout == Layout::Plain || is_own(mount) || mount.starts_with(b"etc");
    if is_writable || mount.is_root() {
        return Ok(());
    }
    if !tree.get(mount.as_bytes()).is_some_and(Inode::is_dir) {
        return Err("the image has no such directory, and nobody can make it there".to_owned());
    }
    match tree.below(mount.as_bytes()).count() {
        0 => Ok(()),
        count => Err(format!("it would hide {count} files of the image")),
    }
}

fn is_own(mount: &RelPath) -> bool {
    OWN.iter().any(|own| mount.starts_with(own.as_bytes()))
}

/// Takes out of the data filesystem what belongs on the filesystems that are mounted at `mounts`.
/// What does not lie on the data filesystem gets nothing.
pub(super) fn split_state(data: FileSet, mounts: &[RelPath]) -> (FileSet, Vec<Option<FileSet>>) {
    let mut places = vec![RelPath::root()];
    let indexes: Vec<Option<usize>> = mounts
        .iter()
        .map(|mount| {
            let place = is_own(mount)
                .then(|| mount.rebase(b"", STATE.as_bytes()))
                .flatten()?;
            places.push(place);
            Some(places.len() - 1)
        })
        .collect();
    let mut parts: Vec<Option<FileSet>> = split(data, &places).into_iter().map(Some).collect();
    let mut take = |index: usize| parts.get_mut(index).and_then(Option::take);
    let rest = take(0).unwrap_or_default();
    let own = indexes.into_iter().map(|index| take(index?)).collect();
    (rest, own)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::from_text(text).unwrap()
    }

    fn image() -> Tree {
        let mut tree = Tree::new();
        tree.insert(RelPath::root(), Inode::directory(0o755));
        for name in ["mnt", "opt", "opt/tool", "var", "usr", "usr/bin"] {
            tree.insert(path(name), Inode::directory(0o755));
        }
        tree.insert(path("bin"), Inode::symlink("usr/bin"));
        tree
    }

    #[test]
    fn a_mount_point_is_a_directory_that_is_there_or_can_be_made() {
        let check = |layout, mount| check(&image(), layout, &path(mount));
        for mount in ["mnt", "opt/tool", "var/lib/db", "srv/a", "etc/a"] {
            check(Layout::Updatable, mount).unwrap();
        }
        for (layout, mount, message) in [
            (Layout::Updatable, "data", "the image has no such directory"),
            (Layout::Updatable, "opt", "it would hide 1 files"),
            (Layout::Updatable, "bin", "'/bin' of the image is a link"),
            (Layout::Plain, "bin", "'/bin' of the image is a link"),
            (Layout::Plain, "bin/x/y", "'/bin' of the image is a link"),
        ] {
            let said = check(layout, mount).unwrap_err();
            assert!(said.contains(message), "{mount}: {said}");
        }
        check(Layout::Plain, "data/a").unwrap();
        check(Layout::Plain, "opt").unwrap();
    }

    #[test]
    fn a_filesystem_of_its_own_takes_its_part_of_the_state() {
        let mut data = FileSet::default();
        for (name, mode) in [
            ("", 0o755),
            ("layerset", 0o755),
            ("layerset/state", 0o755),
            ("layerset/state/var", 0o755),
            ("layerset/state/var/db", 0o700),
            ("layerset/state/var/db/new", 0o750),
        ] {
            data.files.insert(name, Inode::directory(mode));
        }
        let mounts = ["mnt", "var/db"].map(path);
        let (rest, own) = split_state(data, &mounts);
        let place = b"layerset/state/var/db";
        assert_eq!(rest.files.tree.get(place).unwrap().mode, 0o700);
        assert_eq!(rest.files.tree.below(place).count(), 0);
        assert!(own[0].is_none());
        let db = &own[1].as_ref().unwrap().files.tree;
        assert_eq!(db.get(b"").unwrap().mode, 0o700);
        assert_eq!(db.get(b"new").unwrap().mode, 0o750);
    }
}
