//! The metadata image of a tree: EROFS in the composefs layout, to be mounted below overlayfs with
//! the objects as data-only layer.
//!
//! Format 1 of the `composefs` crate, because format 2 drops nanoseconds. A file's
//! `trusted.overlay.redirect` is `/ab/cdef…`, the object's place in the object directory. The same
//! tree and numbers give the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use composefs::erofs::format::FormatVersion;
use composefs::erofs::writer::{ValidatedFileSystem, mkfs_erofs_versioned};
use composefs::fsverity::{FsVerityHashValue, Sha256HashValue};
use composefs::generic_tree::{LeafId, Stat};
use composefs::tree::{Directory, FileSystem, Inode as Entry, LeafContent, RegularFile};

use crate::materialise::{IdLookup, MaterialiseError};
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// EROFS counts shared attributes of an inode in one byte.
const MAX_XATTRS: usize = 255;
/// All attributes of an inode, counted in words of four bytes, must fit sixteen bits.
const MAX_XATTR_BYTES: usize = 128 * 1024;
/// What the kernel accepts as the value of one attribute, and EROFS stores in sixteen bits.
const MAX_XATTR_VALUE_BYTES: usize = 65_535;

/// The crate's name for a 32-byte id; no fs-verity digest is implied.
type Carrier = Sha256HashValue;

/// A name in a directory and what it stands for.
type Child = (Box<OsStr>, Entry<Carrier>);

/// Writes the metadata image of `tree`.
pub fn erofs_image(tree: &Tree, ids: &dyn IdLookup) -> Result<Box<[u8]>, MaterialiseError> {
    tree.validate()?;
    let mut builder = ErofsBuilder::new(ids);
    // Everything below a directory sorts after it, so backwards each directory's children are
    // complete when it comes.
    for (path, inode) in tree.iter().collect::<Vec<_>>().into_iter().rev() {
        builder.add(path, inode)?;
    }
    let root = RelPath::root();
    let refuse = |reason| MaterialiseError::Unrepresentable {
        path: root.clone(),
        reason,
    };
    let filesystem = builder.finish().ok_or_else(|| refuse("it has no root"))?;
    let valid = ValidatedFileSystem::new(filesystem)
        .map_err(|_| refuse("the tree is inconsistent for EROFS"))?;
    Ok(mkfs_erofs_versioned(&valid, FormatVersion::V1))
}

struct ErofsBuilder<'a> {
    ids: &'a dyn IdLookup,
    filesystem: FileSystem<Carrier>,
    /// Children whose directory has not come yet.
    pending: HashMap<RelPath, Vec<Child>>,
    links: HashMap<u32, LeafId>,
}

impl<'a> ErofsBuilder<'a> {
    fn new(ids: &'a dyn IdLookup) -> Self {
        Self {
            ids,
            filesystem: FileSystem::new(Stat::uninitialized()),
            pending: HashMap::new(),
            links: HashMap::new(),
        }
    }

    fn add(&mut self, path: &RelPath, inode: &Inode) -> Result<(), MaterialiseError> {
        let entry = match &inode.node {
            Node::Directory => {
                let mut directory = Directory::new(self.stat(path, inode)?);
                for (name, child) in self.pending.remove(path).unwrap_or_default() {
                    directory.insert(&name, child);
                }
                if path.is_root() {
                    self.filesystem.root = directory;
                    return Ok(());
                }
                Entry::Directory(Box::new(directory))
            }
            _ => Entry::leaf(self.leaf(path, inode)?),
        };
        let name = OsStr::from_bytes(path.name()).into();
        let parent = path.parent().unwrap_or_default();
        self.pending.entry(parent).or_default().push((name, entry));
        Ok(())
    }

    /// Adds an inode that is no directory, or finds it when another of its names came first.
    fn leaf(&mut self, path: &RelPath, inode: &Inode) -> Result<LeafId, MaterialiseError> {
        if inode.hardlink != 0
            && let Some(id) = self.links.get(&inode.hardlink)
        {
            return Ok(*id);
        }
        let content = content(inode).map_err(|reason| MaterialiseError::Unrepresentable {
            path: path.clone(),
            reason,
        })?;
        let stat = self.stat(path, inode)?;
        let id = self.filesystem.push_leaf(stat, content);
        if inode.hardlink != 0 {
            self.links.insert(inode.hardlink, id);
        }
        Ok(id)
    }

    fn stat(&self, path: &RelPath, inode: &Inode) -> Result<Stat, MaterialiseError> {
        let (st_uid, st_gid) = numbers(self.ids, path, inode)?;
        if let Some(reason) = xattr_problem(inode) {
            return Err(MaterialiseError::Unrepresentable {
                path: path.clone(),
                reason,
            });
        }
        let xattrs: BTreeMap<Box<OsStr>, Box<[u8]>> = inode
            .xattrs
            .iter()
            .map(|(name, value)| (OsStr::from_bytes(name).into(), value.as_slice().into()))
            .collect();
        Ok(Stat {
            st_mode: u32::from(inode.mode),
            st_uid,
            st_gid,
            st_mtim_sec: inode.mtime.sec,
            st_mtim_nsec: inode.mtime.nsec,
            xattrs,
        })
    }

    fn finish(self) -> Option<FileSystem<Carrier>> {
        self.pending.is_empty().then_some(self.filesystem)
    }
}

/// Looks up both numbers of an inode's owners.
pub(super) fn numbers(
    ids: &dyn IdLookup,
    path: &RelPath,
    inode: &Inode,
) -> Result<(u32, u32), MaterialiseError> {
    let fail = |owner: &crate::tree::Owner, database| MaterialiseError::UnknownOwner {
        path: path.clone(),
        owner: owner.clone(),
        database,
    };
    let uid = ids
        .uid(&inode.owner)
        .ok_or_else(|| fail(&inode.owner, "passwd"))?;
    let gid = ids
        .gid(&inode.group)
        .ok_or_else(|| fail(&inode.group, "group"))?;
    Ok((uid, gid))
}

fn content(inode: &Inode) -> Result<LeafContent<Carrier>, &'static str> {
    Ok(match &inode.node {
        // An empty file needs no object: overlayfs then never looks for one.
        Node::File { size: 0, .. } => LeafContent::Regular(RegularFile::Inline(Box::default())),
        Node::File { object, size } => {
            let carrier = Carrier::from_hex(object.to_hex())
                .map_err(|_| "its object id does not fit the image format")?;
            LeafContent::Regular(RegularFile::ExternalNoVerity(carrier, *size))
        }
        Node::Symlink { target } => LeafContent::Symlink(OsStr::from_bytes(target).into()),
        Node::CharDevice(0) => {
            return Err("a character device 0:0 is overlayfs's mark of a removed file");
        }
        Node::CharDevice(device) if u32::try_from(*device).is_ok() => {
            LeafContent::CharacterDevice(*device)
        }
        Node::BlockDevice(device) if u32::try_from(*device).is_ok() => {
            LeafContent::BlockDevice(*device)
        }
        Node::CharDevice(_) | Node::BlockDevice(_) => {
            return Err("its device number is larger than 32 bits");
        }
        Node::Fifo => LeafContent::Fifo,
        Node::Socket => LeafContent::Socket,
        Node::Directory => return Err("a directory is no leaf"),
    })
}

/// Says what of the extended attributes the image could not hold; the crate itself would truncate
/// silently.
///
/// `trusted.overlay.*` is fine: the crate escapes it, and overlayfs (since Linux 6.7) shows it
/// unescaped.
fn xattr_problem(inode: &Inode) -> Option<&'static str> {
    if inode.xattrs.len() > MAX_XATTRS {
        return Some("it has more than 255 extended attributes");
    }
    let mut total = 0;
    for (name, value) in &inode.xattrs {
        let known = [&b"user."[..], b"trusted.", b"security."]
            .iter()
            .any(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
            || name == b"system.posix_acl_access"
            || name == b"system.posix_acl_default";
        if !known || name.contains(&0) || name.len() > 255 {
            return Some("it has an extended attribute whose name EROFS cannot store");
        }
        if value.len() > MAX_XATTR_VALUE_BYTES {
            return Some("it has an extended attribute of more than 65535 bytes");
        }
        total += name.len() + value.len() + 8;
    }
    (total > MAX_XATTR_BYTES).then_some("its extended attributes exceed 128 KiB")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::materialise::PasswdIds;
    use crate::time::Timestamp;
    use crate::tree::Owner;

    fn with(path: &[u8], inode: Inode) -> Tree {
        let mut tree = Tree::new();
        tree.insert(RelPath::root(), Inode::directory(0o755));
        tree.insert(RelPath::new(path).unwrap(), inode);
        tree
    }

    fn refusal(tree: &Tree) -> String {
        erofs_image(tree, &PasswdIds::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_and_any_difference_shows() {
        let ids = PasswdIds::parse(b"", b"");
        let file = Inode::file(ObjectId::of(b"x"), 1, 0o644);
        let base = erofs_image(&with(b"a", file.clone()), &ids).unwrap();
        assert_eq!(base, erofs_image(&with(b"a", file.clone()), &ids).unwrap());
        let later = Inode {
            mtime: Timestamp { sec: 0, nsec: 1 },
            ..file.clone()
        };
        let other = Inode::file(ObjectId::of(b"y"), 1, 0o644);
        for changed in [with(b"b", file), with(b"a", later), with(b"a", other)] {
            assert_ne!(base, erofs_image(&changed, &ids).unwrap());
        }
    }

    #[test]
    fn the_redirect_is_the_place_in_the_object_directory() {
        let id = ObjectId::of(b"contents");
        let hex = id.to_hex();
        let image = erofs_image(
            &with(b"a", Inode::file(id, 8, 0o644)),
            &PasswdIds::parse(b"", b""),
        )
        .unwrap();
        let redirect = format!("/{}/{}", &hex[..2], &hex[2..]);
        assert!(
            image
                .windows(redirect.len())
                .any(|w| w == redirect.as_bytes())
        );
    }

    #[test]
    fn what_erofs_cannot_hold_is_refused_by_path() {
        let whiteout = with(b"dev/null", Inode::new(Node::CharDevice(0), 0o600));
        assert!(refusal(&whiteout).contains("not a file system"));
        for (inode, reason) in [
            (Inode::new(Node::CharDevice(0), 0o600), "0:0"),
            (Inode::new(Node::BlockDevice(1 << 40), 0o600), "32 bits"),
        ] {
            let text = refusal(&with(b"x", inode));
            assert!(text.contains("/x") && text.contains(reason), "{text}");
        }
        for (name, size, reason) in [
            (&b"btrfs.compression"[..], 1, "name"),
            (b"user.", 1, "name"),
            (b"user.big", 65_536, "65535"),
        ] {
            let mut inode = Inode::directory(0o755);
            inode.xattrs.insert(name.to_vec(), vec![0; size]);
            let text = refusal(&with(b"x", inode));
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn an_owner_without_a_number_is_named() {
        let mut inode = Inode::directory(0o755);
        inode.group = Owner::Name("postgres".into());
        let text = erofs_image(&with(b"var", inode), &PasswdIds::parse(b"", b""))
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "'/var' belongs to 'postgres', which the image's group does not list"
        );
    }
}
