//! One tree on several filesystems: each takes what lies below its mount point.

use super::files::FileSet;
use crate::path::RelPath;
use crate::store::PortableFiles;
use crate::tree::{Inode, Tree};

/// Gives each mount point (relative; empty for the root) its part of `whole`, in the given order.
///
/// A mount point stays in the filesystem above as an empty directory. One that the tree lacks is
/// made, with mode 0755.
pub(super) fn split(whole: FileSet, mounts: &[RelPath]) -> Vec<FileSet> {
    let FileSet { files, ids, order } = whole;
    let made = files.made;
    let mut parts: Vec<Tree> = mounts.iter().map(|_| Tree::new()).collect();
    let owner_of = |path: &RelPath| {
        let holding = mounts
            .iter()
            .enumerate()
            .filter(|(_, mount)| path.starts_with(mount.as_bytes()));
        holding
            .max_by_key(|(_, mount)| mount.as_bytes().len())
            .map(|(index, _)| index)
    };
    let mut tree = files.tree;
    for mount in mounts {
        make_directories(&mut tree, mount);
    }
    for (path, inode) in tree {
        let Some(index) = owner_of(&path) else {
            continue;
        };
        let is_mount_point = path == mounts[index] && !path.is_root();
        if is_mount_point
            && let Some(above) = path.parent().and_then(|above| owner_of(&above))
            && let Some(within) = path.rebase(mounts[above].as_bytes(), b"")
        {
            parts[above].insert(within, inode.clone());
        }
        if let Some(within) = path.rebase(mounts[index].as_bytes(), b"") {
            parts[index].insert(within, inode);
        }
    }
    let sets = parts.into_iter().map(|mut tree| {
        // Names of one file on two filesystems are two files.
        tree.canonicalize_hardlinks();
        let objects = tree.iter().filter_map(|(_, inode)| inode.object());
        let own = objects.filter_map(|id| Some((id, made.get(&id)?.clone())));
        let made = own.collect();
        FileSet {
            files: PortableFiles { tree, made },
            ids: ids.clone(),
            order: order.clone(),
        }
    });
    sets.collect()
}

fn make_directories(tree: &mut Tree, path: &RelPath) {
    let mut missing = Vec::new();
    let mut at = Some(path.clone());
    while let Some(path) = at {
        if tree.get(path.as_bytes()).is_some() {
            break;
        }
        at = path.parent();
        missing.push(path);
    }
    for path in missing {
        tree.insert(path, Inode::directory(0o755));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::materialise::PasswdIds;

    #[test]
    fn each_mount_point_takes_what_is_below_it_and_stays_as_a_directory_above() {
        let mut files = PortableFiles::default();
        files.insert("", Inode::directory(0o755));
        files.insert("var", Inode::directory(0o700));
        files.insert(
            "var/a",
            Inode {
                hardlink: 1,
                ..Inode::file(ObjectId::of(b"x"), 1, 0o644)
            },
        );
        files.insert(
            "b",
            Inode {
                hardlink: 1,
                ..Inode::file(ObjectId::of(b"x"), 1, 0o644)
            },
        );
        files.insert("variety", Inode::directory(0o755));
        let whole = FileSet {
            files,
            ids: PasswdIds::default(),
            order: Default::default(),
        };
        let mounts = ["", "var", "srv/data"].map(|path| RelPath::from_text(path).unwrap());
        let parts = split(whole, &mounts);
        let names = |part: &FileSet| {
            let paths = part.files.tree.iter().map(|(path, _)| path.to_string());
            paths.collect::<Vec<_>>()
        };
        assert_eq!(
            names(&parts[0]),
            ["/", "/b", "/srv", "/srv/data", "/var", "/variety"]
        );
        assert_eq!(names(&parts[1]), ["/", "/a"]);
        assert_eq!(names(&parts[2]), ["/"]);
        assert_eq!(parts[0].files.tree.get(b"var").unwrap().mode, 0o700);
        assert_eq!(parts[1].files.tree.get(b"").unwrap().mode, 0o700);
        assert_eq!(parts[0].files.tree.get(b"b").unwrap().hardlink, 0);
    }
}
