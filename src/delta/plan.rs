//! What an object is to be made of: looked up for one object at a time.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::ops::Range;

use super::extents::Place;
use super::names::Names;
use super::{Contents, Item, cpio};
use crate::codec::{self, Coding, Form, Memo, patch};
use crate::id::ObjectId;

/// The most bytes of an object, and of what is inside it, for looking inside.
const MAX_INSIDE: u64 = 96 << 20;
/// The most bytes of a file whose bases are compared by trying them.
const MAX_TRIED: u64 = 16 << 20;
/// Members of archives below this size are not worth a copy.
const MIN_MEMBER: usize = 128;
/// Ranges of an old archive that are nearer than this are one.
const GAP: usize = 512;

/// What an object is to be made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) segments: Vec<PlannedSegment>,
    /// What fresh data is compressed against.
    pub(super) base: Base,
    /// Whether parts of other objects are copied.
    pub(super) is_archive: bool,
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
    Copy(Place),
    /// A range of the segment's contents.
    Fresh(Range<u64>),
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    None,
    /// All of it.
    Whole(Place),
    /// What is left of an archive without what stands elsewhere too.
    Rest(Vec<Place>),
}

/// Plans objects.
pub(super) struct Planner<'a> {
    pub(super) contents: &'a dyn Contents,
    pub(super) names: &'a Names<'a>,
    /// All objects that there are in the end, for copies.
    pub(super) known: &'a HashSet<ObjectId>,
    pub(super) full_cost: &'a (dyn Fn(&ObjectId) -> u64 + Sync),
    /// The most memory for making compressed bytes again.
    pub(super) memory: u64,
    pub(super) memo: Memo,
}

impl Planner<'_> {
    fn read(&self, id: &ObjectId) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.contents.open(id)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn plan(&mut self, item: &Item) -> io::Result<Plan> {
        let candidates = self.names.candidates(item);
        if item.size == 0 {
            return Ok(Plan {
                segments: Vec::new(),
                base: Base::None,
                is_archive: false,
            });
        }
        if item.size > MAX_INSIDE {
            let base = candidates
                .first()
                .map_or(Base::None, |base| Base::Whole(whole(base)));
            return Ok(raw(item, base));
        }
        let bytes = self.read(&item.id)?;
        if bytes.starts_with(b"070701") {
            return self.archive(item, &bytes, &candidates);
        }
        if let Some(inside) = codec::find(&bytes, MAX_INSIDE, self.memory, &mut self.memo)
            && let Some(plan) = self.inside(item, inside, &candidates)?
        {
            return Ok(plan);
        }
        let base = match candidates.as_slice() {
            [] => Base::None,
            [only] => Base::Whole(whole(only)),
            [first, ..]
                if item.size > MAX_TRIED
                    || first.paths.iter().any(|path| item.paths.contains(path)) =>
            {
                Base::Whole(whole(first))
            }
            several => {
                let mut best = (u64::MAX, several[0]);
                for candidate in several.iter().filter(|item| item.size <= MAX_TRIED) {
                    let base = self.read(&candidate.id)?;
                    let cost = patch::compress(&bytes, &base, 1)?.len() as u64;
                    if cost < best.0 {
                        best = (cost, candidate);
                    }
                }
                Base::Whole(whole(best.1))
            }
        };
        Ok(raw(item, base))
    }

    /// Plans a file by what is compressed in it; none where that is not worth it.
    fn inside(
        &mut self,
        item: &Item,
        inside: codec::Inside,
        candidates: &[&Item],
    ) -> io::Result<Option<Plan>> {
        let mut best: Option<(u64, Place)> = None;
        for candidate in candidates.iter().filter(|item| item.size <= MAX_INSIDE) {
            let packed = self.read(&candidate.id)?;
            let form = codec::form_of(&packed);
            let mut base = Vec::new();
            let read = codec::reader(form, packed.as_slice())
                .and_then(|reader| reader.take(MAX_INSIDE).read_to_end(&mut base));
            if read.is_err() || base.is_empty() {
                continue;
            }
            // One of nearly the same name and size needs no trial.
            let is_alike = base.len().abs_diff(inside.contents.len()) < base.len() / 8;
            let cost = if is_alike {
                0
            } else {
                patch::compress(&inside.contents, &base, 3)?.len() as u64
            };
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((
                    cost,
                    Place {
                        id: candidate.id,
                        form,
                        start: 0,
                        offset: 0,
                        len: base.len() as u64,
                    },
                ));
            }
            // The likeliest one is good enough.
            if cost < item.size / 2 {
                break;
            }
        }
        let full = (self.full_cost)(&item.id).min(item.size);
        let base = match best {
            Some((cost, base)) if cost < full - full / 8 => Base::Whole(base),
            // Text in a frame with other text is smaller than in a gzip file of its own, and costs little to make again.
            _ if inside.coding.form() == Form::Gzip => {
                best.map_or(Base::None, |(_, base)| Base::Whole(base))
            }
            _ => return Ok(None),
        };
        Ok(Some(Plan {
            segments: vec![PlannedSegment {
                coding: Some(inside.coding),
                start: 0,
                pieces: vec![PlannedPiece::Fresh(0..inside.contents.len() as u64)],
            }],
            base,
            is_archive: false,
        }))
    }

    /// Plans a series of archives, the last of which may be compressed: an initramfs.
    fn archive(&mut self, item: &Item, bytes: &[u8], candidates: &[&Item]) -> io::Result<Plan> {
        let parts = parts(bytes);
        let mut segments = Vec::new();
        let mut is_archive = false;
        for part in parts {
            let tail = &bytes[part.start..];
            let inside = match part.form {
                Form::Raw => None,
                _ => codec::find(tail, MAX_INSIDE, self.memory, &mut self.memo),
            };
            let (coding, contents) = match &inside {
                Some(inside) => (Some(inside.coding.clone()), inside.contents.as_slice()),
                None => (None, &bytes[part.start..part.end]),
            };
            let mut pieces = Vec::new();
            let mut at = 0;
            for (range, id) in self.members(contents) {
                if id == item.id {
                    continue;
                }
                if range.start > at {
                    pieces.push(PlannedPiece::Fresh(at as u64..range.start as u64));
                }
                is_archive = true;
                pieces.push(PlannedPiece::Copy(Place {
                    id,
                    form: Form::Raw,
                    start: 0,
                    offset: 0,
                    len: range.len() as u64,
                }));
                at = range.end;
            }
            if at < contents.len() {
                pieces.push(PlannedPiece::Fresh(at as u64..contents.len() as u64));
            }
            segments.push(PlannedSegment {
                coding,
                start: part.start as u64,
                pieces,
            });
        }
        let base = match candidates.iter().find(|item| item.size <= MAX_INSIDE) {
            None => Base::None,
            Some(base) => self.rest(base)?,
        };
        Ok(Plan {
            segments,
            base,
            is_archive,
        })
    }

    /// Returns the members that stand elsewhere as objects.
    fn members(&self, contents: &[u8]) -> Vec<(Range<usize>, ObjectId)> {
        let Some((members, _)) = cpio::members(contents) else {
            return Vec::new();
        };
        let members = members
            .into_iter()
            .filter(|range| range.len() >= MIN_MEMBER);
        let with_ids = members.map(|range| (range.clone(), ObjectId::of(&contents[range])));
        with_ids.filter(|(_, id)| self.known.contains(id)).collect()
    }

    /// Returns what of an old archive stands nowhere else.
    fn rest(&self, base: &Item) -> io::Result<Base> {
        let bytes = self.read(&base.id)?;
        let mut places = Vec::new();
        for part in parts(&bytes) {
            let mut inside = Vec::new();
            let contents = match part.form {
                Form::Raw => &bytes[part.start..part.end],
                form => {
                    let reader = codec::reader(form, &bytes[part.start..])?;
                    reader.take(MAX_INSIDE).read_to_end(&mut inside)?;
                    inside.as_slice()
                }
            };
            let start = if part.form == Form::Raw {
                0
            } else {
                part.start as u64
            };
            let shift = if part.form == Form::Raw {
                part.start as u64
            } else {
                0
            };
            let mut at = 0;
            let mut add = |from: usize, to: usize| {
                let place = Place {
                    id: base.id,
                    form: part.form,
                    start,
                    offset: from as u64 + shift,
                    len: (to - from) as u64,
                };
                places.push(place);
            };
            for (range, _) in self.members(contents) {
                if range.len() < GAP {
                    continue;
                }
                if range.start > at {
                    add(at, range.start);
                }
                at = range.end;
            }
            if at < contents.len() {
                add(at, contents.len());
            }
        }
        Ok(Base::Rest(places))
    }
}

fn whole(item: &Item) -> Place {
    Place {
        id: item.id,
        form: Form::Raw,
        start: 0,
        offset: 0,
        len: item.size,
    }
}

fn raw(item: &Item, base: Base) -> Plan {
    let segment = PlannedSegment {
        coding: None,
        start: 0,
        pieces: vec![PlannedPiece::Fresh(0..item.size)],
    };
    let base = match base {
        Base::Whole(place) if place.len == 0 => Base::None,
        base => base,
    };
    Plan {
        segments: vec![segment],
        base,
        is_archive: false,
    }
}

struct ArchivePart {
    start: usize,
    end: usize,
    form: Form,
}

/// Cuts an initramfs into its archives.
fn parts(bytes: &[u8]) -> Vec<ArchivePart> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let rest = &bytes[start..];
        let form = codec::form_of(rest);
        let end = match cpio::members(rest) {
            Some((_, end)) if form == Form::Raw => {
                let padding = rest[end..].iter().take_while(|byte| **byte == 0).count();
                start + end + padding
            }
            _ => bytes.len(),
        };
        parts.push(ArchivePart { start, end, form });
        start = end;
    }
    parts
}
