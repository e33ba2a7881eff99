//! Reading a delta: its index and its documents, within limits.

use std::io;
use std::ops::Range;

use super::{DeltaError, ReadAt};
use crate::codec::patch;
use crate::format::delta::{
    DeltaDocument, DeltaIndex, DeltaObject, HEADER_BYTES, Piece, decode_delta_header,
    decode_delta_index,
};
use crate::id::ObjectId;

/// What a delta may take of a machine.
#[derive(Debug, Clone, Copy)]
pub struct DeltaLimits {
    /// The most bytes of the unpacked index.
    pub index: u64,
    /// The most bytes of a manifest or a tree.
    pub document: u64,
    /// The most memory for making one compressed file again, in bytes.
    pub memory: u64,
    /// The most bytes of all objects together.
    pub objects: u64,
}

impl Default for DeltaLimits {
    fn default() -> Self {
        Self {
            index: 64 << 20,
            document: 256 << 20,
            memory: 64 << 20,
            objects: 1 << 44,
        }
    }
}

/// A delta that was opened: its index is sound, the rest is not read yet.
pub struct Delta<'a> {
    pub(super) source: &'a dyn ReadAt,
    /// The old manifest and the old tree.
    pub(super) old: [&'a [u8]; 2],
    pub(super) index: DeltaIndex,
    /// Where in the file the frames of manifest and tree start, and those of fresh data.
    pub(super) documents: [u64; 2],
    pub(super) frames: Vec<Frame>,
    /// Where the fresh data of each object starts.
    pub(super) starts: Vec<u64>,
    pub(super) memory: u64,
}

/// Where a frame is in the file, and in the fresh data.
pub(super) struct Frame {
    pub(super) at: u64,
    pub(super) data: Range<u64>,
}

/// Reads the index of a delta of `file` bytes, and keeps to the limits before memory is taken for
/// anything. Returns it with its packed size.
fn read_index(
    source: &dyn ReadAt,
    file: u64,
    old_tree: &[u8],
    limits: &DeltaLimits,
) -> Result<(DeltaIndex, u64), DeltaError> {
    let limit = |what: &str, found: u64, most: u64| {
        let reason = format!("{what} has {found} bytes, more than {most}");
        if found > most {
            Err(DeltaError::Limit { reason })
        } else {
            Ok(())
        }
    };
    let header = read(source, HEADER_BYTES as u64, 0, "the delta")?;
    let header = header.first_chunk().ok_or(DeltaError::Interrupted)?;
    let (packed, size) = decode_delta_header(header)?;
    limit("its index", size, limits.index)?;
    limit("its packed index", packed, file.min(limits.index))?;
    let bytes = read(source, packed, HEADER_BYTES as u64, "the delta")?;
    let bytes = patch::decompress(&bytes, old_tree, size as usize).map_err(|source| {
        DeltaError::Damaged {
            what: "index",
            source,
        }
    })?;
    let index = decode_delta_index(&bytes)?;
    for document in [&index.manifest, &index.tree] {
        limit("its manifest or tree", document.size, limits.document)?;
    }
    let sizes = index.objects.iter().map(|object| object.size);
    let total = sizes.fold(0u64, u64::saturating_add);
    limit("what it makes", total, limits.objects)?;
    Ok((index, packed))
}

/// Returns where each frame is, the first one at `at`, and where the last one ends.
fn frames_from(mut at: u64, index: &DeltaIndex) -> (Vec<Frame>, u64) {
    let mut fresh = 0;
    let mut frames = Vec::with_capacity(index.frames.len());
    for frame in &index.frames {
        frames.push(Frame {
            at,
            data: fresh..fresh + frame.size,
        });
        at += frame.packed;
        fresh += frame.size;
    }
    (frames, at)
}

impl<'a> Delta<'a> {
    /// Reads the index of a delta from what has these bytes as manifest and tree.
    pub fn open(
        source: &'a dyn ReadAt,
        old_manifest: &'a [u8],
        old_tree: &'a [u8],
        limits: &DeltaLimits,
    ) -> Result<Self, DeltaError> {
        let file = source.size().map_err(|source| DeltaError::Io {
            verb: "read",
            what: "the delta".to_owned(),
            source,
        })?;
        let (index, packed) = read_index(source, file, old_tree, limits)?;
        let manifest = HEADER_BYTES as u64 + packed;
        let tree = manifest + index.manifest.packed;
        let (frames, end) = frames_from(tree + index.tree.packed, &index);
        if end != file {
            let reason = format!("it has {file} bytes, and its index says {end}");
            return Err(DeltaError::Limit { reason });
        }
        let mut start = 0;
        let starts = index.objects.iter().map(|object| {
            let own = start;
            start += pieces(object).map(fresh_len).sum::<u64>();
            own
        });
        Ok(Self {
            source,
            old: [old_manifest, old_tree],
            starts: starts.collect(),
            documents: [manifest, tree],
            frames,
            index,
            memory: limits.memory,
        })
    }

    /// Returns the index.
    pub fn index(&self) -> &DeltaIndex {
        &self.index
    }

    /// Returns the objects that the delta makes, with sizes in bytes.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = (&ObjectId, u64)> {
        self.index
            .objects
            .iter()
            .map(|object| (&object.id, object.size))
    }

    /// Makes the new manifest; its digest is for the caller to check.
    pub fn manifest(&self) -> Result<Vec<u8>, DeltaError> {
        self.document(
            "manifest",
            &self.index.manifest,
            self.documents[0],
            self.old[0],
        )
    }

    /// Makes the new tree or changeset; its digest is for the caller to check.
    pub fn tree(&self) -> Result<Vec<u8>, DeltaError> {
        let mut prefix = self.old[1].to_vec();
        prefix.extend(
            self.index
                .objects
                .iter()
                .flat_map(|object| *object.id.as_bytes()),
        );
        self.document("tree", &self.index.tree, self.documents[1], &prefix)
    }

    fn document(
        &self,
        what: &'static str,
        document: &DeltaDocument,
        at: u64,
        prefix: &[u8],
    ) -> Result<Vec<u8>, DeltaError> {
        let packed = read(self.source, document.packed, at, "the delta")?;
        patch::decompress(&packed, prefix, document.size as usize)
            .map_err(|source| DeltaError::Damaged { what, source })
    }
}

pub(super) fn read(
    source: &dyn ReadAt,
    size: u64,
    at: u64,
    what: &str,
) -> Result<Vec<u8>, DeltaError> {
    let failed = |source| DeltaError::Io {
        verb: "read",
        what: what.to_owned(),
        source,
    };
    // Nothing is allocated for what is not there.
    let file = source.size().map_err(failed)?;
    if at.checked_add(size).is_none_or(|end| end > file) {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut bytes = vec![0; size as usize];
    source.read_exact_at(&mut bytes, at).map_err(failed)?;
    Ok(bytes)
}

pub(super) fn pieces(object: &DeltaObject) -> impl Iterator<Item = &Piece> {
    object.segments.iter().flat_map(|segment| &segment.pieces)
}

pub(super) fn fresh_len(piece: &Piece) -> u64 {
    match piece {
        Piece::Fresh(len) => *len,
        Piece::Copy(_) => 0,
    }
}
