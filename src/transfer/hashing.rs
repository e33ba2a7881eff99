//! Writing a blob, whose digest is known when it is written.

use std::fs::File;
use std::io::{self, Write};

use sha2::{Digest as _, Sha256 as Hasher};

/// A file that is hashed and counted while it is written.
pub(super) struct HashingFile {
    pub file: io::BufWriter<File>,
    pub hasher: Hasher,
    pub bytes: u64,
}

impl HashingFile {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: io::BufWriter::with_capacity(1 << 20, file),
            hasher: Hasher::new(),
            bytes: 0,
        }
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
