//! A remote in a directory: on this machine, on a network filesystem, on a medium that was carried
//! here.

use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::Digest as _;

use super::patience::{Endpoint, local, random};
use super::{
    BlobSink, Head, Remote, RemoteError, RemoteOptions, Revision, WritableRemote, blob_key,
};
use crate::durable::{Disk, DurableError, Lock, LockMode, RealDisk, replace_file};
use crate::sha256::Sha256;

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// How long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A remote in a directory.
pub(super) struct Directory {
    root: PathBuf,
    endpoint: Endpoint,
    writable: bool,
}

impl Directory {
    /// Names a directory; nothing is touched yet. A directory to write to is made when something is
    /// written.
    pub(super) fn new(root: &Path, options: &RemoteOptions, writable: bool) -> Self {
        Self {
            root: root.to_owned(),
            endpoint: Endpoint {
                name: root.display().to_string(),
                options: options.clone(),
            },
            writable,
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> RemoteError {
        self.endpoint
            .unreachable(format!("cannot read '{what}': {error}"))
    }

    /// Opens a regular file; anything else could block for ever, or belong to somebody else.
    fn open(&self, key: &str) -> Result<Option<(File, u64)>, RemoteError> {
        let path = self.root.join(key);
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        let opened = FileOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.root.is_dir() || self.writable {
                    true => Ok(None),
                    false => Err(self.endpoint.unreachable("there is no such directory")),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let hint = "let this user read all below the directory";
                return Err(self
                    .endpoint
                    .denied(format!("cannot read '{key}': {error}"), hint));
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(self.endpoint.protocol(format!("'{key}' is a symlink")));
            }
            result => result.map_err(|error| self.failed(key, &error))?,
        };
        let metadata = file.metadata().map_err(|error| self.failed(key, &error))?;
        if !metadata.is_file() {
            return Err(self
                .endpoint
                .protocol(format!("'{key}' is no regular file")));
        }
        Ok(Some((file, metadata.len())))
    }

    fn written(&self, error: DurableError) -> RemoteError {
        match error {
            DurableError::Full { source, .. } => self.endpoint.full(source.to_string()),
            DurableError::Io { verb, path, source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                let reason = format!("cannot {verb} '{}': {source}", path.display());
                let hint = "let this user write to the directory";
                self.endpoint.denied(reason, hint)
            }
            DurableError::Io { verb, path, source } => {
                let path = path.display();
                self.endpoint
                    .unreachable(format!("cannot {verb} '{path}': {source}"))
            }
            error @ (DurableError::Locked { .. } | DurableError::Latched { .. }) => {
                self.endpoint.unreachable(error.to_string())
            }
        }
    }

    /// Makes directories and waits until their names are durable.
    fn make_dirs(&self, below: &str) -> Result<PathBuf, RemoteError> {
        let disk = RealDisk;
        let mut missing = Vec::new();
        let dir = self.root.join(below);
        for dir in dir.ancestors() {
            if dir.as_os_str().is_empty() || dir.is_dir() {
                break;
            }
            missing.push(dir.to_owned());
        }
        for dir in missing.iter().rev() {
            disk.mkdir(dir, 0o755)
                .map_err(|error| self.written(error))?;
            let parent = dir.parent().filter(|dir| !dir.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            disk.sync_dir(parent).map_err(|error| self.written(error))?;
        }
        Ok(dir)
    }

    fn lock(&self) -> Result<Lock, RemoteError> {
        let path = self.root.join(".lock");
        let started = Instant::now();
        loop {
            self.endpoint.interrupted()?;
            let take = Lock::take(
                &path,
                LockMode::Exclusive,
                "layerset publish",
                Duration::ZERO,
                &|_| {},
            );
            match take {
                Err(DurableError::Locked { .. }) if started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                result => return result.map_err(|error| self.written(error)),
            }
        }
    }
}

impl Remote for Directory {
    fn location(&self) -> &str {
        &self.endpoint.name
    }

    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        let Some((file, _)) = self.open("head")? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failed("head", &error))?;
        if bytes.len() as u64 > limit {
            return Err(self.endpoint.too_big("the head", limit));
        }
        Ok(Some(head_of(bytes)))
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        Ok(self.open(&blob_key(blob))?.map(|(_, size)| size))
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        if range.is_empty() {
            return Ok(());
        }
        let key = blob_key(blob);
        let Some((mut file, size)) = self.open(&key)? else {
            return Err(RemoteError::NoBlob {
                location: self.endpoint.name.clone(),
                blob: *blob,
            });
        };
        if size < range.end {
            let asked = format!("bytes {}-{}", range.start, range.end - 1);
            return Err(self
                .endpoint
                .protocol(format!("it has {size} bytes where {asked} was asked for")));
        }
        file.seek(SeekFrom::Start(range.start))
            .map_err(|error| self.failed(&key, &error))?;
        let mut left = range.end - range.start;
        let mut buffer = vec![0; CHUNK.min(left as usize)];
        while left > 0 {
            self.endpoint.interrupted()?;
            let most = left.min(buffer.len() as u64) as usize;
            let count = match file.read(&mut buffer[..most]) {
                Ok(0) => {
                    return Err(self
                        .endpoint
                        .protocol(format!("'{key}' shrinks while it is read")));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(|error| self.failed(&key, &error))?,
            };
            sink(&buffer[..count]).map_err(local)?;
            left -= count as u64;
        }
        Ok(())
    }
}

/// After this time without a write, a partial file belongs to a publisher that is gone.
const ABANDONED: Duration = Duration::from_secs(86_400);

impl WritableRemote for Directory {
    fn put_blob(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        if self.blob_size(blob)? == Some(size) {
            return Ok(());
        }
        let key = blob_key(blob);
        let path = self.root.join(&key);
        let dir = self.make_dirs(key.rsplit_once('/').map_or("", |(dir, _)| dir))?;
        let beside = dir.join(format!(".{blob}.{}-{:x}.new", std::process::id(), random()));
        let disk = RealDisk;
        let stored = (|| {
            let mut source = BlobReader::new(blob, file, size)?;
            let mut fault = None;
            let write = disk.write(&beside, 0o644, &mut |out| {
                while let Some(bytes) = source.next().map_err(|error| stop(&mut fault, error))? {
                    let interrupted = self.endpoint.interrupted();
                    interrupted.map_err(|error| stop(&mut fault, error))?;
                    out.write_all(bytes)?;
                    progress(bytes.len() as u64);
                }
                Ok(())
            });
            if let Some(fault) = fault {
                return Err(fault);
            }
            let rest = write
                .and_then(|()| disk.sync_file(&beside))
                .and_then(|()| disk.rename(&beside, &path))
                .and_then(|()| disk.sync_dir(&dir));
            rest.map_err(|error| self.written(error))
        })();
        if stored.is_err() {
            // The partial file belongs to nobody: the reported error matters more than a failure to
            // remove it.
            let _ = disk.remove(&beside);
        }
        stored
    }

    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError> {
        self.make_dirs("")?;
        let _lock = self.lock()?;
        let found = self.read_head(u64::MAX - 1)?.map(|head| head.revision);
        if found.as_ref() != expected {
            return Err(self.endpoint.moved());
        }
        let path = self.root.join("head");
        replace_file(&RealDisk, &path, 0o644, bytes).map_err(|error| self.written(error))?;
        sweep(&self.root.join("blobs/sha256"));
        Ok(())
    }
}

/// Removes what killed publishers left beside blobs, as far as possible: it is in nobody's way.
fn sweep(blobs: &Path) {
    let is_left = |file: &fs::DirEntry| {
        let name = file.file_name();
        let is_ours =
            name.as_encoded_bytes().starts_with(b".") && name.as_encoded_bytes().ends_with(b".new");
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|modified| modified.elapsed().unwrap_or_default());
        is_ours && age.is_ok_and(|age| age > ABANDONED)
    };
    let dirs = fs::read_dir(blobs).into_iter().flatten().flatten();
    let files = dirs.flat_map(|dir| fs::read_dir(dir.path()).into_iter().flatten().flatten());
    for file in files.filter(is_left) {
        let _ = fs::remove_file(file.path());
    }
}

fn stop(fault: &mut Option<RemoteError>, error: RemoteError) -> io::Error {
    *fault = Some(error);
    io::Error::other("stopped")
}

/// Makes a head whose revision is the digest of its bytes.
pub(super) fn head_of(bytes: Vec<u8>) -> Head {
    let revision = Revision(digest(&bytes).to_string());
    Head { bytes, revision }
}

pub(super) fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// Reads the local file of a blob that is being put, and fails at the end if its digest differs.
pub(super) struct BlobReader<'a> {
    blob: Sha256,
    file: &'a mut File,
    left: u64,
    hasher: sha2::Sha256,
    buffer: Vec<u8>,
}

impl<'a> BlobReader<'a> {
    pub(super) fn new(blob: &Sha256, file: &'a mut File, size: u64) -> Result<Self, RemoteError> {
        file.rewind().map_err(|error| unread(blob, error))?;
        Ok(Self {
            blob: *blob,
            file,
            left: size,
            hasher: sha2::Sha256::default(),
            buffer: vec![0; CHUNK],
        })
    }

    /// Returns the next bytes, or none after the last one, when all were those that the digest
    /// names.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, RemoteError> {
        if self.left == 0 {
            let found: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
            let found = Sha256::from_bytes(found);
            if found != self.blob {
                let reason = format!("the file has the SHA-256 digest {found}");
                return Err(unread(
                    &self.blob,
                    io::Error::new(io::ErrorKind::InvalidData, reason),
                ));
            }
            return Ok(None);
        }
        let most = self.left.min(CHUNK as u64) as usize;
        let read = self.file.read_exact(&mut self.buffer[..most]);
        read.map_err(|error| unread(&self.blob, error))?;
        self.hasher.update(&self.buffer[..most]);
        self.left -= most as u64;
        Ok(Some(&self.buffer[..most]))
    }
}

fn unread(blob: &Sha256, source: io::Error) -> RemoteError {
    RemoteError::Local {
        verb: "publish blob",
        path: blob.to_string().into(),
        source,
    }
}
