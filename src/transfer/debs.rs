//! Package files on a remote, for locks whose packages left their archives.
//!
//! A remote names blobs by the digest that a lock names package files by, so a package file is a
//! blob, and nothing has to be signed: whoever has the lock knows what the right bytes are.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use sha2::Digest as _;

use super::fetch::{Fetcher, Ranges};
use super::link::LinkStats;
use super::prepare::ReleaseSubject;
use super::{TransferError, TransferProgress};
use crate::format::LayerPackage;
use crate::remote::{Artifact, Remote, WritableRemote};
use crate::sha256::Sha256;
use crate::store::Repository;

/// How many requests at once.
const THREADS: usize = 4;

/// The package files of an image or a layer, as far as a remote lacks them.
#[derive(Debug, Clone)]
pub struct PackageFiles {
    /// The artifact that keeps them, for registries.
    artifact: Artifact,
    /// Digest, size in bytes and place of each that is to be sent.
    missing: Vec<(Sha256, u64, PathBuf)>,
}

/// What package files a publication is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PackageFilesReport {
    /// Files in all.
    pub files: usize,
    /// Files that the remote lacked.
    pub sent: usize,
    /// Bytes of those.
    pub bytes: u64,
}

impl PackageFiles {
    /// Finds the files of all packages that were installed in a layer, or in the layers of an image:
    /// on the remote, or below `cache`. One that is at neither place is an error, as is one that
    /// was changed.
    pub fn find(
        repository: &Repository,
        remote: &dyn Remote,
        what: ReleaseSubject,
        cache: &Path,
    ) -> Result<Self, TransferError> {
        let (name, id, layers) = match what {
            ReleaseSubject::Layer(id) => {
                (repository.read_layer(&id)?.name, id.to_string(), vec![id])
            }
            ReleaseSubject::Image(id) => {
                let image = repository.read_image(&id)?;
                let layers = image.layers.iter().map(|layer| layer.id).collect();
                (image.name, id.to_string(), layers)
            }
        };
        let mut packages: BTreeSet<LayerPackage> = BTreeSet::new();
        for layer in layers {
            packages.extend(repository.read_layer(&layer)?.packages);
        }
        let (mut blobs, mut missing, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for package in packages {
            let label = format!("{} {}", package.name, package.version);
            let Ok(digest) = package.sha256.parse::<Sha256>() else {
                lost.push(label);
                continue;
            };
            let path = cache.join(format!("{digest}.deb"));
            match (remote.blob_size(&digest)?, file_size(&path, &digest)?) {
                (Some(bytes), _) => blobs.push((digest, bytes)),
                (None, Some(bytes)) => {
                    blobs.push((digest, bytes));
                    missing.push((digest, bytes, path));
                }
                (None, None) => lost.push(label),
            }
        }
        if !lost.is_empty() {
            return Err(TransferError::NoPackageFiles { packages: lost });
        }
        blobs.sort_unstable();
        blobs.dedup();
        missing.sort_unstable();
        missing.dedup();
        Ok(Self {
            artifact: Artifact {
                kind: "debs",
                name,
                id,
                version: String::new(),
                blobs,
                from: None,
            },
            missing,
        })
    }

    /// Says what sending them is about.
    pub fn report(&self) -> PackageFilesReport {
        PackageFilesReport {
            files: self.artifact.blobs.len(),
            sent: self.missing.len(),
            bytes: self.missing.iter().map(|(_, bytes, _)| bytes).sum(),
        }
    }

    /// Sends what the remote lacks.
    pub fn send(
        &self,
        remote: &dyn WritableRemote,
        progress: &dyn TransferProgress,
    ) -> Result<(), TransferError> {
        progress.phase("sending packages", Some(self.report().bytes));
        for (digest, bytes, path) in &self.missing {
            let mut file =
                File::open(path).map_err(|error| TransferError::io("read", path, error))?;
            remote.put_blob(digest, &mut file, *bytes, &mut |sent| {
                progress.advance(sent)
            })?;
        }
        // A registry deletes what nothing names.
        Ok(remote.announce(&self.artifact)?)
    }
}

/// Returns the size of a file whose bytes have this digest; none where there is no such file.
fn file_size(path: &Path, digest: &Sha256) -> Result<Option<u64>, TransferError> {
    let failed = |error| TransferError::io("read", path, error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut hasher = sha2::Sha256::default();
    let bytes = io::copy(&mut file, &mut hasher).map_err(failed)?;
    let is_whole = Sha256::from_bytes(hasher.finalize().into()) == *digest;
    Ok(is_whole.then_some(bytes))
}

/// How to fetch package files.
pub struct PackageFilesOptions<'a> {
    /// Where they go, each as `<sha256>.deb`.
    pub dir: &'a Path,
    /// Ends the work.
    pub cancel: &'a AtomicBool,
    /// Hears how it goes.
    pub progress: &'a dyn TransferProgress,
}

/// Fetches those of `wanted`, digests with sizes in bytes, that a remote has, and returns which those
/// are. What is damaged everywhere is as good as not there.
pub fn fetch_package_files(
    remote: &dyn Remote,
    wanted: &[(Sha256, u64)],
    options: &PackageFilesOptions<'_>,
) -> Result<Vec<Sha256>, TransferError> {
    let incoming = options.dir.join("incoming");
    let fetcher = Fetcher {
        remote,
        incoming: incoming.clone(),
        threads: THREADS,
        progress: options.progress,
        cancel: options.cancel,
        link: LinkStats::default(),
        whole: Mutex::default(),
    };
    let mut rest = Vec::new();
    for (digest, bytes) in wanted {
        if remote.blob_size(digest)? == Some(*bytes) {
            rest.push((*digest, *bytes));
        }
    }
    let mut found = Vec::new();
    // A mirror that sent damaged bytes is asked last the next time.
    for _ in 0..remote.places() {
        let ranges = rest.iter().map(|(digest, bytes)| {
            let whole = std::iter::once(0..*bytes).collect();
            (*digest, whole)
        });
        let ranges: Ranges = ranges.collect();
        fetcher.fetch("fetching packages from a remote", &ranges)?;
        let mut damaged = Vec::new();
        for (digest, bytes) in rest {
            let spool = fetcher.spool(&digest);
            if !fetcher.is_whole(&digest, bytes)? {
                remote.distrust(&digest);
                spool.drop_range(0..bytes)?;
                damaged.push((digest, bytes));
                continue;
            }
            let to = options.dir.join(format!("{digest}.deb"));
            let mut file = spool.whole(bytes)?;
            let written = File::create(&to).and_then(|mut to| io::copy(&mut file, &mut to));
            written.map_err(|error| TransferError::io("write", &to, error))?;
            spool.drop_range(0..bytes)?;
            found.push(digest);
        }
        rest = damaged;
    }
    let _ = std::fs::remove_dir_all(&incoming);
    Ok(found)
}
