//! Making the objects of a delta, by several threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::extents::{ExtentReader, ObjectSlice};
use super::object_maker::{MakeFailure, ObjectMaker, cannot_read};
use super::open::{Delta, read};
use super::{DeltaError, DeltaSink, ObjectReader, PutError};
use crate::codec::patch;
use crate::format::delta::{DeltaObject, Extent};
use crate::id::ObjectId;

/// What [`Delta::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Number of objects made.
    pub made: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Objects that could not be made, and why.
    pub failed: Vec<(ObjectId, String)>,
}

impl Delta<'_> {
    /// Makes the objects that are `wanted`, by several threads; of each about 50 MB are in memory at most. `progress` is told
    /// the size in bytes of each that is done. What cannot be made is in the result; an error ends everything.
    pub fn apply(
        &self,
        contents: &dyn ObjectReader,
        sink: &dyn DeltaSink,
        wanted: &(dyn Fn(&ObjectId) -> bool + Sync),
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
        cancel: &AtomicBool,
    ) -> Result<ApplyReport, DeltaError> {
        let run = ApplyRun {
            delta: self,
            sink,
            wanted,
            progress,
            cancel,
            board: Mutex::new(ApplyState {
                units: self.units(),
                states: vec![ObjectState::Waiting; self.index.objects.len()],
                applied: ApplyReport::default(),
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
    pub(super) fn units(&self) -> VecDeque<Range<usize>> {
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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectState {
    Waiting,
    There,
    Failed,
}

/// What the threads share.
pub(super) struct ApplyState {
    units: VecDeque<Range<usize>>,
    states: Vec<ObjectState>,
    applied: ApplyReport,
    error: Option<DeltaError>,
}

pub(super) struct ApplyRun<'r, 'a> {
    pub(super) delta: &'r Delta<'a>,
    pub(super) sink: &'r dyn DeltaSink,
    pub(super) wanted: &'r (dyn Fn(&ObjectId) -> bool + Sync),
    pub(super) progress: &'r (dyn Fn(u64) + Sync),
    pub(super) cancel: &'r AtomicBool,
    pub(super) board: Mutex<ApplyState>,
    pub(super) changed: Condvar,
}

/// Ends the others when a thread panics: they may wait for what it does not make any more.
pub(super) struct PanicGuard<'r, 'a>(&'r ApplyRun<'r, 'a>);

impl Drop for PanicGuard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(DeltaError::Interrupted);
        }
    }
}

/// The frame that was unpacked last.
pub(super) struct UnpackedFrame {
    pub(super) number: usize,
    pub(super) data: Result<Vec<u8>, String>,
    /// Says which base was not there; zeros stand for it.
    pub(super) missing: Option<String>,
}

impl ApplyRun<'_, '_> {
    pub(super) fn board(&self) -> MutexGuard<'_, ApplyState> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self, error: DeltaError) {
        let mut board = self.board();
        board.units.clear();
        board.error.get_or_insert(error);
        drop(board);
        self.changed.notify_all();
    }

    pub(super) fn work(&self, contents: &dyn ObjectReader) {
        let _alarm = PanicGuard(self);
        let mut extents = ExtentReader::new(contents);
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
                board.states[n] = ObjectState::There;
                match result {
                    Ok(true) => {
                        board.applied.made += 1;
                        board.applied.bytes += object.size;
                    }
                    Ok(false) => {}
                    Err(MakeFailure::Object(reason)) => {
                        board.states[n] = ObjectState::Failed;
                        board.applied.failed.push((object.id, reason));
                    }
                    Err(MakeFailure::All(error)) => {
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

    pub(super) fn make(
        &self,
        n: usize,
        object: &DeltaObject,
        extents: &mut ExtentReader<'_>,
        unpacked: &mut Option<UnpackedFrame>,
    ) -> Result<bool, MakeFailure> {
        let codings = object
            .segments
            .iter()
            .filter_map(|segment| segment.coding.as_ref());
        if codings
            .into_iter()
            .any(|coding| !coding.is_possible(self.delta.memory))
        {
            return Err(MakeFailure::Object(
                "it is compressed in a way that is not possible here".to_owned(),
            ));
        }
        extents.reset();
        let mut reason = None;
        let mut missing = None;
        let mut end = None;
        let mut fill = |out: &mut dyn Write| {
            let mut out = FaultKeeper { out, broken: None };
            let mut object_maker = ObjectMaker {
                run: self,
                fresh: self.delta.starts[n],
                extents,
                unpacked,
                missing: None,
            };
            let result = object_maker.write(object, &mut out);
            missing = object_maker.missing.take();
            if let (Err(_), Some(broken)) = (&result, out.broken) {
                // Not the delta's fault.
                return Err(broken);
            }
            result.map_err(|failure| match failure {
                MakeFailure::Object(text) => {
                    reason = Some(text.clone());
                    io::Error::other(text)
                }
                MakeFailure::All(error) => {
                    end = Some(error);
                    io::Error::other("ended")
                }
            })
        };
        let result = self.sink.put(&object.id, object.size, &mut fill);
        if let Some(error) = end {
            return Err(MakeFailure::All(error));
        }
        match result {
            Ok(()) => Ok(true),
            Err(PutError::Content(text)) => {
                Err(MakeFailure::Object(reason.or(missing).unwrap_or(text)))
            }
            Err(PutError::Storage(source)) => Err(MakeFailure::All(DeltaError::Storage {
                id: object.id,
                source,
            })),
        }
    }

    /// Waits until the object that an extent is a part of is there, and returns its place.
    pub(super) fn locate(&self, extent: &Extent) -> Result<ObjectSlice, MakeFailure> {
        let index = &self.delta.index;
        let source = extent.source as usize;
        let id = match index.bases.get(source) {
            Some(base) => *base,
            None => {
                let made = source - index.bases.len();
                let mut board = self.board();
                loop {
                    if board.error.is_some() {
                        return Err(MakeFailure::All(DeltaError::Interrupted));
                    }
                    let id = index.objects[made].id;
                    match board.states[made] {
                        ObjectState::There => break id,
                        ObjectState::Failed => {
                            return Err(MakeFailure::Object(format!(
                                "it needs {id}, which could not be made"
                            )));
                        }
                        ObjectState::Waiting => {}
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
        Ok(ObjectSlice {
            id,
            form,
            start,
            offset,
            len,
        })
    }

    /// Unpacks a frame. What is not there of its prefix is taken as zeros: objects that do not need it come out right.
    pub(super) fn unpack(
        &self,
        number: usize,
        extents: &mut ExtentReader<'_>,
    ) -> Result<UnpackedFrame, MakeFailure> {
        let frame = &self.delta.index.frames[number];
        let total = frame.prefix.iter().map(|extent| extent.len).sum::<u64>();
        let mut prefix = Vec::with_capacity(total as usize);
        let mut missing = None;
        for extent in &frame.prefix {
            let until = prefix.len() + extent.len as usize;
            let slice = match self.locate(extent) {
                Ok(slice) => extents
                    .copy(&slice, &mut prefix)
                    .map_err(|error| cannot_read(&slice.id, &error)),
                Err(MakeFailure::Object(reason)) => Err(reason),
                Err(all) => return Err(all),
            };
            if let Err(reason) = slice {
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
        .map_err(MakeFailure::All)?;
        let data = patch::decompress(&packed, &prefix, frame.size as usize);
        let data = data.map_err(|error| match &missing {
            Some(missing) => missing.clone(),
            None => format!("a frame of the delta is damaged: {error}"),
        });
        Ok(UnpackedFrame {
            number,
            data,
            missing,
        })
    }
}

/// Keeps what a writer says of itself, which recompressors turn into words of their own.
struct FaultKeeper<'o> {
    out: &'o mut dyn Write,
    broken: Option<io::Error>,
}

impl FaultKeeper<'_> {
    fn keep(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::Interrupted {
            self.broken = error.raw_os_error().map(io::Error::from_raw_os_error);
        }
    }
}

impl Write for FaultKeeper<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        result.inspect_err(|error| self.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        result.inspect_err(|error| self.keep(error))
    }
}
