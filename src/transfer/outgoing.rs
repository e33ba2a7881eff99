//! Blobs that are ready to be sent: `cache/outgoing` keeps them under names made of their inputs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{TransferError, TransferProgress};
use crate::durable::replace_file;
use crate::format::pack::Digest;
use crate::sha256::Sha256;
use crate::store::Repository;

/// How to prepare.
pub struct PrepareOptions<'a> {
    /// zstd's level for packs, 1 to 19.
    pub level: i32,
    /// How many earlier releases deltas are made from.
    pub deltas: usize,
    /// How many threads.
    pub threads: usize,
    /// When it is, in seconds since 1970.
    pub now: i64,
    /// Ends the work.
    pub cancel: &'a AtomicBool,
    /// Hears how it goes.
    pub progress: &'a dyn TransferProgress,
}

/// How long prepared blobs are kept, for publications that broke off and for other remotes.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Removes blobs that were prepared so long ago that nobody is still sending them.
pub(super) fn trim(outgoing: &Path) {
    let is_old = |file: &fs::DirEntry| {
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|modified| modified.elapsed().unwrap_or_default());
        age.is_ok_and(|age| age > KEPT)
    };
    for file in fs::read_dir(outgoing).into_iter().flatten().flatten() {
        if is_old(&file) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Names what is made of some contents.
pub(super) fn cache_key(what: &str, digests: &[Digest]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what.as_bytes());
    for digest in digests {
        hasher.update(digest);
    }
    crate::id::hex(&hasher.finalize().as_bytes()[..16])
}

/// Finds what was made before, if its blob is still there.
pub(super) fn cached<T: for<'de> Deserialize<'de>>(
    outgoing: &Path,
    key: &str,
    blob: impl Fn(&T) -> (Sha256, u64),
) -> Option<(T, PathBuf)> {
    let text = fs::read(outgoing.join(format!("{key}.json"))).ok()?;
    let value: T = serde_json::from_slice(&text).ok()?;
    let (digest, bytes) = blob(&value);
    let path = outgoing.join(digest.to_string());
    let is_whole = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes);
    is_whole.then_some((value, path))
}

/// Gives a finished blob its name.
pub(super) fn keep(
    outgoing: &Path,
    scratch: &Path,
    blob: &Sha256,
) -> Result<PathBuf, TransferError> {
    let path = outgoing.join(blob.to_string());
    let fail = |error| TransferError::io("write", &path, error);
    // A blob that has its name must be whole, even after a crash.
    File::open(scratch)
        .and_then(|file| file.sync_all())
        .map_err(fail)?;
    fs::rename(scratch, &path).map_err(fail)?;
    Ok(path)
}

/// Remembers what was made.
pub(super) fn remember<T: Serialize>(
    repository: &Repository,
    outgoing: &Path,
    key: &str,
    value: &T,
) -> Result<(), TransferError> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let path = outgoing.join(format!("{key}.json"));
    replace_file(repository.disk().as_ref(), &path, 0o644, &text)
        .map_err(|error| TransferError::Store(error.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_was_prepared_is_kept_for_a_month() {
        let dir = tempfile::tempdir().unwrap();
        for (name, days) in [("new", 0), ("weeks", 29), ("old", 31)] {
            let file = File::create(dir.path().join(name)).unwrap();
            let age = Duration::from_secs(days * 86_400);
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        trim(dir.path());
        let left: Vec<bool> = ["new", "weeks", "old"]
            .iter()
            .map(|name| dir.path().join(name).exists())
            .collect();
        assert_eq!(left, [true, true, false]);
    }
}
