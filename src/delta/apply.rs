//! Making the objects of a delta, by several threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::extents::ExtentReader;
use super::object_maker::ObjectMaker;
use super::open::Delta;
use super::run::{ApplyRun, ApplyState, MakeFailure, ObjectState, UnpackedFrame};
use super::{DeltaError, DeltaSink, ObjectReader, PutError};
use crate::format::delta::DeltaObject;
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
    /// Makes the objects that are `wanted`, by several threads; of each about 50 MB are in memory
    /// at most. `progress` is told the size in bytes of each that is done. What cannot be made is
    /// in the result; an error ends everything.
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
            state: Mutex::new(ApplyState {
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
        let state = run
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some(error) => Err(error),
            None => Ok(state.applied),
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

/// Ends the other threads when one panics: they may wait for objects that it no longer makes.
pub(super) struct PanicGuard<'r, 'a>(&'r ApplyRun<'r, 'a>);

impl Drop for PanicGuard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(DeltaError::Interrupted);
        }
    }
}

impl ApplyRun<'_, '_> {
    pub(super) fn work(&self, contents: &dyn ObjectReader) {
        let _alarm = PanicGuard(self);
        let mut extents = ExtentReader::new(contents);
        let mut unpacked = None;
        loop {
            let Some(unit) = self.state().units.pop_front() else {
                return;
            };
            for n in unit {
                if self.cancel.load(Ordering::Relaxed) {
                    return self.end(DeltaError::Interrupted);
                }
                if self.state().error.is_some() {
                    return;
                }
                let object = &self.delta.index.objects[n];
                let result = if (self.wanted)(&object.id) {
                    self.make(n, object, &mut extents, &mut unpacked)
                } else {
                    Ok(false)
                };
                let mut state = self.state();
                state.states[n] = ObjectState::There;
                match result {
                    Ok(true) => {
                        state.applied.made += 1;
                        state.applied.bytes += object.size;
                    }
                    Ok(false) => {}
                    Err(MakeFailure::Object(reason)) => {
                        state.states[n] = ObjectState::Failed;
                        state.applied.failed.push((object.id, reason));
                    }
                    Err(MakeFailure::All(error)) => {
                        drop(state);
                        return self.end(error);
                    }
                }
                drop(state);
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
                // The delta is not at fault.
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
}

/// Keeps the writer's own error, which recompressors would replace by one of their own.
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
