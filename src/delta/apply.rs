//! Reading a delta, and making its objects.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::extents::{Extents, Place};
use super::{Contents, DeltaError, PutError, ReadAt, Sink};
use crate::codec::{Recompressor, patch};
use crate::format::delta::{
    DeltaIndex, DeltaObject, Document, Extent, HEADER_BYTES, Piece, decode_delta_header,
    decode_delta_index,
};
use crate::id::ObjectId;

/// What a delta may take of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of the unpacked index.
    pub index: u64,
    /// The most bytes of a manifest or a tree.
    pub document: u64,
    /// The most memory for making one compressed file again, in bytes.
    pub memory: u64,
    /// The most bytes of all objects together.
    pub objects: u64,
}

impl Default for Limits {
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
    source: &'a dyn ReadAt,
    /// The old manifest and the old tree.
    old: [&'a [u8]; 2],
    index: DeltaIndex,
    /// Where in the file the frames of manifest and tree start, and those of fresh data.
    documents: [u64; 2],
    frames: Vec<Frame>,
    /// Where the fresh data of each object starts.
    starts: Vec<u64>,
    memory: u64,
}

/// Where a frame is in the file, and in the fresh data.
struct Frame {
    at: u64,
    data: Range<u64>,
}

/// What [`Delta::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Number of objects made.
    pub made: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Objects that could not be made, and why.
    pub failed: Vec<(ObjectId, String)>,
}

impl<'a> Delta<'a> {
    /// Reads the index of a delta from what has these bytes as manifest and tree.
    pub fn open(
        source: &'a dyn ReadAt,
        old_manifest: &'a [u8],
        old_tree: &'a [u8],
        limits: &Limits,
    ) -> Result<Self, DeltaError> {
        let read = |size: u64, at: u64| read(source, size, at, "the delta");
        let file = source.size().map_err(|source| DeltaError::Io {
            verb: "read",
            what: "the delta".to_owned(),
            source,
        })?;
        let header = read(HEADER_BYTES as u64, 0)?;
        let header = header.first_chunk().ok_or(DeltaError::Interrupted)?;
        let (packed, size) = decode_delta_header(header)?;
        let limit = |what: &str, found: u64, most: u64| {
            let reason = format!("{what} has {found} bytes, more than {most}");
            if found > most {
                Err(DeltaError::Limit { reason })
            } else {
                Ok(())
            }
        };
        limit("its index", size, limits.index)?;
        limit("its packed index", packed, file.min(limits.index))?;
        let bytes = read(packed, HEADER_BYTES as u64)?;
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
        let total = index
            .objects
            .iter()
            .fold(0u64, |n, object| n.saturating_add(object.size));
        limit("what it makes", total, limits.objects)?;

        let manifest = HEADER_BYTES as u64 + packed;
        let tree = manifest + index.manifest.packed;
        let (mut at, mut fresh) = (tree + index.tree.packed, 0);
        let mut frames = Vec::with_capacity(index.frames.len());
        for frame in &index.frames {
            frames.push(Frame {
                at,
                data: fresh..fresh + frame.size,
            });
            at += frame.packed;
            fresh += frame.size;
        }
        if at != file {
            let reason = format!("it has {file} bytes, and its index says {at}");
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
        document: &Document,
        at: u64,
        prefix: &[u8],
    ) -> Result<Vec<u8>, DeltaError> {
        let packed = read(self.source, document.packed, at, "the delta")?;
        patch::decompress(&packed, prefix, document.size as usize)
            .map_err(|source| DeltaError::Damaged { what, source })
    }

    /// Makes the objects that are `wanted`, by several threads; of each about 50 MB are in memory at most. `progress` is told
    /// the size in bytes of each that is done. What cannot be made is in the result; an error ends everything.
    pub fn apply(
        &self,
        contents: &dyn Contents,
        sink: &dyn Sink,
        wanted: &(dyn Fn(&ObjectId) -> bool + Sync),
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Applied, DeltaError> {
        let run = Run {
            delta: self,
            sink,
            wanted,
            progress,
            cancel,
            board: Mutex::new(Board {
                units: self.units(),
                states: vec![State::Waiting; self.index.objects.len()],
                applied: Applied::default(),
                error: None,
            }),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| run.work(contents));
            }
        });
        let board = run
            .board
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match board.error {
            Some(error) => Err(error),
            None => Ok(board.applied),
        }
    }

    /// Cuts the objects into series that share no frame.
    fn units(&self) -> VecDeque<Range<usize>> {
        let mut units: VecDeque<Range<usize>> = VecDeque::new();
        let mut frames = self.frames.iter().peekable();
        for (n, start) in self.starts.iter().enumerate() {
            while frames.next_if(|frame| frame.data.start < *start).is_some() {}
            let is_border = frames.peek().is_none_or(|frame| frame.data.start == *start);
            match units.back_mut() {
                Some(unit) if !is_border => unit.end = n + 1,
                _ => units.push_back(n..n + 1),
            }
        }
        units
    }
}

fn read(source: &dyn ReadAt, size: u64, at: u64, what: &str) -> Result<Vec<u8>, DeltaError> {
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

fn pieces(object: &DeltaObject) -> impl Iterator<Item = &Piece> {
    object.segments.iter().flat_map(|segment| &segment.pieces)
}

fn fresh_len(piece: &Piece) -> u64 {
    match piece {
        Piece::Fresh(len) => *len,
        Piece::Copy(_) => 0,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    There,
    Failed,
}

/// What the threads share.
struct Board {
    units: VecDeque<Range<usize>>,
    states: Vec<State>,
    applied: Applied,
    error: Option<DeltaError>,
}

struct Run<'r, 'a> {
    delta: &'r Delta<'a>,
    sink: &'r dyn Sink,
    wanted: &'r (dyn Fn(&ObjectId) -> bool + Sync),
    progress: &'r (dyn Fn(u64) + Sync),
    cancel: &'r AtomicBool,
    board: Mutex<Board>,
    changed: Condvar,
}

/// Ends the others when a thread panics: they may wait for what it does not make any more.
struct Alarm<'r, 'a>(&'r Run<'r, 'a>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(DeltaError::Interrupted);
        }
    }
}

/// The frame that was unpacked last.
struct Unpacked {
    number: usize,
    data: Result<Vec<u8>, String>,
    /// Says which base was not there; zeros stand for it.
    missing: Option<String>,
}

impl Run<'_, '_> {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: DeltaError) {
        let mut board = self.board();
        board.units.clear();
        board.error.get_or_insert(error);
        drop(board);
        self.changed.notify_all();
    }

    fn work(&self, contents: &dyn Contents) {
        let _alarm = Alarm(self);
        let mut extents = Extents::new(contents);
        let mut unpacked = None;
        loop {
            let Some(unit) = self.board().units.pop_front() else {
                return;
            };
            for n in unit {
                if self.cancel.load(Ordering::Relaxed) {
                    return self.end(DeltaError::Interrupted);
                }
                if self.board().error.is_some() {
                    return;
                }
                let object = &self.delta.index.objects[n];
                let result = if (self.wanted)(&object.id) {
                    self.make(n, object, &mut extents, &mut unpacked)
                } else {
                    Ok(false)
                };
                let mut board = self.board();
                board.states[n] = State::There;
                match result {
                    Ok(true) => {
                        board.applied.made += 1;
                        board.applied.bytes += object.size;
                    }
                    Ok(false) => {}
                    Err(Failure::Object(reason)) => {
                        board.states[n] = State::Failed;
                        board.applied.failed.push((object.id, reason));
                    }
                    Err(Failure::All(error)) => {
                        drop(board);
                        return self.end(error);
                    }
                }
                drop(board);
                self.changed.notify_all();
                (self.progress)(object.size);
            }
        }
    }

    fn make(
        &self,
        n: usize,
        object: &DeltaObject,
        extents: &mut Extents<'_>,
        unpacked: &mut Option<Unpacked>,
    ) -> Result<bool, Failure> {
        let codings = object
            .segments
            .iter()
            .filter_map(|segment| segment.coding.as_ref());
        if codings
            .into_iter()
            .any(|coding| !coding.is_possible(self.delta.memory))
        {
            return Err(Failure::Object(
                "it is compressed in a way that is not possible here".to_owned(),
            ));
        }
        extents.reset();
        let mut reason = None;
        let mut missing = None;
        let mut end = None;
        let mut fill = |out: &mut dyn Write| {
            let mut making = Making {
                run: self,
                fresh: self.delta.starts[n],
                extents,
                unpacked,
                missing: None,
            };
            let result = making.write(object, out);
            missing = making.missing.take();
            result.map_err(|failure| match failure {
                Failure::Object(text) => {
                    reason = Some(text.clone());
                    io::Error::other(text)
                }
                Failure::All(error) => {
                    end = Some(error);
                    io::Error::other("ended")
                }
            })
        };
        let result = self.sink.put(&object.id, object.size, &mut fill);
        if let Some(error) = end {
            return Err(Failure::All(error));
        }
        match result {
            Ok(()) => Ok(true),
            Err(PutError::Content(text)) => {
                Err(Failure::Object(reason.or(missing).unwrap_or(text)))
            }
            Err(PutError::Storage(source)) => Err(Failure::All(DeltaError::Storage {
                id: object.id,
                source,
            })),
        }
    }

    /// Waits until the object that an extent is a part of is there, and returns its place.
    fn place(&self, extent: &Extent) -> Result<Place, Failure> {
        let index = &self.delta.index;
        let source = extent.source as usize;
        let id = match index.bases.get(source) {
            Some(base) => *base,
            None => {
                let made = source - index.bases.len();
                let mut board = self.board();
                loop {
                    if board.error.is_some() {
                        return Err(Failure::All(DeltaError::Interrupted));
                    }
                    let id = index.objects[made].id;
                    match board.states[made] {
                        State::There => break id,
                        State::Failed => {
                            return Err(Failure::Object(format!(
                                "it needs {id}, which could not be made"
                            )));
                        }
                        State::Waiting => {}
                    }
                    let waited = self.changed.wait_timeout(board, Duration::from_millis(200));
                    board = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        };
        let Extent {
            form,
            start,
            offset,
            len,
            ..
        } = *extent;
        Ok(Place {
            id,
            form,
            start,
            offset,
            len,
        })
    }

    /// Unpacks a frame. What is not there of its prefix is taken as zeros: objects that do not need it come out right.
    fn unpack(&self, number: usize, extents: &mut Extents<'_>) -> Result<Unpacked, Failure> {
        let frame = &self.delta.index.frames[number];
        let total = frame.prefix.iter().map(|extent| extent.len).sum::<u64>();
        let mut prefix = Vec::with_capacity(total as usize);
        let mut missing = None;
        for extent in &frame.prefix {
            let until = prefix.len() + extent.len as usize;
            let place = match self.place(extent) {
                Ok(place) => extents
                    .copy(&place, &mut prefix)
                    .map_err(|error| cannot_read(&place.id, &error)),
                Err(Failure::Object(reason)) => Err(reason),
                Err(all) => return Err(all),
            };
            if let Err(reason) = place {
                missing.get_or_insert(reason);
            }
            prefix.resize(until, 0);
        }
        let packed = read(
            self.delta.source,
            frame.packed,
            self.delta.frames[number].at,
            "the delta",
        )
        .map_err(Failure::All)?;
        let data = patch::decompress(&packed, &prefix, frame.size as usize);
        let data = data.map_err(|error| match &missing {
            Some(missing) => missing.clone(),
            None => format!("a frame of the delta is damaged: {error}"),
        });
        Ok(Unpacked {
            number,
            data,
            missing,
        })
    }
}

fn cannot_read(id: &ObjectId, error: &io::Error) -> String {
    format!("it needs {id}, which cannot be read: {error}")
}

enum Failure {
    Object(String),
    All(DeltaError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Object(error.to_string())
    }
}

/// One object on its way.
struct Making<'m, 'r, 'a, 'c> {
    run: &'m Run<'r, 'a>,
    /// How far the fresh data is used.
    fresh: u64,
    extents: &'m mut Extents<'c>,
    unpacked: &'m mut Option<Unpacked>,
    missing: Option<String>,
}

impl Making<'_, '_, '_, '_> {
    fn write(&mut self, object: &DeltaObject, out: &mut dyn Write) -> Result<(), Failure> {
        let mut out = Limited {
            out,
            left: object.size,
        };
        for segment in &object.segments {
            let Some(coding) = &segment.coding else {
                self.pieces(&segment.pieces, &mut out)?;
                continue;
            };
            let size = segment.pieces.iter().map(Piece::len).sum();
            let mut recompressor = Recompressor::new(coding, size, &mut out)?;
            self.pieces(&segment.pieces, &mut recompressor)?;
            recompressor.finish()?;
        }
        Ok(())
    }

    fn pieces(&mut self, pieces: &[Piece], out: &mut dyn Write) -> Result<(), Failure> {
        for piece in pieces {
            match piece {
                Piece::Fresh(len) => self.fresh(*len, out)?,
                Piece::Copy(extent) => {
                    let place = self.run.place(extent)?;
                    let copied = self.extents.copy(&place, out);
                    copied.map_err(|error| Failure::Object(cannot_read(&place.id, &error)))?;
                }
            }
        }
        Ok(())
    }

    /// Writes the next bytes of the fresh data.
    fn fresh(&mut self, len: u64, out: &mut dyn Write) -> Result<(), Failure> {
        let end = self.fresh + len;
        while self.fresh < end {
            let frames = &self.run.delta.frames;
            let number = frames.partition_point(|frame| frame.data.end <= self.fresh);
            if self
                .unpacked
                .as_ref()
                .is_none_or(|unpacked| unpacked.number != number)
            {
                // What was there goes first: memory for one is enough.
                *self.unpacked = None;
                *self.unpacked = Some(self.run.unpack(number, self.extents)?);
            }
            let Some(unpacked) = self.unpacked.as_ref() else {
                continue;
            };
            if self.missing.is_none() {
                self.missing.clone_from(&unpacked.missing);
            }
            let data = unpacked
                .data
                .as_ref()
                .map_err(|reason| Failure::Object(reason.clone()))?;
            let range = &frames[number].data;
            let until = end.min(range.end);
            out.write_all(
                &data[(self.fresh - range.start) as usize..(until - range.start) as usize],
            )?;
            self.fresh = until;
        }
        Ok(())
    }
}

/// Passes on no more bytes than an object may have.
struct Limited<'o> {
    out: &'o mut dyn Write,
    left: u64,
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("it becomes larger than it should"))?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
