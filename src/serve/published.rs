//! The two kinds of files that are served, and how they are opened.
//!
//! A path is compared as it stands, nothing of it is decoded or normalised, and what is opened is
//! spelled from the digest that was read: no request can name anything else. The kernel refuses
//! symlinks on the way (`openat2(2)`).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hyper::body::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::Digest as _;

use crate::format::MAX_HEAD_BYTES;
use crate::sha256::Sha256;

/// What a path of a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// The mutable file.
    Head,
    /// A blob, by digest.
    Blob(Sha256),
    /// The counters.
    Metrics,
    /// Whether the server lives.
    Health,
    /// Nothing that is served.
    Other,
}

impl Resource {
    /// Reads the path of a request.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/head" => Self::Head,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            _ => blob(path).map_or(Self::Other, Self::Blob),
        }
    }
}

/// Reads `/blobs/sha256/<2 hex>/<64 hex>`, where the two digits are the first of the others.
fn blob(path: &str) -> Option<Sha256> {
    let (prefix, digest) = path.strip_prefix("/blobs/sha256/")?.split_once('/')?;
    let is_filed = prefix.len() == 2 && digest.starts_with(prefix);
    is_filed.then(|| digest.parse().ok())?
}

/// The directory of a remote.
pub(super) struct PublishedFiles {
    dir: File,
    /// The head as it was last read.
    head: Mutex<Option<(Stamp, HeadFile)>>,
}

/// The head with its digest.
#[derive(Debug, Clone)]
pub(super) struct HeadFile {
    /// All of it.
    pub(super) bytes: Bytes,
    /// The digest of that.
    pub(super) digest: Sha256,
}

/// Recognises that a file changed: device, inode, size, and time of the last change in seconds and
/// nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl PublishedFiles {
    /// Opens the directory, which may be reached by a symlink.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Self {
            dir: File::from(dir),
            head: Mutex::new(None),
        })
    }

    /// Opens a blob; none where there is none.
    pub(super) fn blob(&self, digest: &Sha256) -> io::Result<Option<(File, u64)>> {
        let hex = digest.to_string();
        self.file(&format!("blobs/sha256/{}/{hex}", &hex[..2]))
    }

    /// Reads the head; none where nothing was published yet.
    pub(super) fn head(&self) -> io::Result<Option<HeadFile>> {
        let Some((file, size)) = self.file("head")? else {
            return Ok(None);
        };
        let meta = file.metadata()?;
        let stamp = (
            meta.dev(),
            meta.ino(),
            size,
            meta.ctime(),
            meta.ctime_nsec(),
        );
        // Held while it is read: of many requests after a change, one reads.
        let mut known = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, head)) = &*known
            && *seen == stamp
        {
            return Ok(Some(head.clone()));
        }
        let mut bytes = Vec::new();
        file.take(MAX_HEAD_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_HEAD_BYTES {
            return Err(io::Error::other("the head is too large to be one"));
        }
        let digest = Sha256::from_bytes(sha2::Sha256::digest(&bytes).into());
        let head = HeadFile {
            bytes: Bytes::from(bytes),
            digest,
        };
        *known = Some((stamp, head.clone()));
        Ok(Some(head))
    }

    /// Opens a regular file and returns it with its size; anything else is not there.
    fn file(&self, relative: &str) -> io::Result<Option<(File, u64)>> {
        // A FIFO must not hold up anybody.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.dir, relative, flags, Mode::empty(), resolve);
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        Ok(meta.is_file().then_some((file, meta.len())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEX: &str = "e226f661d918f04daf38cdbc4806b7ed7d6ef95c7eb0ade692fc350e31970040";

    #[test]
    fn only_the_head_and_well_filed_blobs_are_resources() {
        let digest: Sha256 = HEX.parse().unwrap();
        assert_eq!(Resource::of("/head"), Resource::Head);
        assert_eq!(
            Resource::of(&format!("/blobs/sha256/e2/{HEX}")),
            Resource::Blob(digest)
        );
        for bad in [
            "",
            "/",
            "//head",
            "/head/",
            "/./head",
            "/%68ead",
            "/.head.new",
            "/blobs",
            "/blobs/sha256/e2/",
            &format!("/blobs/sha256/e3/{HEX}"),
            &format!("/blobs/sha256/e/{HEX}"),
            &format!("/blobs/sha256//{HEX}"),
            &format!("/blobs/sha256/e2/{HEX}.tmp"),
            &format!("/blobs/sha256/E2/{}", HEX.to_uppercase()),
            &format!("/blobs/sha256/e2/../e2/{HEX}"),
            &format!("/blobs/sha256/e2/%2e%2e/{HEX}"),
        ] {
            assert_eq!(Resource::of(bad), Resource::Other, "{bad}");
        }
    }

    #[test]
    fn links_directories_and_pipes_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("secret"), b"secret").unwrap();
        let published = PublishedFiles::open(dir.path()).unwrap();
        assert!(published.head().unwrap().is_none());
        std::os::unix::fs::symlink("secret", at("head")).unwrap();
        assert!(published.head().unwrap().is_none());
        std::fs::remove_file(at("head")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("head"), Mode::from(0o644)).unwrap();
        assert!(published.head().unwrap().is_none());
        let digest: Sha256 = HEX.parse().unwrap();
        std::fs::create_dir_all(at("elsewhere/e2")).unwrap();
        std::fs::write(at(&format!("elsewhere/e2/{HEX}")), b"x").unwrap();
        std::fs::create_dir(at("blobs")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", at("blobs/sha256")).unwrap();
        assert!(published.blob(&digest).unwrap().is_none());
        std::fs::remove_file(at("blobs/sha256")).unwrap();
        std::fs::rename(at("elsewhere"), at("blobs/sha256")).unwrap();
        assert_eq!(published.blob(&digest).unwrap().unwrap().1, 1);
        std::fs::remove_file(at(&format!("blobs/sha256/e2/{HEX}"))).unwrap();
        std::fs::create_dir(at(&format!("blobs/sha256/e2/{HEX}"))).unwrap();
        assert!(published.blob(&digest).unwrap().is_none());
    }

    #[test]
    fn a_replaced_head_is_read_again_and_an_endless_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let published = PublishedFiles::open(dir.path()).unwrap();
        for text in ["one", "two"] {
            std::fs::write(dir.path().join("new"), text).unwrap();
            std::fs::rename(dir.path().join("new"), dir.path().join("head")).unwrap();
            for _ in 0..2 {
                assert_eq!(published.head().unwrap().unwrap().bytes, text);
            }
        }
        let file = File::create(dir.path().join("head")).unwrap();
        file.set_len(MAX_HEAD_BYTES + 1).unwrap();
        assert!(published.head().is_err());
    }
}
