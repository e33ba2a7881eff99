//! A publisher's and a machine's repository, and a remote in memory that can misbehave; signatures are another test's matter.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use layerset::compose::{Member, UnavailableGenerator, compose};
use layerset::durable::RealDisk;
use layerset::format::release::{
    Channel, ChannelName, Release, ReleaseId, ReleaseKind, release_target,
};
use layerset::format::{
    HeadContents, Image, ImageLayer, decode_head, encode_head, from_canonical_json,
};
use layerset::id::{ImageId, LayerId};
use layerset::path::RelPath;
use layerset::remote::{BlobSink, Head, Remote, RemoteError, Revision, WritableRemote};
use layerset::sha256::Sha256;
use layerset::store::{LockWait, RefName, Repository, RepositoryOptions};
use layerset::transfer::{
    Catalogue, DocumentChanges, NoProgress, PrepareOptions, Publication, PublishOutcome,
    PullForecast, PullOptions, PullReport, ReleaseSubject, Signer, TransferError, forecast,
    prepare, publish, pull,
};
use layerset::tree::{Changeset, Inode, Tree};
use layerset::trust::TrustError;
use sha2::Digest as _;

use crate::support::{PATIENCE, bare_layer};

/// What a remote does wrong with the next reads of blobs.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Turns this byte of a blob around.
    Flip(u64),
    /// Breaks off after so many bytes of the next range that has more, once.
    StopAfter(u64),
}

#[derive(Default)]
pub struct MemoryRemote {
    pub blobs: Mutex<HashMap<Sha256, Vec<u8>>>,
    pub head: Mutex<Option<Vec<u8>>>,
    pub faults: Mutex<HashMap<Sha256, Vec<Fault>>>,
    /// Ranges that were asked for.
    pub log: Mutex<Vec<(Sha256, Range<u64>)>>,
    pub sent: AtomicU64,
    /// The end of a long range is held back until this says so; an error when that never comes.
    pub hold: Mutex<Option<Hold>>,
}

type Hold = Box<dyn Fn() -> bool + Send>;

impl MemoryRemote {
    fn wait(&self) -> Result<(), RemoteError> {
        let Some(hold) = self.hold.lock().unwrap().take() else {
            return Ok(());
        };
        let started = Instant::now();
        while !hold() {
            if started.elapsed() > PATIENCE {
                return Err(self.error("the end was held back for nothing"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn error(&self, reason: &str) -> RemoteError {
        RemoteError::Unreachable {
            location: "memory".to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn revision(bytes: &[u8]) -> Revision {
        Revision(format!("{:x}", sha2::Sha256::digest(bytes)))
    }
}

impl Remote for MemoryRemote {
    fn location(&self) -> &str {
        "memory"
    }

    fn read_head(&self, _: u64) -> Result<Option<Head>, RemoteError> {
        let head = self.head.lock().unwrap().clone();
        Ok(head.map(|bytes| Head {
            revision: Self::revision(&bytes),
            bytes,
        }))
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        Ok(self.blobs.lock().unwrap().get(blob).map(|b| b.len() as u64))
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        self.log.lock().unwrap().push((*blob, range.clone()));
        let Some(mut bytes) = self.blobs.lock().unwrap().get(blob).cloned() else {
            return Err(RemoteError::NoBlob {
                location: "memory".to_owned(),
                blob: *blob,
            });
        };
        let mut stop = None;
        let mut faults = self.faults.lock().unwrap();
        for fault in faults.remove(blob).unwrap_or_default() {
            match fault {
                Fault::Flip(at) => bytes[at as usize] ^= 0xff,
                Fault::StopAfter(count) if range.end - range.start > count => {
                    stop = Some(count as usize);
                }
                Fault::StopAfter(_) => faults.entry(*blob).or_default().push(fault),
            }
        }
        drop(faults);
        let bytes = &bytes[range.start as usize..range.end as usize];
        let until = stop.unwrap_or(bytes.len()).min(bytes.len());
        let last = until.saturating_sub(1000);
        for (number, piece) in bytes[..until].chunks(1000).enumerate() {
            if number > 1000 && number * 1000 >= last {
                self.wait()?;
            }
            sink(piece).map_err(|_| self.error("the receiver stopped"))?;
        }
        if stop.is_some() {
            return Err(self.error("the connection broke"));
        }
        Ok(())
    }
}

impl WritableRemote for MemoryRemote {
    fn put_blob(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(*blob.as_bytes(), *sha2::Sha256::digest(&bytes));
        progress(size);
        self.sent.fetch_add(size, Ordering::Relaxed);
        self.blobs.lock().unwrap().insert(*blob, bytes);
        Ok(())
    }

    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError> {
        let mut head = self.head.lock().unwrap();
        if head.as_deref().map(Self::revision).as_ref() != expected {
            return Err(RemoteError::Moved {
                location: "memory".to_owned(),
            });
        }
        *head = Some(bytes.to_vec());
        Ok(())
    }
}

/// A head without signatures.
pub struct Ledger<'a> {
    remote: &'a MemoryRemote,
    contents: HeadContents,
    revision: Option<Revision>,
    /// An image whose releases nobody can read.
    pub unreadable: Option<String>,
}

impl<'a> Ledger<'a> {
    pub fn read(remote: &'a MemoryRemote) -> Self {
        let mut ledger = Self {
            remote,
            contents: HeadContents {
                format: 1,
                ..HeadContents::default()
            },
            revision: None,
            unreadable: None,
        };
        ledger.refresh().unwrap();
        ledger
    }

    fn all<T: serde::Serialize + serde::de::DeserializeOwned>(&self, prefix: &str) -> Vec<T> {
        let named = self.contents.targets.iter();
        let fitting = named.filter(|(name, _)| name.starts_with(prefix));
        fitting
            .map(|(_, text)| from_canonical_json("document", text.as_bytes()).unwrap())
            .collect()
    }
}

impl Catalogue for Ledger<'_> {
    fn release(
        &self,
        kind: ReleaseKind,
        name: &str,
        id: &ReleaseId,
    ) -> Result<Release, TransferError> {
        let found = self.all(&release_target(kind, name, id)).pop();
        found.ok_or_else(|| {
            TransferError::from(TrustError::NoRelease {
                kind: kind.word(),
                name: name.to_owned(),
                id: id.to_string(),
            })
        })
    }

    fn releases(&self, kind: ReleaseKind, name: &str) -> Result<Vec<Release>, TransferError> {
        if kind == ReleaseKind::Image && self.unreadable.as_deref() == Some(name) {
            return Err(TransferError::from(TrustError::Malformed {
                what: format!("a release of '{name}'"),
                reason: "it is empty".to_owned(),
            }));
        }
        let mut all: Vec<Release> = self.all(&format!("{}/{name}/releases/", kind.plural()));
        all.sort_by_key(|release| release.serial);
        Ok(all)
    }

    fn names(&self, kind: ReleaseKind) -> Result<Vec<String>, TransferError> {
        let releases = self
            .all::<serde_json::Value>(&format!("{}/", kind.plural()))
            .into_iter();
        let names = releases.map(|release| release["name"].as_str().unwrap().to_owned());
        let mut names: std::collections::BTreeSet<String> = names.collect();
        names.extend(
            self.unreadable
                .clone()
                .filter(|_| kind == ReleaseKind::Image),
        );
        Ok(names.into_iter().collect())
    }

    fn channel(&self, name: &ChannelName) -> Result<Option<Channel>, TransferError> {
        Ok(self.all(&name.target()).pop())
    }

    fn channels(&self, kind: ReleaseKind, name: &str) -> Result<Vec<Channel>, TransferError> {
        Ok(self.all(&format!("{}/{name}/channels/", kind.plural())))
    }
}

impl Signer for Ledger<'_> {
    fn refresh(&mut self) -> Result<(), TransferError> {
        if let Some(head) = self.remote.read_head(u64::MAX)? {
            self.contents = decode_head(&head.bytes)?;
            self.revision = Some(head.revision);
        }
        Ok(())
    }

    fn catalogue(&self) -> &dyn Catalogue {
        self
    }

    fn commit(&mut self, change: &DocumentChanges) -> Result<(), TransferError> {
        let mut contents = self.contents.clone();
        for (name, text) in &change.0 {
            match text {
                Some(bytes) => {
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    contents.targets.insert(name.clone(), text);
                }
                None => {
                    contents.targets.remove(name);
                }
            }
        }
        let bytes = encode_head(&contents)?;
        self.remote.replace_head(&bytes, self.revision.as_ref())?;
        self.refresh()
    }
}

impl MemoryRemote {
    /// Fails when a byte was asked for twice.
    #[track_caller]
    pub fn asked_once(&self) {
        let mut log = self.log.lock().unwrap().clone();
        log.sort_by_key(|(blob, range)| (*blob, range.start));
        for pair in log.windows(2) {
            let apart = pair[0].0 != pair[1].0 || pair[0].1.end <= pair[1].1.start;
            assert!(apart, "asked for twice: {pair:?}");
        }
    }
}

pub fn open(dir: &Path) -> Repository {
    Repository::init(dir, Arc::new(RealDisk)).unwrap();
    Repository::open(dir, Arc::new(RealDisk), RepositoryOptions::default()).unwrap()
}

/// Files of a layer: path and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Builds a layer of these files on `below`.
pub fn layer(repository: &Repository, name: &str, below: &Tree, files: &Files) -> (LayerId, Tree) {
    let transaction = repository.begin().unwrap();
    let mut tree = below.clone();
    tree.insert(RelPath::root(), Inode::directory(0o755));
    for (path, bytes) in files {
        let path = RelPath::from_text(path).unwrap();
        let above: Vec<_> = std::iter::successors(path.parent(), RelPath::parent).collect();
        for dir in above {
            if tree.get(dir.as_bytes()).is_none() {
                tree.insert(dir, Inode::directory(0o755));
            }
        }
        let id = transaction.put_object(bytes).unwrap();
        tree.insert(path, Inode::file(id, bytes.len() as u64, 0o644));
    }
    let changeset = Changeset::between(below, &tree);
    let pre = crate::support::pre_images(&changeset);
    let changes = transaction.put_changeset(&changeset).unwrap();
    let version = files.len().to_string();
    let mut layer = bare_layer((name, &version), (name.as_bytes(), 0, 0), changes);
    layer.pre_images = pre;
    let id = transaction.put_layer(&layer).unwrap();
    let name = RefName::layer("web", &layer.name).unwrap();
    transaction.commit(&name, &id.to_string()).unwrap();
    (id, tree)
}

/// Composes layers to an image.
pub fn image(repository: &Repository, layers: &[LayerId]) -> ImageId {
    let members = layers
        .iter()
        .map(|id| Member::read(repository, id).unwrap());
    let members: Vec<Member> = members.collect();
    let transaction = repository.begin().unwrap();
    let index = repository.index();
    let composed = compose(&members, &transaction, &index, &UnavailableGenerator).unwrap();
    assert_eq!(composed.findings, []);
    let layers = members.iter().zip(layers).map(|(member, id)| ImageLayer {
        name: member.layer.name.clone(),
        id: *id,
        version: member.layer.version.clone(),
    });
    let image = Image {
        format: 1,
        name: "web".to_owned(),
        architecture: "amd64".to_owned(),
        layers: layers.collect(),
        bytes: composed.tree.bytes(),
        entries: composed.tree.len() as u64,
        tree: transaction.put_tree(&composed.tree).unwrap(),
        keep: 3,
        waivers: Vec::new(),
    };
    let id = transaction.put_image(&image).unwrap();
    let name = RefName::image("web").unwrap();
    transaction.commit(&name, &id.to_string()).unwrap();
    id
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: &str, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut reader = blake3::Hasher::new().update(seed.as_bytes()).finalize_xof();
    reader.fill(&mut bytes);
    bytes
}

/// A base of many files, some of which differ from version to version.
pub fn base_files(version: u32) -> Files {
    let mut files = Files::new();
    files.insert(
        "etc/passwd".to_owned(),
        b"root:x:0:0::/root:/bin/sh\n".to_vec(),
    );
    files.insert("etc/group".to_owned(), b"root:x:0:\n".to_vec());
    // Empty, and followed by one whose digest is lower: both start at one place of a frame.
    files.insert("etc/none".to_owned(), Vec::new());
    let next = (0..).map(|n: u32| format!("next {n}\n").into_bytes());
    let mut next = next.filter(|next| blake3::hash(next).as_bytes() < blake3::hash(b"").as_bytes());
    files.insert("etc/none-next".to_owned(), next.next().unwrap());
    for n in 0..40 {
        let seed = format!("lib {n}");
        files.insert(format!("usr/lib/same-{n}.so"), noise(&seed, 20_000));
    }
    for (n, name) in ["alpha", "beta", "gamma", "delta"].iter().enumerate() {
        let mut bytes = noise(&format!("changing {n}"), 400_000);
        bytes[200_000..200_010].copy_from_slice(&noise(&format!("{n} {version}"), 10));
        files.insert(format!("usr/lib/lib{name}.so.{version}"), bytes);
    }
    files
}

pub fn app_files(version: u32) -> Files {
    Files::from([(
        "srv/page.html".to_owned(),
        format!("<p>version {version}</p>\n").into_bytes(),
    )])
}

/// Builds the image of some version in the publisher's repository.
pub fn build(repository: &Repository, version: u32) -> ImageId {
    let (base, tree) = layer(repository, "base", &Tree::new(), &base_files(version));
    let (app, _) = layer(repository, "app", &tree, &app_files(version));
    image(repository, &[base, app])
}

pub fn stable() -> ChannelName {
    "images/web/stable".parse().unwrap()
}

pub static GO_ON: AtomicBool = AtomicBool::new(false);

pub fn prepare_options() -> PrepareOptions<'static> {
    PrepareOptions {
        level: 3,
        deltas: 3,
        threads: 2,
        now: 1_800_000_000,
        cancel: &GO_ON,
        progress: &NoProgress,
    }
}

pub fn publication(
    repository: &Repository,
    remote: &MemoryRemote,
    ledger: &Ledger<'_>,
    what: ReleaseSubject,
    channel: &ChannelName,
) -> Publication {
    let options = prepare_options();
    Publication {
        prepared: prepare(repository, remote, ledger, what, &options).unwrap(),
        channels: vec![channel.clone()],
        layer_channels: Vec::new(),
        percent: 100,
        not_before: 0,
        downgrade: None,
        keep: 10,
        now: 1_800_000_000,
    }
}

/// Publishes an image to a channel.
pub fn publish_image(
    repository: &Repository,
    remote: &MemoryRemote,
    id: ImageId,
) -> PublishOutcome {
    let mut ledger = Ledger::read(remote);
    let publication = publication(
        repository,
        remote,
        &ledger,
        ReleaseSubject::Image(id),
        &stable(),
    );
    publish(remote, &mut ledger, &publication, &NoProgress).unwrap()
}

pub fn pull_options() -> PullOptions<'static> {
    PullOptions {
        threads: 3,
        deltas: true,
        gap: Some(4096),
        recompress: None,
        recompose: true,
        cancel: &GO_ON,
        progress: &NoProgress,
        waiting: LockWait {
            patience: Duration::from_secs(60),
            tell: &|_| {},
        },
    }
}

/// Says what pulling what the channel points at would fetch.
pub fn forecast_stable(
    repository: &Repository,
    remote: &MemoryRemote,
    options: &PullOptions<'_>,
) -> PullForecast {
    let ledger = Ledger::read(remote);
    let channel = ledger.channel(&stable()).unwrap().unwrap();
    let release = ledger.release(ReleaseKind::Image, "web", &channel.release);
    let name = RefName::new("remotes/main/images/web/stable").unwrap();
    forecast(
        repository,
        remote,
        &ledger,
        &release.unwrap(),
        &name,
        options,
    )
    .unwrap()
}

/// Pulls what the channel points at.
pub fn pull_stable(
    repository: &Repository,
    remote: &MemoryRemote,
    options: &PullOptions<'_>,
) -> Result<PullReport, TransferError> {
    let ledger = Ledger::read(remote);
    let channel = ledger.channel(&stable())?.unwrap();
    let release = ledger.release(ReleaseKind::Image, "web", &channel.release)?;
    let name = RefName::new("remotes/main/images/web/stable").unwrap();
    pull(repository, remote, &ledger, &release, &name, options)
}
