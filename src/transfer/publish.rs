//! Publishing: blobs first, then what is signed; the replaced head is the commit point.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use serde::Serialize;

use super::prepare::PreparedRelease;
use super::{Catalogue, TransferError, TransferProgress, baselines};
use crate::format::release::{
    Channel, ChannelName, Downgrade, Release, ReleaseId, ReleaseKind, Rollout, release_target,
};
use crate::format::to_canonical_json;
use crate::remote::{Artifact, RemoteError, WritableRemote};

/// What to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The releases, layers first; the last one is what the channels point at.
    pub prepared: Vec<PreparedRelease>,
    /// The channels.
    pub channels: Vec<ChannelName>,
    /// Channels of the layers of an image, pointed at these.
    pub layer_channels: Vec<ChannelName>,
    /// The share of the machines that take it.
    pub percent: u8,
    /// The first second in which machines take it, since 1970; 0 for at once.
    pub not_before: i64,
    /// The reason for publishing a lower release than before; `None` when that is not meant.
    pub downgrade: Option<String>,
    /// How many releases of a name stay listed, those of channels aside.
    pub keep: usize,
    /// When it is, in seconds since 1970.
    pub now: i64,
}

/// Documents to sign, by target name; `None` takes one away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentChanges(pub BTreeMap<String, Option<Vec<u8>>>);

/// The signed state of a remote, and how to change it.
pub trait Signer {
    /// Reads and verifies the head as it is now.
    fn refresh(&mut self) -> Result<(), TransferError>;
    /// Returns what was read last.
    fn catalogue(&self) -> &dyn Catalogue;
    /// Signs changes to what was read last, and replaces the head, unless the head has changed by
    /// now ([`RemoteError::Moved`]).
    fn commit(&mut self, change: &DocumentChanges) -> Result<(), TransferError>;
}

/// What became of a publication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PublishOutcome {
    /// Whether the head was replaced.
    pub changed: bool,
    /// Bytes of blobs that were sent.
    pub bytes_sent: u64,
    /// Blobs that were sent.
    pub blobs_sent: u64,
    /// How often somebody else published first.
    pub retries: u32,
}

/// Sends the blobs that the remote lacks.
pub fn upload(
    remote: &dyn WritableRemote,
    prepared: &[PreparedRelease],
    progress: &dyn TransferProgress,
) -> Result<PublishOutcome, TransferError> {
    let mut outcome = PublishOutcome::default();
    let mut missing = Vec::new();
    for (blob, bytes, path) in prepared.iter().flat_map(|prepared| &prepared.blobs) {
        if remote.blob_size(blob)? != Some(*bytes) {
            missing.push((blob, *bytes, path));
        }
    }
    let total = missing.iter().map(|(_, bytes, _)| bytes).sum();
    progress.phase("sending", Some(total));
    for (blob, bytes, path) in missing {
        let mut file = File::open(path).map_err(|error| TransferError::io("read", path, error))?;
        let mut told = 0;
        remote.put_blob(blob, &mut file, bytes, &mut |sent| {
            let sent: u64 = sent;
            progress.advance(sent);
            told += sent;
        })?;
        outcome.bytes_sent += bytes;
        outcome.blobs_sent += 1;
    }
    for prepared in prepared.iter().filter(|prepared| !prepared.is_known) {
        announce(remote, &prepared.release)?;
    }
    Ok(outcome)
}

fn announce(remote: &dyn WritableRemote, release: &Release) -> Result<(), TransferError> {
    let artifact = Artifact {
        kind: release.kind.word(),
        name: release.name.clone(),
        id: release.id.to_string(),
        version: release.version.clone(),
        blobs: release
            .packs
            .iter()
            .map(|pack| (pack.blob, pack.bytes))
            .collect(),
        from: None,
    };
    remote.announce(&artifact)?;
    for delta in &release.deltas {
        remote.announce(&Artifact {
            kind: "delta",
            blobs: vec![(delta.blob, delta.bytes)],
            from: Some(delta.from.to_string()),
            ..artifact.clone()
        })?;
    }
    Ok(())
}

/// The highest serial: all JSON readers are exact up to here.
const MAX_SERIAL: u64 = (1 << 53) - 1;

/// How often a publisher tries again when others publish first.
const ATTEMPTS: u32 = 20;

/// Sends the blobs of a publication, then signs and replaces the head. Others may publish at the
/// same time. To other channels, nobody loses anything; to the same one, the first wins and the
/// second gets an error.
pub fn publish(
    remote: &dyn WritableRemote,
    signer: &mut dyn Signer,
    publication: &Publication,
    progress: &dyn TransferProgress,
) -> Result<PublishOutcome, TransferError> {
    let mut outcome = upload(remote, &publication.prepared, progress)?;
    progress.phase("signing", None);
    let channels = || {
        publication
            .channels
            .iter()
            .chain(&publication.layer_channels)
    };
    let mut seen = BTreeMap::new();
    for name in channels() {
        seen.insert(name.clone(), signer.catalogue().channel(name)?);
    }
    loop {
        for name in channels() {
            let now = signer.catalogue().channel(name)?;
            if now != seen[name] {
                let moved = now.map_or("nothing".to_owned(), |now| now.release.to_string());
                let wanted = publication
                    .release_for(name)
                    .map(|release| release.id.to_string());
                if wanted.as_ref() != Some(&moved) {
                    return Err(TransferError::ChannelMoved {
                        channel: name.to_string(),
                        now: moved,
                    });
                }
                // Somebody published the same.
                seen.insert(name.clone(), signer.catalogue().channel(name)?);
            }
        }
        let change = publication.change(signer.catalogue())?;
        if change.0.is_empty() {
            return Ok(outcome);
        }
        match signer.commit(&change) {
            Err(TransferError::Remote(RemoteError::Moved { .. })) if outcome.retries < ATTEMPTS => {
                outcome.retries += 1;
                signer.refresh()?;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                outcome.changed = true;
                return Ok(outcome);
            }
        }
    }
}

impl Publication {
    fn release_for(&self, name: &ChannelName) -> Option<&Release> {
        let releases = self.prepared.iter().map(|prepared| &prepared.release);
        let mut fitting = releases.filter(|r| r.kind == name.kind && r.name == name.name);
        fitting.next_back()
    }

    /// Returns what is to be signed on top of `catalogue`; `None` if everything is published
    /// already.
    pub fn change(&self, catalogue: &dyn Catalogue) -> Result<DocumentChanges, TransferError> {
        let mut change = DocumentChanges::default();
        let mut serials = BTreeMap::new();
        for prepared in &self.prepared {
            let mut release = prepared.release.clone();
            let earlier = catalogue.releases(release.kind, &release.name)?;
            let known = earlier.iter().find(|known| known.id == release.id);
            match known {
                // Somebody may have published it in the meantime: all but a later baseline is as
                // they signed it.
                Some(known) => {
                    let baseline = baselines::later(known.baseline.as_ref(), release.baseline);
                    release = Release {
                        baseline,
                        ..known.clone()
                    };
                }
                None => release.serial = earlier.last().map_or(0, |last| last.serial) + 1,
            }
            serials.insert(
                (release.kind, release.name.clone()),
                (release.id, release.serial),
            );
            if known.is_none_or(|known| known.baseline != release.baseline) {
                let target = release_target(release.kind, &release.name, &release.id);
                let bytes = to_canonical_json("release", &release)?;
                change.0.insert(target, Some(bytes));
            }
        }
        for name in self.channels.iter().chain(&self.layer_channels) {
            let Some((release, serial)) = serials.get(&(name.kind, name.name.clone())) else {
                continue;
            };
            let now = catalogue.channel(name)?;
            if let Some(channel) = self.channel(name, now.as_ref(), *release, *serial)? {
                change
                    .0
                    .insert(name.target(), Some(to_canonical_json("channel", &channel)?));
            }
        }
        if !change.0.is_empty() {
            self.forget_old(catalogue, &mut change)?;
        }
        Ok(change)
    }

    fn channel(
        &self,
        name: &ChannelName,
        now: Option<&Channel>,
        release: ReleaseId,
        serial: u64,
    ) -> Result<Option<Channel>, TransferError> {
        let mut downgrade = self.downgrade_from(name, now, serial)?;
        let is_staged = self.percent < 100 || self.not_before > self.now;
        // What everybody has: the release before, unless that was on its way itself.
        let settled = now.and_then(|now| {
            let was_staged = now.rollout.percent < 100 || now.rollout.not_before > self.now;
            match was_staged || now.release == release {
                true => now.rollout.others,
                false => Some(now.release),
            }
        });
        let rollout = Rollout {
            percent: self.percent,
            not_before: self.not_before,
            others: settled.filter(|settled| is_staged && *settled != release),
        };
        if let Some(now) = now.filter(|now| now.release == release) {
            if now.rollout == rollout {
                return Ok(None);
            }
            downgrade = now.downgrade.clone();
        }
        Ok(Some(Channel {
            format: 1,
            kind: name.kind,
            name: name.name.clone(),
            channel: name.channel.clone(),
            release,
            serial,
            published: self.now,
            rollout,
            downgrade,
        }))
    }

    /// Returns the releases that the channel gives up when it points at `serial`: the higher ones
    /// that machines may have.
    fn downgrade_from(
        &self,
        name: &ChannelName,
        now: Option<&Channel>,
        serial: u64,
    ) -> Result<Option<Downgrade>, TransferError> {
        let given_up = now.and_then(|now| now.downgrade.clone());
        match (now, &self.downgrade) {
            (Some(now), None) if now.serial > serial => Err(TransferError::WouldGoBack {
                channel: name.to_string(),
                now: now.serial,
                wanted: serial,
            }),
            (Some(now), Some(reason)) if now.serial > serial => Ok(Some(Downgrade {
                from: now.serial.max(given_up.map_or(0, |given_up| given_up.from)),
                reason: reason.clone(),
            })),
            // Machines that were switched off still have them.
            (Some(_), _) => Ok(given_up.filter(|given_up| given_up.from > serial)),
            // What the channel pointed at before it was taken away is not known here.
            (None, Some(reason)) => Ok(Some(Downgrade {
                from: MAX_SERIAL,
                reason: reason.clone(),
            })),
            (None, None) => Ok(None),
        }
    }

    /// Takes old releases off the list, unless a channel or a listed image needs them.
    fn forget_old(
        &self,
        catalogue: &dyn Catalogue,
        change: &mut DocumentChanges,
    ) -> Result<(), TransferError> {
        let names: BTreeSet<(ReleaseKind, String)> = self
            .prepared
            .iter()
            .map(|prepared| (prepared.release.kind, prepared.release.name.clone()))
            .collect();
        // Images first: layers that only they needed go with them.
        for name in names.iter().rev() {
            self.forget_of(catalogue, name, change)?;
        }
        Ok(())
    }

    fn forget_of(
        &self,
        catalogue: &dyn Catalogue,
        (kind, name): &(ReleaseKind, String),
        change: &mut DocumentChanges,
    ) -> Result<(), TransferError> {
        let releases = catalogue.releases(*kind, name)?;
        let count = releases.len().saturating_sub(self.keep);
        if count == 0 {
            return Ok(());
        }
        let needed = match kind {
            ReleaseKind::Image => Some(BTreeSet::new()),
            ReleaseKind::Layer => self.layers_in_use(catalogue, change)?,
        };
        let Some(mut needed) = needed else {
            return Ok(());
        };
        for channel in catalogue.channels(*kind, name)? {
            needed.insert(channel.release);
            needed.extend(channel.rollout.others);
        }
        for release in releases.iter().take(count) {
            let target = release_target(*kind, name, &release.id);
            if !needed.contains(&release.id) && !change.0.contains_key(&target) {
                change.0.insert(target, None);
            }
        }
        Ok(())
    }

    /// Returns the layers of all images that stay listed, also of other recipes. `None` if one of
    /// those cannot be read: its layers are then unknown, and another team's mistake must not stop
    /// this publication.
    fn layers_in_use(
        &self,
        catalogue: &dyn Catalogue,
        change: &DocumentChanges,
    ) -> Result<Option<BTreeSet<ReleaseId>>, TransferError> {
        let mut used = BTreeSet::new();
        let new = self.prepared.iter().map(|prepared| &prepared.release);
        let layers = new.flat_map(|release| &release.layers);
        used.extend(layers.map(|layer| ReleaseId::from(layer.id)));
        for name in catalogue.names(ReleaseKind::Image)? {
            let releases = match catalogue.releases(ReleaseKind::Image, &name) {
                Err(TransferError::Trust(_)) => return Ok(None),
                releases => releases?,
            };
            for release in releases {
                let target = release_target(ReleaseKind::Image, &name, &release.id);
                if change.0.get(&target) != Some(&None) {
                    used.extend(release.layers.iter().map(|layer| ReleaseId::from(layer.id)));
                }
            }
        }
        Ok(Some(used))
    }
}
