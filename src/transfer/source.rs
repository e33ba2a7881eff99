//! A remote that was found trustworthy: its head is verified, and of several mirrors the first good one is taken.

use super::{Catalogue, Progress, TransferError};
use crate::format::MAX_HEAD_BYTES;
use crate::format::release::{Channel, ChannelName, Kind, Release, ReleaseId};
use crate::remote::{Counted, Mirrors, Remote as _, RemoteError};
use crate::trust::{State, TrustError, Verified, verify};

/// A remote, and what is signed on it.
pub struct Source {
    /// Where blobs come from.
    pub remote: Counted<Mirrors>,
    /// What is signed.
    pub verified: Verified,
    /// The head, as it was read.
    pub head: Vec<u8>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.remote.location())
    }
}

/// Reads the head of each of `mirrors` in turn until one is verified against `root`, at the moment `now` in seconds since 1970.
/// When none is, the answer is about the first.
pub fn connect(
    mirrors: Mirrors,
    root: &[u8],
    state: &State,
    now: i64,
    progress: &dyn Progress,
) -> Result<Source, TransferError> {
    let remote = Counted::new(mirrors);
    let mut first: Option<TransferError> = None;
    for index in remote.inner().order() {
        progress.phase("asking the remote", None);
        let location = remote
            .inner()
            .get(index)
            .map_or(String::new(), |mirror| mirror.location().to_owned());
        let result = read(&remote, index).and_then(|head| {
            let verified = verify(&head, root, state, now)?;
            Ok((head, verified))
        });
        match result {
            Ok((head, verified)) => {
                if let Some(warning) = verified.clock_warning() {
                    progress.remark(&format!("warning: {warning}"));
                }
                return Ok(Source {
                    remote,
                    verified,
                    head,
                });
            }
            Err(error @ TransferError::Remote(RemoteError::Interrupted)) => return Err(error),
            Err(error) => {
                let is_last = first.is_some() || remote.inner().len() == 1;
                if !is_last {
                    progress.remark(&format!("'{location}' is left out: {error}"));
                }
                remote.inner().demote(index);
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(TransferError::Interrupted))
}

fn read(remote: &Counted<Mirrors>, index: usize) -> Result<Vec<u8>, TransferError> {
    let location = || remote.location().to_owned();
    let head = remote.read_head_of(index, MAX_HEAD_BYTES)?;
    let head = head.ok_or_else(|| TransferError::Unpublished {
        location: location(),
    })?;
    Ok(head.bytes)
}

impl Catalogue for Verified {
    fn release(&self, kind: Kind, name: &str, id: &ReleaseId) -> Result<Release, TransferError> {
        Ok(Self::release(self, kind, name, id)?)
    }

    fn releases(&self, kind: Kind, name: &str) -> Result<Vec<Release>, TransferError> {
        let ids = Self::releases(self, kind, name).into_iter();
        let all: Result<Vec<Release>, TrustError> =
            ids.map(|id| Self::release(self, kind, name, &id)).collect();
        let mut all = all?;
        all.sort_by_key(|release| release.serial);
        Ok(all)
    }

    fn channel(&self, name: &ChannelName) -> Result<Option<Channel>, TransferError> {
        match Self::channel(self, name) {
            Err(TrustError::NoChannel { .. }) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    fn channels(&self, kind: Kind, name: &str) -> Result<Vec<Channel>, TransferError> {
        let all = Self::channels(self).into_iter();
        let names = all.filter(|channel| channel.kind == kind && channel.name == name);
        let found: Result<Vec<Channel>, TrustError> =
            names.map(|name| Self::channel(self, &name)).collect();
        Ok(found?)
    }
}
