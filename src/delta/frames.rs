//! Frames of fresh data: what goes into which, and compressing them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::encode::{Options, io_error};
use super::extents::{Extents, Place};
use super::parallel::{in_parallel, lock};
use super::plan::{Base, Plan, PlannedPiece};
use super::{Contents, DeltaError, Item};
use crate::codec::{Coding, Form, patch};

/// The most bytes that small files share a frame of, and of its prefix.
const GROUP: u64 = 3 << 20;
/// Larger contents are cut; with what it takes to unpack one, a receiver needs 24 MB. The format allows more.
const PART: u64 = 3 << 20;
/// The most bytes of a frame's prefix.
const PREFIX: u64 = 6 << 20;
/// Contents from this size on have frames of their own.
pub(super) const ALONE: u64 = 2 << 20;
/// How far around the same place in a large base is looked, in bytes.
const AROUND: u64 = 3 << 19;

/// What a frame is made of.
#[derive(Default)]
pub(super) struct Job {
    pub(super) data: Vec<Place>,
    pub(super) prefix: Vec<Place>,
}

impl Job {
    pub(super) fn size(&self) -> u64 {
        self.data.iter().map(|place| place.len).sum()
    }

    fn prefix_size(&self) -> u64 {
        self.prefix.iter().map(|place| place.len).sum()
    }
}

/// Cuts the fresh data into frames.
pub(super) fn jobs(items: &[Item], plans: &[Plan], order: &[usize]) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut job = Job::default();
    for n in order {
        let plan = &plans[*n];
        let fresh = plan.fresh_size();
        if fresh == 0 {
            continue;
        }
        let is_alone = fresh >= ALONE || plan.is_archive;
        let whole = prefix(&plan.base, 0..fresh, fresh);
        let prefix_size: u64 = whole.iter().map(|place| place.len).sum();
        let is_full = job.size() + fresh > GROUP || job.prefix_size() + prefix_size > GROUP * 2;
        if !job.data.is_empty() && (is_alone || is_full) {
            jobs.push(std::mem::take(&mut job));
        }
        // Large contents are cut into equal parts.
        let count = fresh.div_ceil(PART);
        let most = fresh.div_ceil(count.max(1));
        let mut done = 0;
        for segment in &plan.segments {
            let form = segment.coding.as_ref().map_or(Form::Raw, Coding::form);
            for piece in &segment.pieces {
                let PlannedPiece::Fresh(range) = piece else {
                    continue;
                };
                let mut at = range.start;
                while at < range.end {
                    if count > 1 && job.size() >= most {
                        jobs.push(std::mem::take(&mut job));
                    }
                    let room = if count > 1 { most - job.size() } else { fresh };
                    let len = room.min(range.end - at);
                    if job.data.is_empty() || count == 1 {
                        let until = if count > 1 {
                            (done + most).min(fresh)
                        } else {
                            fresh
                        };
                        for place in prefix(&plan.base, done..until, fresh) {
                            if !job.prefix.contains(&place) {
                                job.prefix.push(place);
                            }
                        }
                    }
                    let (start, offset) = match form {
                        Form::Raw => (0, segment.start + at),
                        _ => (segment.start, at),
                    };
                    job.data.push(Place {
                        id: items[*n].id,
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
        if is_alone {
            jobs.push(std::mem::take(&mut job));
        }
    }
    if !job.data.is_empty() {
        jobs.push(job);
    }
    jobs
}

/// Returns what a part of some fresh data is compressed against.
fn prefix(base: &Base, part: std::ops::Range<u64>, fresh: u64) -> Vec<Place> {
    match base {
        Base::None => Vec::new(),
        Base::Whole(place) if place.len <= PREFIX => vec![*place],
        Base::Whole(place) => {
            // The same place, as far as sizes tell, and what is around it.
            let scale = |at: u64| {
                (u128::from(at) * u128::from(place.len) / u128::from(fresh.max(1))) as u64
            };
            let start = scale(part.start).saturating_sub(AROUND).min(place.len - 1);
            let end = (scale(part.end) + AROUND)
                .min(place.len)
                .min(start + PREFIX);
            vec![Place {
                offset: place.offset + start,
                len: end - start,
                ..*place
            }]
        }
        Base::Rest(places) => {
            let mut left = PREFIX;
            let mut taken = Vec::new();
            for place in places {
                let len = place.len.min(left);
                if len == 0 {
                    break;
                }
                left -= len;
                taken.push(Place { len, ..*place });
            }
            taken
        }
    }
}

/// Compresses all frames, and returns their sizes; a prefix that was of no use is dropped.
pub(super) fn compress_all<S: Write + Send>(
    jobs: &mut [Job],
    contents: &dyn Contents,
    spool: &mut S,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Vec<u64>, DeltaError> {
    struct Written<'s, S> {
        spool: &'s mut S,
        waiting: BTreeMap<usize, Vec<u8>>,
        sizes: Vec<u64>,
        needs_prefix: Vec<bool>,
    }
    let all = &*jobs;
    let written = Mutex::new(Written {
        spool,
        waiting: BTreeMap::new(),
        sizes: Vec::new(),
        needs_prefix: Vec::new(),
    });
    in_parallel(
        all.len(),
        options.threads,
        cancel,
        || Extents::new(contents),
        |extents, n| {
            let mut read = |places: &[Place], size: u64| -> Result<Vec<u8>, DeltaError> {
                let mut bytes = Vec::with_capacity(size as usize);
                for place in places {
                    extents.reset();
                    let copied = extents.copy(place, &mut bytes);
                    copied.map_err(|source| {
                        io_error("read", &format!("object {}", place.id), source)
                    })?;
                }
                Ok(bytes)
            };
            let prefix = read(&all[n].prefix, all[n].prefix_size())?;
            let data = read(&all[n].data, all[n].size())?;
            let packed = patch::compress(&data, &prefix, options.level)
                .map_err(|source| io_error("compress", "a frame", source))?;
            let mut guard = lock(&written);
            let written = &mut *guard;
            written.waiting.insert(n, packed);
            while let Some(packed) = written.waiting.remove(&written.sizes.len()) {
                written
                    .spool
                    .write_all(&packed)
                    .map_err(|source| io_error("write", "frames", source))?;
                written.sizes.push(packed.len() as u64);
                written.needs_prefix.push(patch::needs_prefix(&packed));
            }
            Ok(())
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
