//! Object ids of files on disk: reads every byte once, through one buffer per thread.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::id::ObjectId;
use crate::materialise::{FileMeta, ObjectSink};

/// Large enough for BLAKE3's wide SIMD kernels, small enough to stay in the second-level cache.
const BUFFER_BYTES: usize = 256 * 1024;

thread_local! {
    /// Scratch space for reading files.
    pub(super) static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Computes the id of the rest of `file`, which must hold exactly `size` more bytes.
pub fn hash_file(file: &mut File, size: u64) -> io::Result<ObjectId> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut hasher = blake3::Hasher::new();
        let mut rest = size;
        while rest > 0 {
            let count = match file.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if count == 0 || count as u64 > rest {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the size changed while the file was read",
                ));
            }
            hasher.update(&buffer[..count]);
            rest -= count as u64;
        }
        Ok(ObjectId::from_digest(*hasher.finalize().as_bytes()))
    })
}

/// A sink that only computes ids: what drift checks need.
#[derive(Debug, Clone, Copy, Default)]
pub struct HashSink;

impl ObjectSink for HashSink {
    fn put_file(&self, mut file: File, meta: &FileMeta, _path: &Path) -> io::Result<ObjectId> {
        hash_file(&mut file, meta.size)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_hashes_like_its_bytes_and_a_wrong_size_is_noticed() {
        let bytes: Vec<u8> = (0..BUFFER_BYTES * 2 + 77)
            .map(|i| (i % 251) as u8)
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let size = bytes.len() as u64;
        let id = hash_file(&mut File::open(&path).unwrap(), size).unwrap();
        assert_eq!(id, ObjectId::of(&bytes));
        for wrong in [size + 1, size - 1] {
            let error = hash_file(&mut File::open(&path).unwrap(), wrong).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
