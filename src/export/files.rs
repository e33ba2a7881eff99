//! What a filesystem is to hold, before it is bytes: a tree, the numbers of its owners, and where
//! the contents come from.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::ExportError;
use crate::disk::ext4::{Content, Contents, Entry, EntryKind};
use crate::id::ObjectId;
use crate::materialise::{IdLookup, MaterialiseError, PasswdIds};
use crate::path::RelPath;
use crate::store::{Made, PortableFiles, Repository};
use crate::tree::{Inode, Node};

/// The files of one filesystem.
#[derive(Debug, Clone, Default)]
pub(super) struct FileSet {
    /// The files below its root, with the contents that no repository has.
    pub(super) files: PortableFiles,
    /// The numbers of the owners.
    pub(super) ids: PasswdIds,
    /// The order in which contents are laid out; what is not in it comes last.
    pub(super) order: Arc<[ObjectId]>,
}

impl FileSet {
    /// Lists the files for the writer: directories first, then contents in their order. Returns the
    /// contents that no repository has, too.
    ///
    /// A change of one late layer then moves late blocks only, and what compresses or sends disks
    /// block by block finds the others unchanged.
    pub(super) fn into_entries(
        self,
    ) -> Result<(Vec<Entry>, BTreeMap<ObjectId, Made>), ExportError> {
        let Self { files, ids, order } = self;
        let mut sorted: Vec<(u32, RelPath, Inode)> = Vec::with_capacity(files.tree.len());
        {
            let last = count(order.len());
            let rank: HashMap<&ObjectId, u32> = order.iter().zip(0..).collect();
            let rank_of = |inode: &Inode| match &inode.node {
                Node::Directory => 0,
                Node::File { object, .. } => 1 + rank.get(object).copied().unwrap_or(last),
                _ => 2 + last,
            };
            let ranked = files.tree.into_iter();
            sorted.extend(ranked.map(|(path, inode)| (rank_of(&inode), path, inode)));
        }
        // The order of paths decides where the rank does not; no path is there twice.
        sorted.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut first_names: HashMap<u32, RelPath> = HashMap::new();
        let mut entries = Vec::with_capacity(sorted.len());
        for (_, path, inode) in sorted {
            let linked = (inode.hardlink != 0 && !inode.is_dir())
                .then(|| first_names.get(&inode.hardlink).cloned())
                .flatten();
            if inode.hardlink != 0 && linked.is_none() {
                first_names.insert(inode.hardlink, path.clone());
            }
            entries.push(entry(&ids, path, inode, linked)?);
        }
        Ok((entries, files.made))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX - 3)
}

fn entry(
    ids: &PasswdIds,
    path: RelPath,
    inode: Inode,
    linked: Option<RelPath>,
) -> Result<Entry, ExportError> {
    let unknown = |owner: &crate::tree::Owner, database| MaterialiseError::UnknownOwner {
        path: path.clone(),
        owner: owner.clone(),
        database,
    };
    let uid = ids.uid(&inode.owner);
    let gid = ids.gid(&inode.group);
    Ok(Entry {
        mode: inode.mode,
        uid: uid.ok_or_else(|| unknown(&inode.owner, "passwd"))?,
        gid: gid.ok_or_else(|| unknown(&inode.group, "group"))?,
        mtime: inode.mtime,
        xattrs: inode.xattrs,
        kind: match linked {
            Some(first) => EntryKind::HardLink(first),
            None => kind(inode.node),
        },
        path,
    })
}

fn kind(node: Node) -> EntryKind {
    match node {
        Node::Directory => EntryKind::Directory,
        Node::File { object, size } => EntryKind::File {
            content: Content::Object(object),
            size,
        },
        Node::Symlink { target } => EntryKind::Symlink(target),
        Node::CharDevice(device) => EntryKind::CharDevice(device),
        Node::BlockDevice(device) => EntryKind::BlockDevice(device),
        Node::Fifo => EntryKind::Fifo,
        Node::Socket => EntryKind::Socket,
    }
}

/// Reads contents: objects of a repository, and what was made for the disk.
pub(super) struct Sources<'a> {
    pub(super) repository: &'a Repository,
    pub(super) made: &'a BTreeMap<ObjectId, Made>,
}

impl Contents for Sources<'_> {
    fn open(&self, object: &ObjectId) -> io::Result<Box<dyn Read + '_>> {
        match self.made.get(object) {
            Some(Made::Bytes(bytes)) => Ok(Box::new(Cursor::new(bytes))),
            Some(Made::File(path)) => Ok(Box::new(Checked::open(path.clone(), object)?)),
            None => {
                let path = self.repository.object_path(object);
                Ok(Box::new(Checked::open(path, object)?))
            }
        }
    }
}

/// Reads a file that is named by its digest, and fails at its end where it has other bytes.
///
/// Size and time of an object say nothing of a bit that fell over. All of it is read here anyway.
pub(super) struct Checked {
    file: File,
    object: ObjectId,
    hasher: blake3::Hasher,
}

impl Checked {
    pub(super) fn open(path: PathBuf, object: &ObjectId) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            object: *object,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Returns the size of what is there, in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        let is_over = count == 0 && !buffer.is_empty();
        if is_over && self.hasher.finalize().as_bytes() != self.object.as_bytes() {
            let damaged = format!("object {} is damaged", self.object);
            return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
        }
        Ok(count)
    }
}
