//! What is fetched in full although a delta could make it: files that take longer to compress again
//! than to fetch.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::TransferError;
use super::super::fetch::{Fetcher, Ranges};
use super::super::unpack::Packs;
use super::plan::PullPlan;
use super::{PullOptions, threads};
use crate::delta::{Delta, RecompressionCost};
use crate::format::pack::Digest;
use crate::format::release::PackRef;
use crate::id::ObjectId;

/// The least gap that is tried: below it, requests cost more than bytes.
const LEAST_GAP: u64 = 4 << 10;

/// Objects that are fetched in full because that is quicker than making them.
#[derive(Default)]
pub(super) struct DirectFetches {
    /// The objects.
    pub objects: BTreeSet<ObjectId>,
    /// The gap at which to join ranges, in bytes, so that they cost what was reckoned; `None` for
    /// the usual one.
    pub gap: Option<u64>,
    /// Where they are.
    pub ranges: Ranges,
}

/// The indexes of all packs that a pull may want, read at once when the first delta asks.
pub(super) struct Indexes {
    wanted: Vec<PackRef>,
    /// The inner `None` means that they cannot be read; the deltas may be enough.
    packs: Option<Option<Packs>>,
}

impl Indexes {
    pub(super) fn of(plan: &PullPlan) -> Self {
        let packs = plan
            .missing_parts()
            .flat_map(|(_, part)| &part.release.packs);
        Self {
            wanted: packs.copied().collect(),
            packs: None,
        }
    }

    fn get(&mut self, fetcher: &Fetcher<'_>) -> Result<Option<&Packs>, TransferError> {
        if self.packs.is_none() {
            let mut packs = Packs::default();
            self.packs = Some(match packs.learn(fetcher, &self.wanted) {
                Ok(()) => Some(packs),
                Err(TransferError::Interrupted) => return Err(TransferError::Interrupted),
                Err(_) => None,
            });
        }
        Ok(self.packs.as_ref().and_then(Option::as_ref))
    }
}

/// Chooses the objects that are quicker to fetch than to compress again.
///
/// Together with the delta they are never larger than a full download: no update may cost more
/// than that.
pub(super) fn direct_fetches(
    delta: &Delta<'_>,
    bytes: u64,
    indexes: &mut Indexes,
    fetcher: &Fetcher<'_>,
    options: &PullOptions<'_>,
) -> Result<DirectFetches, TransferError> {
    let rate = match (options.recompress, fetcher.link.rate()) {
        (Some(true), _) | (None, None) => return Ok(DirectFetches::default()),
        (Some(false), _) => f64::INFINITY,
        (None, Some(rate)) => rate as f64,
    };
    let cores = threads() as f64;
    let mut worth = delta.recompression_costs();
    // Only what is clearly quicker: the rates are estimates.
    worth.retain(|object| object.seconds / cores > 1.5 * object.size as f64 / rate);
    if worth.is_empty() {
        return Ok(DirectFetches::default());
    }
    let Some(packs) = indexes.get(fetcher)? else {
        return Ok(DirectFetches::default());
    };
    // Bytes of an earlier try count too, or the same choice would not come out again.
    let cost = |ids: &BTreeSet<ObjectId>, gap: u64| {
        let digests: BTreeSet<Digest> = ids.iter().map(|id| *id.as_bytes()).collect();
        let (plan, lacking) = packs.plan(&digests);
        let ranges = packs.ranges(&plan, gap).into_values().flatten();
        let bytes: u64 = ranges.map(|range| range.end - range.start).sum();
        lacking.is_empty().then_some(bytes)
    };
    let usual = options.gap_on(&fetcher.link);
    let room = match options.recompress {
        Some(_) => u64::MAX,
        None => {
            let all = delta.objects().map(|(id, _)| *id).collect();
            let Some(full) = cost(&all, usual) else {
                return Ok(DirectFetches::default());
            };
            full.saturating_sub(bytes)
        }
    };
    let mut chosen = choose(worth, usual, room, cost);
    let digests = chosen.objects.iter().map(|id| *id.as_bytes()).collect();
    chosen.ranges = packs.ranges(&packs.plan(&digests).0, chosen.gap.unwrap_or(usual));
    Ok(chosen)
}

/// Takes as many of `worth` as `room` bytes hold, with the widest gap that serves; when no gap
/// serves for all, those that gain most for their bytes. `cost` says what a set costs with a gap;
/// `None` when it cannot be fetched.
fn choose(
    mut worth: Vec<RecompressionCost>,
    usual: u64,
    room: u64,
    cost: impl Fn(&BTreeSet<ObjectId>, u64) -> Option<u64>,
) -> DirectFetches {
    let gain = |object: &RecompressionCost| object.seconds / object.size.max(1) as f64;
    worth.sort_by(|a, b| {
        let by_gain = gain(b).partial_cmp(&gain(a)).unwrap_or(Ordering::Equal);
        by_gain.then(a.id.cmp(&b.id))
    });
    let first = |count: usize| -> BTreeSet<ObjectId> {
        worth[..count].iter().map(|object| object.id).collect()
    };
    let all = first(worth.len());
    let mut gap = usual;
    loop {
        match cost(&all, gap) {
            None => return DirectFetches::default(),
            Some(bytes) if bytes <= room => {
                return DirectFetches {
                    objects: all,
                    gap: Some(gap),
                    ranges: Ranges::new(),
                };
            }
            Some(_) if gap <= LEAST_GAP => break,
            Some(_) => gap = (gap / 4).max(LEAST_GAP),
        }
    }
    // `fits` objects do, `not` do not.
    let (mut fits, mut not) = (0, worth.len());
    while not - fits > 1 {
        let count = fits + (not - fits) / 2;
        match cost(&first(count), gap) {
            Some(bytes) if bytes <= room => fits = count,
            _ => not = count,
        }
    }
    DirectFetches {
        objects: first(fits),
        gap: (fits > 0).then_some(gap),
        ranges: Ranges::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Objects of 100 bytes each, of which later ones take longer.
    fn objects(count: u8) -> Vec<RecompressionCost> {
        let each = (0..count).map(|number| RecompressionCost {
            id: ObjectId::of(&[number]),
            size: 100,
            seconds: f64::from(number) + 1.0,
        });
        each.collect()
    }

    /// Each costs its size, and the bytes between that the gap lets in.
    fn cost(ids: &BTreeSet<ObjectId>, gap: u64) -> Option<u64> {
        Some(ids.len() as u64 * (100 + gap))
    }

    #[test]
    fn all_are_taken_with_the_gap_that_is_usual_where_there_is_room() {
        let direct_fetches = choose(objects(10), 1 << 20, u64::MAX, cost);
        assert_eq!(
            (direct_fetches.objects.len(), direct_fetches.gap),
            (10, Some(1 << 20))
        );
    }

    #[test]
    fn narrower_gaps_are_tried_before_anything_is_left_out() {
        let room = 10 * (100 + (1 << 16));
        let direct_fetches = choose(objects(10), 1 << 20, room, cost);
        assert_eq!(
            (direct_fetches.objects.len(), direct_fetches.gap),
            (10, Some(1 << 16))
        );
    }

    #[test]
    fn what_gains_most_is_taken_where_there_is_no_room_for_all() {
        let room = 3 * (100 + LEAST_GAP) + 50;
        let direct_fetches = choose(objects(10), 1 << 20, room, cost);
        let best: BTreeSet<ObjectId> = (7..10).map(|number| ObjectId::of(&[number])).collect();
        assert_eq!(
            (direct_fetches.objects, direct_fetches.gap),
            (best, Some(LEAST_GAP))
        );
    }

    #[test]
    fn nothing_is_taken_where_there_is_no_room_or_no_pack() {
        let direct_fetches = choose(objects(10), 1 << 20, 10, cost);
        assert_eq!(
            (direct_fetches.objects.len(), direct_fetches.gap),
            (0, None)
        );
        let none = |_: &BTreeSet<ObjectId>, _| None;
        let direct_fetches = choose(objects(10), 64, u64::MAX, none);
        assert!(direct_fetches.objects.is_empty());
    }
}
