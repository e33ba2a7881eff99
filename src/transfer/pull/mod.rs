//! Pulling: what the repository lacks of a release arrives, is checked, and counts from the rename of a ref on.

mod by_delta;
mod contents;
mod decoded;
mod quicker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use self::by_delta::{Later, apply_deltas, apply_rest};
use self::contents::{fetch_objects, fetch_roots};
use self::decoded::{Decoded, check_layers, decode_all};
use self::quicker::Quicker;
use super::baselines::take_over;
use super::fetch::Fetcher;
use super::inventory::{Content, image_objects, layer_objects};
use super::line::Line;
use super::unpack::Packs;
use super::{Catalogue, Progress, TransferError};
use crate::format::Image;
use crate::format::release::{Kind, Release, ReleaseId};
use crate::id::ObjectId;
use crate::remote::Remote;
use crate::store::{RefName, Repository, Transaction, Waiting};

/// Where the rate of the line is remembered, beside what arrived.
const RATE: &str = "rate";

/// How to pull.
pub struct PullOptions<'a> {
    /// How many requests at once.
    pub threads: usize,
    /// Whether deltas may be used.
    pub deltas: bool,
    /// Bytes that are fetched for nothing rather than asked for apart; `None` for what arrives while an answer is on its way.
    pub gap: Option<u64>,
    /// Whether compressed files are made again where that takes longer than to fetch them; `None` lets the line decide.
    pub recompress: Option<bool>,
    /// Whether images are composed again from their layers, and compared with what was published.
    pub recompose: bool,
    /// Ends the work; what arrived stays for the next time.
    pub cancel: &'a AtomicBool,
    /// Told how it goes.
    pub progress: &'a dyn Progress,
    /// How to wait for another pull.
    pub waiting: Waiting<'a>,
}

impl PullOptions<'_> {
    fn gap_on(&self, line: &Line) -> u64 {
        self.gap.unwrap_or_else(|| line.delay_bytes())
    }
}

/// How a layer or an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It was there.
    Present,
    /// As the difference to an earlier release.
    Delta,
    /// From packs.
    Packs,
}

/// One layer or image of what was pulled.
#[derive(Debug, Clone, Serialize)]
pub struct Fetched {
    /// Layer or image.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub id: ReleaseId,
    /// How it came.
    pub how: How,
    /// Bytes of its delta; 0 without one.
    pub delta_bytes: u64,
    /// Objects that were fetched in full because that was quicker than to compress them again.
    pub quicker_objects: u64,
    /// Objects that its delta could not make, which were fetched in full.
    pub fallback_objects: u64,
    /// Why, for the first of them.
    pub fallback_reason: Option<String>,
}

/// What a pull did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PullReport {
    /// What it consists of, layers first.
    pub parts: Vec<Fetched>,
    /// Bytes that were fetched, the head aside.
    pub bytes_fetched: u64,
    /// Bytes among them that deltas should have saved, and did not.
    pub fallback_bytes: u64,
    /// Objects that the repository did not have.
    pub new_objects: u64,
    /// Bytes written to the repository.
    pub bytes_written: u64,
}

/// What all steps of a pull work with.
#[derive(Clone, Copy)]
struct Pulling<'p> {
    fetcher: &'p Fetcher<'p>,
    repository: &'p Repository,
    transaction: &'p Transaction<'p>,
    options: &'p PullOptions<'p>,
}

/// What of a release arrived.
struct Part {
    release: Release,
    how: How,
    delta_bytes: u64,
    manifest: Option<Vec<u8>>,
    tree: Option<Vec<u8>>,
    /// What makes the tree of the layers, where that came instead.
    corrections: Option<Vec<u8>>,
    failed: BTreeMap<ObjectId, String>,
    /// Whether it has a delta that was of no use as a whole.
    is_delta_lost: bool,
    /// What is fetched rather than made.
    quicker: Quicker,
}

impl Part {
    /// Says whether the tree came, or what it is made of.
    fn has_tree(&self) -> bool {
        self.tree.is_some() || self.corrections.is_some()
    }
}

/// Pulls `release` with all that it needs into the repository, and points the ref `name` at it: the commit point.
///
/// What is there already is not fetched. An image counts only when its layers compose to it.
pub fn pull(
    repository: &Repository,
    remote: &dyn Remote,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: &RefName,
    options: &PullOptions<'_>,
) -> Result<PullReport, TransferError> {
    let _turn = repository.work_lock("pull", "layerset pull", options.waiting)?;
    let incoming = repository.cache_dir("incoming")?;
    let fetcher = Fetcher {
        remote,
        incoming: incoming.clone(),
        threads: options.threads,
        progress: options.progress,
        cancel: options.cancel,
        line: Line::remembered(&incoming.join(RATE)),
    };
    let (mut parts, mut report) = needed(repository, catalogue, release, name)?;
    require_room(repository, &parts)?;
    let transaction = repository.begin()?;
    let mut packs = Packs::default();
    let pulling = Pulling {
        fetcher: &fetcher,
        repository,
        transaction: &transaction,
        options,
    };
    let later = apply_deltas(&pulling, &mut parts, &mut report)?;
    fetch_roots(&fetcher, &mut parts, &mut packs, options, &mut report)?;
    let decoded = decode_all(repository, &mut parts)?;
    check_layers(&parts, &decoded)?;
    let wait: BTreeSet<ObjectId> = later.iter().flat_map(Later::objects).collect();
    fetch_objects(&pulling, &parts, &decoded, &wait, &mut packs, &mut report)?;
    if !later.is_empty() {
        apply_rest(&pulling, &mut parts, later)?;
        let none = BTreeSet::new();
        fetch_objects(&pulling, &parts, &decoded, &none, &mut packs, &mut report)?;
    }
    let mut images = Vec::new();
    for decoded in decoded {
        match decoded {
            Decoded::Layer(layer, changeset) => {
                transaction.put_changeset(&changeset)?;
                transaction.put_layer(&layer)?;
            }
            Decoded::Image(image, tree) => {
                transaction.put_tree(&tree)?;
                images.push(image);
            }
        }
    }
    take_over(repository, catalogue, release, &transaction)?;
    options.progress.phase("writing", None);
    let committed = transaction.store()?;
    report.new_objects = committed.new_objects;
    report.bytes_written = committed.bytes_written;
    for image in &images {
        take_image(repository, image, options)?;
    }
    repository.set_ref(name, &release.id.to_string())?;
    forget_incoming(&incoming, &parts);
    report.parts.extend(parts.into_iter().map(|part| Fetched {
        kind: part.release.kind,
        name: part.release.name,
        version: part.release.version,
        id: part.release.id,
        how: part.how,
        delta_bytes: part.delta_bytes,
        quicker_objects: part.quicker.objects.len() as u64,
        fallback_objects: part.failed.len() as u64,
        fallback_reason: part.failed.into_values().next(),
    }));
    Ok(report)
}

/// Removes what arrived for these parts; what arrived for others stays for whoever goes on with it.
fn forget_incoming(incoming: &Path, parts: &[Part]) {
    for part in parts {
        let packs = part.release.packs.iter().map(|pack| pack.blob);
        let deltas = part.release.deltas.iter().map(|delta| delta.blob);
        for blob in packs.chain(deltas) {
            let _ = std::fs::remove_dir_all(incoming.join(blob.to_string()));
        }
    }
    let _ = std::fs::remove_file(incoming.join(RATE));
    let _ = std::fs::remove_dir(incoming);
}

/// Stores the manifest of an image whose layers and tree are stored, once it is found to be what its layers make: an image that is
/// in the repository needs no second look, whatever ended an earlier pull.
fn take_image(
    repository: &Repository,
    image: &Image,
    options: &PullOptions<'_>,
) -> Result<(), TransferError> {
    if options.recompose {
        options.progress.phase("composing, to compare", None);
        super::verify::verify_composition(repository, image)?;
    }
    let transaction = repository.begin()?;
    transaction.put_image(image)?;
    transaction.store()?;
    Ok(())
}

/// Finds the releases that the repository lacks, layers first; those that it has are reported at once.
fn needed(
    repository: &Repository,
    catalogue: &dyn Catalogue,
    release: &Release,
    name: &RefName,
) -> Result<(Vec<Part>, PullReport), TransferError> {
    // What a ref points at was whole when that was written.
    let is_settled = repository.read_ref(name)? == Some(release.id.to_string());
    let mut all = Vec::new();
    for layer in &release.layers {
        let id = ReleaseId::from(layer.id);
        all.push(catalogue.release(Kind::Layer, &layer.name, &id)?);
    }
    all.push(release.clone());
    let mut report = PullReport::default();
    let mut parts = Vec::new();
    for release in all {
        let is_there = match release.kind {
            Kind::Layer => repository.has_layer(&release.id.layer()),
            Kind::Image => repository.read_image(&release.id.image()).is_ok(),
        };
        if is_there && (is_settled || is_whole(repository, &release)) {
            report.parts.push(Fetched {
                kind: release.kind,
                name: release.name,
                version: release.version,
                id: release.id,
                how: How::Present,
                delta_bytes: 0,
                quicker_objects: 0,
                fallback_objects: 0,
                fallback_reason: None,
            });
            continue;
        }
        parts.push(Part {
            release,
            how: How::Packs,
            delta_bytes: 0,
            manifest: None,
            tree: None,
            corrections: None,
            failed: BTreeMap::new(),
            is_delta_lost: false,
            quicker: Quicker::default(),
        });
    }
    Ok((parts, report))
}

/// Says whether a layer or an image that has a manifest here has everything: what a pull wrote that a loss of power ended may have
/// not, nor what was damaged since.
fn is_whole(repository: &Repository, release: &Release) -> bool {
    let objects = match release.kind {
        Kind::Layer => repository
            .read_layer(&release.id.layer())
            .map_err(TransferError::from)
            .and_then(|layer| layer_objects(&layer, &repository.read_changeset(&layer.changeset)?)),
        Kind::Image => repository
            .read_tree(&release.tree)
            .map(|tree| image_objects(&tree))
            .map_err(TransferError::from),
    };
    let is_here = |(id, content): (&ObjectId, &Content)| repository.is_untouched(id, content.size);
    objects.is_ok_and(|objects| objects.iter().all(is_here))
}

/// Refuses what certainly does not fit, by what is signed alone: before anything is fetched. What is shared with layers
/// that are here is known later.
fn require_room(repository: &Repository, parts: &[Part]) -> Result<(), TransferError> {
    if !repository.is_bare() {
        return Ok(());
    }
    // Less than it takes, with the packs and the rest of each block: what layers share is counted twice.
    let sizes = parts.iter().map(|part| &part.release);
    let needed = sizes.fold(0u64, |sum, release| {
        sum.saturating_add(release.object_bytes)
            .saturating_add(release.tree_bytes)
    });
    Ok(repository.require_space(needed)?)
}
