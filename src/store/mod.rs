//! The repository: where objects, trees, layers and images live, each named by the digest of its
//! canonical bytes.
//!
//! ```text
//! config.toml            format version and feature flags
//! objects/ab/cdef…       file contents, raw; closed to others (0700): a 0640 file must not leak
//! trees/ layers/ images/ canonical bytes by id
//! baselines/             what the checks found when a layer or image was built; not part of its id
//! refs/                  names -> ids: the roots of garbage collection
//! targets/               where the targets are whose deployments refs name
//! cache/                 may be deleted at any time
//! tmp/  lock
//! ```
//!
//! An object under its final name is whole, whatever died: see [`Transaction`] for the one commit
//! point. An object's modification time is always 0, so that a later write to it shows without
//! reading it ([`Repository::check_object`]).

mod baseline;
mod cache;
mod config;
mod fsck;
mod gc;
mod index;
mod portable;
mod read;
mod refs;
mod repair;
mod targets;
mod transaction;
mod view;
mod whole;
mod work;

pub use config::RepositoryConfig;
pub use fsck::{Damage, DamagedThing, Dependent, FsckOptions, FsckReport};
pub use gc::{GcPlan, GcReport};
pub use index::Index;
pub use portable::{Made, PortableFiles, PortableRepository};
pub use read::ResolvedId;
pub use refs::RefName;
pub use transaction::{CommitReport, Transaction};
pub use view::StoredTree;
pub use whole::{Harmed, Untouched};
pub use work::WorkDir;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::baseline::BASELINES;
use crate::durable::{Disk, DurableError, LatchingDisk, Lock, LockMode, make_dirs};
use crate::format::FormatError;

/// What can go wrong with a repository; a variant for each remedy.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is there.
    #[error("no repository at '{}'", path.display())]
    Missing { path: PathBuf },
    /// Something else is there.
    #[error("'{}' is not empty and holds no repository", path.display())]
    Occupied { path: PathBuf },
    /// It needs another version of this program.
    #[error("the repository at '{}' needs {need}", path.display())]
    Incompatible { path: PathBuf, need: String },
    /// Its configuration does not parse.
    #[error("cannot read '{}': {reason}", path.display())]
    Config { path: PathBuf, reason: String },
    /// Something it should hold is not there.
    #[error("the repository has no {what} {name}")]
    NotFound {
        /// `object`, `tree`, `layer`, `image` or `ref`.
        what: &'static str,
        name: String,
    },
    /// An abbreviation or name fits more than one thing.
    #[error("'{name}' is ambiguous: it matches {count} things")]
    Ambiguous { name: String, count: usize },
    /// Bytes do not have the digest that they are named by.
    #[error("{what} {name} is damaged: its bytes have the digest b3:{found}")]
    Corrupt {
        /// `object`, `tree`, `layer` or `image`.
        what: &'static str,
        name: String,
        /// The digest of what is there, 64 hex digits.
        found: String,
    },
    /// Bytes have the right digest and make no sense: written by something else.
    #[error("{what} {name} does not parse")]
    Format {
        /// `tree`, `layer` or `image`.
        what: &'static str,
        name: String,
        source: FormatError,
    },
    /// A manifest that cannot be written: a mistake of the caller.
    #[error("cannot write a {what} manifest")]
    Unwritable {
        /// `layer` or `image`.
        what: &'static str,
        source: FormatError,
    },
    /// A ref that names nothing: what it kept is not known.
    #[error("the ref '{name}' is damaged: it holds no id")]
    DamagedRef { name: String },
    /// A name that cannot be a ref.
    #[error(
        "'{name}' cannot name a ref: use lower-case letters, digits, '.', '-', '_' and '+' between single '/'"
    )]
    RefName { name: String },
    /// The filesystem holds less room than the work needs.
    #[error("'{}' has {available} bytes free, {needed} are needed", path.display())]
    TooSmall {
        path: PathBuf,
        needed: u64,
        available: u64,
    },
    /// The system refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl StoreError {
    /// Wraps the system's answer to `verb` on `path`.
    pub fn io(verb: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Durable(DurableError::new(verb, path, source))
    }
}

/// An open repository; readers, builds and deploys share it, garbage collection has it alone.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    config: RepositoryConfig,
    /// Work is done elsewhere: this repository cannot be written to, or somebody has it alone.
    is_only_read: bool,
    _lock: Option<Lock>,
}

/// How to wait for a lock.
#[derive(Clone, Copy)]
pub struct LockWait<'a> {
    /// How long.
    pub patience: Duration,
    /// Told once who holds the lock.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

/// How to open a repository.
#[derive(Clone, Copy)]
pub struct RepositoryOptions<'a> {
    /// Shared for everything but garbage collection.
    pub mode: LockMode,
    /// What others read while they wait for us.
    pub title: &'a str,
    /// How long to wait for a lock.
    pub patience: Duration,
    /// Told once who holds the lock.
    pub waiting: &'a dyn Fn(&str),
}

impl Default for RepositoryOptions<'_> {
    fn default() -> Self {
        Self {
            mode: LockMode::Shared,
            title: "layerset",
            patience: Duration::from_secs(600),
            waiting: &|_| {},
        }
    }
}

/// The directories of a repository with their modes; `objects` and what can leak its bytes is
/// closed to others.
const DIRECTORIES: [(&str, u32); 8] = [
    ("objects", 0o700),
    ("trees", 0o755),
    ("layers", 0o755),
    ("images", 0o755),
    (BASELINES, 0o755),
    ("refs", 0o755),
    ("cache", 0o755),
    ("tmp", 0o700),
];

/// Caches that hold contents of files, whatever the modes of these are in an image: blobs to be sent,
/// blobs that came, and parts of disks.
const PRIVATE_CACHES: [&str; 6] = [
    "captures", "clusters", "erofs", "export", "incoming", "outgoing",
];

/// Takes a directory away from all but its owner; until 0.1 caches were open.
fn close(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    let found = std::fs::metadata(dir).map_err(|error| StoreError::io("look at", dir, error))?;
    if found.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
        .map_err(|error| StoreError::io("set the mode of", dir, error))
}

impl Repository {
    /// Makes a repository at `root`, which must be absent, empty, or a repository already.
    ///
    /// The commit point is the rename of `config.toml`.
    pub fn init(root: &Path, disk: Arc<dyn Disk>) -> Result<(), StoreError> {
        let config = root.join("config.toml");
        if config.exists() {
            return RepositoryConfig::load(root).map(drop);
        }
        if let Some(parent) = root.parent() {
            make_dirs(parent, 0o755)
                .map_err(|error| StoreError::io("make directory", parent, error))?;
        }
        disk.mkdir(root, 0o755)?;
        let known = |name: &std::ffi::OsStr| {
            name == "lock"
                || name == ".config.toml.new"
                || DIRECTORIES.iter().any(|(dir, _)| name == *dir)
        };
        let entries =
            std::fs::read_dir(root).map_err(|error| StoreError::io("list", root, error))?;
        if entries
            .filter_map(Result::ok)
            .any(|entry| !known(&entry.file_name()))
        {
            return Err(StoreError::Occupied {
                path: root.to_owned(),
            });
        }
        for (name, mode) in DIRECTORIES {
            disk.mkdir(&root.join(name), mode)?;
        }
        for byte in 0..=255u8 {
            disk.mkdir(&root.join("objects").join(format!("{byte:02x}")), 0o700)?;
        }
        disk.sync_fs(root)?;
        crate::durable::replace_file(
            disk.as_ref(),
            &config,
            0o644,
            RepositoryConfig::default().to_toml().as_bytes(),
        )?;
        Ok(())
    }

    /// Opens the repository at `root`, and waits for its lock.
    ///
    /// After a sync that failed, this handle changes nothing any more: open the repository again.
    pub fn open(
        root: &Path,
        disk: Arc<dyn Disk>,
        options: RepositoryOptions<'_>,
    ) -> Result<Self, StoreError> {
        let config = RepositoryConfig::load(root)?;
        let lock = Lock::take(
            &root.join("lock"),
            options.mode,
            options.title,
            options.patience,
            options.waiting,
        )?;
        Ok(Self {
            root: root.to_owned(),
            disk: Arc::new(LatchingDisk::new(root, disk)),
            config,
            is_only_read: false,
            _lock: Some(lock),
        })
    }

    /// Opens the repository at `root` to look at it, and waits for nobody; it may lie on a read-only
    /// medium. Says whether others are kept from using it as `mode` asks; where they are not, what
    /// they do meanwhile may be seen half done.
    pub fn look(
        root: &Path,
        disk: Arc<dyn Disk>,
        mode: LockMode,
        title: &str,
    ) -> Result<(Self, bool), StoreError> {
        let config = RepositoryConfig::load(root)?;
        let take = |mode| Lock::take(&root.join("lock"), mode, title, Duration::ZERO, &|_| {});
        // Those who wait for the lock need not wait for somebody who only looks.
        let alone = !matches!(take(mode).map(drop), Err(DurableError::Locked { .. }));
        let lock = take(LockMode::Shared).ok();
        let is_writable = rustix::fs::access(root, rustix::fs::Access::WRITE_OK).is_ok();
        let repository = Self {
            root: root.to_owned(),
            disk: Arc::new(LatchingDisk::new(root, disk)),
            config,
            is_only_read: lock.is_none() || !is_writable,
            _lock: lock,
        };
        Ok((repository, alone))
    }

    /// Returns where the repository is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of the objects, for mounts.
    pub fn objects_dir(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Returns a directory below `cache/`, made when absent; nothing in there is ever needed. What
    /// holds contents of files is for its owner alone.
    pub fn cache_dir(&self, name: &str) -> Result<PathBuf, StoreError> {
        let mut dir = self.root.join("cache");
        if self.is_only_read {
            return Ok(dir.join(name));
        }
        self.disk.mkdir(&dir, 0o755)?;
        let is_private = PRIVATE_CACHES.contains(&name.split('/').next().unwrap_or(name));
        let mode = if is_private { 0o700 } else { 0o755 };
        for part in name.split('/') {
            dir.push(part);
            self.disk.mkdir(&dir, mode)?;
            if is_private {
                close(&dir)?;
            }
        }
        Ok(dir)
    }

    /// Takes a lock among the commands that use this repository, for work that two must not do at
    /// once.
    pub fn work_lock(
        &self,
        name: &str,
        title: &str,
        waiting: LockWait<'_>,
    ) -> Result<Lock, StoreError> {
        let path = self.cache_dir("locks")?.join(name);
        Ok(Lock::take(
            &path,
            LockMode::Exclusive,
            title,
            waiting.patience,
            waiting.tell,
        )?)
    }

    /// Returns the primitives that change this repository.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Refuses changes of a repository that has a feature which only newer programs may write, or
    /// of which a sync failed.
    fn require_writable(&self) -> Result<(), StoreError> {
        self.disk.require_unharmed()?;
        match self.config.read_only_feature() {
            None => Ok(()),
            Some(feature) => Err(StoreError::Incompatible {
                path: self.root.clone(),
                need: format!("to be written, a layerset that knows the feature '{feature}'"),
            }),
        }
    }

    /// Keeps programs out, from now on, that do not know a feature. What needs it is written after.
    fn use_feature(&self, feature: &str) -> Result<(), StoreError> {
        let config = RepositoryConfig::load(&self.root)?;
        let Some(config) = config.with_incompatible(feature) else {
            return Ok(());
        };
        let path = self.root.join("config.toml");
        let text = config.to_toml();
        let disk = self.disk.as_ref();
        Ok(crate::durable::replace_file(
            disk,
            &path,
            0o644,
            text.as_bytes(),
        )?)
    }

    /// Returns the configuration.
    pub fn config(&self) -> &RepositoryConfig {
        &self.config
    }

    /// Refuses work that needs more room than the filesystem has, before the first write.
    pub fn require_space(&self, needed: u64) -> Result<(), StoreError> {
        let available = crate::durable::available_bytes(&self.root)
            .map_err(|error| StoreError::io("measure the free space of", &self.root, error))?;
        if available < needed {
            return Err(StoreError::TooSmall {
                path: self.root.clone(),
                needed,
                available,
            });
        }
        Ok(())
    }
}
