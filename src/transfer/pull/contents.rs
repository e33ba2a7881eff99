//! What packs give: manifests and trees first, then the objects that are lacking.

use std::collections::{BTreeMap, BTreeSet};

use super::super::TransferError;
use super::super::fetch::Fetcher;
use super::super::inventory::{Contents, image_objects, layer_objects};
use super::super::unpack::{Packs, object_of};
use super::decoded::Decoded;
use super::{Part, PullOptions, PullReport, Pulling};
use crate::format::pack::Digest;
use crate::format::release::Release;
use crate::id::ObjectId;

/// Fetches manifests and trees of what no delta gave.
pub(super) fn fetch_roots(
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
        .filter(|part| part.manifest.is_none() || !part.has_tree())
    {
        let release = &part.release;
        of_packs.extend_from_slice(&release.packs);
        sizes.insert(*release.id.as_bytes(), release.manifest_bytes);
        let (tree, bytes) = tree_in_packs(release);
        sizes.insert(tree, bytes);
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
        let id = part.release.id;
        part.manifest = part
            .manifest
            .take()
            .or_else(|| got.get(id.as_bytes()).cloned());
        let tree = got.get(&tree_in_packs(&part.release).0).cloned();
        match part.release.corrections {
            None => part.tree = part.tree.take().or(tree),
            Some(_) => part.corrections = part.corrections.take().or(tree),
        }
    }
    Ok(())
}

/// Returns what packs hold of a tree, itself or its corrections, with the size in bytes.
fn tree_in_packs(release: &Release) -> (Digest, u64) {
    match &release.corrections {
        Some(corrections) => (*corrections.id.as_bytes(), corrections.bytes),
        None => (*release.tree.as_bytes(), release.tree_bytes),
    }
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

/// Fetches the objects that are neither stored nor made by a delta, but for those that are going to be made.
pub(super) fn fetch_objects(
    pulling: &Pulling<'_>,
    parts: &[Part],
    decoded: &[Decoded],
    later: &BTreeSet<ObjectId>,
    packs: &mut Packs,
    report: &mut PullReport,
) -> Result<(), TransferError> {
    let Pulling {
        fetcher,
        repository,
        transaction,
        options,
    } = *pulling;
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
            if !later.contains(&id) && !transaction.has_object(&id, content.size) {
                if part.is_delta_lost {
                    failed.insert(*id.as_bytes());
                }
                wanted.insert(id, content);
            }
        }
        if wanted.len() > before {
            of_packs.extend_from_slice(&part.release.packs);
        }
        failed.extend(part.failed.keys().map(|id| *id.as_bytes()));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut fetched = packs.learn(fetcher, &of_packs)?;
    let digests: BTreeSet<Digest> = wanted.keys().map(|id| *id.as_bytes()).collect();
    let (plan, lacking) = packs.plan(&digests);
    refuse_lacking(parts, lacking)?;
    let unpacked: u64 = wanted.values().map(|content| content.size).sum();
    // What was chosen because it costs no more than a full download is fetched as that was reckoned.
    let gaps = parts.iter().filter_map(|part| part.quicker.gap);
    let gap = gaps.fold(options.gap_on(&fetcher.line), u64::min);
    let packed = fetcher.missing_bytes(&packs.ranges(&plan, gap))?;
    let again: BTreeSet<Digest> = failed.intersection(&digests).copied().collect();
    let again = packs.ranges(&packs.plan(&again).0, gap);
    report.fallback_bytes += fetcher.missing_bytes(&again)?;
    // An inode and the rest of a block each, beside the bytes.
    let blocks = wanted.len() as u64 * 4096;
    repository.require_space(unpacked.saturating_add(packed).saturating_add(blocks))?;
    fetched += packs.unpack(fetcher, "fetching", &plan, gap, &|content, fill| {
        let id = object_of(content);
        let size = wanted.get(&id).map_or(0, |wanted| wanted.size);
        Ok(transaction.put_expected(&id, size, fill)?)
    })?;
    report.bytes_fetched += fetched;
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
