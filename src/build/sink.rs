//! Contents on their way into a transaction.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::BuildError;
use crate::id::ObjectId;
use crate::materialise::{FileMeta, ObjectSink};
use crate::store::Transaction;

/// Takes the files of a build into a transaction, and counts them.
#[derive(Debug)]
pub struct Sink<'t> {
    transaction: &'t Transaction<'t>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl<'t> Sink<'t> {
    /// Takes files into `transaction`.
    pub fn new(transaction: &'t Transaction<'t>) -> Self {
        Self {
            transaction,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Reads an object, stored or staged.
    pub fn read(&self, id: &ObjectId) -> Result<Vec<u8>, BuildError> {
        Ok(self.transaction.read_object(id)?)
    }

    /// Puts bytes.
    pub fn write(&self, bytes: &[u8]) -> Result<ObjectId, BuildError> {
        Ok(self.transaction.put_object(bytes)?)
    }

    /// Returns how many files and bytes were taken so far.
    pub fn taken(&self) -> (u64, u64) {
        (
            self.files.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

impl ObjectSink for Sink<'_> {
    fn put_file(&self, mut file: File, _meta: &FileMeta, _path: &Path) -> io::Result<ObjectId> {
        let (id, size) = self
            .transaction
            .put_file(&mut file)
            .map_err(io::Error::other)?;
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(id)
    }
}
