//! Preparing a release in the repository's cache: packs of what the remote lacks, and deltas from
//! earlier releases.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use super::fetch::Fetcher;
use super::inventory::Inventory;
use super::link::LinkStats;
use super::outgoing::{self, PrepareOptions, cache_key, cached, keep, remember};
use super::pack::{PackInput, write_pack};
use super::unpack::Packs;
use super::{Catalogue, TransferError};
use crate::format::pack::Digest;
use crate::format::release::{DeltaRef, PackRef, Release, ReleaseId, ReleaseKind};
use crate::id::{ImageId, LayerId, ObjectId};
use crate::remote::Remote;
use crate::sha256::Sha256;
use crate::store::Repository;

/// Raise this when the same contents make a different pack.
const PACK_VERSION: u32 = 1;

/// Unpacked bytes after which a new pack begins. An upload that breaks off sends a whole pack
/// again.
const PACK_BYTES: u64 = 128 << 20;

/// The most packs that a release may name. Beyond that, all its contents are packed anew.
const MAX_PACKS: usize = 24;

/// A release that is ready to be sent.
#[derive(Debug, Clone)]
pub struct PreparedRelease {
    /// What will be signed.
    pub release: Release,
    /// Whether it is signed already. Then there is nothing to send, but perhaps a later baseline
    /// to sign.
    pub is_known: bool,
    /// The blobs that it adds: digest, size in bytes, and the file that holds it.
    pub blobs: Vec<(Sha256, u64, PathBuf)>,
}

impl PreparedRelease {
    /// Returns the bytes that it adds to the remote.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, bytes, _)| bytes).sum()
    }
}

/// What to prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseSubject {
    /// A layer.
    Layer(LayerId),
    /// An image, with all its layers.
    Image(ImageId),
}

/// Prepares a layer, or an image after its layers. What was prepared before is taken from the
/// cache.
pub fn prepare(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    what: ReleaseSubject,
    options: &PrepareOptions<'_>,
) -> Result<Vec<PreparedRelease>, TransferError> {
    let work = Preparer {
        repository,
        catalogue,
        options,
        outgoing: repository.cache_dir("outgoing")?,
        fetcher: Fetcher {
            remote,
            incoming: repository.cache_dir("indexes")?,
            threads: 4,
            progress: options.progress,
            cancel: options.cancel,
            link: LinkStats::default(),
            whole: Mutex::default(),
        },
    };
    outgoing::trim(&work.outgoing);
    match what {
        ReleaseSubject::Layer(id) => {
            let inventory = Inventory::of_layer(repository, &id)?;
            Ok(vec![work.release(&inventory, &[])?])
        }
        ReleaseSubject::Image(id) => {
            let image = repository.read_image(&id)?;
            let mut prepared = Vec::new();
            let mut layers = Vec::new();
            let mut of_layers: BTreeSet<ObjectId> = BTreeSet::new();
            for layer in &image.layers {
                let inventory = Inventory::of_layer(repository, &layer.id)?;
                of_layers.extend(inventory.objects.keys());
                prepared.push(work.release(&inventory, &layers)?);
                layers.push(inventory);
            }
            let inventory = Inventory::of_image(repository, &id, &of_layers)?;
            prepared.push(work.release(&inventory, &layers)?);
            Ok(prepared)
        }
    }
}

struct Preparer<'a> {
    repository: &'a Repository,
    catalogue: &'a dyn Catalogue,
    options: &'a PrepareOptions<'a>,
    outgoing: PathBuf,
    fetcher: Fetcher<'a>,
}

impl Preparer<'_> {
    /// Prepares one release. A receiver also gets `others`.
    fn release(
        &self,
        inventory: &Inventory,
        others: &[Inventory],
    ) -> Result<PreparedRelease, TransferError> {
        let Inventory { kind, name, id, .. } = inventory;
        let earlier = self.catalogue.releases(*kind, name)?;
        let baseline = super::baselines::to_publish(self.repository, *kind, id)?;
        if let Some(release) = earlier.iter().find(|release| release.id == *id) {
            let baseline = super::baselines::later(release.baseline.as_ref(), baseline);
            return Ok(PreparedRelease {
                release: Release {
                    baseline,
                    ..release.clone()
                },
                is_known: true,
                blobs: Vec::new(),
            });
        }
        let mut blobs = Vec::new();
        let packs = self.packs(inventory, earlier.last(), &mut blobs)?;
        let from = self.delta_sources(inventory, &earlier)?;
        let full = blobs.iter().map(|(_, bytes, _)| bytes).sum();
        let deltas = super::deltas::make(
            self.repository,
            &self.outgoing,
            inventory,
            others,
            &from,
            full,
            self.options,
        )?;
        let deltas: Vec<DeltaRef> = deltas
            .into_iter()
            .map(|(delta, path)| {
                blobs.push((delta.blob, delta.bytes, path));
                delta
            })
            .collect();
        let release = Release {
            format: 1,
            kind: *kind,
            name: name.clone(),
            version: inventory.version.clone(),
            serial: earlier.last().map_or(0, |release| release.serial) + 1,
            published: self.options.now,
            id: *id,
            manifest_bytes: inventory.manifest.len() as u64,
            tree: inventory.tree,
            tree_bytes: inventory.tree_bytes.len() as u64,
            corrections: inventory.named_corrections(),
            baseline,
            layers: inventory.layers.clone(),
            objects: inventory.objects.len() as u64,
            object_bytes: inventory.object_bytes(),
            packs,
            deltas,
        };
        Ok(PreparedRelease {
            release,
            is_known: false,
            blobs,
        })
    }

    /// Packs what the packs of the release before lack, and returns all packs that the new one
    /// needs.
    fn packs(
        &self,
        inventory: &Inventory,
        before: Option<&Release>,
        blobs: &mut Vec<(Sha256, u64, PathBuf)>,
    ) -> Result<Vec<PackRef>, TransferError> {
        let mut lacking: BTreeSet<Digest> =
            inventory.objects.keys().map(|id| *id.as_bytes()).collect();
        lacking.extend(inventory.roots().map(|(digest, _)| digest));
        let mut used = Vec::new();
        if let Some(before) = before.filter(|before| before.packs.len() <= MAX_PACKS) {
            let mut packs = Packs::default();
            packs.learn(&self.fetcher, &before.packs)?;
            used = packs.reuse(&mut lacking);
        }
        for part in self.shares(inventory, &lacking) {
            let (pack, path) = self.pack(inventory, &part)?;
            blobs.push((pack.blob, pack.bytes, path));
            used.push(pack);
        }
        Ok(used)
    }

    /// Orders what is to be packed by path, so that what changes together lies together, and cuts
    /// it into packs.
    fn shares(&self, inventory: &Inventory, lacking: &BTreeSet<Digest>) -> Vec<Vec<Digest>> {
        let mut objects: Vec<_> = inventory.objects.iter().collect();
        objects.retain(|(id, _)| lacking.contains(id.as_bytes()));
        objects.sort_by(|(a, x), (b, y)| (x.paths.first(), a).cmp(&(y.paths.first(), b)));
        let roots = inventory.roots().into_iter();
        let roots = roots
            .filter(|(digest, _)| lacking.contains(digest))
            .map(|(digest, bytes)| (digest, bytes.len() as u64));
        let all = objects
            .into_iter()
            .map(|(id, content)| (*id.as_bytes(), content.size))
            .chain(roots);
        let mut shares: Vec<Vec<Digest>> = Vec::new();
        let mut bytes = PACK_BYTES;
        for (digest, size) in all {
            if bytes >= PACK_BYTES {
                shares.push(Vec::new());
                bytes = 0;
            }
            bytes = bytes.saturating_add(size);
            if let Some(share) = shares.last_mut() {
                share.push(digest);
            }
        }
        shares
    }

    fn pack(
        &self,
        inventory: &Inventory,
        digests: &[Digest],
    ) -> Result<(PackRef, PathBuf), TransferError> {
        let level = self.options.level;
        let key = cache_key(&format!("pack {PACK_VERSION} {level}"), digests);
        if let Some((pack, path)) = self.cached::<PackRef>(&key, |pack| (pack.blob, pack.bytes)) {
            return Ok((pack, path));
        }
        let ingredients: Vec<PackInput<'_>> = digests
            .iter()
            .map(|digest| self.ingredient(inventory, digest))
            .collect();
        let total = ingredients.iter().map(|ingredient| ingredient.size).sum();
        let what = format!("packing {} '{}'", inventory.kind.word(), inventory.name);
        self.options.progress.phase(&what, Some(total));
        let scratch = self.outgoing.join(format!(".{key}.new"));
        let pack = write_pack(
            &scratch,
            &ingredients,
            level,
            self.options.threads,
            &|bytes| {
                self.options.progress.advance(bytes);
                if self.options.cancel.load(Ordering::Relaxed) {
                    return Err(TransferError::Interrupted);
                }
                Ok(())
            },
        )?;
        let path = keep(&self.outgoing, &scratch, &pack.blob)?;
        remember(self.repository, &self.outgoing, &key, &pack)?;
        Ok((pack, path))
    }

    fn ingredient<'i>(&'i self, inventory: &'i Inventory, digest: &Digest) -> PackInput<'i> {
        let memory = inventory
            .roots()
            .into_iter()
            .find(|(root, _)| root == digest);
        let id = ObjectId::from_digest(*digest);
        match memory {
            Some((_, bytes)) => PackInput {
                digest: *digest,
                size: bytes.len() as u64,
                open: Box::new(move || Ok(Box::new(Cursor::new(bytes)) as Box<dyn Read + 'i>)),
            },
            None => PackInput {
                digest: *digest,
                size: inventory.objects.get(&id).map_or(0, |content| content.size),
                open: Box::new(move || {
                    Ok(Box::new(self.repository.open_object(&id)?) as Box<dyn Read + 'i>)
                }),
            },
        }
    }

    fn cached<T: for<'de> Deserialize<'de>>(
        &self,
        key: &str,
        blob: impl Fn(&T) -> (Sha256, u64),
    ) -> Option<(T, PathBuf)> {
        cached(&self.outgoing, key, blob)
    }

    /// Chooses the releases that deltas are made from: those that channels point at, then the
    /// newest ones; of these, those that are in the repository.
    fn delta_sources(
        &self,
        inventory: &Inventory,
        earlier: &[Release],
    ) -> Result<Vec<Release>, TransferError> {
        let Inventory { kind, name, .. } = inventory;
        let channels = self.catalogue.channels(*kind, name)?;
        let pointed: BTreeSet<ReleaseId> = channels
            .iter()
            .flat_map(|channel| [Some(channel.release), channel.rollout.others])
            .flatten()
            .collect();
        let mut sources: Vec<Release> = earlier.to_vec();
        sources.sort_by_key(|release| {
            let is_pointed = pointed.contains(&release.id);
            (!is_pointed, std::cmp::Reverse(release.serial))
        });
        sources.truncate(self.options.deltas);
        let is_here = |release: &Release| match kind {
            ReleaseKind::Layer => self.repository.has_layer(&release.id.layer()),
            ReleaseKind::Image => self.repository.read_image(&release.id.image()).is_ok(),
        };
        let (here, absent): (Vec<_>, Vec<_>) = sources.into_iter().partition(is_here);
        for release in absent {
            self.options.progress.remark(&format!(
                "no delta from {} '{name}' {}: it is not in this repository",
                kind.word(),
                release.id.layer().short()
            ));
        }
        Ok(here)
    }
}
