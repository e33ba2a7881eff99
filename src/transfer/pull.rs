//! Pulling: what the repository lacks of a release arrives, is checked, and counts from the rename of a ref on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::deltas::{Arriving, Root};
use super::fetch::{Blame, Fetcher, Ranges};
use super::inventory::{Contents, image_objects, layer_objects};
use super::line::Line;
use super::unpack::{Packs, object_of};
use super::{Catalogue, Progress, TransferError};
use crate::compose::Member;
use crate::delta::{Delta, DeltaError, Limits};
use crate::format::pack::Digest;
use crate::format::release::{DeltaRef, Kind, Release, ReleaseId};
use crate::format::{self, Image, Layer};
use crate::id::{ObjectId, TreeId};
use crate::remote::{Remote, RemoteError};
use crate::store::{RefName, Repository, Transaction, Waiting};
use crate::tree::{Changeset, Tree};

/// How to pull.
pub struct PullOptions<'a> {
    /// How many requests at once.
    pub threads: usize,
    /// Whether deltas may be used.
    pub deltas: bool,
    /// Bytes that are fetched for nothing rather than asked for apart; `None` for what arrives while an answer is on its way.
    pub gap: Option<u64>,
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

/// What of a release arrived.
struct Part {
    release: Release,
    how: How,
    delta_bytes: u64,
    manifest: Option<Vec<u8>>,
    tree: Option<Vec<u8>>,
    failed: BTreeMap<ObjectId, String>,
}

/// What a release turned out to be.
enum Decoded {
    Layer(Box<Layer>, Changeset),
    Image(Image, Tree),
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
        line: Line::default(),
    };
    let (mut parts, mut report) = needed(repository, catalogue, release)?;
    require_room(repository, &parts)?;
    let transaction = repository.begin()?;
    let mut packs = Packs::default();
    apply_deltas(
        &fetcher,
        repository,
        &transaction,
        &mut parts,
        options,
        &mut report,
    )?;
    fetch_roots(&fetcher, &mut parts, &mut packs, options, &mut report)?;
    let decoded = parts.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    check_layers(&parts, &decoded)?;
    fetch_objects(
        &fetcher,
        repository,
        &transaction,
        &parts,
        &decoded,
        &mut packs,
        options,
        &mut report,
    )?;
    for decoded in &decoded {
        match decoded {
            Decoded::Layer(layer, changeset) => {
                transaction.put_changeset(changeset)?;
                transaction.put_layer(layer)?;
            }
            Decoded::Image(_, tree) => {
                transaction.put_tree(tree)?;
            }
        }
    }
    options.progress.phase("writing", None);
    let committed = transaction.store()?;
    report.new_objects = committed.new_objects;
    report.bytes_written = committed.bytes_written;
    for decoded in &decoded {
        if let Decoded::Image(image, _) = decoded {
            take_image(repository, image, options)?;
        }
    }
    repository.set_ref(name, &release.id.to_string())?;
    let _ = std::fs::remove_dir_all(&incoming);
    report.parts.extend(parts.into_iter().map(|part| Fetched {
        kind: part.release.kind,
        name: part.release.name,
        version: part.release.version,
        id: part.release.id,
        how: part.how,
        delta_bytes: part.delta_bytes,
        fallback_objects: part.failed.len() as u64,
        fallback_reason: part.failed.into_values().next(),
    }));
    Ok(report)
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
) -> Result<(Vec<Part>, PullReport), TransferError> {
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
        if is_there {
            report.parts.push(Fetched {
                kind: release.kind,
                name: release.name,
                version: release.version,
                id: release.id,
                how: How::Present,
                delta_bytes: 0,
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
            failed: BTreeMap::new(),
        });
    }
    Ok((parts, report))
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

/// Fetches a delta for each part that has one, all at once, and makes what they say; what cannot be made is fetched later.
fn apply_deltas(
    fetcher: &Fetcher<'_>,
    repository: &Repository,
    transaction: &Transaction<'_>,
    parts: &mut [Part],
    options: &PullOptions<'_>,
    report: &mut PullReport,
) -> Result<(), TransferError> {
    let mut chosen = Vec::new();
    for (number, part) in parts.iter().enumerate().filter(|_| options.deltas) {
        let is_here = |delta: &&DeltaRef| match part.release.kind {
            Kind::Layer => repository.has_layer(&delta.from.layer()),
            Kind::Image => repository.read_image(&delta.from.image()).is_ok(),
        };
        let deltas = part.release.deltas.iter().filter(is_here);
        if let Some(delta) = deltas.min_by_key(|delta| delta.bytes) {
            chosen.push((number, *delta));
        }
    }
    let wanted = whole(chosen.iter().map(|(_, delta)| (delta.blob, delta.bytes)));
    repository.require_space(fetcher.missing_bytes(&wanted)?)?;
    report.bytes_fetched += fetch_deltas(fetcher, &mut chosen, options)?;
    for (number, delta) in chosen {
        let part = &mut parts[number];
        part.delta_bytes = delta.bytes;
        match apply_delta(fetcher, repository, transaction, part, &delta, options) {
            Ok(()) => part.how = How::Delta,
            Err(TransferError::Delta(error)) => {
                let reason = chain(&error);
                let name = &part.release.name;
                options.progress.remark(&format!(
                    "the delta of '{name}' is of no use, fetching in full: {reason}"
                ));
                fetcher.spool(&delta.blob)?.drop_range(0..delta.bytes)?;
                (part.manifest, part.tree) = (None, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fetches deltas, and leaves in the list those that arrived as they were signed; the others cost bytes and nothing else.
fn fetch_deltas(
    fetcher: &Fetcher<'_>,
    chosen: &mut Vec<(usize, DeltaRef)>,
    options: &PullOptions<'_>,
) -> Result<u64, TransferError> {
    let mut fetched = 0;
    let mut blame = Blame::default();
    let mut arrived = Vec::new();
    let mut wanted = std::mem::take(chosen);
    while !wanted.is_empty() {
        let blobs = wanted.iter().map(|(_, delta)| (delta.blob, delta.bytes));
        match fetcher.fetch("fetching deltas", &whole(blobs)) {
            Ok(bytes) => fetched += bytes,
            Err(error) if is_of_blob(&error) => {
                // One of them is at fault, and the others may be right.
                let mut sound = Vec::new();
                for (number, delta) in wanted {
                    match fetcher.fetch("fetching deltas", &whole([(delta.blob, delta.bytes)])) {
                        Ok(bytes) => {
                            fetched += bytes;
                            sound.push((number, delta));
                        }
                        Err(error) if is_of_blob(&error) => {
                            let remark = format!("{error}: fetching in full instead of that delta");
                            options.progress.remark(&remark);
                        }
                        Err(error) => return Err(error),
                    }
                }
                wanted = sound;
            }
            Err(error) => return Err(error),
        }
        let mut wrong = Vec::new();
        for (number, delta) in wanted {
            if fetcher.is_whole(&delta.blob, delta.bytes)? {
                arrived.push((number, delta));
            } else {
                fetcher.spool(&delta.blob)?.drop_range(0..delta.bytes)?;
                wrong.push((number, delta));
            }
        }
        wanted = wrong;
        let blobs = wanted.iter().map(|(_, delta)| delta.blob).collect();
        match blame.again(fetcher, &blobs, "it has another digest") {
            Err(error @ TransferError::Damaged { .. }) => {
                let remark = format!("{error}: fetching in full instead of that delta");
                options.progress.remark(&remark);
                break;
            }
            result => result?,
        }
    }
    *chosen = arrived;
    Ok(fetched)
}

/// Says whether a fault is that of one blob, which can be done without, and not of the way there.
fn is_of_blob(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::Remote(RemoteError::NoBlob { .. } | RemoteError::Protocol { .. })
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn apply_delta(
    fetcher: &Fetcher<'_>,
    repository: &Repository,
    transaction: &Transaction<'_>,
    part: &mut Part,
    delta: &DeltaRef,
    options: &PullOptions<'_>,
) -> Result<(), TransferError> {
    let old = Root::read(repository, part.release.kind, &delta.from)?;
    let file = fetcher.spool(&delta.blob)?.whole(delta.bytes)?;
    let opened = Delta::open(&file, &old.manifest, &old.tree, &Limits::default())?;
    let (manifest, tree) = (opened.manifest()?, opened.tree()?);
    if blake3::hash(&manifest).as_bytes() != part.release.id.as_bytes()
        || TreeId::of(&tree) != part.release.tree
    {
        return Err(TransferError::Delta(DeltaError::Limit {
            reason: "it leads to something else".to_owned(),
        }));
    }
    let needed: u64 = opened.objects().map(|(_, size)| size).sum();
    repository.require_space(needed)?;
    options.progress.phase("applying deltas", Some(needed));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let arriving = Arriving(transaction);
    let applied = opened.apply(
        &arriving,
        &arriving,
        &|_| true,
        threads,
        &|bytes| options.progress.advance(bytes),
        options.cancel,
    )?;
    part.failed = applied.failed.into_iter().collect();
    (part.manifest, part.tree) = (Some(manifest), Some(tree));
    Ok(())
}

/// Fetches manifests and trees of what no delta gave.
fn fetch_roots(
    fetcher: &Fetcher<'_>,
    parts: &mut [Part],
    packs: &mut Packs,
    options: &PullOptions<'_>,
    report: &mut PullReport,
) -> Result<(), TransferError> {
    let mut sizes = BTreeMap::new();
    let mut of_packs = Vec::new();
    for part in parts
        .iter()
        .filter(|part| part.manifest.is_none() || part.tree.is_none())
    {
        let release = &part.release;
        of_packs.extend_from_slice(&release.packs);
        sizes.insert(*release.id.as_bytes(), release.manifest_bytes);
        sizes.insert(*release.tree.as_bytes(), release.tree_bytes);
    }
    report.bytes_fetched += packs.learn(fetcher, &of_packs)?;
    let wanted: BTreeSet<Digest> = sizes.keys().copied().collect();
    let (plan, lacking) = packs.plan(&wanted);
    refuse_lacking(parts, lacking)?;
    let got = std::sync::Mutex::new(BTreeMap::<Digest, Vec<u8>>::new());
    report.bytes_fetched += packs.unpack(
        fetcher,
        "fetching manifests",
        &plan,
        options.gap_on(&fetcher.line),
        &|content, fill| {
            // Both sizes are said by what is signed, or by an index that is: the smaller one bounds the memory.
            let bytes = read_bounded(content.size, sizes[&content.digest], fill)?;
            if *blake3::hash(&bytes).as_bytes() != content.digest {
                return Err(corrupt(&content.digest, &bytes));
            }
            got.lock()
                .unwrap_or_else(|e| e.into_inner())
                .insert(content.digest, bytes);
            Ok(())
        },
    )?;
    let got = got.into_inner().unwrap_or_else(|e| e.into_inner());
    for part in parts {
        let (id, tree) = (part.release.id, part.release.tree);
        part.manifest = part
            .manifest
            .take()
            .or_else(|| got.get(id.as_bytes()).cloned());
        part.tree = part
            .tree
            .take()
            .or_else(|| got.get(tree.as_bytes()).cloned());
    }
    Ok(())
}

/// The most bytes of a manifest or a tree.
const MAX_ROOT_BYTES: u64 = 1 << 30;

fn read_bounded(
    size: u64,
    expected: u64,
    fill: &mut dyn FnMut(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<Vec<u8>, TransferError> {
    if size != expected || size > MAX_ROOT_BYTES {
        return Err(TransferError::Inconsistent {
            what: "release",
            name: "manifest".to_owned(),
            reason: format!("an index says {size} bytes, the release {expected}"),
        });
    }
    let mut bytes = Vec::new();
    fill(&mut bytes)
        .map_err(|error| TransferError::io("unpack", std::path::Path::new("a manifest"), error))?;
    Ok(bytes)
}

fn corrupt(digest: &Digest, bytes: &[u8]) -> TransferError {
    TransferError::Store(crate::store::StoreError::Corrupt {
        what: "object",
        name: ObjectId::from_digest(*digest).to_string(),
        found: ObjectId::of(bytes).to_hex(),
    })
}

fn decode(part: &Part) -> Result<Decoded, TransferError> {
    let release = &part.release;
    let fail = |reason: &str| inconsistent(release, reason.to_owned());
    let manifest = part
        .manifest
        .as_deref()
        .ok_or_else(|| fail("it has no manifest"))?;
    let bytes = part.tree.as_deref().ok_or_else(|| fail("it has no tree"))?;
    if blake3::hash(manifest).as_bytes() != release.id.as_bytes() {
        return Err(fail("its manifest has another digest"));
    }
    if TreeId::of(bytes) != release.tree {
        return Err(fail("its tree has another digest"));
    }
    let (name, tree) = match release.kind {
        Kind::Layer => {
            let layer: Layer = format::from_canonical_json("layer", manifest)?;
            let names = (layer.name.clone(), layer.changeset);
            let changeset = format::decode_changeset(bytes)?;
            if names == (release.name.clone(), release.tree) {
                return Ok(Decoded::Layer(Box::new(layer), changeset));
            }
            names
        }
        Kind::Image => {
            let image: Image = format::from_canonical_json("image", manifest)?;
            let names = (image.name.clone(), image.tree);
            let is_right =
                names == (release.name.clone(), release.tree) && image.layers == release.layers;
            let tree = format::decode_tree(bytes)?;
            if is_right {
                return Ok(Decoded::Image(image, tree));
            }
            names
        }
    };
    Err(fail(&format!(
        "its manifest is that of '{name}', of tree {tree}, or of other layers"
    )))
}

fn inconsistent(release: &Release, reason: String) -> TransferError {
    TransferError::Inconsistent {
        what: "release",
        name: format!("{}/{}", release.kind.plural(), release.name),
        reason,
    }
}

/// Each layer of an image is the one that was asked for: by construction of the list, and by its digest.
fn check_layers(parts: &[Part], decoded: &[Decoded]) -> Result<(), TransferError> {
    for (part, decoded) in parts.iter().zip(decoded) {
        if let Decoded::Image(image, _) = decoded {
            let of_image = image.layers.iter().map(|layer| ReleaseId::from(layer.id));
            if !of_image.eq(part
                .release
                .layers
                .iter()
                .map(|layer| ReleaseId::from(layer.id)))
            {
                return Err(inconsistent(&part.release, "its layers differ".to_owned()));
            }
        }
    }
    Ok(())
}

/// Fetches the objects that are neither stored nor made by a delta.
#[allow(clippy::too_many_arguments)]
fn fetch_objects(
    fetcher: &Fetcher<'_>,
    repository: &Repository,
    transaction: &Transaction<'_>,
    parts: &[Part],
    decoded: &[Decoded],
    packs: &mut Packs,
    options: &PullOptions<'_>,
    report: &mut PullReport,
) -> Result<(), TransferError> {
    let mut wanted = Contents::new();
    let mut of_packs = Vec::new();
    let mut failed = BTreeSet::new();
    for (part, decoded) in parts.iter().zip(decoded) {
        let objects = match decoded {
            Decoded::Layer(layer, changeset) => layer_objects(layer, changeset)?,
            Decoded::Image(_, tree) => image_objects(tree),
        };
        let before = wanted.len();
        for (id, content) in objects {
            if !transaction.has_object(&id, content.size) {
                wanted.insert(id, content);
            }
        }
        if wanted.len() > before {
            of_packs.extend_from_slice(&part.release.packs);
        }
        failed.extend(part.failed.keys().copied());
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut fetched = packs.learn(fetcher, &of_packs)?;
    let digests: BTreeSet<Digest> = wanted.keys().map(|id| *id.as_bytes()).collect();
    let (plan, lacking) = packs.plan(&digests);
    refuse_lacking(parts, lacking)?;
    let unpacked: u64 = wanted.values().map(|content| content.size).sum();
    let packed = fetcher.missing_bytes(&packs.ranges(&plan, options.gap_on(&fetcher.line)))?;
    // An inode and the rest of a block each, beside the bytes.
    let blocks = wanted.len() as u64 * 4096;
    repository.require_space(unpacked.saturating_add(packed).saturating_add(blocks))?;
    fetched += packs.unpack(
        fetcher,
        "fetching",
        &plan,
        options.gap_on(&fetcher.line),
        &|content, fill| {
            let id = object_of(content);
            let size = wanted.get(&id).map_or(0, |wanted| wanted.size);
            Ok(transaction.put_expected(&id, size, fill)?)
        },
    )?;
    report.bytes_fetched += fetched;
    if !failed.is_empty() {
        report.fallback_bytes += fetched;
    }
    Ok(())
}

fn refuse_lacking(parts: &[Part], lacking: Vec<Digest>) -> Result<(), TransferError> {
    let Some(first) = lacking.first() else {
        return Ok(());
    };
    let last = parts.last();
    Err(TransferError::Lacking {
        what: last.map_or("release", |part| part.release.kind.word()),
        name: last.map_or(String::new(), |part| part.release.name.clone()),
        count: lacking.len(),
        first: ObjectId::from_digest(*first).short(),
    })
}

/// Used by the composition that checks an image.
pub(super) fn members_of(
    repository: &Repository,
    image: &Image,
) -> Result<Vec<Member>, TransferError> {
    let members = image.layers.iter();
    let members = members.map(|layer| Member::read(repository, &layer.id));
    Ok(members.collect::<Result<_, _>>()?)
}

/// The wanted ranges of whole blobs.
pub(super) fn whole(blobs: impl IntoIterator<Item = (crate::sha256::Sha256, u64)>) -> Ranges {
    let ranges = blobs
        .into_iter()
        .map(|(blob, bytes)| (blob, std::iter::once(0..bytes).collect()));
    ranges.collect()
}
