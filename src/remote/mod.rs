//! Where published layers and images live: a directory, a web server, an S3 store, an OCI registry.
//!
//! A remote holds two kinds of things: **blobs**, immutable and named by the SHA-256 digest of
//! their bytes (packs and deltas), and one mutable file, the **head**, which is replaced as a whole
//! and only when it is still what the writer saw. All that is signed is in the head. Nothing here
//! is trusted: callers check digests and signatures.
//!
//! The traits are synchronous; threads read in parallel. What is asynchronous stays within this
//! module.

mod client;
mod counted;
mod credentials;
mod directory;
mod location;
mod mirrors;
mod options;
mod patience;
mod registry;
mod s3;
mod web;

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

pub use counted::CountingRemote;
pub use location::Location;
pub use mirrors::Mirrors;
pub use options::{Environment, RemarkHandler, RemoteOptions};

use crate::sha256::Sha256;

/// Opens a remote to read from it. Nothing is asked of it yet.
///
/// Remotes wait on the calling thread: they must not be used on a thread of a tokio runtime.
pub fn open(location: &Location, options: &RemoteOptions) -> Result<Box<dyn Remote>, RemoteError> {
    let name = location.to_string();
    Ok(match location {
        Location::Directory(path) => Box::new(directory::Directory::new(path, options, false)),
        Location::Web(url) => Box::new(web::Web::new(url, name, options)?),
        Location::S3 { bucket, prefix } => Box::new(s3::S3::new(bucket, prefix, name, options)?),
        Location::Registry { host, repository } => {
            Box::new(registry::Registry::new(host, repository, name, options)?)
        }
    })
}

/// Opens a remote to publish to it. Nothing is asked of it yet; a directory is made when something
/// is written.
pub fn open_writable(
    location: &Location,
    options: &RemoteOptions,
) -> Result<Box<dyn WritableRemote>, RemoteError> {
    let name = location.to_string();
    Ok(match location {
        Location::Directory(path) => Box::new(directory::Directory::new(path, options, true)),
        Location::Web(_) => return Err(RemoteError::ReadOnly { location: name }),
        Location::S3 { bucket, prefix } => Box::new(s3::S3::new(bucket, prefix, name, options)?),
        Location::Registry { host, repository } => {
            Box::new(registry::Registry::new(host, repository, name, options)?)
        }
    })
}

/// Where a blob is, below the root of a remote made of files.
fn blob_key(blob: &Sha256) -> String {
    let hex = blob.to_string();
    format!("blobs/sha256/{}/{hex}", &hex[..2])
}

/// What every remote can do.
pub trait Remote: Send + Sync {
    /// Returns where the remote is, for messages: without credentials.
    fn location(&self) -> &str;

    /// Reads the head; none where nothing was published yet. One that exceeds `limit` bytes is an
    /// error.
    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError>;

    /// Returns the size of a blob in bytes; none where it is not there.
    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError>;

    /// Reads exactly the bytes `range` of a blob, in order, into `sink`; an answer with fewer or
    /// more is an error. So is an answer with all of a blob where most of it would be dropped
    /// ([`RemoteError::WholeOnly`]): the caller can ask for the whole, and keep it. What arrived
    /// before an error stays with the sink: the caller can ask for the rest.
    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError>;

    /// The caller found a blob damaged: another place is asked for it next, if there is one.
    /// Returns the locations that sent it since the last time.
    fn distrust(&self, blob: &Sha256) -> Vec<String> {
        let _ = blob;
        vec![self.location().to_owned()]
    }

    /// Returns how many places the same blob can come from.
    fn places(&self) -> usize {
        1
    }
}

/// Takes bytes as they arrive.
pub type BlobSink<'a> = dyn FnMut(&[u8]) -> std::io::Result<()> + 'a;

/// What a remote can do for publishers.
pub trait WritableRemote: Remote {
    /// Stores a blob of `size` bytes, read from the start of `file`; one that is there already
    /// stays. When this returns, the blob is stored whole under its digest. `progress` is told the
    /// bytes sent as they go.
    fn put_blob(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError>;

    /// Replaces the head, if it still is what was read as `expected` (`None`: if there is none
    /// yet); else the answer is [`RemoteError::Moved`] and nothing changed. This is the commit
    /// point of everything that is published.
    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError>;

    /// Describes what was published, for those who look at the remote with other tools; only
    /// registries care.
    fn announce(&self, artifact: &Artifact) -> Result<(), RemoteError> {
        let _ = artifact;
        Ok(())
    }
}

impl<R: Remote + ?Sized> Remote for Box<R> {
    fn location(&self) -> &str {
        (**self).location()
    }

    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        (**self).read_head(limit)
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        (**self).blob_size(blob)
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        (**self).read_blob(blob, range, sink)
    }

    fn distrust(&self, blob: &Sha256) -> Vec<String> {
        (**self).distrust(blob)
    }

    fn places(&self) -> usize {
        (**self).places()
    }
}

impl<R: WritableRemote + ?Sized> WritableRemote for Box<R> {
    fn put_blob(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        (**self).put_blob(blob, file, size, progress)
    }

    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError> {
        (**self).replace_head(bytes, expected)
    }

    fn announce(&self, artifact: &Artifact) -> Result<(), RemoteError> {
        (**self).announce(artifact)
    }
}

/// The mutable file of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its bytes, not checked.
    pub bytes: Vec<u8>,
    /// What the remote calls this state of it.
    pub revision: Revision,
}

/// A state of the head, as the remote names it: an entity tag, a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(pub String);

/// What a registry lists: a published layer, image or delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// `layer`, `image` or `delta`.
    pub kind: &'static str,
    /// `nginx`, `web`: name of the layer or image.
    pub name: String,
    /// The text form of its id; of a delta, the id of what it leads to.
    pub id: String,
    /// Version, for people.
    pub version: String,
    /// The blobs that it consists of, with sizes in bytes.
    pub blobs: Vec<(Sha256, u64)>,
    /// Of a delta: the text form of the id that it starts from.
    pub from: Option<String>,
}

/// What can go wrong with a remote, sorted by what a caller can do about it.
// Most fields say by their names what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A location that nothing can be done with.
    #[error("'{location}' is not the location of a remote: {reason}")]
    Location { location: String, reason: String },
    /// It does not answer, not in time, or not at a useful rate; another mirror, or a later try,
    /// may.
    #[error("'{location}' does not answer: {reason}")]
    Unreachable { location: String, reason: String },
    /// It is not who it should be, as far as TLS can tell.
    #[error("'{location}' cannot be trusted: {reason}")]
    Untrusted {
        location: String,
        /// What is wrong with its certificate.
        reason: String,
        /// What may mend that.
        hint: &'static str,
    },
    /// It answers what it must not.
    #[error("'{location}' answers wrongly: {reason}")]
    Protocol { location: String, reason: String },
    /// It sends blobs only as a whole, and a part was asked for that does not begin near the start.
    #[error("'{location}' does not send ranges: all {size} bytes of a blob were sent")]
    WholeOnly {
        location: String,
        /// The size of the blob in bytes.
        size: u64,
    },
    /// A blob is not there.
    #[error("'{location}' has no blob {blob}")]
    NoBlob { location: String, blob: Sha256 },
    /// Credentials are missing, wrong or expired.
    #[error("'{location}' refuses: {reason}")]
    Denied {
        location: String,
        reason: String,
        /// Where credentials for it are looked for.
        hint: String,
    },
    /// The head was replaced by somebody else since it was read.
    #[error("somebody else has published to '{location}' in the meantime")]
    Moved { location: String },
    /// The remote has no room left.
    #[error("'{location}' is full: {reason}")]
    Full { location: String, reason: String },
    /// Nothing can be written there.
    #[error("'{location}' can only be read")]
    ReadOnly { location: String },
    /// The local side failed: the sink of a read, or the file of a put.
    #[error("cannot {verb} '{}'", path.display())]
    Local {
        verb: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// An interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}
