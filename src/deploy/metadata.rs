//! The metadata image of a deployment, which depends on the image alone and is cached in the repository by its tree.

use std::path::{Path, PathBuf};

use super::etc::Ids;
use super::{DeployError, put};
use crate::durable::Disk;
use crate::id::{TreeId, hex};
use crate::materialise::erofs_image;
use crate::store::Repository;
use crate::tree::Tree;

/// The metadata image: in the repository's cache, or made anew.
pub(super) enum Metadata {
    Cached { path: PathBuf, digest: String },
    Made { path: PathBuf, bytes: Box<[u8]> },
}

impl Metadata {
    /// Returns the digest, 64 hex digits.
    pub(super) fn digest(&self) -> String {
        match self {
            Self::Cached { digest, .. } => digest.clone(),
            Self::Made { bytes, .. } => hex(blake3::hash(bytes).as_bytes()),
        }
    }

    /// Returns the size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Cached { path, .. } => {
                std::fs::metadata(path).map_or(0, |metadata| metadata.len())
            }
            Self::Made { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Finds the metadata image of a tree in the repository's cache, or makes it.
    ///
    /// A cached image counts only with its digest beside it: a crash may have cut it short.
    pub(super) fn find_or_make(
        repository: &Repository,
        id: &TreeId,
        tree: &Tree,
        ids: &Ids,
    ) -> Result<Self, DeployError> {
        let path = repository.cache_dir("erofs")?.join(id.to_hex());
        let cached = std::fs::read(&path)
            .ok()
            .zip(std::fs::read_to_string(digest_path(&path)).ok());
        if let Some((bytes, wanted)) = cached {
            let digest = hex(blake3::hash(&bytes).as_bytes());
            if wanted.trim_end() == digest {
                return Ok(Self::Cached { path, digest });
            }
        }
        let bytes = erofs_image(tree, ids)?;
        Ok(Self::Made { path, bytes })
    }

    /// Writes the image to `at`, and to the cache when it is new.
    pub(super) fn write(
        &self,
        disk: &dyn Disk,
        repository: &Repository,
        at: &Path,
    ) -> Result<(), DeployError> {
        match self {
            Self::Cached { path, .. } => {
                // A second name is free; the cache may lie on another filesystem or have many names already.
                if std::fs::hard_link(path, at).is_err() {
                    let bytes = std::fs::read(path)
                        .map_err(|error| DeployError::io("read", path, error))?;
                    put(disk, at, 0o444, &bytes)?;
                }
            }
            Self::Made { path, bytes } => {
                put(disk, at, 0o444, bytes)?;
                remember(repository.disk().as_ref(), path, bytes);
            }
        }
        Ok(())
    }
}

fn digest_path(path: &Path) -> PathBuf {
    path.with_added_extension("b3")
}

/// Puts a metadata image into the cache; without one, the next stage makes it again.
fn remember(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let beside = path.with_added_extension(std::process::id().to_string());
    let digest = format!("{}\n", hex(blake3::hash(bytes).as_bytes()));
    let put_whole = |at: &Path, bytes: &[u8]| -> Result<(), DeployError> {
        disk.remove(&beside)?;
        put(disk, &beside, 0o444, bytes)?;
        disk.rename(&beside, at)?;
        Ok(())
    };
    if put_whole(path, bytes).is_err() || put_whole(&digest_path(path), digest.as_bytes()).is_err()
    {
        let _ = disk.remove(&beside);
    }
}
