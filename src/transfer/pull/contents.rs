//! What packs give: manifests and trees first, then the objects that are lacking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::super::TransferError;
use super::super::fetch::Fetcher;
use super::super::inventory::ObjectMap;
use super::super::unpack::{Packs, object_of};
use super::decoded::{Roots, inconsistent};
use super::plan::{PullPlan, roots_in_packs};
use super::{PullOptions, Pulling};
use crate::format::pack::Digest;
use crate::id::ObjectId;

/// About how many bytes a file takes beside its contents: its inode, and the rest of its last
/// block.
const BLOCK_BYTES: u64 = 4096;

/// Fetches manifests and trees of what arrives in full, by number of the part.
pub(super) fn fetch_roots(
    fetcher: &Fetcher<'_>,
    plan: &PullPlan,
    packs: &mut Packs,
    options: &PullOptions<'_>,
) -> Result<BTreeMap<usize, Roots>, TransferError> {
    let of_packs = plan.in_full().flat_map(|(_, release)| &release.packs);
    packs.learn(fetcher, &of_packs.copied().collect::<Vec<_>>())?;
    let sizes = plan.in_full().flat_map(|(_, r)| roots_in_packs(r));
    let sizes: BTreeMap<Digest, u64> = sizes.collect();
    let (unpacking, lacking) = packs.plan(&sizes.keys().copied().collect());
    refuse_lacking(plan, lacking)?;
    let got = Mutex::new(BTreeMap::<Digest, Vec<u8>>::new());
    packs.unpack(
        fetcher,
        "fetching manifests",
        &unpacking,
        options.gap_on(&fetcher.link),
        &|content, fill| {
            // Both sizes are signed, one in the release and one by the index: they must agree, and
            // so bound the memory.
            let bytes = read_bounded(content.size, sizes[&content.digest], fill)?;
            if *blake3::hash(&bytes).as_bytes() != content.digest {
                return Err(corrupt(&content.digest, &bytes));
            }
            let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
            got.insert(content.digest, bytes);
            Ok(())
        },
    )?;
    let got = got.into_inner().unwrap_or_else(PoisonError::into_inner);
    let roots = plan.in_full().map(|(number, release)| {
        // Two releases can have one tree: copied, not taken.
        let [manifest, tree] = roots_in_packs(release).map(|(digest, _)| got.get(&digest).cloned());
        let (manifest, tree) = manifest
            .zip(tree)
            .ok_or_else(|| inconsistent(release, "it has no manifest or no tree".to_owned()))?;
        Ok((number, Roots { manifest, tree }))
    });
    roots.collect()
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
            reason: format!("an index says {size} bytes, but the release says {expected}"),
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

/// Fetches the objects that are neither stored nor made by a delta, now or later. Returns the bytes
/// among them that deltas should have saved.
pub(super) fn fetch_objects(
    pulling: &Pulling<'_>,
    plan: &PullPlan,
    objects_of: &BTreeMap<usize, ObjectMap>,
    packs: &mut Packs,
) -> Result<u64, TransferError> {
    let Pulling {
        fetcher,
        repository,
        transaction,
        options,
    } = *pulling;
    let wanted = plan.wanted(objects_of, &|id, size| transaction.has_object(id, size));
    if wanted.objects.is_empty() {
        return Ok(0);
    }
    packs.learn(fetcher, &wanted.packs)?;
    let digests: BTreeSet<Digest> = wanted.objects.keys().map(|id| *id.as_bytes()).collect();
    let (unpacking, lacking) = packs.plan(&digests);
    refuse_lacking(plan, lacking)?;
    let gap = plan.gap(options.gap_on(&fetcher.link));
    let packed = fetcher.missing_bytes(&packs.ranges(&unpacking, gap))?;
    let fallback = packs.ranges(&packs.plan(&wanted.fallback).0, gap);
    let fallback_bytes = fetcher.missing_bytes(&fallback)?;
    let unpacked: u64 = wanted.objects.values().map(|content| content.size).sum();
    let blocks = wanted.objects.len() as u64 * BLOCK_BYTES;
    repository.require_space(unpacked.saturating_add(packed).saturating_add(blocks))?;
    packs.unpack(fetcher, "fetching", &unpacking, gap, &|content, fill| {
        let id = object_of(content);
        let size = wanted.objects.get(&id).map_or(0, |wanted| wanted.size);
        Ok(transaction.put_expected(&id, size, fill)?)
    })?;
    Ok(fallback_bytes)
}

/// Refuses a release whose packs do not hold what it needs.
fn refuse_lacking(plan: &PullPlan, lacking: Vec<Digest>) -> Result<(), TransferError> {
    let Some(first) = lacking.first() else {
        return Ok(());
    };
    let last = plan.parts().last().map(|part| &part.release);
    Err(TransferError::Lacking {
        what: last.map_or("release", |release| release.kind.word()),
        name: last.map_or(String::new(), |release| release.name.clone()),
        count: lacking.len(),
        first: ObjectId::from_digest(*first).short(),
    })
}
