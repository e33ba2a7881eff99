//! Bundles: what channels need, copied with its signatures to another remote, such as a directory
//! on removable media.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::fetch::Fetcher;
use super::link::LinkStats;
use super::{TransferError, TransferProgress, VerifiedRemote};
use crate::durable;
use crate::format::MAX_HEAD_BYTES;
use crate::format::release::{ChannelName, Release, ReleaseId, ReleaseKind};
use crate::remote::WritableRemote;
use crate::sha256::Sha256;
use crate::store::StoreError;
use crate::trust::first_root;

/// How to make a bundle.
pub struct BundleOptions<'a> {
    /// Where blobs are kept until they are whole: beside the bundle.
    pub incoming: PathBuf,
    /// Whether deltas come along, for machines that have an earlier release.
    pub deltas: bool,
    /// How many requests at once.
    pub threads: usize,
    /// Ends the work; what arrived stays for the next time.
    pub cancel: &'a AtomicBool,
    /// Hears how it goes.
    pub progress: &'a dyn TransferProgress,
}

/// What a bundle consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BundleReport {
    /// Releases of images and layers in it.
    pub releases: u64,
    /// Blobs in it.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that were copied now.
    pub bytes_copied: u64,
}

/// Copies what `channels` need, then the head as it is: whoever trusts the remote can pull from
/// `to` as from the remote.
pub fn bundle(
    source: &VerifiedRemote,
    to: &dyn WritableRemote,
    channels: &[ChannelName],
    options: &BundleOptions<'_>,
) -> Result<BundleReport, TransferError> {
    let before = to.read_head(MAX_HEAD_BYTES)?;
    if let Some(before) = &before
        && first_root(&before.bytes)? != first_root(&source.head)?
    {
        return Err(TransferError::OtherRemote {
            location: to.location().to_owned(),
        });
    }
    let releases = releases(source, channels)?;
    let mut blobs = BTreeMap::new();
    for release in releases.values() {
        blobs.extend(release.packs.iter().map(|pack| (pack.blob, pack.bytes)));
        let deltas = release.deltas.iter().filter(|_| options.deltas);
        blobs.extend(deltas.map(|delta| (delta.blob, delta.bytes)));
    }
    let mut missing = Vec::new();
    for (blob, bytes) in &blobs {
        if to.blob_size(blob)? != Some(*bytes) {
            missing.push((*blob, *bytes));
        }
    }
    std::fs::create_dir_all(&options.incoming)
        .map_err(|error| TransferError::io("make directory", &options.incoming, error))?;
    require_space(options, &missing)?;
    for (number, (blob, bytes)) in missing.iter().enumerate() {
        let what = format!("copying blob {} of {}", number + 1, missing.len());
        copy(source, to, (blob, *bytes), &what, options)?;
    }
    let _ = std::fs::remove_dir_all(&options.incoming);
    if before.as_ref().map(|head| &head.bytes) != Some(&source.head) {
        to.replace_head(&source.head, before.as_ref().map(|head| &head.revision))?;
    }
    Ok(BundleReport {
        releases: releases.len() as u64,
        blobs: blobs.len() as u64,
        bytes: blobs.values().sum(),
        bytes_copied: missing.iter().map(|(_, bytes)| bytes).sum(),
    })
}

/// Returns what the channels point at, for all machines.
pub fn channel_releases(
    source: &VerifiedRemote,
    channels: &[ChannelName],
) -> Result<Vec<Release>, TransferError> {
    let signed = &source.verified;
    let mut found = BTreeMap::new();
    for name in channels {
        let channel = signed.channel(name)?;
        let ids = [Some(channel.release), channel.rollout.others];
        for id in ids.into_iter().flatten() {
            found.insert((name.kind, id), signed.release(name.kind, &name.name, &id)?);
        }
    }
    Ok(found.into_values().collect())
}

/// Finds what the channels point at, with the layers of images.
fn releases(
    source: &VerifiedRemote,
    channels: &[ChannelName],
) -> Result<BTreeMap<(ReleaseKind, ReleaseId), Release>, TransferError> {
    let signed = &source.verified;
    let mut found = BTreeMap::new();
    for release in channel_releases(source, channels)? {
        for layer in &release.layers {
            let id = ReleaseId::from(layer.id);
            found.insert(
                (ReleaseKind::Layer, id),
                signed.release(ReleaseKind::Layer, &layer.name, &id)?,
            );
        }
        found.insert((release.kind, release.id), release);
    }
    Ok(found)
}

/// Each blob is held twice for a moment: where it arrived, and where it stays.
fn require_space(
    options: &BundleOptions<'_>,
    missing: &[(Sha256, u64)],
) -> Result<(), TransferError> {
    let sizes = || missing.iter().map(|(_, bytes)| *bytes);
    let needed = sizes().sum::<u64>() + sizes().max().unwrap_or(0);
    let path = &options.incoming;
    let available = durable::available_bytes(path)
        .map_err(|error| TransferError::io("measure the free space of", path, error))?;
    if available < needed {
        return Err(TransferError::Store(StoreError::TooSmall {
            path: path.clone(),
            needed,
            available,
        }));
    }
    Ok(())
}

fn copy(
    source: &VerifiedRemote,
    to: &dyn WritableRemote,
    (blob, bytes): (&Sha256, u64),
    what: &str,
    options: &BundleOptions<'_>,
) -> Result<(), TransferError> {
    let fetcher = Fetcher {
        remote: &source.remote,
        incoming: options.incoming.clone(),
        threads: options.threads,
        progress: options.progress,
        cancel: options.cancel,
        link: LinkStats::default(),
        whole: Mutex::default(),
    };
    fetcher.fetch(what, &[(*blob, std::iter::once(0..bytes).collect())].into())?;
    let spool = fetcher.spool(blob);
    let mut file = spool.whole(bytes)?;
    // The digest is checked before the blob has its name.
    let put = to.put_blob(blob, &mut file, bytes, &mut |_| {});
    // What is damaged is fetched anew the next time.
    spool.drop_range(0..bytes)?;
    Ok(put?)
}
