//! What a machine remembers of a remote, so that nobody can pass off an older state as new.
//!
//! `metadata.json` has the newest verified root, timestamp and snapshot, in one file so that one
//! rename replaces them all; `seen.json` has the highest serial of each channel that was taken.
//! tough keeps such files in a directory and changes them one by one while it verifies: it gets a
//! copy, which is taken over once everything is verified, and thrown away otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::TrustError;
use crate::durable::{Disk, DurableError, Lock, LockMode, make_dirs, replace_file};
use crate::format::release::{Channel, ChannelName};
use crate::format::{from_canonical_json, to_canonical_json};

/// The most bytes that a file of the state has.
const MAX_BYTES: u64 = 16 << 20;

/// The files that tough reads again.
const KEPT: [&str; 3] = ["root.json", "timestamp.json", "snapshot.json"];

/// The state of one remote, in a directory of its own.
#[derive(Clone)]
pub struct TrustState {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl fmt::Debug for TrustState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustState({})", self.dir.display())
    }
}

/// `metadata.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredMetadata {
    format: u32,
    /// The SHA-256 digests of the roots that were verified, by version.
    pub(super) roots: BTreeMap<u64, String>,
    /// The files by name, as text.
    pub(super) files: BTreeMap<String, String>,
}

impl StoredMetadata {
    /// Returns the version of the timestamp, which every new state raises.
    pub(super) fn version(&self) -> Option<u64> {
        let text = self.files.get("timestamp.json")?;
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        value.get("signed")?.get("version")?.as_u64()
    }
}

/// `seen.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenSerials {
    format: u32,
    /// The highest serial by channel name.
    serials: BTreeMap<String, u64>,
}

impl TrustState {
    /// Opens the state in `dir`, whose parent exists; it is made when it is not there.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, TrustError> {
        disk.mkdir(dir, 0o755)?;
        Ok(Self {
            dir: dir.to_owned(),
            disk,
        })
    }

    /// Says whether a machine that took `current` before, and what it remembers itself, may take
    /// what the channel has now: a lower serial only where the channel is signed as going back from
    /// at least there.
    pub fn accept(&self, channel: &Channel, current: Option<u64>) -> Result<(), TrustError> {
        let name = name_of(channel);
        let seen = self.seen()?.serials.get(&name).copied();
        let accepted = seen.max(current).unwrap_or(0);
        let goes_back = channel
            .downgrade
            .as_ref()
            .is_some_and(|downgrade| downgrade.from >= accepted);
        if channel.serial >= accepted || goes_back {
            return Ok(());
        }
        Err(TrustError::Downgrade {
            channel: name,
            offered: channel.serial,
            accepted,
        })
    }

    /// Remembers that a channel's release was taken; the rename of `seen.json` is the commit point.
    pub fn record(&self, channel: &Channel) -> Result<(), TrustError> {
        let _lock = self.lock()?;
        let mut seen = self.seen()?;
        seen.format = 1;
        seen.serials.insert(name_of(channel), channel.serial);
        self.write("seen.json", &seen)
    }

    /// Returns the serial that was taken last from a channel.
    pub fn taken(&self, channel: &ChannelName) -> Result<Option<u64>, TrustError> {
        Ok(self.seen()?.serials.get(&channel.to_string()).copied())
    }

    pub(super) fn lock(&self) -> Result<Lock, TrustError> {
        let path = self.dir.join("lock");
        let patience = Duration::from_secs(60);
        Ok(Lock::take(
            &path,
            LockMode::Exclusive,
            "layerset: verification",
            patience,
            &|_| {},
        )?)
    }

    pub(super) fn remembered(&self) -> Result<Option<StoredMetadata>, TrustError> {
        self.read("metadata.json")
    }

    /// Takes over what tough left in `work`; serials are forgotten where the root of trust is
    /// another one.
    pub(super) fn commit(
        &self,
        work: &Path,
        roots: BTreeMap<u64, String>,
        is_other_remote: bool,
    ) -> Result<(), TrustError> {
        let mut files = BTreeMap::new();
        for name in KEPT {
            let path = work.join(name);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| TrustError::Read { path, source })?;
            // tough writes maps in no order: the same metadata is to be the same text.
            let value: serde_json::Value =
                serde_json::from_str(&text).map_err(super::signing::internal)?;
            let text = value.to_string();
            files.insert(name.to_owned(), text);
        }
        let new = StoredMetadata {
            format: 1,
            roots,
            files,
        };
        if is_other_remote {
            self.disk.remove(&self.dir.join("seen.json"))?;
        }
        if self.remembered()?.as_ref() == Some(&new) {
            return Ok(());
        }
        self.write("metadata.json", &new)
    }

    /// Makes the directory that tough works in; leftovers of killed processes go first, so the lock
    /// must be held.
    pub(super) fn work(
        &self,
        remembered: Option<&StoredMetadata>,
    ) -> Result<WorkingCopy, TrustError> {
        let dir = self.dir.join(".verify");
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DurableError::new("remove", &dir, error).into());
            }
            _ => {}
        }
        make_dirs(&dir, 0o700).map_err(|error| DurableError::new("make", &dir, error))?;
        let work = WorkingCopy(dir);
        for (name, text) in remembered.iter().flat_map(|known| &known.files) {
            if KEPT.contains(&name.as_str()) {
                let path = work.0.join(name);
                std::fs::write(&path, text)
                    .map_err(|error| DurableError::new("write", &path, error))?;
            }
        }
        Ok(work)
    }

    fn seen(&self) -> Result<SeenSerials, TrustError> {
        Ok(self.read("seen.json")?.unwrap_or_default())
    }

    fn read<T: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Option<T>, TrustError> {
        let path = self.dir.join(name);
        let bytes = match read_limited(&path, MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TrustError::Read { path, source }),
            Ok(bytes) => bytes,
        };
        match from_canonical_json("trust state", &bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(TrustError::State {
                path,
                reason: error.to_string(),
            }),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), TrustError> {
        let bytes = to_canonical_json("trust state", value)
            .map_err(|error| TrustError::Internal(error.to_string()))?;
        // A file that cannot be read again would stop every later verification.
        if bytes.len() as u64 > MAX_BYTES {
            return Err(TrustError::TooLarge {
                what: name.to_owned(),
                limit: MAX_BYTES,
            });
        }
        Ok(replace_file(
            &*self.disk,
            &self.dir.join(name),
            0o644,
            &bytes,
        )?)
    }
}

/// The copy that tough works on; it goes when this is dropped.
pub(super) struct WorkingCopy(PathBuf);

impl WorkingCopy {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkingCopy {
    fn drop(&mut self) {
        // What stays is removed by the next verification.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a machine is to remember of a channel once it has taken the channel's release.
#[derive(Debug, Clone)]
pub struct AcceptedRelease {
    state: TrustState,
    channel: Channel,
}

impl AcceptedRelease {
    /// Puts together a channel that [`TrustState::accept`] let pass, and the state that did.
    pub fn new(state: TrustState, channel: Channel) -> Self {
        Self { state, channel }
    }

    /// Remembers it: the machine takes no older release by itself from now on.
    pub fn remember(&self) -> Result<(), TrustError> {
        self.state.record(&self.channel)
    }
}

fn name_of(channel: &Channel) -> String {
    let Channel {
        kind,
        name,
        channel,
        ..
    } = channel;
    format!("{}/{name}/{channel}", kind.plural())
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}
