//! Frames of fresh data: what goes into which, and compressing them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::extents::{ExtentReader, ObjectSlice};
use super::parallel::{in_parallel, lock};
use super::plan::{Base, Plan, PlannedPiece};
use super::{DeltaError, DeltaItem, EncodeOptions, ObjectReader, io_error};
use crate::codec::{Coding, Form, patch};
use crate::id::ObjectId;

/// The most bytes that small files share a frame of, and of its prefix.
const GROUP: u64 = 3 << 20;
/// Larger contents are cut; with what it takes to unpack one, a receiver needs 24 MB. The format
/// allows more.
const PART: u64 = 3 << 20;
/// The most bytes of a frame's prefix.
const PREFIX: u64 = 6 << 20;
/// Contents from this size on have frames of their own.
pub(super) const ALONE: u64 = 2 << 20;
/// How far around the same place in a large base is looked, in bytes.
const AROUND: u64 = 3 << 19;

/// What a frame is made of.
#[derive(Default)]
pub(super) struct FrameJob {
    pub(super) data: Vec<ObjectSlice>,
    pub(super) prefix: Vec<ObjectSlice>,
}

impl FrameJob {
    pub(super) fn size(&self) -> u64 {
        self.data.iter().map(|slice| slice.len).sum()
    }

    fn prefix_size(&self) -> u64 {
        self.prefix.iter().map(|slice| slice.len).sum()
    }
}

/// Cuts the fresh data into frames: small contents share one, which compresses better and costs
/// less of the index; large ones are cut, so that a receiver needs little memory and several
/// threads can work.
pub(super) fn jobs(items: &[DeltaItem], plans: &[Plan], order: &[usize]) -> Vec<FrameJob> {
    let mut cutter = Cutter::default();
    for n in order {
        let plan = &plans[*n];
        let fresh = plan.fresh_size();
        if fresh == 0 {
            continue;
        }
        let is_alone = fresh >= ALONE || plan.is_archive;
        let whole = prefix(&plan.base, 0..fresh, fresh);
        let prefix_size = whole.iter().map(|slice| slice.len).sum();
        if is_alone || !cutter.has_room(fresh, prefix_size) {
            cutter.cut();
        }
        cutter.add(items[*n].id, plan, fresh);
        if is_alone {
            cutter.cut();
        }
    }
    cutter.cut();
    cutter.done
}

#[derive(Default)]
struct Cutter {
    done: Vec<FrameJob>,
    /// The frame that is being filled.
    job: FrameJob,
}

impl Cutter {
    /// Ends a frame, unless nothing is in it.
    fn cut(&mut self) {
        if !self.job.data.is_empty() {
            self.done.push(std::mem::take(&mut self.job));
        }
    }

    /// Says whether something small fits into the frame with what it is compressed against.
    fn has_room(&self, fresh: u64, prefix: u64) -> bool {
        self.job.size() + fresh <= GROUP && self.job.prefix_size() + prefix <= GROUP * 2
    }

    /// Adds the fresh data of one object, all `fresh` bytes of it; what is large is cut into equal
    /// parts.
    fn add(&mut self, id: ObjectId, plan: &Plan, fresh: u64) {
        let parts = fresh.div_ceil(PART).max(1);
        let part = fresh.div_ceil(parts);
        let mut done = 0;
        for segment in &plan.segments {
            let form = segment.coding.as_ref().map_or(Form::Raw, Coding::form);
            for piece in &segment.pieces {
                let PlannedPiece::Fresh(range) = piece else {
                    continue;
                };
                let mut at = range.start;
                while at < range.end {
                    let mut len = range.end - at;
                    if parts > 1 {
                        if self.job.size() >= part {
                            self.cut();
                        }
                        len = len.min(part - self.job.size());
                    }
                    // Each part of what is cut has one prefix; the pieces of what is not may have
                    // several.
                    if self.job.data.is_empty() || parts == 1 {
                        self.compress_against(&plan.base, done..(done + part).min(fresh), fresh);
                    }
                    // What is inside a compressed file has a place in its contents, not in the
                    // object.
                    let (start, offset) = match form {
                        Form::Raw => (0, segment.start + at),
                        _ => (segment.start, at),
                    };
                    self.job.data.push(ObjectSlice {
                        id,
                        form,
                        start,
                        offset,
                        len,
                    });
                    at += len;
                    done += len;
                }
            }
        }
    }

    fn compress_against(&mut self, base: &Base, part: std::ops::Range<u64>, fresh: u64) {
        for slice in prefix(base, part, fresh) {
            if !self.job.prefix.contains(&slice) {
                self.job.prefix.push(slice);
            }
        }
    }
}

/// Returns what a part of some fresh data is compressed against.
fn prefix(base: &Base, part: std::ops::Range<u64>, fresh: u64) -> Vec<ObjectSlice> {
    match base {
        Base::None => Vec::new(),
        Base::Whole(slice) if slice.len <= PREFIX => vec![*slice],
        Base::Whole(slice) => {
            // The same place, as far as sizes tell, and what is around it.
            let scale = |at: u64| {
                (u128::from(at) * u128::from(slice.len) / u128::from(fresh.max(1))) as u64
            };
            let start = scale(part.start).saturating_sub(AROUND).min(slice.len - 1);
            let end = (scale(part.end) + AROUND)
                .min(slice.len)
                .min(start + PREFIX);
            vec![ObjectSlice {
                offset: slice.offset + start,
                len: end - start,
                ..*slice
            }]
        }
        Base::Rest(slices) => {
            let mut left = PREFIX;
            let mut taken = Vec::new();
            for slice in slices {
                let len = slice.len.min(left);
                if len == 0 {
                    break;
                }
                left -= len;
                taken.push(ObjectSlice { len, ..*slice });
            }
            taken
        }
    }
}

fn read_all(
    extents: &mut ExtentReader<'_>,
    slices: &[ObjectSlice],
    size: u64,
) -> Result<Vec<u8>, DeltaError> {
    let mut bytes = Vec::with_capacity(size as usize);
    for slice in slices {
        extents.reset();
        let copied = extents.copy(slice, &mut bytes);
        copied.map_err(|source| io_error("read", &format!("object {}", slice.id), source))?;
    }
    Ok(bytes)
}

/// The frames in the spool. They are done in any order, and written in that of their numbers.
struct FrameSpool<'s, S> {
    spool: &'s mut S,
    /// Those that are done before one with a lower number.
    waiting: BTreeMap<usize, Vec<u8>>,
    sizes: Vec<u64>,
    needs_prefix: Vec<bool>,
}

impl<S: Write> FrameSpool<'_, S> {
    fn add(&mut self, number: usize, packed: Vec<u8>) -> Result<(), DeltaError> {
        self.waiting.insert(number, packed);
        while let Some(packed) = self.waiting.remove(&self.sizes.len()) {
            self.spool
                .write_all(&packed)
                .map_err(|source| io_error("write", "frames", source))?;
            self.sizes.push(packed.len() as u64);
            self.needs_prefix.push(patch::needs_prefix(&packed));
        }
        Ok(())
    }
}

/// Compresses all frames, and returns their sizes; a prefix that was of no use is dropped.
pub(super) fn compress_all<S: Write + Send>(
    jobs: &mut [FrameJob],
    contents: &dyn ObjectReader,
    spool: &mut S,
    options: &EncodeOptions,
    cancel: &AtomicBool,
) -> Result<Vec<u64>, DeltaError> {
    let all = &*jobs;
    let written = Mutex::new(FrameSpool {
        spool,
        waiting: BTreeMap::new(),
        sizes: Vec::new(),
        needs_prefix: Vec::new(),
    });
    in_parallel(
        all.len(),
        options.threads,
        cancel,
        || ExtentReader::new(contents),
        |extents, n| {
            let prefix = read_all(extents, &all[n].prefix, all[n].prefix_size())?;
            let data = read_all(extents, &all[n].data, all[n].size())?;
            let packed = patch::compress(&data, &prefix, options.level)
                .map_err(|source| io_error("compress", "a frame", source))?;
            lock(&written).add(n, packed)
        },
    )?;
    let written = written
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (job, needs_prefix) in jobs.iter_mut().zip(&written.needs_prefix) {
        if !needs_prefix {
            job.prefix.clear();
        }
    }
    Ok(written.sizes)
}
