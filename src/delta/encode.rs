//! Making a delta.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::extents::ObjectSlice;
use super::frames::{FrameJob, compress_all, jobs};
use super::names::NameIndex;
use super::order::order;
use super::parallel::{in_parallel, lock};
use super::plan::{Base, Plan, PlannedPiece, Planner};
use super::{DeltaError, DeltaItem, DeltaRequest, EncodeOptions, ObjectReader, io_error};
use crate::codec::{Coding, Memo, patch};
use crate::format::delta::{
    DeltaDocument, DeltaFrame, DeltaIndex, DeltaObject, Extent, Piece, Segment,
    encode_delta_header, encode_delta_index,
};
use crate::id::ObjectId;

/// How objects are made by a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EncodeMethod {
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
pub struct MethodStats {
    /// Number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// What they take in the delta in bytes; a frame of several objects counts by their sizes in
    /// it.
    pub packed: u64,
}

/// What was encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedDelta {
    /// Size of the delta in bytes.
    pub bytes: u64,
    /// Size of its index in bytes.
    pub index: u64,
    /// Size of the manifest's and the tree's frames in bytes.
    pub documents: u64,
    /// What the objects are made by.
    pub methods: BTreeMap<EncodeMethod, MethodStats>,
}

/// Encodes a delta into `out`; frames are kept in `spool`, an empty file, until the index is known.
pub fn encode<S: Read + Write + Seek + Send>(
    request: &DeltaRequest<'_>,
    contents: &dyn ObjectReader,
    spool: &mut S,
    out: &mut dyn Write,
    options: &EncodeOptions,
    cancel: &AtomicBool,
) -> Result<EncodedDelta, DeltaError> {
    let plans = plan_all(request, contents, options, cancel)?;
    let order = order(request.new, &plans);
    let mut jobs = jobs(request.new, &plans, &order);
    let packed = compress_all(&mut jobs, contents, spool, options, cancel)?;
    let layout = IndexLayout {
        items: request.new,
        plans: &plans,
        order: &order,
        jobs: &jobs,
        packed: &packed,
    };
    let sources = layout.sources();
    let objects = layout.objects(&sources);
    let (manifest, packed_manifest) =
        document(request.manifests[1], request.manifests[0], options.level)?;
    // A tree is mostly digests: those of new objects are in the index, which the receiver has by
    // then.
    let mut known = request.trees[0].to_vec();
    known.extend(objects.iter().flat_map(|object| *object.id.as_bytes()));
    let (tree, packed_tree) = document(request.trees[1], &known, options.level)?;
    let index = DeltaIndex {
        from: request.from,
        to: request.to,
        manifest,
        tree,
        frames: layout.frames(&sources),
        bases: sources.bases,
        objects,
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
    Ok(EncodedDelta {
        bytes: header.len() as u64 + packed_index.len() as u64 + documents + fresh,
        index: packed_index.len() as u64,
        documents,
        methods: layout.tally(),
    })
}

/// Compresses a manifest or a tree, as it is, against what the receiver has.
fn document(new: &[u8], prefix: &[u8], level: i32) -> Result<(DeltaDocument, Vec<u8>), DeltaError> {
    let packed = patch::compress(new, prefix, level)
        .map_err(|source| io_error("compress", "a document", source))?;
    let document = DeltaDocument {
        size: new.len() as u64,
        packed: packed.len() as u64,
        offsets: 0,
    };
    Ok((document, packed))
}

fn plan_all(
    request: &DeltaRequest<'_>,
    contents: &dyn ObjectReader,
    options: &EncodeOptions,
    cancel: &AtomicBool,
) -> Result<Vec<Plan>, DeltaError> {
    let others = || request.old.iter().chain(request.also);
    let names = NameIndex::new(others());
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

/// Everything that the index of a delta describes.
struct IndexLayout<'a> {
    items: &'a [DeltaItem],
    plans: &'a [Plan],
    /// The numbers of the items, in the order in which they are made.
    order: &'a [usize],
    jobs: &'a [FrameJob],
    /// The sizes of the compressed frames, one for each job.
    packed: &'a [u64],
}

impl IndexLayout<'_> {
    fn pieces(&self, item: usize) -> impl Iterator<Item = &PlannedPiece> {
        let segments = self.plans[item].segments.iter();
        segments.flat_map(|segment| &segment.pieces)
    }

    /// Gives a number to each object that something is copied from. Bases come first, in the order
    /// in which frames and then objects use them: neighbours in the index then have numbers that
    /// differ little. Objects that are made follow.
    fn sources(&self) -> SourceNumbers {
        let made = self.order.iter().map(|n| self.items[*n].id);
        let mut sources = SourceNumbers {
            made: made.clone().collect(),
            ..SourceNumbers::default()
        };
        for slice in self.jobs.iter().flat_map(|job| &job.prefix) {
            sources.note(&slice.id);
        }
        for piece in self.order.iter().flat_map(|n| self.pieces(*n)) {
            if let PlannedPiece::Copy(slice) = piece {
                sources.note(&slice.id);
            }
        }
        let bases = sources.bases.len() as u64;
        sources.numbers.extend(made.zip(bases..));
        sources
    }

    fn objects(&self, sources: &SourceNumbers) -> Vec<DeltaObject> {
        let objects = self.order.iter().map(|n| {
            let segments = self.plans[*n].segments.iter().map(|segment| Segment {
                coding: segment.coding.clone(),
                pieces: segment.pieces.iter().map(|p| sources.piece(p)).collect(),
            });
            DeltaObject {
                id: self.items[*n].id,
                size: self.items[*n].size,
                segments: segments.collect(),
            }
        });
        objects.collect()
    }

    fn frames(&self, sources: &SourceNumbers) -> Vec<DeltaFrame> {
        let frames = self.jobs.iter().zip(self.packed);
        let frames = frames.map(|(job, packed)| DeltaFrame {
            size: job.size(),
            packed: *packed,
            prefix: job.prefix.iter().map(|p| sources.extent(p)).collect(),
        });
        frames.collect()
    }

    /// Counts what is made by which method.
    fn tally(&self) -> BTreeMap<EncodeMethod, MethodStats> {
        let mut shares: HashMap<ObjectId, u64> = HashMap::new();
        for (job, packed) in self.jobs.iter().zip(self.packed) {
            let size = job.size().max(1);
            for slice in &job.data {
                *shares.entry(slice.id).or_default() += slice.len * packed / size;
            }
        }
        let mut methods: BTreeMap<EncodeMethod, MethodStats> = BTreeMap::new();
        for n in self.order {
            let item = &self.items[*n];
            let tally = methods.entry(method(&self.plans[*n])).or_default();
            tally.objects += 1;
            tally.bytes += item.size;
            tally.packed += shares.get(&item.id).copied().unwrap_or(0);
        }
        methods
    }
}

/// Says how a plan makes its object; a file of several segments goes by the first.
fn method(plan: &Plan) -> EncodeMethod {
    let coding = plan.segments.first().and_then(|s| s.coding.as_ref());
    match (&plan.base, coding) {
        _ if plan.is_archive => EncodeMethod::Archive,
        (_, Some(Coding::Xz(_))) => EncodeMethod::Xz,
        (_, Some(Coding::Gzip(_))) => EncodeMethod::Gzip,
        (Base::None, _) => EncodeMethod::Full,
        _ => EncodeMethod::Patch,
    }
}

/// Numbers of objects as extents name them.
#[derive(Default)]
struct SourceNumbers {
    made: HashSet<ObjectId>,
    bases: Vec<ObjectId>,
    numbers: HashMap<ObjectId, u64>,
}

impl SourceNumbers {
    fn note(&mut self, id: &ObjectId) {
        if !self.made.contains(id) && !self.numbers.contains_key(id) {
            self.numbers.insert(*id, self.bases.len() as u64);
            self.bases.push(*id);
        }
    }

    fn extent(&self, slice: &ObjectSlice) -> Extent {
        let ObjectSlice {
            id,
            form,
            start,
            offset,
            len,
        } = *slice;
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
            PlannedPiece::Copy(slice) => Piece::Copy(self.extent(slice)),
            PlannedPiece::Fresh(range) => Piece::Fresh(range.end - range.start),
        }
    }
}
