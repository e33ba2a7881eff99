//! What a delta costs its receiver: some files take long to compress again, and are quicker to
//! fetch over a fast link.

use std::collections::BTreeSet;
use std::ops::Range;

use super::open::{Delta, fresh_len, pieces};
use crate::codec::Coding;
use crate::format::delta::{DeltaObject, Extent, Piece};
use crate::id::ObjectId;

/// About how many bytes a second one core compresses, measured on files of Debian packages.
const XZ_RATE: f64 = 3e6;
const GZIP_RATE: f64 = 20e6;

/// The same for zstd, whose levels differ a hundredfold.
fn zstd_rate(level: u8) -> f64 {
    match level {
        ..=4 => 120e6,
        5..=6 => 60e6,
        7..=9 => 30e6,
        10..=12 => 12e6,
        13..=15 => 3e6,
        _ => 1.5e6,
    }
}

/// An object that has to be compressed again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecompressionCost {
    /// The object.
    pub id: ObjectId,
    /// Its size in bytes.
    pub size: u64,
    /// About how many seconds one core takes for it.
    pub seconds: f64,
}

impl Delta<'_> {
    /// Returns the objects that have to be compressed again, with what that costs.
    pub fn recompression_costs(&self) -> Vec<RecompressionCost> {
        let coded = self.index().objects.iter().map(|object| RecompressionCost {
            id: object.id,
            size: object.size,
            seconds: seconds(object),
        });
        coded.filter(|object| object.seconds > 0.0).collect()
    }

    /// Returns the objects that are made of any of `others`, or of bases that are `absent`,
    /// directly or not; those themselves are not among them.
    pub fn made_of(
        &self,
        others: &BTreeSet<ObjectId>,
        absent: &dyn Fn(&ObjectId) -> bool,
    ) -> BTreeSet<ObjectId> {
        let index = self.index();
        let is_absent: Vec<bool> = index.bases.iter().map(absent).collect();
        let mut found = BTreeSet::new();
        // Objects mostly come after those that they are made of, but nothing guarantees that: this
        // goes on until no more are found.
        loop {
            let before = found.len();
            let needs = |extent: &Extent| match self.source(extent) {
                ExtentSource::Base(base) => is_absent.get(base) == Some(&true),
                ExtentSource::Made(id) => others.contains(&id) || found.contains(&id),
                ExtentSource::Unknown => false,
            };
            let frames = index.frames.iter();
            let frames: Vec<bool> = frames.map(|frame| frame.prefix.iter().any(needs)).collect();
            let more: Vec<ObjectId> = (0..index.objects.len())
                .filter(|n| {
                    self.copies(*n).any(needs) || frames[self.frames_of(*n)].contains(&true)
                })
                .map(|n| index.objects[n].id)
                .filter(|id| !others.contains(id))
                .collect();
            found.extend(more);
            if found.len() == before {
                return found;
            }
        }
    }

    fn source(&self, extent: &Extent) -> ExtentSource {
        let index = self.index();
        let Ok(number) = usize::try_from(extent.source) else {
            return ExtentSource::Unknown;
        };
        match number.checked_sub(index.bases.len()) {
            None => ExtentSource::Base(number),
            Some(made) => match index.objects.get(made) {
                Some(object) => ExtentSource::Made(object.id),
                None => ExtentSource::Unknown,
            },
        }
    }

    /// Returns what is copied into an object.
    fn copies(&self, object: usize) -> impl Iterator<Item = &Extent> {
        pieces(&self.index().objects[object]).filter_map(|piece| match piece {
            Piece::Copy(extent) => Some(extent),
            Piece::Fresh(_) => None,
        })
    }

    /// Returns the frames that hold fresh data of an object: frames and fresh data are in one
    /// order.
    fn frames_of(&self, object: usize) -> Range<usize> {
        let start = self.starts[object];
        let fresh: u64 = pieces(&self.index().objects[object]).map(fresh_len).sum();
        let first = self.frames.partition_point(|frame| frame.data.end <= start);
        if fresh == 0 {
            return 0..0;
        }
        let end = start + fresh;
        let behind = self.frames.partition_point(|frame| frame.data.start < end);
        first..behind.max(first)
    }
}

/// What an extent is of.
enum ExtentSource {
    /// A base, by its number.
    Base(usize),
    /// An object that the delta makes.
    Made(ObjectId),
    /// Not in the index: applying the delta refuses it.
    Unknown,
}

fn seconds(object: &DeltaObject) -> f64 {
    let each = object.segments.iter().map(|segment| {
        let rate = match &segment.coding {
            None => return 0.0,
            Some(Coding::Xz(_)) => XZ_RATE,
            Some(Coding::Gzip(_)) => GZIP_RATE,
            Some(Coding::Zstd(coding)) => zstd_rate(coding.level),
        };
        let raw: u64 = segment.pieces.iter().map(Piece::len).sum();
        raw as f64 / rate
    });
    each.sum()
}
