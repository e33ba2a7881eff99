//! Making a delta.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::extents::{Extents, Place};
use super::names::{Names, pattern};
use super::plan::{Base, Plan, PlannedPiece, Planner};
use super::{Contents, DeltaError, Item, Request};
use crate::codec::{Coding, Form, Memo, patch};
use crate::format::delta::{
    DeltaFrame, DeltaIndex, DeltaObject, Document, Extent, MAX_FRAME, MAX_PREFIX, Piece, Segment,
    encode_delta_header, encode_delta_index,
};
use crate::id::ObjectId;

/// How a delta is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that work at the same time; each takes up to about 200 MB.
    pub threads: usize,
    /// The zstd level of frames.
    pub level: i32,
    /// The most memory that a receiver takes to make compressed files again, in bytes.
    pub memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 2,
            level: 19,
            memory: 60 << 20,
        }
    }
}

/// How objects are made by a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Compressed as they are.
    Full,
    /// Compressed against another object.
    Patch,
    /// What is inside xz is compressed against what is inside another object.
    Xz,
    /// The same with gzip.
    Gzip,
    /// Parts of other objects, and a rest.
    Archive,
}

/// What was made by one method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// What they take in the delta in bytes; a frame of several objects counts by their sizes in it.
    pub packed: u64,
}

/// What was encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Size of the delta in bytes.
    pub bytes: u64,
    /// Size of its index in bytes.
    pub index: u64,
    /// Size of the manifest's and the tree's frames in bytes.
    pub documents: u64,
    /// What the objects are made by.
    pub methods: BTreeMap<Method, Tally>,
}

/// The most bytes that small files share a frame of, and of its prefix.
const GROUP: u64 = 4 << 20;
/// Contents from this size on have frames of their own.
const ALONE: u64 = 2 << 20;
/// How far around the same place in a large base is looked, in bytes.
const AROUND: u64 = 4 << 20;

/// What a frame is made of.
struct Job {
    data: Vec<Place>,
    prefix: Vec<Place>,
}

impl Job {
    fn size(&self) -> u64 {
        self.data.iter().map(|place| place.len).sum()
    }

    fn prefix_size(&self) -> u64 {
        self.prefix.iter().map(|place| place.len).sum()
    }
}

/// Encodes a delta into `out`; frames are kept in `spool`, an empty file, until the index is known.
pub fn encode<S: Read + Write + Seek + Send>(
    request: &Request<'_>,
    contents: &dyn Contents,
    spool: &mut S,
    out: &mut dyn Write,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Encoded, DeltaError> {
    let plans = plan_all(request, contents, options, cancel)?;
    let order = order(request.new, &plans);
    let jobs = jobs(request.new, &plans, &order);
    let packed = compress_all(&jobs, contents, spool, options, cancel)?;

    let mut sources = Sources::default();
    for n in &order {
        sources.made.insert(request.new[*n].id);
    }
    let mut objects = Vec::new();
    // Bases get their numbers in the order in which frames use them.
    for place in jobs.iter().flat_map(|job| &job.prefix) {
        sources.note(&place.id);
    }
    for n in &order {
        for piece in plans[*n]
            .segments
            .iter()
            .flat_map(|segment| &segment.pieces)
        {
            if let PlannedPiece::Copy(place) = piece {
                sources.note(&place.id);
            }
        }
    }
    let bases = sources.bases.len() as u64;
    for (position, n) in order.iter().enumerate() {
        let number = bases + position as u64;
        sources.numbers.insert(request.new[*n].id, number);
    }
    for n in &order {
        let segments = plans[*n].segments.iter().map(|segment| Segment {
            coding: segment.coding.clone(),
            pieces: segment
                .pieces
                .iter()
                .map(|piece| sources.piece(piece))
                .collect(),
        });
        objects.push(DeltaObject {
            id: request.new[*n].id,
            size: request.new[*n].size,
            segments: segments.collect(),
        });
    }
    let frames = jobs.iter().zip(&packed).map(|(job, packed)| DeltaFrame {
        size: job.size(),
        packed: *packed,
        prefix: job
            .prefix
            .iter()
            .map(|place| sources.extent(place))
            .collect(),
    });
    let frames: Vec<DeltaFrame> = frames.collect();
    let document = |new: &[u8], prefix: &[u8]| -> Result<(Document, Vec<u8>), DeltaError> {
        let packed = patch::compress(new, prefix, options.level)
            .map_err(|source| io_error("compress", "a document", source))?;
        let document = Document {
            size: new.len() as u64,
            packed: packed.len() as u64,
            offsets: 0,
        };
        Ok((document, packed))
    };
    let (manifest, packed_manifest) = document(request.manifests[1], request.manifests[0])?;
    let mut known = request.trees[0].to_vec();
    known.extend(objects.iter().flat_map(|object| *object.id.as_bytes()));
    let (tree, packed_tree) = document(request.trees[1], &known)?;
    let index = DeltaIndex {
        from: request.from,
        to: request.to,
        manifest,
        tree,
        bases: sources.bases.clone(),
        objects,
        frames,
    };
    let bytes = encode_delta_index(&index);
    let packed_index = patch::compress(&bytes, request.trees[0], options.level)
        .map_err(|source| io_error("compress", "the index", source))?;

    let header = encode_delta_header(packed_index.len() as u64, bytes.len() as u64);
    for part in [
        header.as_slice(),
        &packed_index,
        &packed_manifest,
        &packed_tree,
    ] {
        out.write_all(part)
            .map_err(|source| io_error("write", "the delta", source))?;
    }
    spool
        .seek(SeekFrom::Start(0))
        .map_err(|source| io_error("read", "frames", source))?;
    let fresh = io::copy(spool, out).map_err(|source| io_error("write", "the delta", source))?;
    let documents = manifest.packed + tree.packed;
    Ok(Encoded {
        bytes: header.len() as u64 + packed_index.len() as u64 + documents + fresh,
        index: packed_index.len() as u64,
        documents,
        methods: tally(request.new, &plans, &order, &jobs, &packed),
    })
}

fn io_error(verb: &'static str, what: &str, source: io::Error) -> DeltaError {
    DeltaError::Io {
        verb,
        what: what.to_owned(),
        source,
    }
}

/// Runs `work` for 0 to `count`, by several threads, each with a state of its own.
fn in_parallel<S>(
    count: usize,
    threads: usize,
    cancel: &AtomicBool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), DeltaError> + Sync,
) -> Result<(), DeltaError> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                let mut state = state();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let result = if cancel.load(Ordering::Relaxed) {
                        Err(DeltaError::Interrupted)
                    } else {
                        work(&mut state, n)
                    };
                    if let Err(error) = result {
                        next.store(count, Ordering::Relaxed);
                        lock(&failure).get_or_insert(error);
                        return;
                    }
                }
            });
        }
    });
    match lock(&failure).take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Locks; a thread that panicked ends the process anyway, at the end of its scope.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn plan_all(
    request: &Request<'_>,
    contents: &dyn Contents,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Vec<Plan>, DeltaError> {
    let others = || request.old.iter().chain(request.also);
    let names = Names::new(others());
    let known: HashSet<ObjectId> = others().chain(request.new).map(|item| item.id).collect();
    let plans: Vec<Mutex<Option<Plan>>> = request.new.iter().map(|_| Mutex::new(None)).collect();
    let planner = || Planner {
        contents,
        names: &names,
        known: &known,
        full_cost: request.full_cost,
        memory: options.memory,
        memo: Memo::default(),
        sketches: HashMap::new(),
    };
    in_parallel(
        plans.len(),
        options.threads,
        cancel,
        planner,
        |planner, n| {
            let item = &request.new[n];
            let plan = planner.plan(item);
            let plan =
                plan.map_err(|source| io_error("read", &format!("object {}", item.id), source))?;
            *lock(&plans[n]) = Some(plan);
            Ok(())
        },
    )?;
    let plans = plans.into_iter().map(|plan| {
        plan.into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    });
    Ok(plans.flatten().collect())
}

/// Returns an order in which objects can be made: what is copied from comes first; alike things stand together.
fn order(items: &[Item], plans: &[Plan]) -> Vec<usize> {
    let numbers: HashMap<ObjectId, usize> = items
        .iter()
        .enumerate()
        .map(|(n, item)| (item.id, n))
        .collect();
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_cached_key(|n| {
        let path = items[*n]
            .paths
            .first()
            .map(|path| pattern(path.as_bytes()))
            .unwrap_or_default();
        let kind = kind(&path);
        let is_large = fresh_size(&plans[*n]) >= ALONE;
        (plans[*n].is_archive, is_large, kind, path, items[*n].id)
    });
    // An archive within an archive stands before it.
    let mut placed = vec![false; items.len()];
    let mut result = Vec::with_capacity(items.len());
    for first in order {
        let mut stack = vec![(first, false)];
        while let Some((n, is_ready)) = stack.pop() {
            if placed[n] {
                continue;
            }
            if is_ready || !plans[n].is_archive {
                placed[n] = true;
                result.push(n);
                continue;
            }
            stack.push((n, true));
            for piece in plans[n].segments.iter().flat_map(|segment| &segment.pieces) {
                if let PlannedPiece::Copy(place) = piece
                    && let Some(needed) = numbers.get(&place.id)
                    && !placed[*needed]
                {
                    stack.push((*needed, false));
                }
            }
        }
    }
    result
}

/// Returns the extension, or the directory where there is none: what is alike.
fn kind(path: &[u8]) -> Vec<u8> {
    let name = super::names::split(path).1;
    let stem = name
        .strip_suffix(b".xz")
        .or_else(|| name.strip_suffix(b".gz"))
        .unwrap_or(name);
    let parts = stem.split(|byte| *byte == b'.').skip(1);
    let last = parts.filter(|part| *part != b"#").last();
    last.map_or_else(Vec::new, <[u8]>::to_vec)
}

fn fresh_size(plan: &Plan) -> u64 {
    let pieces = plan.segments.iter().flat_map(|segment| &segment.pieces);
    let sizes = pieces.map(|piece| match piece {
        PlannedPiece::Fresh(range) => range.end - range.start,
        PlannedPiece::Copy(_) => 0,
    });
    sizes.sum()
}

/// Cuts the fresh data into frames.
fn jobs(items: &[Item], plans: &[Plan], order: &[usize]) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut job = Job {
        data: Vec::new(),
        prefix: Vec::new(),
    };
    for n in order {
        let plan = &plans[*n];
        let fresh = fresh_size(plan);
        if fresh == 0 {
            continue;
        }
        let is_alone = fresh >= ALONE || plan.is_archive;
        let whole = prefix(&plan.base, 0..fresh, fresh);
        let prefix_size: u64 = whole.iter().map(|place| place.len).sum();
        let is_full = job.size() + fresh > GROUP || job.prefix_size() + prefix_size > GROUP * 2;
        if !job.data.is_empty() && (is_alone || is_full) {
            jobs.push(std::mem::replace(
                &mut job,
                Job {
                    data: Vec::new(),
                    prefix: Vec::new(),
                },
            ));
        }
        // Large contents are cut into equal parts.
        let count = fresh.div_ceil(MAX_FRAME);
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
                        jobs.push(std::mem::replace(
                            &mut job,
                            Job {
                                data: Vec::new(),
                                prefix: Vec::new(),
                            },
                        ));
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
            jobs.push(std::mem::replace(
                &mut job,
                Job {
                    data: Vec::new(),
                    prefix: Vec::new(),
                },
            ));
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
        Base::Whole(place) if place.len <= MAX_PREFIX => vec![*place],
        Base::Whole(place) => {
            // The same place, as far as sizes tell, and what is around it.
            let scale = |at: u64| {
                (u128::from(at) * u128::from(place.len) / u128::from(fresh.max(1))) as u64
            };
            let start = scale(part.start).saturating_sub(AROUND).min(place.len - 1);
            let end = (scale(part.end) + AROUND)
                .min(place.len)
                .min(start + MAX_PREFIX);
            vec![Place {
                offset: place.offset + start,
                len: end - start,
                ..*place
            }]
        }
        Base::Rest(places) => {
            let mut left = MAX_PREFIX;
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

/// Compresses all frames, and returns their sizes.
fn compress_all<S: Write + Send>(
    jobs: &[Job],
    contents: &dyn Contents,
    spool: &mut S,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Vec<u64>, DeltaError> {
    struct Written<'s, S> {
        spool: &'s mut S,
        waiting: BTreeMap<usize, Vec<u8>>,
        sizes: Vec<u64>,
    }
    let written = Mutex::new(Written {
        spool,
        waiting: BTreeMap::new(),
        sizes: Vec::new(),
    });
    in_parallel(
        jobs.len(),
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
            let prefix = read(&jobs[n].prefix, jobs[n].prefix_size())?;
            let data = read(&jobs[n].data, jobs[n].size())?;
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
            }
            Ok(())
        },
    )?;
    let written = written
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(written.sizes)
}

/// Numbers of objects as extents name them.
#[derive(Default)]
struct Sources {
    made: HashSet<ObjectId>,
    bases: Vec<ObjectId>,
    numbers: HashMap<ObjectId, u64>,
}

impl Sources {
    fn note(&mut self, id: &ObjectId) {
        if !self.made.contains(id) && !self.numbers.contains_key(id) {
            self.numbers.insert(*id, self.bases.len() as u64);
            self.bases.push(*id);
        }
    }

    fn extent(&self, place: &Place) -> Extent {
        let Place {
            id,
            form,
            start,
            offset,
            len,
        } = *place;
        // All were noted.
        let source = self.numbers.get(&id).copied().unwrap_or(u64::MAX);
        Extent {
            source,
            form,
            start,
            offset,
            len,
        }
    }

    fn piece(&self, piece: &PlannedPiece) -> Piece {
        match piece {
            PlannedPiece::Copy(place) => Piece::Copy(self.extent(place)),
            PlannedPiece::Fresh(range) => Piece::Fresh(range.end - range.start),
        }
    }
}

fn tally(
    items: &[Item],
    plans: &[Plan],
    order: &[usize],
    jobs: &[Job],
    packed: &[u64],
) -> BTreeMap<Method, Tally> {
    let mut shares: HashMap<ObjectId, u64> = HashMap::new();
    for (job, packed) in jobs.iter().zip(packed) {
        let size = job.size().max(1);
        for place in &job.data {
            *shares.entry(place.id).or_default() += place.len * packed / size;
        }
    }
    let mut methods: BTreeMap<Method, Tally> = BTreeMap::new();
    for n in order {
        let plan = &plans[*n];
        let method = match (
            &plan.base,
            plan.segments.first().and_then(|s| s.coding.as_ref()),
        ) {
            _ if plan.is_archive => Method::Archive,
            (_, Some(Coding::Xz(_))) => Method::Xz,
            (_, Some(Coding::Gzip(_))) => Method::Gzip,
            (Base::None, _) => Method::Full,
            _ => Method::Patch,
        };
        let tally = methods.entry(method).or_default();
        tally.objects += 1;
        tally.bytes += items[*n].size;
        tally.packed += shares.get(&items[*n].id).copied().unwrap_or(0);
    }
    methods
}
