//! Transactions: everything new goes to a staging directory, and one rename makes it count.
//!
//! Order of a commit: staged files → `syncfs` → renamed to their final names → `syncfs` → the ref renamed (the commit
//! point) → `fsync` of its directory. The first sync is why an object under its final name is always whole, so that a
//! later transaction may rely on it; the second costs little because the data is already on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::{RefName, Repository, StoreError, WorkDir};
use crate::durable::DurableError;
use crate::format::{self, Image, Layer};
use crate::id::{ImageId, LayerId, ObjectId, TreeId};
use crate::tree::{Changeset, Tree};

/// Files up to this size are read whole, and written only when they are new.
const SMALL_BYTES: u64 = 1 << 20;

/// What a commit brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Objects that were not there before.
    pub new_objects: u64,
    /// Bytes written to the repository, manifests and trees included.
    pub bytes_written: u64,
}

/// An open change of a repository; dropping it leaves nothing behind.
#[derive(Debug)]
#[must_use]
pub struct Transaction<'r> {
    repository: &'r Repository,
    work: WorkDir,
    staged: Mutex<Staged>,
    next: AtomicU64,
    bytes_written: AtomicU64,
}

#[derive(Debug, Default)]
struct Staged {
    objects: BTreeSet<ObjectId>,
    /// Final path below the root by staged path, for trees and manifests.
    named: BTreeMap<PathBuf, PathBuf>,
}

impl Repository {
    /// Opens a transaction.
    pub fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        Ok(Transaction {
            repository: self,
            work: self.work_dir()?,
            staged: Mutex::default(),
            next: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        })
    }
}

impl Transaction<'_> {
    /// Returns the repository that this transaction changes.
    pub fn repository(&self) -> &Repository {
        self.repository
    }

    fn is_known(&self, id: &ObjectId) -> bool {
        self.lock().objects.contains(id) || self.repository.has_object(id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Staged> {
        self.staged
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn staged_object(&self, id: &ObjectId) -> PathBuf {
        self.work.path().join(id.to_hex())
    }

    /// Puts bytes; when this returns, they are stored under their digest or will be by [`Transaction::commit`].
    pub fn put_object(&self, bytes: &[u8]) -> Result<ObjectId, StoreError> {
        let id = ObjectId::of(bytes);
        if !self.is_known(&id) {
            self.stage(
                &id,
                &mut |file| io::Write::write_all(file, bytes),
                bytes.len() as u64,
            )?;
        }
        Ok(id)
    }

    /// Puts the contents of an open file, from its start, and returns the id and the size in bytes.
    pub fn put_file(&self, file: &mut File) -> Result<(ObjectId, u64), StoreError> {
        let fail = |error| StoreError::io("read", self.work.path(), error);
        let mut head = Vec::new();
        file.by_ref()
            .take(SMALL_BYTES + 1)
            .read_to_end(&mut head)
            .map_err(fail)?;
        if head.len() as u64 <= SMALL_BYTES {
            return Ok((self.put_object(&head)?, head.len() as u64));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        hasher.update_reader(&mut *file).map_err(fail)?;
        drop(head);
        let id = ObjectId::from_digest(*hasher.finalize().as_bytes());
        let size = hasher.count();
        if !self.is_known(&id) {
            io::Seek::rewind(file).map_err(fail)?;
            // The bytes are hashed again on their way, so that a file which changes meanwhile is never stored
            // under the digest of what it was.
            let mut check = blake3::Hasher::new();
            self.stage(
                &id,
                &mut |staged| {
                    let mut buffer = vec![0; 1 << 18];
                    loop {
                        let count = file.read(&mut buffer)?;
                        if count == 0 {
                            return Ok(());
                        }
                        check.update(&buffer[..count]);
                        io::Write::write_all(staged, &buffer[..count])?;
                    }
                },
                size,
            )?;
            if check.finalize().as_bytes() != id.as_bytes() {
                self.lock().objects.remove(&id);
                self.repository.disk.remove(&self.staged_object(&id))?;
                return Err(fail(io::Error::other("the file changed while it was read")));
            }
        }
        Ok((id, size))
    }

    fn stage(
        &self,
        id: &ObjectId,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
        size: u64,
    ) -> Result<(), StoreError> {
        // Two threads may bring the same bytes: the second finds the name taken, or the object known.
        let path = self.work.path().join(format!(
            "{}.{}",
            id.to_hex(),
            self.next.fetch_add(1, Ordering::Relaxed)
        ));
        self.repository.disk.write(&path, 0o400, &mut |file| {
            fill(file)?;
            // A modification time of 0 marks an object that nobody wrote to since; see `check_object`.
            let zero = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            file.set_times(zero)
        })?;
        if self.lock().objects.insert(*id) {
            self.repository
                .disk
                .rename(&path, &self.staged_object(id))?;
            self.bytes_written.fetch_add(size, Ordering::Relaxed);
        } else {
            self.repository.disk.remove(&path)?;
        }
        Ok(())
    }

    fn stage_named(&self, dir: &str, hex: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let target = self.repository.named_path(dir, hex);
        if target.exists() {
            return Ok(());
        }
        let path = self.work.path().join(format!("{dir}-{hex}"));
        if self.lock().named.insert(path.clone(), target).is_none() {
            self.repository
                .disk
                .write(&path, 0o444, &mut |file| io::Write::write_all(file, bytes))?;
            self.bytes_written
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts a tree.
    pub fn put_tree(&self, tree: &Tree) -> Result<TreeId, StoreError> {
        let bytes = format::encode_tree(tree);
        let id = TreeId::of(&bytes);
        self.stage_named("trees", &id.to_hex(), &bytes)?;
        Ok(id)
    }

    /// Puts a changeset.
    pub fn put_changeset(&self, changeset: &Changeset) -> Result<TreeId, StoreError> {
        let bytes = format::encode_changeset(changeset);
        let id = TreeId::of(&bytes);
        self.stage_named("trees", &id.to_hex(), &bytes)?;
        Ok(id)
    }

    /// Puts a layer's manifest.
    pub fn put_layer(&self, layer: &Layer) -> Result<LayerId, StoreError> {
        let bytes = canonical("layer", layer)?;
        let id = LayerId::of(&bytes);
        self.stage_named("layers", &id.to_hex(), &bytes)?;
        Ok(id)
    }

    /// Puts an image's manifest.
    pub fn put_image(&self, image: &Image) -> Result<ImageId, StoreError> {
        let bytes = canonical("image", image)?;
        let id = ImageId::of(&bytes);
        self.stage_named("images", &id.to_hex(), &bytes)?;
        Ok(id)
    }

    /// Reads an object that is stored or staged.
    pub fn read_object(&self, id: &ObjectId) -> Result<Vec<u8>, StoreError> {
        let staged = self.lock().objects.contains(id);
        if staged {
            let path = self.staged_object(id);
            return std::fs::read(&path).map_err(|error| StoreError::io("read", &path, error));
        }
        self.repository.read_object(id)
    }

    /// Opens an object that is stored or staged.
    pub fn open_object(&self, id: &ObjectId) -> Result<File, StoreError> {
        let staged = self.lock().objects.contains(id);
        if staged {
            let path = self.staged_object(id);
            return File::open(&path).map_err(|error| StoreError::io("open", &path, error));
        }
        self.repository.open_object(id)
    }

    /// Makes everything durable, then points `name` at `id`: from then on it counts.
    pub fn commit(self, name: &RefName, id: &str) -> Result<Committed, StoreError> {
        let repository = self.repository;
        let committed = self.store()?;
        repository.set_ref(name, id)?;
        Ok(committed)
    }

    /// Makes everything durable under its final name, without a ref: it stays until the next garbage collection, which
    /// cannot begin before this repository is closed.
    pub fn store(self) -> Result<Committed, StoreError> {
        let (repository, disk) = (self.repository, &self.repository.disk);
        let staged = std::mem::take(&mut *self.lock());
        if !(staged.objects.is_empty() && staged.named.is_empty()) {
            disk.sync_fs(&repository.root)?;
            for object in &staged.objects {
                disk.rename(&self.staged_object(object), &repository.object_path(object))?;
            }
            for (path, target) in &staged.named {
                disk.rename(path, target)?;
            }
            disk.sync_fs(&repository.root)?;
        }
        Ok(Committed {
            new_objects: staged.objects.len() as u64,
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
        })
    }
}

fn canonical<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    format::to_canonical_json(what, value).map_err(|error| {
        let reason = io::Error::other(error);
        StoreError::Durable(DurableError::new(
            "encode",
            std::path::Path::new(what),
            reason,
        ))
    })
}
