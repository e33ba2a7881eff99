//! Verifying a head: its documents can be believed afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tough::schema::{Role, Targets};
use tough::{ExpirationEnforcement, IntoVec as _, Repository, RepositoryLoader, TargetName};
use url::Url;

use super::TrustError;
use super::error::WRITTEN;
use super::explain::explain;
use super::layout::{self, LIMITS};
use super::names::Document;
use super::start::{StartingPoint, digest, root_of};
use super::state::{StoredMetadata, TrustState};
use super::transport::{HeadTransport, METADATA_URL, TARGETS_URL};
use crate::format::release::{
    Channel, ChannelName, Release, ReleaseId, ReleaseKind, release_target,
};
use crate::format::{HeadContents, MAX_HEAD_BYTES, decode_head, from_canonical_json};
use crate::time::rfc3339;

/// A head whose signatures, versions and dates were verified.
pub struct Verified {
    contents: Arc<HeadContents>,
    repository: Repository,
    transport: HeadTransport,
    runtime: tokio::runtime::Runtime,
    now: i64,
    expiry: ExpiryCheck,
    doubt: Option<String>,
    is_news: bool,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = self.repository.timestamp().signed.version;
        write!(f, "Verified(timestamp {version})")
    }
}

/// Verifies a head for a machine that trusts `trusted_root`, at the moment `now` in seconds since
/// 1970.
///
/// What the machine remembers in `state` changes only when everything is right: after an error
/// another mirror can be tried.
pub fn verify(
    head: &[u8],
    trusted_root: &[u8],
    state: &TrustState,
    now: i64,
) -> Result<Verified, TrustError> {
    load(head, trusted_root, state, now, ExpiryCheck::Enforce)
}

/// Verifies a head for somebody who will sign it anew: like [`verify`], but expired roles pass.
pub fn verify_to_edit(
    head: &[u8],
    trusted_root: &[u8],
    state: &TrustState,
    now: i64,
) -> Result<Verified, TrustError> {
    load(head, trusted_root, state, now, ExpiryCheck::Ignore)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpiryCheck {
    Enforce,
    Ignore,
}

fn load(
    head: &[u8],
    trusted_root: &[u8],
    state: &TrustState,
    now: i64,
    expiry: ExpiryCheck,
) -> Result<Verified, TrustError> {
    if head.len() as u64 > MAX_HEAD_BYTES {
        return Err(TrustError::TooLarge {
            what: "head".to_owned(),
            limit: MAX_HEAD_BYTES,
        });
    }
    let contents = Arc::new(decode_head(head).map_err(TrustError::Damaged)?);
    layout::check_sizes(&contents)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| TrustError::Internal(error.to_string()))?;

    let _lock = state.lock()?;
    let start = StartingPoint::of(trusted_root, state.remembered()?)?;
    let root = start.root.as_bytes();
    let seen = start.remembered.as_ref().and_then(StoredMetadata::version);

    let transport = HeadTransport::new(Arc::clone(&contents));
    let work = state.work(start.remembered.as_ref())?;
    let url = |text| Url::parse(text).map_err(|error| TrustError::Internal(error.to_string()));
    let loader = RepositoryLoader::new(&root, url(METADATA_URL)?, url(TARGETS_URL)?)
        .transport(transport.clone())
        .limits(LIMITS)
        .datastore(work.path())
        // tough asks the system's clock; dates are checked below, by the caller's.
        .expiration_enforcement(ExpirationEnforcement::Unsafe);
    let repository = runtime.block_on(loader.load()).map_err(|error| {
        let root = std::fs::read_to_string(work.path().join("root.json")).ok();
        explain(error, &transport.last(), &contents, root.as_deref())
    })?;
    layout::check(&repository.targets().signed)?;

    let mut verified = Verified {
        contents,
        repository,
        transport,
        runtime,
        now,
        expiry,
        doubt: None,
        is_news: false,
    };
    let version = verified.repository.timestamp().signed.version.get();
    verified.is_news = seen.is_none_or(|seen| version > seen);
    if expiry == ExpiryCheck::Enforce {
        verified.check_dates()?;
    }
    verified.doubt = verified.clock_doubt()?;
    state.commit(work.path(), verified.roots(&start)?, start.is_other_remote)?;
    Ok(verified)
}

impl Verified {
    /// Returns what a channel says now.
    pub fn channel(&self, name: &ChannelName) -> Result<Channel, TrustError> {
        let target = name.target();
        let found: Option<Channel> = self.document(&target, "channel")?;
        let channel = found.ok_or_else(|| TrustError::NoChannel {
            name: name.to_string(),
            known: self.channels().iter().map(ToString::to_string).collect(),
        })?;
        let says = format!(
            "{}/{}/{}",
            channel.kind.plural(),
            channel.name,
            channel.channel
        );
        if says != name.to_string() {
            return Err(TrustError::Misnamed {
                document: target,
                claims: format!("channel '{}'", says.escape_debug()),
            });
        }
        check_format(&target, channel.format)?;
        if channel.rollout.percent > 100 {
            return Err(TrustError::Malformed {
                what: format!("'{target}'"),
                reason: format!("{} percent of the machines", channel.rollout.percent),
            });
        }
        Ok(channel)
    }

    /// Returns a release of a layer or an image.
    pub fn release(
        &self,
        kind: ReleaseKind,
        name: &str,
        id: &ReleaseId,
    ) -> Result<Release, TrustError> {
        let target = release_target(kind, name, id);
        let found: Option<Release> = self.document(&target, "release")?;
        let release = found.ok_or_else(|| TrustError::NoRelease {
            kind: kind.word(),
            name: name.to_owned(),
            id: id.to_string(),
        })?;
        if (release.kind, release.name.as_str(), &release.id) != (kind, name, id) {
            let (kind, name) = (release.kind.word(), release.name.escape_debug());
            return Err(TrustError::Misnamed {
                document: target,
                claims: format!("release {} of {kind} '{name}'", release.id),
            });
        }
        check_format(&target, release.format)?;
        Ok(release)
    }

    /// Returns all channels, sorted.
    pub fn channels(&self) -> Vec<ChannelName> {
        let mut names: Vec<ChannelName> = self
            .documents()
            .filter_map(|document| match document {
                Document::Channel(name) => Some(name),
                Document::Release(..) => None,
            })
            .collect();
        names.sort();
        names
    }

    /// Returns the releases of a layer or an image, sorted by id.
    pub fn releases(&self, kind: ReleaseKind, name: &str) -> Vec<ReleaseId> {
        let mut ids: Vec<ReleaseId> = self
            .documents()
            .filter_map(|document| match document {
                Document::Release(k, n, id) if k == kind && n == name => Some(id),
                _ => None,
            })
            .collect();
        ids.sort();
        ids
    }

    /// Returns the names of the layers or images that have releases or channels, sorted.
    pub fn names(&self, kind: ReleaseKind) -> Vec<String> {
        let names = self.documents().filter_map(|document| match document {
            Document::Channel(channel) => (channel.kind == kind).then_some(channel.name),
            Document::Release(k, name, _) => (k == kind).then_some(name),
        });
        let names: std::collections::BTreeSet<String> = names.collect();
        names.into_iter().collect()
    }

    /// Says what makes this machine's clock look wrong, for a warning: while it is behind, an old
    /// state cannot be told from a new one by its date.
    pub fn clock_warning(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Says whether this state is newer than what the machine had seen before; one that is not may
    /// be that of a mirror that is behind.
    pub fn is_news(&self) -> bool {
        self.is_news
    }

    pub(super) fn contents(&self) -> &HeadContents {
        &self.contents
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the role that signs a layer's or an image's documents.
    pub fn signer(&self, kind: ReleaseKind, name: &str) -> String {
        let role = super::names::role_of(kind, name);
        let delegated = layout::roles(self.targets()).iter().any(|d| d.name == role);
        if delegated {
            role
        } else {
            "targets".to_owned()
        }
    }

    fn targets(&self) -> &Targets {
        &self.repository.targets().signed
    }

    fn documents(&self) -> impl Iterator<Item = Document> + '_ {
        self.repository
            .all_targets()
            .filter_map(|(name, _)| Document::parse(name.raw()))
    }

    fn document<T: Serialize + DeserializeOwned>(
        &self,
        target: &str,
        what: &'static str,
    ) -> Result<Option<T>, TrustError> {
        let explain = |error| explain(error, &self.transport.last(), &self.contents, None);
        let Ok(name) = TargetName::new(target) else {
            return Ok(None);
        };
        self.check_date_of_signer(target)?;
        let bytes = self.runtime.block_on(async {
            match self.repository.read_target(&name).await.map_err(explain)? {
                Some(stream) => stream.into_vec().await.map(Some).map_err(explain),
                None => Ok(None),
            }
        })?;
        let Some(bytes) = bytes else { return Ok(None) };
        match from_canonical_json(what, &bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(TrustError::Malformed {
                what: format!("'{target}'"),
                reason: error.to_string(),
            }),
        }
    }

    fn expiry(&self) -> [(&'static str, i64); 4] {
        let repository = &self.repository;
        [
            ("root", expiry(&repository.root().signed)),
            ("timestamp", expiry(&repository.timestamp().signed)),
            ("snapshot", expiry(&repository.snapshot().signed)),
            ("targets", expiry(&repository.targets().signed)),
        ]
    }

    fn check_dates(&self) -> Result<(), TrustError> {
        for (role, at) in self.expiry() {
            check_date(role, at, self.now)?;
        }
        Ok(())
    }

    /// A delegated role that expired stops what it signed, and nothing else; nor does it stop those
    /// who look after it.
    fn check_date_of_signer(&self, target: &str) -> Result<(), TrustError> {
        if self.expiry == ExpiryCheck::Ignore {
            return Ok(());
        }
        let Some(document) = Document::parse(target) else {
            return Ok(());
        };
        let role = document.role();
        let delegated = layout::roles(self.targets())
            .iter()
            .find(|d| d.name == role);
        match delegated.and_then(|delegated| delegated.targets.as_ref()) {
            Some(signed) => check_date(&role, expiry(&signed.signed), self.now),
            None => Ok(()),
        }
    }

    fn clock_doubt(&self) -> Result<Option<String>, TrustError> {
        let mut latest = (WRITTEN, "this program was made".to_owned());
        for name in self.channels() {
            match self.channel(&name) {
                Ok(channel) if channel.published > latest.0 => {
                    latest = (channel.published, format!("channel '{name}' was signed"));
                }
                _ => {}
            }
        }
        let (at, what) = latest;
        // Clocks of build servers and machines need not agree to the minute.
        Ok((self.now.saturating_add(3600) < at).then(|| {
            format!(
                "this machine's clock says {}, but {what} on {}: check it; until it is right, a stale remote looks current",
                rfc3339(self.now),
                rfc3339(at)
            )
        }))
    }

    /// Returns the digests of all roots from the first known one to the current one.
    fn roots(&self, start: &StartingPoint) -> Result<BTreeMap<u64, String>, TrustError> {
        let mut roots = match &start.remembered {
            Some(known) => known.roots.clone(),
            None => BTreeMap::new(),
        };
        for text in [&start.trusted, &start.root] {
            let root = root_of(text)?;
            roots.insert(root.version.get(), digest(&root)?);
        }
        let current = &self.repository.root().signed;
        for version in root_of(&start.root)?.version.get() + 1..=current.version.get() {
            // tough verified these.
            if let Some(text) = self.contents.metadata.get(&format!("{version}.root.json")) {
                roots.insert(version, digest(&root_of(text)?)?);
            }
        }
        Ok(roots)
    }
}

pub(super) fn expiry<R: Role>(role: &R) -> i64 {
    role.expires().as_second()
}

fn check_date(role: &str, expired_at: i64, now: i64) -> Result<(), TrustError> {
    if now <= expired_at {
        return Ok(());
    }
    Err(TrustError::Expired {
        role: role.to_owned(),
        expired_at,
        now,
    })
}

fn check_format(target: &str, format: u32) -> Result<(), TrustError> {
    if format == 1 {
        return Ok(());
    }
    Err(TrustError::Malformed {
        what: format!("'{target}'"),
        reason: format!("its format version is {format}, and this program reads version 1"),
    })
}
