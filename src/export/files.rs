//! What a filesystem is to hold, before it is bytes: a tree, the numbers of its owners, and where
//! the contents come from.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::ExportError;
use crate::disk::ext4::{Content, Contents, Entry, EntryKind};
use crate::id::ObjectId;
use crate::materialise::{IdLookup, MaterialiseError, PasswdIds};
use crate::path::RelPath;
use crate::store::{Made, PortableFiles, Repository};
use crate::tree::{Inode, Node};

/// Files from this size on are looked through for holes before the disk gets its size, in bytes. The others are too
/// small to matter.
const LARGE: u64 = 32 << 20;
/// The blocks that holes are made of, in bytes.
const BLOCK: u64 = 4096;
/// How much is read at once, in bytes: whole blocks.
const READ: usize = 256 * BLOCK as usize;

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

/// Counts the blocks of zeros of each large file that is an object of the repository: they become holes, and a file
/// like `/var/log/lastlog` or that of a database may be far larger than what it holds.
pub(super) fn find_holes(
    repository: &Repository,
    entries: &mut [Entry],
    made: &BTreeMap<ObjectId, Made>,
) -> Result<(), ExportError> {
    for entry in entries {
        let EntryKind::File { content, size } = &mut entry.kind else {
            continue;
        };
        let Content::Object(object) = content else {
            continue;
        };
        if *size < LARGE || made.contains_key(object) {
            continue;
        }
        let path = repository.object_path(object);
        let holes = File::open(&path).and_then(|file| zero_blocks(&file));
        let holes = holes.map_err(|error| ExportError::io("read", &path, error))?;
        if holes > 0 {
            *content = Content::Sparse(*object, holes);
        }
    }
    Ok(())
}

/// Counts the blocks of zeros of a file. What the filesystem below knows as a hole is not read; whether it does
/// changes no number.
fn zero_blocks(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut buffer = vec![0; READ];
    let (mut at, mut zeros) = (0, 0);
    while at < length {
        let next = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(next) => next / BLOCK * BLOCK,
            Err(Errno::NXIO) => length,
            // Not every filesystem knows.
            Err(_) => at,
        };
        if next > at {
            zeros += (next - at).div_ceil(BLOCK);
            at = next;
            continue;
        }
        let count = read_full(file, &mut buffer, at)?;
        if count == 0 {
            break;
        }
        let blocks = buffer[..count].chunks(BLOCK as usize);
        zeros += blocks
            .filter(|block| block.iter().all(|byte| *byte == 0))
            .count() as u64;
        at += count as u64;
    }
    Ok(zeros)
}

/// Fills `buffer` from `at` on, or up to the end of the file.
fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the filesystem knows the holes changes no number; the last block may be a part of one.
    #[test]
    fn blocks_of_zeros_are_counted_in_holes_and_in_data() {
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(3 * READ as u64 + 5).unwrap();
        sparse.write_all_at(b"x", 10 * BLOCK + 17).unwrap();
        sparse.write_all_at(b"yy", READ as u64 + BLOCK - 1).unwrap();
        let mut bytes = vec![0; 3 * READ + 5];
        assert_eq!(read_full(&sparse, &mut bytes, 0).unwrap(), bytes.len());
        let dense = tempfile::tempfile().unwrap();
        dense.write_all_at(&bytes, 0).unwrap();
        for file in [sparse, dense] {
            assert_eq!(zero_blocks(&file).unwrap(), 3 * 256 + 1 - 3);
        }
    }
}
