//! Transactions: everything new goes to a staging directory, and one rename commits it.
//!
//! Order of a commit: staged files → `syncfs` → renamed to their final names → `syncfs` → the ref
//! renamed (the commit point) → `fsync` of its directory. The first sync is why an object under its
//! final name is always whole, so that a later transaction may rely on it; the second costs little
//! because the data is already on the disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::baseline::BASELINES;
use super::config::{LAYER_SWEEPS, PUBLIC_SECRETS};
use super::{RefName, Repository, StoreError, WorkDir};
use crate::format::{self, Image, Layer};
use crate::id::{ImageId, LayerId, ObjectId, TreeId};
use crate::tree::{Changeset, Tree};

/// Files below this size are read whole, and written only when they are new.
const SMALL_BYTES: usize = 1 << 20;

thread_local! {
    /// Scratch space for reading files, kept because fresh memory costs more than reading a small
    /// file.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a commit brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitReport {
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
    staged: Mutex<StagedFiles>,
    next: AtomicU64,
    bytes_written: AtomicU64,
}

#[derive(Debug, Default)]
struct StagedFiles {
    /// Whole objects, by the number of the file that each is in.
    objects: BTreeMap<ObjectId, u64>,
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

    /// Says whether an object is already there. One that was touched since it was put does not
    /// count, and is replaced.
    fn is_known(&self, id: &ObjectId, size: u64) -> bool {
        self.lock().objects.contains_key(id) || self.repository.is_untouched(id, size)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StagedFiles> {
        self.staged
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn staged_path(&self, number: u64) -> PathBuf {
        self.work.path().join(number.to_string())
    }

    fn staged_object(&self, id: &ObjectId) -> Option<PathBuf> {
        let number = self.lock().objects.get(id).copied();
        number.map(|number| self.staged_path(number))
    }

    /// Puts bytes; when this returns, they are stored under their digest or will be by
    /// [`Transaction::commit`].
    pub fn put_object(&self, bytes: &[u8]) -> Result<ObjectId, StoreError> {
        let id = ObjectId::of(bytes);
        if !self.is_known(&id, bytes.len() as u64) {
            let number = self.stage(&mut |file| io::Write::write_all(file, bytes))?;
            self.keep(id, number, bytes.len() as u64)?;
        }
        Ok(id)
    }

    /// Puts the contents of an open file, from its start, and returns the id and the size in bytes.
    ///
    /// The id is the digest of the bytes that were stored, whatever happens to the file meanwhile.
    pub fn put_file(&self, file: &mut File) -> Result<(ObjectId, u64), StoreError> {
        let fail = |error| StoreError::io("read", self.work.path(), error);
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(SMALL_BYTES, 0);
            let count = fill(file, buffer).map_err(fail)?;
            if count < SMALL_BYTES {
                return Ok((self.put_object(&buffer[..count])?, count as u64));
            }
            self.put_large(file, buffer)
        })
    }

    /// Puts a file whose first bytes fill `buffer`: written while it is hashed, and thrown away
    /// when it turns out to be known, because a second pass over what is new costs more than that.
    fn put_large(&self, file: &mut File, buffer: &mut [u8]) -> Result<(ObjectId, u64), StoreError> {
        let mut hasher = blake3::Hasher::new();
        let number = self.stage(&mut |staged| {
            let mut count = buffer.len();
            while count > 0 {
                hasher.update(&buffer[..count]);
                if buffer[..count].iter().all(|byte| *byte == 0) {
                    // A hole reads the same and takes no room.
                    io::Seek::seek_relative(staged, count as i64)?;
                } else {
                    io::Write::write_all(staged, &buffer[..count])?;
                }
                count = fill(file, buffer)?;
            }
            staged.set_len(hasher.count())
        })?;
        let id = ObjectId::from_digest(*hasher.finalize().as_bytes());
        let size = hasher.count();
        if self.repository.is_untouched(&id, size) {
            self.repository.disk.remove(&self.staged_path(number))?;
        } else {
            self.keep(id, number, size)?;
        }
        Ok((id, size))
    }

    /// Puts an object whose id and size are known in advance; `fill` writes its bytes, in any
    /// number of pieces. Wrong bytes are an error, and so is a byte too many, as soon as it comes;
    /// nothing of the object stays then.
    ///
    /// An object that is already there is not written again.
    pub fn put_expected(
        &self,
        id: &ObjectId,
        size: u64,
        fill: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        if self.is_known(id, size) {
            return Ok(());
        }
        let mut found = None;
        let number = self.stage(&mut |file| {
            let mut writer = ExpectedWriter {
                file: io::BufWriter::with_capacity(EXPECTED_BUFFER, SparseWriter::new(file)),
                hasher: blake3::Hasher::new(),
                left: size,
            };
            fill(&mut writer)?;
            io::Write::flush(&mut writer)?;
            writer.file.get_ref().finish()?;
            found = (writer.left == 0).then(|| *writer.hasher.finalize().as_bytes());
            Ok(())
        })?;
        if found.as_ref() == Some(id.as_bytes()) {
            return self.keep(*id, number, size);
        }
        self.repository.disk.remove(&self.staged_path(number))?;
        Err(StoreError::Corrupt {
            what: "object",
            name: id.to_string(),
            found: found.map_or("(too short)".to_owned(), |digest| crate::id::hex(&digest)),
        })
    }

    /// Says whether an object is stored unharmed, or staged whole.
    pub fn has_object(&self, id: &ObjectId, size: u64) -> bool {
        self.is_known(id, size)
    }

    /// Writes a file of the work directory, and returns its number.
    fn stage(&self, fill: &mut dyn FnMut(&mut File) -> io::Result<()>) -> Result<u64, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.staged_path(number);
        self.repository.disk.write(&path, 0o400, &mut |file| {
            fill(file)?;
            // A modification time of 0 marks an object that nobody wrote to since; see
            // `check_object`.
            let zero = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            file.set_times(zero)
        })?;
        Ok(number)
    }

    /// Takes a whole staged file as the object; when two threads bring the same bytes, the second
    /// file goes.
    fn keep(&self, id: ObjectId, number: u64, size: u64) -> Result<(), StoreError> {
        let is_first = match self.lock().objects.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(number);
                true
            }
            Entry::Occupied(_) => false,
        };
        if is_first {
            self.bytes_written.fetch_add(size, Ordering::Relaxed);
        } else {
            self.repository.disk.remove(&self.staged_path(number))?;
        }
        Ok(())
    }

    /// Stages a file that is named by the digest of its bytes. One that is there and damaged is
    /// replaced.
    pub(super) fn stage_named(&self, dir: &str, hex: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let target = self.repository.named_path(dir, hex);
        if std::fs::read(&target).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let path = self.work.path().join(format!("{dir}-{hex}"));
        let is_first = self.lock().named.insert(path.clone(), target).is_none();
        match is_first {
            true => self.write_staged(&path, bytes),
            false => Ok(()),
        }
    }

    /// Stages a file whose name does not determine its content; of two with one name, the last
    /// wins.
    pub(super) fn stage_replacing(
        &self,
        dir: &str,
        hex: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let target = self.repository.named_path(dir, hex);
        let path = self.work.path().join(format!("{dir}-{hex}"));
        if self.lock().named.insert(path.clone(), target).is_some() {
            self.repository.disk.remove(&path)?;
        }
        self.write_staged(&path, bytes)
    }

    fn write_staged(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let disk = &self.repository.disk;
        disk.write(path, 0o444, &mut |file| io::Write::write_all(file, bytes))?;
        let count = bytes.len() as u64;
        self.bytes_written.fetch_add(count, Ordering::Relaxed);
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
        if !(layer.sweeps.is_empty() && layer.shipped.is_empty()) {
            self.repository.use_feature(LAYER_SWEEPS)?;
        }
        if !layer.public_secrets.is_empty() {
            self.repository.use_feature(PUBLIC_SECRETS)?;
        }
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
        if let Some(path) = self.staged_object(id) {
            return std::fs::read(&path).map_err(|error| StoreError::io("read", &path, error));
        }
        self.repository.read_object(id)
    }

    /// Checks that an object that is stored or staged has the content that its id says, in constant
    /// memory; what is staged was checked when it was put.
    pub fn verify_object(&self, id: &ObjectId) -> Result<(), StoreError> {
        match self.staged_object(id) {
            Some(_) => Ok(()),
            None => self.repository.verify_object(id),
        }
    }

    /// Opens an object that is stored or staged.
    pub fn open_object(&self, id: &ObjectId) -> Result<File, StoreError> {
        if let Some(path) = self.staged_object(id) {
            return File::open(&path).map_err(|error| StoreError::io("open", &path, error));
        }
        self.repository.open_object(id)
    }

    /// Moves the objects that were staged into `dir`, each under the digits of its id, and ends the
    /// transaction. Nothing of it is durable.
    pub fn set_aside(self, dir: &Path) -> Result<(), StoreError> {
        let objects = std::mem::take(&mut self.lock().objects);
        for (id, number) in objects {
            let disk = &self.repository.disk;
            disk.rename(&self.staged_path(number), &dir.join(id.to_hex()))?;
        }
        Ok(())
    }

    /// Makes everything durable, then points `name` at `id`, which is the commit point.
    pub fn commit(self, name: &RefName, id: &str) -> Result<CommitReport, StoreError> {
        let repository = self.repository;
        let committed = self.store()?;
        repository.set_ref(name, id)?;
        Ok(committed)
    }

    /// Makes everything durable under its final name, without a ref: it stays until the next
    /// garbage collection, which cannot begin before this repository is closed.
    pub fn store(self) -> Result<CommitReport, StoreError> {
        let (repository, disk) = (self.repository, &self.repository.disk);
        // What is already there may be what an earlier transaction failed to make durable.
        disk.require_unharmed()?;
        let staged = std::mem::take(&mut *self.lock());
        if !(staged.objects.is_empty() && staged.named.is_empty()) {
            disk.sync_fs(&repository.root)?;
            for (object, number) in &staged.objects {
                disk.rename(&self.staged_path(*number), &repository.object_path(object))?;
            }
            // Everything is renamed before what refers to it: a kill in between leaves nothing that
            // looks whole and is not.
            for dir in ["trees", BASELINES, "layers", "images"] {
                let of_dir = |(path, _): &(&PathBuf, &PathBuf)| {
                    let name = path.file_name().and_then(|name| name.to_str());
                    name.is_some_and(|name| name.starts_with(dir))
                };
                for (path, target) in staged.named.iter().filter(of_dir) {
                    disk.rename(path, target)?;
                }
            }
            disk.sync_fs(&repository.root)?;
        }
        Ok(CommitReport {
            new_objects: staged.objects.len() as u64,
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
        })
    }
}

/// Bytes that are collected before they are written to an expected object.
const EXPECTED_BUFFER: usize = 256 << 10;

/// Writes and hashes an object of which `left` bytes are still to come.
struct ExpectedWriter<'a> {
    file: io::BufWriter<SparseWriter<'a>>,
    hasher: blake3::Hasher,
    left: u64,
}

impl io::Write for ExpectedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len() as u64;
        let Some(left) = self.left.checked_sub(count) else {
            let message = "there are more bytes than the object has";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        };
        self.left = left;
        self.hasher.update(bytes);
        io::Write::write_all(&mut self.file, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a new file, and leaves holes where there are zeros for long: what is pulled takes no more
/// room than where it was built.
struct SparseWriter<'a> {
    file: &'a mut File,
    bytes: u64,
    ends_in_hole: bool,
}

impl<'a> SparseWriter<'a> {
    /// The smallest hole: a block of most filesystems.
    const LEAST: usize = 4096;

    /// The largest one that is made at once.
    const MOST: usize = 64 << 10;

    fn new(file: &'a mut File) -> Self {
        Self {
            file,
            bytes: 0,
            ends_in_hole: false,
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self.ends_in_hole {
            true => self.file.set_len(self.bytes),
            false => Ok(()),
        }
    }
}

impl io::Write for SparseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(Self::MOST) {
            self.ends_in_hole = piece.len() >= Self::LEAST && piece.iter().all(|byte| *byte == 0);
            match self.ends_in_hole {
                true => io::Seek::seek_relative(self.file, piece.len() as i64)?,
                false => io::Write::write_all(self.file, piece)?,
            }
            self.bytes += piece.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads until `buffer` is full or the file ends, and returns how many bytes that were.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn canonical<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    format::to_canonical_json(what, value).map_err(|source| StoreError::Unwritable { what, source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;
    use crate::store::RepositoryOptions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    #[test]
    fn putting_an_object_again_replaces_one_that_was_touched() {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        for size in [7, SMALL_BYTES + 1] {
            let bytes = vec![7; size];
            let put = || {
                let transaction = repository.begin().unwrap();
                let path = dir.path().join("source");
                std::fs::write(&path, &bytes).unwrap();
                let (id, _) = transaction
                    .put_file(&mut File::open(path).unwrap())
                    .unwrap();
                (id, transaction.store().unwrap().new_objects)
            };
            let (id, new) = put();
            assert_eq!((new, put().1), (1, 0));
            let path = repository.object_path(&id);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::write(&path, vec![8; size]).unwrap();
            assert!(repository.verify_object(&id).is_err());
            assert_eq!(put(), (id, 1));
            repository.verify_object(&id).unwrap();
        }
    }

    #[test]
    fn what_arrives_keeps_its_holes() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        for (head, tail) in [("head", "tail"), ("head", ""), ("", "tail"), ("", "")] {
            let mut bytes = head.as_bytes().to_vec();
            bytes.resize(8 << 20, 0);
            bytes.extend_from_slice(tail.as_bytes());
            let id = ObjectId::of(&bytes);
            let transaction = repository.begin().unwrap();
            // In the pieces that it comes in.
            let mut fill = |writer: &mut dyn io::Write| {
                let mut pieces = bytes.chunks(300_001);
                pieces.try_for_each(|piece| writer.write_all(piece))
            };
            let put = transaction.put_expected(&id, bytes.len() as u64, &mut fill);
            put.unwrap();
            transaction.store().unwrap();
            repository.verify_object(&id).unwrap();
            let file = std::fs::metadata(repository.object_path(&id)).unwrap();
            assert_eq!(file.len(), bytes.len() as u64);
            assert!(file.blocks() * 512 < 1 << 20, "{} blocks", file.blocks());
        }
    }

    #[test]
    fn caches_that_hold_contents_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        let mode = |name: &str| {
            let made = repository.cache_dir(name).unwrap();
            made.metadata().unwrap().permissions().mode() & 0o7777
        };
        // As layerset 0.1 made it.
        std::fs::create_dir_all(dir.path().join("cache/incoming")).unwrap();
        for name in ["outgoing", "incoming", "clusters", "export"] {
            assert_eq!(mode(name), 0o700, "{name}");
        }
        assert_eq!(mode("debs") & 0o007, 0o005);
    }
}
