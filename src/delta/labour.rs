//! What a delta costs its receiver: some files are long to compress again, and quicker to fetch over a fast line.

use std::collections::BTreeSet;

use super::open::Delta;
use crate::codec::Coding;
use crate::format::delta::{DeltaObject, Extent, Piece};
use crate::id::ObjectId;

/// Bytes a second that one core compresses again, about, as measured on files of Debian packages.
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
pub struct Laborious {
    /// The object.
    pub id: ObjectId,
    /// Its size in bytes.
    pub size: u64,
    /// The seconds that one core takes for it, about.
    pub seconds: f64,
}

impl Delta<'_> {
    /// Returns the objects that have to be compressed again, with what that costs.
    pub fn laborious(&self) -> Vec<Laborious> {
        let coded = self.index().objects.iter().map(|object| Laborious {
            id: object.id,
            size: object.size,
            seconds: seconds(object),
        });
        coded.filter(|object| object.seconds > 0.0).collect()
    }

    /// Returns the objects that are made of any of `others`, or of bases that are `absent`, directly or not; those themselves are
    /// not among them.
    pub fn made_of(
        &self,
        others: &BTreeSet<ObjectId>,
        absent: &dyn Fn(&ObjectId) -> bool,
    ) -> BTreeSet<ObjectId> {
        let index = self.index();
        let lacking: Vec<bool> = index.bases.iter().map(absent).collect();
        let source = |extent: &Extent| {
            let made = usize::try_from(extent.source).ok();
            let made = made.and_then(|source| source.checked_sub(index.bases.len()));
            made.and_then(|made| index.objects.get(made))
                .map(|object| object.id)
        };
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            let is_of = |extent: &Extent| match source(extent) {
                Some(id) => others.contains(&id) || found.contains(&id),
                None => usize::try_from(extent.source)
                    .is_ok_and(|base| lacking.get(base) == Some(&true)),
            };
            let frames: Vec<bool> = index
                .frames
                .iter()
                .map(|frame| frame.prefix.iter().any(is_of))
                .collect();
            let mut more = Vec::new();
            let (mut at, mut frame, mut end) = (0u64, 0, 0u64);
            for object in &index.objects {
                let mut needs = false;
                for piece in object.segments.iter().flat_map(|segment| &segment.pieces) {
                    match piece {
                        Piece::Copy(extent) => needs |= is_of(extent),
                        Piece::Fresh(len) => {
                            let upto = at + len;
                            // The frames that hold it: frames and fresh data are in one order.
                            while frame < frames.len() && end <= at {
                                end += index.frames[frame].size;
                                frame += 1;
                            }
                            needs |= *len > 0 && frame > 0 && frames[frame - 1];
                            while frame < frames.len() && end < upto {
                                end += index.frames[frame].size;
                                frame += 1;
                                needs |= frames[frame - 1];
                            }
                            at = upto;
                        }
                    }
                }
                if needs && !others.contains(&object.id) {
                    more.push(object.id);
                }
            }
            found.extend(more);
            if found.len() == before {
                return found;
            }
        }
    }
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
