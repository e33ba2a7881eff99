//! The root filesystem of a classic machine: the image as ordinary files, all of them writable.

use super::ExportError;
use super::files::FileSet;
use crate::deploy::initial_var;
use crate::id::ImageId;
use crate::materialise::PasswdIds;
use crate::store::{PortableFiles, Repository};
use crate::tree::{Inode, Tree};

/// systemd does its first-boot work where this file is absent: it would apply presets, and ask on
/// the console. An empty one gets its id at the first start, and nothing else happens.
const MACHINE_ID: &str = "etc/machine-id";
/// systemd runs what is to run after an update where these are older than `/usr`.
const STAMPS: [&str; 2] = ["etc/.updated", "var/.updated"];

/// Makes the root filesystem of an image with this tree. `fstab` is its `/etc/fstab`, `now` dates what is made
/// here, in seconds since 1970.
pub(super) fn plain(
    repository: &Repository,
    id: &ImageId,
    tree: Tree,
    fstab: &str,
    now: i64,
) -> Result<FileSet, ExportError> {
    let ids = PasswdIds::read(
        |file| match tree.get(file.as_bytes()).and_then(Inode::object) {
            Some(object) => repository.read_object(&object),
            None => Ok(Vec::new()),
        },
    )?;
    let order = repository.object_order(id, &tree)?.into();
    let has = |dir: &[u8]| tree.get(dir).is_some_and(Inode::is_dir);
    let (has_var, has_etc) = (has(b"var"), has(b"etc"));
    let has_id = tree.get(MACHINE_ID.as_bytes()).is_some();
    let var = has_var.then(|| initial_var(&tree)).transpose()?;
    let mut files = PortableFiles {
        tree,
        ..PortableFiles::default()
    };
    if let Some(var) = var {
        for (path, inode) in var {
            let Some(path) = path.rebase(b"", b"var") else {
                continue;
            };
            // A hard link of the factory copy would make a change here one there.
            let inode = Inode {
                hardlink: 0,
                ..inode
            };
            if files.tree.get(path.as_bytes()).is_none() || !inode.is_dir() {
                files.tree.insert(path, inode);
            }
        }
    }
    if has_etc {
        files.put("etc/fstab", 0o644, fstab.as_bytes().to_vec());
        files.date("etc/fstab", now);
        if !has_id {
            files.put(MACHINE_ID, 0o444, Vec::new());
            files.date(MACHINE_ID, now);
        }
    }
    for stamp in STAMPS {
        let dir = stamp.split('/').next().unwrap_or_default();
        if files.tree.get(dir.as_bytes()).is_some_and(Inode::is_dir) {
            files.put(stamp, 0o644, Vec::new());
            files.date(stamp, now);
        }
    }
    files.tree.canonicalize_hardlinks();
    Ok(FileSet { files, ids, order })
}
