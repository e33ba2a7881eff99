//! Entries written briefly, for unit tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;

use super::{Content, Contents, Entry, EntryKind};
use crate::disk::Medium;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::time::Timestamp;

pub(super) fn entry(path: &str, mode: u16, kind: EntryKind) -> Entry {
    Entry {
        path: RelPath::new(path.as_bytes()).unwrap(),
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp::from_sec(1_700_000_000),
        xattrs: BTreeMap::new(),
        kind,
    }
}

pub(super) fn directory(path: &str) -> Entry {
    entry(path, 0o755, EntryKind::Directory)
}

pub(super) fn file(path: &str, bytes: &[u8]) -> Entry {
    let kind = EntryKind::File {
        content: Content::Bytes(bytes.into()),
        size: bytes.len() as u64,
    };
    entry(path, 0o644, kind)
}

pub(super) fn link(path: &str, target: &str) -> Entry {
    let target = RelPath::new(target.as_bytes()).unwrap();
    entry(path, 0, EntryKind::HardLink(target))
}

/// Contents that are all in the entries.
pub(super) struct Nothing;

impl Contents for Nothing {
    fn open(&self, _: &ObjectId) -> io::Result<Box<dyn io::Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A disk in memory.
pub(super) struct Memory(pub(super) Vec<u8>);

impl Medium for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
