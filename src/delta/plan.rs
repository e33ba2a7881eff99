//! What an object is to be made of: looked up for one object at a time.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;

use super::extents::ObjectSlice;
use super::names::{BaseCandidate, BaseReason, NameIndex};
use super::sketch::Sketch;
use super::{DeltaItem, ObjectReader};
use crate::codec::{self, Coding, Form, Memo, patch};
use crate::id::ObjectId;

/// The most bytes of an object, and of what is inside it, for looking inside.
pub(super) const MAX_INSIDE: u64 = 96 << 20;
/// What has this share in common with its base, in thousandths, is worth a delta of what is inside.
const ALIKE: u32 = 100;
/// What was found for its folder alone has at least this share in common with its base.
const RELATED: u32 = 30;
/// The level of a trial.
const QUICK_LEVEL: i32 = 3;

/// What an object is to be made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) segments: Vec<PlannedSegment>,
    /// What fresh data is compressed against.
    pub(super) base: Base,
    /// Whether parts of other objects are copied.
    pub(super) is_archive: bool,
}

impl Plan {
    /// Returns how many bytes are no copies.
    pub(super) fn fresh_size(&self) -> u64 {
        let pieces = self.segments.iter().flat_map(|segment| &segment.pieces);
        let sizes = pieces.map(|piece| match piece {
            PlannedPiece::Fresh(range) => range.end - range.start,
            PlannedPiece::Copy(_) => 0,
        });
        sizes.sum()
    }
}

#[derive(Debug, Clone)]
pub(super) struct PlannedSegment {
    pub(super) coding: Option<Coding>,
    /// Where in the object it starts.
    pub(super) start: u64,
    pub(super) pieces: Vec<PlannedPiece>,
}

#[derive(Debug, Clone)]
pub(super) enum PlannedPiece {
    Copy(ObjectSlice),
    /// A range of the segment's contents.
    Fresh(Range<u64>),
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    None,
    /// All of it.
    Whole(ObjectSlice),
    /// What is left of an archive without what stands elsewhere too.
    Rest(Vec<ObjectSlice>),
}

/// Plans objects.
pub(super) struct Planner<'a> {
    pub(super) contents: &'a dyn ObjectReader,
    pub(super) names: &'a NameIndex<'a>,
    /// All objects that there are in the end, for copies.
    pub(super) known: &'a HashSet<ObjectId>,
    pub(super) full_cost: &'a (dyn Fn(&ObjectId) -> u64 + Sync),
    /// The most memory for making compressed bytes again.
    pub(super) memory: u64,
    pub(super) memo: Memo,
    /// What was looked at for choosing.
    pub(super) sketches: HashMap<ObjectId, Sketch>,
}

impl Planner<'_> {
    pub(super) fn read(&self, id: &ObjectId) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.contents.open(id)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn plan(&mut self, item: &DeltaItem) -> io::Result<Plan> {
        if item.size == 0 {
            return Ok(Plan {
                segments: Vec::new(),
                base: Base::None,
                is_archive: false,
            });
        }
        let candidates = self.names.candidates(item);
        if item.size > MAX_INSIDE {
            let likely = candidates
                .first()
                .filter(|c| c.reason <= BaseReason::Pattern);
            return Ok(raw(item, likely.map(|c| whole(c.item))));
        }
        let bytes = self.read(&item.id)?;
        if bytes.starts_with(b"070701") {
            return self.archive(item, &bytes, &candidates);
        }
        if let Some(contents) = codec::contents(&bytes, MAX_INSIDE)
            && let Some(plan) = self.inside(item, &bytes, &contents, &candidates)?
        {
            return Ok(plan);
        }
        if codec::form_of(&bytes) != Form::Raw {
            // It is compressed in another way: at best its start is the same.
            let likely = candidates
                .first()
                .filter(|c| c.reason <= BaseReason::Pattern);
            return Ok(raw(item, likely.map(|c| whole(c.item))));
        }
        let base = self.choose(item, &bytes, &candidates)?;
        Ok(raw(item, base.map(|base| base.slice)))
    }

    /// Chooses what some contents are compressed against.
    ///
    /// A name alone is enough where nothing else has as good a one. Otherwise sketches decide:
    /// trying each candidate would take longer than everything else.
    fn choose(
        &mut self,
        item: &DeltaItem,
        contents: &[u8],
        candidates: &[BaseCandidate<'_>],
    ) -> io::Result<Option<ChosenBase>> {
        let is_clear = match candidates {
            [only] => only.reason <= BaseReason::Pattern,
            // Of the same path and about as large.
            [first, ..] => {
                first.reason == BaseReason::Path
                    && first.item.size.abs_diff(item.size) <= item.size / 4
            }
            [] => false,
        };
        let sketch = if is_clear {
            None
        } else {
            Some(Sketch::of(contents))
        };
        let mut best: Option<ChosenBase> = None;
        for candidate in candidates {
            let Some((slice, base)) = self.unpacked(candidate.item)? else {
                continue;
            };
            let likeness = sketch.as_ref().map(|sketch| {
                let other = self.sketches.entry(candidate.item.id);
                sketch.likeness(other.or_insert_with(|| Sketch::of(&base)))
            });
            if candidate.reason == BaseReason::Folder && likeness < Some(RELATED) {
                continue;
            }
            if best.as_ref().is_none_or(|best| best.likeness < likeness) {
                best = Some(ChosenBase {
                    slice,
                    base,
                    likeness,
                });
            }
            if is_clear {
                break;
            }
        }
        Ok(best)
    }

    /// Reads an object as it is best compared: unpacked. None for what is empty, too large, or
    /// cannot be unpacked.
    fn unpacked(&self, item: &DeltaItem) -> io::Result<Option<(ObjectSlice, Vec<u8>)>> {
        if item.size == 0 || item.size > MAX_INSIDE {
            return Ok(None);
        }
        let bytes = self.read(&item.id)?;
        let mut slice = whole(item);
        let form = codec::form_of(&bytes);
        if form == Form::Raw {
            return Ok(Some((slice, bytes)));
        }
        let Some(contents) = codec::contents(&bytes, MAX_INSIDE).filter(|c| !c.is_empty()) else {
            return Ok(Some((slice, bytes)));
        };
        (slice.form, slice.len) = (form, contents.len() as u64);
        Ok(Some((slice, contents)))
    }

    /// Plans a file by what is compressed in it; none where that is not worth it.
    fn inside(
        &mut self,
        item: &DeltaItem,
        packed: &[u8],
        contents: &[u8],
        candidates: &[BaseCandidate<'_>],
    ) -> io::Result<Option<Plan>> {
        let form = codec::form_of(packed);
        let base = self.choose(item, contents, candidates)?;
        // Text in a frame with other text is smaller than in its own gzip file, and costs little to
        // make again. The other formats pack better than a frame does: only a base makes up for
        // that.
        if form != Form::Gzip {
            let Some(base) = &base else {
                return Ok(None);
            };
            let likeness = base.likeness.unwrap_or_else(|| {
                let sketch = Sketch::of(contents);
                sketch.likeness(&Sketch::of(&base.base))
            });
            if likeness < ALIKE {
                let full = (self.full_cost)(&item.id).min(item.size);
                let cost = patch::compress(contents, &base.base, QUICK_LEVEL)?.len() as u64;
                if cost >= full - full / 8 {
                    return Ok(None);
                }
            }
        }
        let slice = base.map(|base| base.slice);
        let Some(coding) = codec::find(packed, contents, self.memory, &mut self.memo) else {
            return Ok(None);
        };
        Ok(Some(Plan {
            segments: vec![PlannedSegment {
                coding: Some(coding),
                start: 0,
                pieces: vec![PlannedPiece::Fresh(0..contents.len() as u64)],
            }],
            base: slice.map_or(Base::None, Base::Whole),
            is_archive: false,
        }))
    }
}

/// What was chosen as a base.
struct ChosenBase {
    slice: ObjectSlice,
    base: Vec<u8>,
    /// In thousandths, where it was asked for.
    likeness: Option<u32>,
}

fn whole(item: &DeltaItem) -> ObjectSlice {
    ObjectSlice {
        id: item.id,
        form: Form::Raw,
        start: 0,
        offset: 0,
        len: item.size,
    }
}

fn raw(item: &DeltaItem, base: Option<ObjectSlice>) -> Plan {
    let segment = PlannedSegment {
        coding: None,
        start: 0,
        pieces: vec![PlannedPiece::Fresh(0..item.size)],
    };
    let base = base.filter(|slice| slice.len > 0);
    Plan {
        segments: vec![segment],
        base: base.map_or(Base::None, Base::Whole),
        is_archive: false,
    }
}
