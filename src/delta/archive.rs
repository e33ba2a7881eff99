//! Planning archives: an initramfs holds much that stands elsewhere too.

use std::io::{self, Read as _};
use std::ops::Range;

use super::extents::ObjectSlice;
use super::names::BaseCandidate;
use super::plan::{Base, MAX_INSIDE, Plan, PlannedPiece, PlannedSegment, Planner};
use super::{DeltaItem, cpio};
use crate::codec::{self, Form};
use crate::id::ObjectId;

/// Members of archives below this size are not worth a copy.
const MIN_MEMBER: usize = 128;
/// Ranges of an old archive that are nearer than this are one.
const GAP: usize = 512;

impl Planner<'_> {
    /// Plans a series of archives, the last of which may be compressed: an initramfs.
    pub(super) fn archive(
        &mut self,
        item: &DeltaItem,
        bytes: &[u8],
        candidates: &[BaseCandidate<'_>],
    ) -> io::Result<Plan> {
        let parts = parts(bytes);
        let mut segments = Vec::new();
        let mut is_archive = false;
        for part in parts {
            let tail = &bytes[part.start..];
            let inside = codec::contents(tail, MAX_INSIDE);
            let inside = inside.and_then(|contents| {
                let coding = codec::find(tail, &contents, self.memory, &mut self.memo)?;
                Some((coding, contents))
            });
            let (coding, contents) = match &inside {
                Some((coding, contents)) => (Some(coding.clone()), contents.as_slice()),
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
                pieces.push(PlannedPiece::Copy(ObjectSlice {
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
        let small = candidates.iter().find(|c| c.item.size <= MAX_INSIDE);
        let base = match small {
            None => Base::None,
            Some(base) => self.rest(base.item)?,
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
    fn rest(&self, base: &DeltaItem) -> io::Result<Base> {
        let bytes = self.read(&base.id)?;
        let mut slices = Vec::new();
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
                let slice = ObjectSlice {
                    id: base.id,
                    form: part.form,
                    start,
                    offset: from as u64 + shift,
                    len: (to - from) as u64,
                };
                slices.push(slice);
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
        Ok(Base::Rest(slices))
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
