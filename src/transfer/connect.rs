//! Connecting to a remote: the head of the first good mirror, verified.

use super::{Catalogue, TransferError, TransferProgress};
use crate::format::MAX_HEAD_BYTES;
use crate::format::release::{Channel, ChannelName, Release, ReleaseId, ReleaseKind};
use crate::remote::{CountingRemote, Mirrors, Remote as _, RemoteError};
use crate::trust::{TrustError, TrustState, Verified, verify};

/// A remote, and what is signed on it.
pub struct VerifiedRemote {
    /// Where blobs come from.
    pub remote: CountingRemote<Mirrors>,
    /// What is signed.
    pub verified: Verified,
    /// The head, as it was read.
    pub head: Vec<u8>,
}

impl std::fmt::Debug for VerifiedRemote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedRemote({})", self.remote.location())
    }
}

/// How to verify a remote: by which root, with what is remembered of it, and at which time.
pub struct ConnectOptions<'a> {
    /// The trusted root.
    pub root: &'a [u8],
    /// What is remembered.
    pub state: &'a TrustState,
    /// When it is, in seconds since 1970.
    pub now: i64,
    /// Reads all documents that will be needed: a mirror that lacks one, or has changed one, is
    /// left out.
    pub needs: &'a dyn Fn(&Verified) -> Result<(), TransferError>,
    /// Hears what is wrong with the mirrors that are left out.
    pub progress: &'a dyn TransferProgress,
}

/// Reads the heads of `mirrors` in turn until one is verified and has what is needed. A head that
/// is no newer than the remembered one may be behind: it is taken only if no mirror has a newer
/// one.
pub fn connect(
    mirrors: Mirrors,
    options: &ConnectOptions<'_>,
) -> Result<VerifiedRemote, TransferError> {
    let remote = CountingRemote::new(mirrors);
    options.progress.phase("asking the remote", None);
    let mut rounds = 0;
    loop {
        let mut failures = match ask_all(&remote, options)? {
            MirrorAnswers::Head(read) => return Ok(source(remote, *read, options)),
            MirrorAnswers::Failed(failures) => failures,
        };
        rounds += 1;
        let may_pass = |(_, error): &(String, TransferError)| {
            matches!(
                error,
                TransferError::Remote(RemoteError::Unreachable { .. })
            )
        };
        if failures.iter().any(may_pass) && remote.inner().again(rounds)? {
            continue;
        }
        return Err(match failures.pop() {
            None => TransferError::Interrupted,
            Some((_, error)) if failures.is_empty() => error,
            Some(last) => {
                failures.push(last);
                TransferError::Mirrors { failures }
            }
        });
    }
}

/// The result of asking every mirror once.
enum MirrorAnswers {
    Head(Box<(Vec<u8>, Verified)>),
    /// What is wrong with each, by location.
    Failed(Vec<(String, TransferError)>),
}

fn ask_all(
    remote: &CountingRemote<Mirrors>,
    options: &ConnectOptions<'_>,
) -> Result<MirrorAnswers, TransferError> {
    let mut failures: Vec<(String, TransferError)> = Vec::new();
    let mut known: Option<(usize, (Vec<u8>, Verified))> = None;
    for index in remote.inner().order() {
        let location = remote
            .inner()
            .get(index)
            .map_or(String::new(), |mirror| mirror.location().to_owned());
        match look(remote, index, options) {
            Ok(read) if read.1.is_news() || remote.places() == 1 => {
                if let Some((behind, _)) = &known {
                    let place = remote.inner().get(*behind).map_or("", |m| m.location());
                    let remark =
                        format!("'{place}' is behind '{location}', which is asked instead");
                    options.progress.remark(&remark);
                    remote.inner().demote(*behind);
                }
                return Ok(MirrorAnswers::Head(Box::new(read)));
            }
            Ok(read) if known.is_none() => known = Some((index, read)),
            Ok(_) => {}
            Err(error) if is_of_mirror(&error) => {
                remote.inner().demote(index);
                failures.push((location, error));
                if let Some((location, error)) = failures.last().filter(|_| remote.places() > 1) {
                    let remark = format!("'{location}' is left out: {error}");
                    options.progress.remark(&remark);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(match known {
        Some((_, read)) => MirrorAnswers::Head(Box::new(read)),
        None => MirrorAnswers::Failed(failures),
    })
}

fn look(
    remote: &CountingRemote<Mirrors>,
    index: usize,
    options: &ConnectOptions<'_>,
) -> Result<(Vec<u8>, Verified), TransferError> {
    let head = read(remote, index)?;
    let verified = verify(&head, options.root, options.state, options.now)?;
    (options.needs)(&verified)?;
    Ok((head, verified))
}

fn source(
    remote: CountingRemote<Mirrors>,
    (head, verified): (Vec<u8>, Verified),
    options: &ConnectOptions<'_>,
) -> VerifiedRemote {
    if let Some(warning) = verified.clock_warning() {
        options.progress.remark(&format!("warning: {warning}"));
    }
    VerifiedRemote {
        remote,
        verified,
        head,
    }
}

/// Says whether another mirror may do better.
fn is_of_mirror(error: &TransferError) -> bool {
    match error {
        TransferError::Remote(RemoteError::Interrupted) | TransferError::Interrupted => false,
        TransferError::Trust(error) => {
            error.is_of_mirror()
                || matches!(
                    **error,
                    TrustError::NoChannel { .. } | TrustError::NoRelease { .. }
                )
        }
        _ => true,
    }
}

fn read(remote: &CountingRemote<Mirrors>, index: usize) -> Result<Vec<u8>, TransferError> {
    let head = remote.read_head_of(index, MAX_HEAD_BYTES)?;
    let head = head.ok_or_else(|| TransferError::Unpublished {
        location: remote
            .inner()
            .get(index)
            .map_or(String::new(), |mirror| mirror.location().to_owned()),
    })?;
    Ok(head.bytes)
}

impl Catalogue for Verified {
    fn release(
        &self,
        kind: ReleaseKind,
        name: &str,
        id: &ReleaseId,
    ) -> Result<Release, TransferError> {
        Ok(Self::release(self, kind, name, id)?)
    }

    fn releases(&self, kind: ReleaseKind, name: &str) -> Result<Vec<Release>, TransferError> {
        let ids = Self::releases(self, kind, name).into_iter();
        let all: Result<Vec<Release>, TrustError> =
            ids.map(|id| Self::release(self, kind, name, &id)).collect();
        let mut all = all?;
        all.sort_by_key(|release| release.serial);
        Ok(all)
    }

    fn names(&self, kind: ReleaseKind) -> Result<Vec<String>, TransferError> {
        Ok(Self::names(self, kind))
    }

    fn channel(&self, name: &ChannelName) -> Result<Option<Channel>, TransferError> {
        match Self::channel(self, name) {
            Err(TrustError::NoChannel { .. }) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    fn channels(&self, kind: ReleaseKind, name: &str) -> Result<Vec<Channel>, TransferError> {
        let all = Self::channels(self).into_iter();
        let names = all.filter(|channel| channel.kind == kind && channel.name == name);
        let found: Result<Vec<Channel>, TrustError> =
            names.map(|name| Self::channel(self, &name)).collect();
        Ok(found?)
    }
}
