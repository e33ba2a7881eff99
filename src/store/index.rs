//! The derived index in `cache/index.sled`: facts about objects that can always be computed again.
//!
//! It is opened lazily, never on the way of deploy, switch, rollback or boot, and started afresh on
//! any error or panic while opening: sled 0.34 has been seen to do both after a kill.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use super::Repository;
use crate::durable::make_exact;

/// A lazily opened store of derived facts; without one, everything is computed again.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    database: OnceLock<Option<Database>>,
}

/// An open database and its lock. A command that does not get the lock works without an index, and
/// deletes nothing.
#[derive(Debug)]
struct Database {
    sled: sled::Db,
    _lock: File,
}

impl Index {
    fn database(&self) -> Option<&sled::Db> {
        let database = self.database.get_or_init(|| {
            let lock = File::create(self.path.with_extension("lock")).ok()?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
            let sled = open(&self.path).or_else(|| {
                // A broken index is thrown away; if that fails too, the work goes on without one.
                std::fs::remove_dir_all(&self.path).ok()?;
                open(&self.path)
            })?;
            Some(Database { sled, _lock: lock })
        });
        database.as_ref().map(|database| &database.sled)
    }

    /// Returns the fact of `kind` about `key`.
    pub fn get(&self, kind: &str, key: &[u8]) -> Option<Vec<u8>> {
        let tree = self.database()?.open_tree(kind).ok()?;
        tree.get(key).ok()?.map(|value| value.to_vec())
    }

    /// Remembers many facts of `kind` at once; what fails is forgotten, and computed again next
    /// time.
    pub fn put_all(&self, kind: &str, facts: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        let Some(tree) = self
            .database()
            .and_then(|database| database.open_tree(kind).ok())
        else {
            return;
        };
        let mut batch = sled::Batch::default();
        for (key, value) in facts {
            batch.insert(key, value);
        }
        let _ = tree.apply_batch(batch);
    }
}

fn open(path: &std::path::Path) -> Option<sled::Db> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(64 << 20)
        .flush_every_ms(None);
    let database = std::panic::catch_unwind(AssertUnwindSafe(|| config.open()))
        .ok()?
        .ok()?;
    // Closed, whatever the umask gave the files in it. sled makes the directory itself.
    let dir = File::open(path).ok()?;
    make_exact(dir.as_fd(), 0o700).ok()?;
    Some(database)
}

impl Repository {
    /// Returns the index, not opened yet.
    pub fn index(&self) -> Index {
        Index {
            path: self.root().join("cache/index.sled"),
            database: OnceLock::new(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_another_command_holds_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let index = || Index {
            path: dir.path().join("index.sled"),
            database: OnceLock::new(),
        };
        let (first, second) = (index(), index());
        first.put_all("elf", [(b"a".to_vec(), b"1".to_vec())]);
        second.put_all("elf", [(b"b".to_vec(), b"2".to_vec())]);
        assert_eq!(second.get("elf", b"a"), None);
        assert_eq!(first.get("elf", b"a").unwrap(), b"1");
        drop(first);
        assert_eq!(index().get("elf", b"a").unwrap(), b"1");
    }

    #[test]
    fn a_broken_index_is_started_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.sled");
        let index = Index {
            path: path.clone(),
            database: OnceLock::new(),
        };
        index.put_all("elf", [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(index.get("elf", b"a").unwrap(), b"1");
        drop(index);
        std::fs::write(path.join("db"), b"garbage garbage garbage garbage garbage").unwrap();
        std::fs::write(path.join("conf"), b"garbage").unwrap();
        let index = Index {
            path,
            database: OnceLock::new(),
        };
        assert_eq!(index.get("elf", b"a"), None);
        index.put_all("elf", [(b"a".to_vec(), b"2".to_vec())]);
        assert_eq!(index.get("elf", b"a").unwrap(), b"2");
    }
}
