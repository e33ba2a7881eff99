//! Contents on their way into a transaction.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::BuildError;
use crate::id::ObjectId;
use crate::materialise::{FileMeta, ObjectSink};
use crate::store::Transaction;

/// How many files pass between two reports of progress.
const REPORT_EVERY: u64 = 256;

/// Takes the files of a build into a transaction, and reports progress.
pub struct BuildSink<'t> {
    transaction: &'t Transaction<'t>,
    progress: Option<&'t (dyn Fn(u64, u64) + Sync)>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl<'t> BuildSink<'t> {
    /// Takes files into `transaction`.
    pub fn new(transaction: &'t Transaction<'t>) -> Self {
        Self {
            transaction,
            progress: None,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Reports files and bytes so far to `progress`, every now and then.
    #[must_use]
    pub fn with_progress(self, progress: &'t (dyn Fn(u64, u64) + Sync)) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// Returns the transaction.
    pub fn transaction(&self) -> &'t Transaction<'t> {
        self.transaction
    }

    /// Reads an object, stored or staged.
    pub fn read(&self, id: &ObjectId) -> Result<Vec<u8>, BuildError> {
        Ok(self.transaction.read_object(id)?)
    }

    /// Opens an object, stored or staged.
    pub fn open(&self, id: &ObjectId) -> Result<File, BuildError> {
        Ok(self.transaction.open_object(id)?)
    }

    /// Puts bytes.
    pub fn write(&self, bytes: &[u8]) -> Result<ObjectId, BuildError> {
        Ok(self.transaction.put_object(bytes)?)
    }
}

impl ObjectSink for BuildSink<'_> {
    fn put_file(&self, mut file: File, meta: &FileMeta, _path: &Path) -> io::Result<ObjectId> {
        let (id, size) = self
            .transaction
            .put_file(&mut file)
            .map_err(io::Error::other)?;
        if size != meta.size {
            // The scan reports this kind as a file that changed while it was read.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(size, Ordering::Relaxed) + size;
        if let (Some(progress), 0) = (self.progress, files % REPORT_EVERY) {
            progress(files, bytes);
        }
        Ok(id)
    }
}
