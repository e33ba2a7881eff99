//! The metadata image of a tree, which depends on the tree alone and is cached under its id.

use std::path::{Path, PathBuf};

use super::{IdLookup, MaterialiseError, erofs_image};
use crate::durable::{Disk, DurableError};
use crate::id::{TreeId, hex};
use crate::tree::Tree;

/// The metadata image of a tree: in the cache, or made anew.
pub enum MetadataImage {
    /// It is in the cache.
    Cached {
        /// Where.
        path: PathBuf,
        /// Its digest, 64 hex digits.
        digest: String,
    },
    /// It was made, and is not in the cache yet.
    Made {
        /// Where it would be in the cache.
        path: PathBuf,
        /// The image.
        bytes: Box<[u8]>,
    },
}

impl MetadataImage {
    /// Finds the metadata image of a tree in a cache directory, or makes it.
    ///
    /// A cached image is used only if the digest beside it matches: a crash may have cut it short.
    pub fn find_or_make(
        cache: &Path,
        id: &TreeId,
        tree: &Tree,
        ids: &dyn IdLookup,
    ) -> Result<Self, MaterialiseError> {
        let path = cache.join(id.to_hex());
        let cached = std::fs::read(&path)
            .ok()
            .zip(std::fs::read_to_string(digest_path(&path)).ok());
        if let Some((bytes, wanted)) = cached {
            let digest = hex(blake3::hash(&bytes).as_bytes());
            if wanted.trim_end() == digest {
                return Ok(Self::Cached { path, digest });
            }
        }
        Ok(Self::Made {
            path,
            bytes: erofs_image(tree, ids)?,
        })
    }

    /// Returns the digest, 64 hex digits.
    pub fn digest(&self) -> String {
        match self {
            Self::Cached { digest, .. } => digest.clone(),
            Self::Made { bytes, .. } => hex(blake3::hash(bytes).as_bytes()),
        }
    }

    /// Returns the size in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Cached { path, .. } => {
                std::fs::metadata(path).map_or(0, |metadata| metadata.len())
            }
            Self::Made { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Writes the image to `at`, and to the cache when it is new.
    pub fn write(&self, disk: &dyn Disk, cache: &dyn Disk, at: &Path) -> Result<(), DurableError> {
        match self {
            Self::Cached { path, .. } => {
                // A second name is free; the cache may lie on another filesystem or have many names
                // already.
                if std::fs::hard_link(path, at).is_err() {
                    let bytes = std::fs::read(path)
                        .map_err(|error| DurableError::new("read", path, error))?;
                    put(disk, at, &bytes)?;
                }
            }
            Self::Made { bytes, .. } => {
                put(disk, at, bytes)?;
                self.remember(cache);
            }
        }
        Ok(())
    }

    /// Puts a new image into the cache; without one, the next deployment makes it again.
    pub fn remember(&self, cache: &dyn Disk) {
        let Self::Made { path, bytes } = self else {
            return;
        };
        let beside = path.with_added_extension(std::process::id().to_string());
        let digest = format!("{}\n", self.digest());
        let put_whole = |at: &Path, bytes: &[u8]| -> Result<(), DurableError> {
            cache.remove(&beside)?;
            put(cache, &beside, bytes)?;
            cache.rename(&beside, at)
        };
        if put_whole(path, bytes).is_err()
            || put_whole(&digest_path(path), digest.as_bytes()).is_err()
        {
            let _ = cache.remove(&beside);
        }
    }
}

fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    disk.write(path, 0o444, &mut |file| {
        std::io::Write::write_all(file, bytes)
    })
}

fn digest_path(path: &Path) -> PathBuf {
    path.with_added_extension("b3")
}
