//! What a FAT filesystem of the disk holds: boot files, and files of the image where it is mounted.
//!
//! FAT has no owners, modes, links and attributes: who mounts it says who may do what. So what would
//! be lost there is refused by name, and so is what would be open to more people than in the image.

use super::files::FileSet;
use crate::disk::{FatFile, Filesystem};
use crate::id::ObjectId;
use crate::materialise::IdLookup as _;
use crate::path::RelPath;
use crate::store::Made;
use crate::tree::{Inode, Node};

/// A file or folder of a FAT filesystem.
#[derive(Debug)]
pub(super) struct FatItem {
    /// Its path, without a slash in front.
    pub(super) path: String,
    pub(super) content: FatContent,
}

/// What a [`FatItem`] is.
#[derive(Debug)]
pub(super) enum FatContent {
    /// A file of these bytes.
    Made(Vec<u8>),
    /// A file: an object, followed by zeros up to this size. An initrd that another one follows ends
    /// at a multiple of 512 bytes, or the kernel does not see the second one.
    Stored { object: ObjectId, size: u64 },
    /// A folder.
    Folder,
}

impl FatItem {
    /// Returns the size in bytes; `None` for a folder.
    pub(super) fn size(&self) -> Option<u64> {
        match &self.content {
            FatContent::Made(bytes) => Some(bytes.len() as u64),
            FatContent::Stored { size, .. } => Some(*size),
            FatContent::Folder => None,
        }
    }
}

/// Lists items for the writer.
pub(super) fn list(items: &[FatItem]) -> Vec<FatFile> {
    let files = items.iter().map(|item| FatFile {
        path: item.path.clone(),
        size: item.size(),
    });
    files.collect()
}

/// Turns files of the image into items; an error says what cannot be there, by its path.
pub(super) fn items(set: FileSet, filesystem: &Filesystem) -> Result<Vec<FatItem>, String> {
    let rights = Rights::of(filesystem);
    let mount = filesystem.mount.as_deref().unwrap_or("/");
    let mut items = Vec::new();
    for (path, inode) in set.files.tree.iter() {
        let refuse = |problem: String| {
            let path = match path.is_root() {
                true => mount.to_owned(),
                false => format!("{mount}{path}"),
            };
            Err(format!("cannot hold '{path}': {problem}"))
        };
        let numbers = (set.ids.uid(&inode.owner), set.ids.gid(&inode.group));
        if let Some(problem) = rights.problem(inode, numbers) {
            return refuse(problem);
        }
        let content = match &inode.node {
            Node::Directory if path.is_root() => continue,
            Node::Directory => FatContent::Folder,
            Node::File { .. } if inode.hardlink != 0 => {
                return refuse("it is a hard link".to_owned());
            }
            Node::File { object, size } => match set.files.made.get(object) {
                Some(Made::Bytes(bytes)) => FatContent::Made(bytes.clone()),
                _ => FatContent::Stored {
                    object: *object,
                    size: *size,
                },
            },
            node => return refuse(format!("it is a {}", node.kind())),
        };
        let Some(path) = text(path) else {
            return refuse("its name is not UTF-8".to_owned());
        };
        items.push(FatItem { path, content });
    }
    Ok(items)
}

fn text(path: &RelPath) -> Option<String> {
    String::from_utf8(path.as_bytes().to_vec()).ok()
}

/// What the mount options give to everything on a FAT filesystem (mount(8), "Mount options for
/// fat").
struct Rights {
    uid: u32,
    gid: u32,
    file_mask: u16,
    directory_mask: u16,
}

impl Rights {
    fn of(filesystem: &Filesystem) -> Self {
        // Where nobody says it, it is the umask of who mounts: systemd's is 0022.
        let mut rights = Self {
            uid: 0,
            gid: 0,
            file_mask: 0o022,
            directory_mask: 0o022,
        };
        let options = filesystem
            .fstab
            .as_ref()
            .map(|fstab| fstab.options.as_str());
        for option in options.unwrap_or_default().split(',') {
            let Some((key, value)) = option.split_once('=') else {
                continue;
            };
            let mask = u16::from_str_radix(value, 8);
            match (key, mask) {
                ("uid", _) => rights.uid = value.parse().unwrap_or(rights.uid),
                ("gid", _) => rights.gid = value.parse().unwrap_or(rights.gid),
                ("umask", Ok(mask)) => {
                    (rights.file_mask, rights.directory_mask) = (mask, mask);
                }
                ("fmask", Ok(mask)) => rights.file_mask = mask,
                ("dmask", Ok(mask)) => rights.directory_mask = mask,
                _ => {}
            }
        }
        rights
    }

    fn problem(&self, inode: &Inode, numbers: (Option<u32>, Option<u32>)) -> Option<String> {
        if numbers != (Some(self.uid), Some(self.gid)) {
            let (owner, group) = (&inode.owner, &inode.group);
            return Some(format!(
                "it belongs to {owner}:{group}, and all that is there belongs to {}:{}",
                self.uid, self.gid
            ));
        }
        if inode.mode & 0o7000 != 0 {
            return Some(format!("it has the mode {:04o}", inode.mode));
        }
        if let Some(name) = inode.xattrs.keys().next() {
            let name = String::from_utf8_lossy(name);
            return Some(format!("it has the attribute {name}"));
        }
        let mask = match inode.is_dir() {
            true => self.directory_mask,
            false => self.file_mask,
        };
        // Every file may be executed there, which is no secret.
        let readers = 0o777 & !mask & if inode.is_dir() { 0o077 } else { 0o066 };
        let more = readers & !inode.mode;
        (more != 0).then(|| {
            format!(
                "it has the mode {:04o}, and would be open to all: mount it with umask=0077",
                inode.mode
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::{FilesystemKind, Fstab};
    use crate::tree::Owner;

    fn set(entries: &[(&[u8], Inode)]) -> FileSet {
        let mut set = FileSet::default();
        set.files.insert("", Inode::directory(0o755));
        for (path, inode) in entries {
            let path = RelPath::new(path).unwrap();
            set.files.tree.insert(path, inode.clone());
        }
        set
    }

    fn vfat(options: &str) -> Filesystem {
        Filesystem {
            mount: Some("/boot/efi".to_owned()),
            fstab: Some(Fstab {
                options: options.to_owned(),
                ..Fstab::default()
            }),
            ..Filesystem::new(FilesystemKind::Vfat)
        }
    }

    fn file(mode: u16) -> Inode {
        Inode::file(ObjectId::of(b"x"), 1, mode)
    }

    #[test]
    fn files_and_folders_are_there_and_everything_else_is_refused_by_name() {
        let good = set(&[(b"d", Inode::directory(0o755)), (b"d/f", file(0o644))]);
        let items = items(good, &vfat("defaults")).unwrap();
        let found: Vec<_> = items
            .iter()
            .map(|item| (&*item.path, item.size()))
            .collect();
        assert_eq!(found, [("d", None), ("d/f", Some(1))]);
        let linked = Inode {
            hardlink: 1,
            ..file(0o644)
        };
        let mut attributed = file(0o644);
        attributed.xattrs.insert(b"user.a".to_vec(), vec![1]);
        let mut owned = file(0o644);
        owned.owner = Owner::Number(104);
        for (path, inode, problem) in [
            (
                &b"f"[..],
                Inode::symlink("x"),
                "'/boot/efi/f': it is a link",
            ),
            (b"f", Inode::new(Node::Fifo, 0o644), "it is a fifo"),
            (b"f", Inode::new(Node::CharDevice(1), 0o644), "it is a char"),
            (b"f", linked, "it is a hard link"),
            (b"f", attributed, "it has the attribute user.a"),
            (b"f", owned, "it belongs to #104:root"),
            (b"f", file(0o4755), "it has the mode 4755"),
            (b"f", file(0o600), "would be open to all"),
            (b"d", Inode::directory(0o750), "would be open to all"),
            (b"\xff", file(0o644), "its name is not UTF-8"),
        ] {
            let said = super::items(set(&[(path, inode)]), &vfat("defaults"))
                .err()
                .unwrap();
            assert!(said.contains(problem), "{said}");
        }
    }

    #[test]
    fn the_mount_options_say_who_may_read() {
        let items = |inode: Inode, options: &str| items(set(&[(b"f", inode)]), &vfat(options));
        for options in ["umask=0077,nofail", "fmask=077"] {
            assert!(items(file(0o600), options).is_ok(), "{options}");
        }
        assert!(items(file(0o600), "dmask=077").is_err());
        let mut owned = file(0o644);
        owned.owner = Owner::Number(104);
        // The folder that it is mounted at is root's.
        assert!(items(owned, "uid=104").unwrap_err().contains("'/boot/efi'"));
    }
}
