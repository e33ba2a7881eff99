//! Trees and changesets as GVariant.
//!
//! A tree is `(sua(ay(yqayayxutaya(ayay)u)))`: the word `layerset.tree`, the format version, and
//! the entries sorted by path bytes. An entry is its path and its inode: kind, mode, owner, group,
//! seconds, nanoseconds, size, payload, extended attributes sorted by name, hard-link group. The
//! payload is the 32-byte object id of a file, the target of a symlink, or the little-endian 64-bit
//! `dev_t` of a device. A changeset is `(sua(aym(…)m(…)))` with the inode before and after.
//!
//! Reader rule: decode, check, encode again, compare. Bytes that differ were not in normal form.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use gvariant::aligned_bytes::{AlignedSlice, Alignment, copy_to_align};
use gvariant::{Marker, Structure, gv};

use super::error::FormatError;
use crate::id::ObjectId;
use crate::path::{RelPath, escape};
use crate::time::Timestamp;
use crate::tree::{Change, Changeset, Inode, Node, Owner, Tree, Xattrs};

const TREE_MAGIC: &str = "layerset.tree";
const CHANGESET_MAGIC: &str = "layerset.changeset";
const VERSION: u32 = 1;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const CHAR: u8 = 3;
const BLOCK: u8 = 4;
const FIFO: u8 = 5;
const SOCKET: u8 = 6;

/// The inode as the tuple that the GVariant writer takes: only `Copy` fields, so all texts are
/// borrowed from a [`Scratch`].
type InodeTuple<'a> = (
    u8,
    u16,
    &'a [u8],
    &'a [u8],
    i64,
    u32,
    u64,
    &'a [u8],
    &'a [(&'a [u8], &'a [u8])],
    u32,
);

/// Texts and payloads of an inode as bytes, for a [`InodeTuple`] to borrow.
struct Scratch<'a> {
    inode: &'a Inode,
    owner: Cow<'a, str>,
    group: Cow<'a, str>,
    payload: Cow<'a, [u8]>,
    xattrs: Vec<(&'a [u8], &'a [u8])>,
}

fn owner_text(owner: &Owner) -> Cow<'_, str> {
    match owner {
        Owner::Name(name) => Cow::Borrowed(name),
        Owner::Number(_) => Cow::Owned(owner.to_string()),
    }
}

impl<'a> Scratch<'a> {
    fn new(inode: &'a Inode) -> Self {
        let payload = match &inode.node {
            Node::Directory | Node::Fifo | Node::Socket => Cow::default(),
            Node::File { object, .. } => Cow::Borrowed(&object.as_bytes()[..]),
            Node::Symlink { target } => Cow::Borrowed(&**target),
            Node::CharDevice(device) | Node::BlockDevice(device) => {
                Cow::Owned(device.to_le_bytes().to_vec())
            }
        };
        let xattrs = inode
            .xattrs
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        Self {
            inode,
            owner: owner_text(&inode.owner),
            group: owner_text(&inode.group),
            payload,
            xattrs,
        }
    }

    fn flat(&self) -> InodeTuple<'_> {
        let (kind, size) = match &self.inode.node {
            Node::Directory => (DIRECTORY, 0),
            Node::File { size, .. } => (FILE, *size),
            Node::Symlink { .. } => (SYMLINK, 0),
            Node::CharDevice(_) => (CHAR, 0),
            Node::BlockDevice(_) => (BLOCK, 0),
            Node::Fifo => (FIFO, 0),
            Node::Socket => (SOCKET, 0),
        };
        let Inode {
            mode,
            mtime,
            hardlink,
            ..
        } = self.inode;
        let (owner, group) = (self.owner.as_bytes(), self.group.as_bytes());
        (
            kind,
            *mode,
            owner,
            group,
            mtime.sec,
            mtime.nsec,
            size,
            &self.payload,
            &self.xattrs,
            *hardlink,
        )
    }
}

/// Encodes a tree; its [`crate::id::TreeId`] is the digest of the result.
pub fn encode_tree(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tree(tree, &mut bytes);
    bytes
}

/// Writes the canonical bytes of a tree. No writer here fails.
fn write_tree(tree: &Tree, out: &mut impl Write) {
    let scratch: Vec<Scratch> = tree.iter().map(|(_, inode)| Scratch::new(inode)).collect();
    let flat: Vec<InodeTuple> = scratch.iter().map(Scratch::flat).collect();
    let entries: Vec<(&[u8], &InodeTuple)> = tree
        .iter()
        .zip(&flat)
        .map(|((path, _), flat)| (path.as_bytes(), flat))
        .collect();
    let whole = (TREE_MAGIC, VERSION, entries.as_slice());
    let _ = gv!("(sua(ay(yqayayxutaya(ayay)u)))").serialize(&whole, out);
}

/// Says whether what is written to it is what it expects, and keeps nothing: a tree may be large.
struct Comparison<'a> {
    rest: &'a [u8],
    is_same: bool,
}

impl<'a> Comparison<'a> {
    fn new(expected: &'a [u8]) -> Self {
        Self {
            rest: expected,
            is_same: true,
        }
    }

    fn is_whole(&self) -> bool {
        self.is_same && self.rest.is_empty()
    }
}

impl Write for Comparison<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => self.rest = rest,
            None => self.is_same = false,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Encodes a changeset; its [`crate::id::TreeId`] is the digest of the result.
pub fn encode_changeset(changeset: &Changeset) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_changeset(changeset, &mut bytes);
    bytes
}

/// Writes the canonical bytes of a changeset. No writer here fails.
fn write_changeset(changeset: &Changeset, out: &mut impl Write) {
    let scratch = |pick: fn(&Change) -> Option<&Inode>| -> Vec<Option<Scratch>> {
        changeset
            .iter()
            .map(|(_, change)| pick(change).map(Scratch::new))
            .collect()
    };
    let (pre, post) = (
        scratch(|change| change.pre.as_ref()),
        scratch(|change| change.post.as_ref()),
    );
    fn flat<'a>(side: &'a [Option<Scratch<'a>>]) -> Vec<Option<InodeTuple<'a>>> {
        side.iter()
            .map(|scratch| scratch.as_ref().map(Scratch::flat))
            .collect()
    }
    let (pre, post) = (flat(&pre), flat(&post));
    let changes: Vec<(&[u8], Option<&InodeTuple>, Option<&InodeTuple>)> = changeset
        .iter()
        .zip(pre.iter().zip(&post))
        .map(|((path, _), (pre, post))| (path.as_bytes(), pre.as_ref(), post.as_ref()))
        .collect();
    let whole = (CHANGESET_MAGIC, VERSION, changes.as_slice());
    let _ = gv!("(sua(aym(yqayayxutaya(ayay)u)m(yqayayxutaya(ayay)u)))").serialize(&whole, out);
}

/// Raises one GVariant inode; a macro because every `gv!` makes a type of its own.
macro_rules! raise {
    ($inode:expr, $owners:expr) => {{
        let (kind, mode, owner, group, sec, nsec, size, payload, xattrs, hardlink) =
            $inode.to_tuple();
        let xattrs: Vec<_> = xattrs.iter().map(|pair| pair.to_tuple()).collect();
        let flat = (
            *kind, *mode, owner, group, *sec, *nsec, *size, payload, &*xattrs, *hardlink,
        );
        raise_inode(flat, $owners)
    }};
}

/// Returns `bytes` where GVariant can read them. Empty input is refused: the crate cannot align it.
pub(super) fn aligned<A: Alignment>(bytes: &[u8]) -> Result<Cow<'_, AlignedSlice<A>>, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(copy_to_align(bytes))
}

/// Decodes a tree, and refuses anything but the canonical bytes of a valid one.
pub fn decode_tree(bytes: &[u8]) -> Result<Tree, FormatError> {
    let fail = |reason: String| FormatError::Binary {
        what: "tree",
        reason,
    };
    let aligned = aligned(bytes).map_err(fail)?;
    let (magic, version, entries) = gv!("(sua(ay(yqayayxutaya(ayay)u)))")
        .cast(aligned.as_ref())
        .to_tuple();
    check_header(magic.to_str(), *version, TREE_MAGIC).map_err(fail)?;
    let mut tree = Tree::new();
    let mut owners = Owners::default();
    for entry in entries.iter() {
        let (path, inode) = entry.to_tuple();
        let path = RelPath::new(path).map_err(|error| fail(error.to_string()))?;
        let inode =
            raise!(inode, &mut owners).map_err(|reason| fail(format!("'{path}' {reason}")))?;
        if tree.insert(path.clone(), inode).is_some() {
            return Err(fail(format!("'{path}' is listed twice")));
        }
    }
    tree.validate().map_err(|error| fail(error.to_string()))?;
    let mut again = Comparison::new(bytes);
    write_tree(&tree, &mut again);
    if !again.is_whole() {
        return Err(fail(
            "the bytes are not in normal form, or not sorted".to_owned(),
        ));
    }
    Ok(tree)
}

/// Decodes a changeset, and refuses anything but the canonical bytes of one.
pub fn decode_changeset(bytes: &[u8]) -> Result<Changeset, FormatError> {
    let fail = |reason: String| FormatError::Binary {
        what: "changeset",
        reason,
    };
    let aligned = aligned(bytes).map_err(fail)?;
    let (magic, version, changes) = gv!("(sua(aym(yqayayxutaya(ayay)u)m(yqayayxutaya(ayay)u)))")
        .cast(aligned.as_ref())
        .to_tuple();
    check_header(magic.to_str(), *version, CHANGESET_MAGIC).map_err(fail)?;
    let mut changeset = Changeset::new();
    let mut owners = Owners::default();
    for change in changes.iter() {
        let (path, pre, post) = change.to_tuple();
        let path = RelPath::new(path).map_err(|error| fail(error.to_string()))?;
        let pre = pre.to_option();
        let pre = pre.map(|inode| raise!(inode, &mut owners)).transpose();
        let post = post.to_option();
        let post = post.map(|inode| raise!(inode, &mut owners)).transpose();
        let check = |reason| fail(format!("'{path}' {reason}"));
        let change = Change {
            pre: pre.map_err(check)?,
            post: post.map_err(check)?,
        };
        changeset.insert(path, change);
    }
    let mut again = Comparison::new(bytes);
    write_changeset(&changeset, &mut again);
    if !again.is_whole() {
        return Err(fail(
            "the bytes are not in normal form, or not sorted".to_owned(),
        ));
    }
    Ok(changeset)
}

/// Returns the files that a changeset leaves, in the order of their paths: object and size.
///
/// Only this is decoded, for a caller that knows by its digest that the bytes are those of a
/// changeset.
pub fn decode_changed_files(bytes: &[u8]) -> Result<Vec<(ObjectId, u64)>, FormatError> {
    let fail = |reason: String| FormatError::Binary {
        what: "changeset",
        reason,
    };
    let aligned = aligned(bytes).map_err(fail)?;
    let (magic, version, changes) = gv!("(sua(aym(yqayayxutaya(ayay)u)m(yqayayxutaya(ayay)u)))")
        .cast(aligned.as_ref())
        .to_tuple();
    check_header(magic.to_str(), *version, CHANGESET_MAGIC).map_err(fail)?;
    let mut files = Vec::new();
    for change in changes.iter() {
        let Some(post) = change.to_tuple().2.to_option() else {
            continue;
        };
        let (kind, _, _, _, _, _, size, payload, _, _) = post.to_tuple();
        if *kind == FILE {
            let digest: Result<[u8; 32], _> = payload.try_into();
            let digest = digest.map_err(|_| fail("a file has no 32-byte id".to_owned()))?;
            files.push((ObjectId::from_digest(digest), *size));
        }
    }
    Ok(files)
}

fn check_header(magic: &str, version: u32, expected: &str) -> Result<(), String> {
    if magic != expected {
        return Err(format!("it does not start with '{expected}'"));
    }
    if version != VERSION {
        return Err(format!(
            "it has format version {version}, this program reads {VERSION}"
        ));
    }
    Ok(())
}

/// The owners that were met, so that each name is in memory once.
#[derive(Default)]
struct Owners(HashMap<Box<[u8]>, Owner>);

impl Owners {
    fn find(&mut self, bytes: &[u8]) -> Result<Owner, String> {
        if let Some(owner) = self.0.get(bytes) {
            return Ok(owner.clone());
        }
        let owner = std::str::from_utf8(bytes).ok().and_then(Owner::from_text);
        let owner = owner.ok_or_else(|| format!("has the impossible owner '{}'", escape(bytes)))?;
        self.0.insert(bytes.into(), owner.clone());
        Ok(owner)
    }
}

fn raise_inode(flat: InodeTuple<'_>, owners: &mut Owners) -> Result<Inode, String> {
    let (kind, mode, owner, group, sec, nsec, size, payload, xattrs, hardlink) = flat;
    let device = || {
        payload
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| "is a device without an 8-byte number".to_owned())
    };
    let node = match kind {
        DIRECTORY => Node::Directory,
        FILE => Node::File {
            object: ObjectId::from_digest(
                payload
                    .try_into()
                    .map_err(|_| "is a file without a 32-byte id".to_owned())?,
            ),
            size,
        },
        SYMLINK
            if payload.is_empty()
                || payload.len() > crate::path::MAX_PATH_BYTES
                || payload.contains(&0) =>
        {
            return Err("is a symlink with an impossible target".to_owned());
        }
        SYMLINK => Node::Symlink {
            target: payload.into(),
        },
        CHAR => Node::CharDevice(device()?),
        BLOCK => Node::BlockDevice(device()?),
        FIFO => Node::Fifo,
        SOCKET => Node::Socket,
        other => return Err(format!("is of the unknown kind {other}")),
    };
    if mode > 0o7777 {
        return Err(format!("has the impossible mode {mode:o}"));
    }
    if nsec >= 1_000_000_000 {
        return Err("has a time of more than 999,999,999 nanoseconds".to_owned());
    }
    let mut attributes = Xattrs::new();
    for (name, value) in xattrs {
        if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > 65_536 {
            return Err("has an impossible extended attribute".to_owned());
        }
        attributes.insert(name.to_vec(), value.to_vec());
    }
    Ok(Inode {
        node,
        mode,
        owner: owners.find(owner)?,
        group: owners.find(group)?,
        mtime: Timestamp { sec, nsec },
        xattrs: attributes,
        hardlink,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::{dump_tree, parse_tree};
    use crate::id::TreeId;
    use proptest::prelude::*;

    fn sample() -> Tree {
        parse_tree(concat!(
            "/ dir 0755 root root 0.0 -\n",
            "/dev dir 0755 root root 0.0 -\n",
            "/dev/null char 0666 root root 5.7 259\n",
            "/etc dir 0755 root root 1700000000.5 -\n",
            "/etc/a\\x20b file 4755 root #1234 -1.0 b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 0 security.capability=0102 link=1\n",
            "/etc/c file 4755 root #1234 -1.0 b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 0 security.capability=0102 link=1\n",
            "/etc/l link 0777 root root 0.0 ../x\n",
        ))
        .unwrap()
    }

    #[test]
    fn a_tree_keeps_its_golden_id() {
        let bytes = encode_tree(&sample());
        assert_eq!(decode_tree(&bytes).unwrap(), sample());
        assert_eq!(
            TreeId::of(&bytes).to_string(),
            "b3:885e8e1a09feeda0da852e5e22772e0052fe151bac54542d3337fd160cb377ea"
        );
    }

    #[test]
    fn every_single_byte_change_is_refused_or_is_another_tree() {
        let bytes = encode_tree(&sample());
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                if let Ok(tree) = decode_tree(&damaged) {
                    assert_ne!(tree, sample(), "byte {at}");
                    assert_eq!(encode_tree(&tree), damaged);
                }
            }
        }
        for len in 0..bytes.len() {
            assert!(decode_tree(&bytes[..len]).is_err(), "truncated to {len}");
        }
    }

    #[test]
    fn changesets_round_trip() {
        let mut after = sample();
        after.remove(b"etc/l");
        after.insert(RelPath::new(b"etc/new").unwrap(), Inode::symlink("a"));
        let file = Inode::file(ObjectId::of(b"x"), 1, 0o644);
        after.insert(RelPath::new(b"etc/file").unwrap(), file);
        let changeset = Changeset::between(&sample(), &after);
        assert_eq!(changeset.len(), 3);
        let bytes = encode_changeset(&changeset);
        assert_eq!(decode_changeset(&bytes).unwrap(), changeset);
        let files = changeset
            .iter()
            .filter_map(|(_, change)| match change.post.as_ref()?.node {
                Node::File { object, size } => Some((object, size)),
                _ => None,
            });
        let files: Vec<_> = files.collect();
        assert_eq!(files, [(ObjectId::of(b"x"), 1)]);
        assert_eq!(decode_changed_files(&bytes).unwrap(), files);
        for len in 0..bytes.len() {
            assert!(
                decode_changeset(&bytes[..len]).is_err(),
                "truncated to {len}"
            );
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_crash_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_tree(&bytes);
            let _ = decode_changeset(&bytes);
            let _ = decode_changed_files(&bytes);
        }

        #[test]
        fn the_text_twin_says_everything(names in proptest::collection::btree_set("[a-z \\\\\n]{1,8}", 0..20), mode in 0u16..0o7777) {
            let mut tree = Tree::new();
            tree.insert(RelPath::root(), Inode::directory(mode));
            for (n, name) in names.iter().enumerate() {
                let inode = if n % 2 == 0 { Inode::symlink(name) } else { Inode::file(ObjectId::of(name.as_bytes()), n as u64, mode) };
                tree.insert(RelPath::new(name.as_bytes()).unwrap(), inode);
            }
            prop_assert_eq!(&parse_tree(&dump_tree(&tree)).unwrap(), &tree);
            prop_assert_eq!(&decode_tree(&encode_tree(&tree)).unwrap(), &tree);
        }
    }
}
