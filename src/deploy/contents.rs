//! Where the merge of `/etc` finds the contents of files: the repository, the machine's own files,
//! and what it made itself.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags};

use crate::id::ObjectId;
use crate::materialise::{FileMeta, ObjectSink, ObjectSource, hash_file};
use crate::merge::{Blobs, MergeError};
use crate::store::Repository;

/// The contents that one merge can name by their ids. Nothing is stored in the repository: a
/// machine's secrets stay in its `/etc`.
pub(super) struct EtcContents<'r> {
    repository: &'r Repository,
    /// The machine's directory, when there is one.
    dir: PathBuf,
    own: Mutex<HashMap<ObjectId, PathBuf>>,
    /// What a merge made, and what was read of the machine and is not in the repository: its files
    /// may have other contents a moment later.
    made: Mutex<HashMap<ObjectId, Vec<u8>>>,
    seen_bytes: AtomicU64,
}

/// How much of the machine's `/etc` is held in memory; the rest is read again when it is written.
const SEEN_BYTES: u64 = 64 << 20;

impl<'r> EtcContents<'r> {
    pub(super) fn new(repository: &'r Repository, dir: PathBuf) -> Self {
        Self {
            repository,
            dir,
            own: Mutex::default(),
            made: Mutex::default(),
            seen_bytes: AtomicU64::new(0),
        }
    }

    fn path_of(&self, id: &ObjectId) -> Option<PathBuf> {
        lock(&self.own).get(id).cloned()
    }

    /// Opens one of the machine's own files. A service may have put a link in its place since it was
    /// read: no link is followed, and no pipe keeps us.
    fn open_own(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &self.dir, flags | OFlags::DIRECTORY, Mode::empty())?;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat2(
            &dir,
            path,
            flags,
            Mode::empty(),
            inside,
        )?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file any more"));
        }
        Ok(file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps hold finished facts only, so a panic elsewhere cannot have left them half-written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ObjectSink for EtcContents<'_> {
    fn put_file(&self, mut file: File, meta: &FileMeta, path: &Path) -> io::Result<ObjectId> {
        let room = SEEN_BYTES.saturating_sub(self.seen_bytes.load(Ordering::Relaxed));
        if meta.size > room {
            let id = hash_file(&mut file, meta.size)?;
            lock(&self.own).entry(id).or_insert_with(|| path.to_owned());
            return Ok(id);
        }
        let mut bytes = Vec::new();
        // What is appended meanwhile comes too late.
        file.take(meta.size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != meta.size {
            let message = "the size changed while the file was read";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let id = ObjectId::of(&bytes);
        if !self.repository.is_untouched(&id, meta.size)
            && lock(&self.made).insert(id, bytes).is_none()
        {
            self.seen_bytes.fetch_add(meta.size, Ordering::Relaxed);
        }
        Ok(id)
    }
}

impl Blobs for EtcContents<'_> {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        if let Some(bytes) = lock(&self.made).get(id) {
            return Ok(bytes.clone());
        }
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| MergeError {
            object: id.to_string(),
            source,
        };
        let Some(path) = self.path_of(id) else {
            return self
                .repository
                .read_object(id)
                .map_err(|error| fail(Box::new(error)));
        };
        let mut bytes = Vec::new();
        self.open_own(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| fail(Box::new(error)))?;
        if ObjectId::of(&bytes) != *id {
            let path = self.dir.join(path);
            let path = path.display();
            return Err(fail(format!("'{path}' changed while it was merged").into()));
        }
        Ok(bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        let id = ObjectId::of(bytes);
        lock(&self.made).insert(id, bytes.to_vec());
        Ok(id)
    }
}

impl ObjectSource for EtcContents<'_> {
    fn open_object(&self, id: &ObjectId) -> io::Result<File> {
        if let Some(bytes) = lock(&self.made).get(id) {
            let mut file = File::from(rustix::fs::memfd_create("merged", MemfdFlags::CLOEXEC)?);
            file.write_all(bytes)?;
            file.rewind()?;
            return Ok(file);
        }
        match self.path_of(id) {
            Some(path) => self.open_own(&path),
            None => File::open(self.repository.object_path(id)),
        }
    }
}
