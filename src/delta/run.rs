//! What the threads that apply a delta share: which objects are there, and what a frame holds.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::apply::ApplyReport;
use super::extents::{ExtentReader, ObjectSlice};
use super::open::{Delta, read};
use super::{DeltaError, DeltaSink};
use crate::codec::patch;
use crate::format::delta::Extent;
use crate::id::ObjectId;

pub(super) fn cannot_read(id: &ObjectId, error: &io::Error) -> String {
    format!("it needs {id}, which cannot be read: {error}")
}

pub(super) enum MakeFailure {
    Object(String),
    All(DeltaError),
}

impl From<io::Error> for MakeFailure {
    fn from(error: io::Error) -> Self {
        Self::Object(error.to_string())
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
    pub(super) units: VecDeque<Range<usize>>,
    pub(super) states: Vec<ObjectState>,
    pub(super) applied: ApplyReport,
    pub(super) error: Option<DeltaError>,
}

pub(super) struct ApplyRun<'r, 'a> {
    pub(super) delta: &'r Delta<'a>,
    pub(super) sink: &'r dyn DeltaSink,
    pub(super) wanted: &'r (dyn Fn(&ObjectId) -> bool + Sync),
    pub(super) progress: &'r (dyn Fn(u64) + Sync),
    pub(super) cancel: &'r AtomicBool,
    pub(super) state: Mutex<ApplyState>,
    pub(super) changed: Condvar,
}

/// The frame that was unpacked last.
pub(super) struct UnpackedFrame {
    pub(super) number: usize,
    pub(super) data: Result<Vec<u8>, String>,
    /// Says which base was not there; zeros stand for it.
    pub(super) missing: Option<String>,
}

impl ApplyRun<'_, '_> {
    pub(super) fn state(&self) -> MutexGuard<'_, ApplyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self, error: DeltaError) {
        let mut state = self.state();
        state.units.clear();
        state.error.get_or_insert(error);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the object that an extent is a part of is there, and returns its place.
    pub(super) fn locate(&self, extent: &Extent) -> Result<ObjectSlice, MakeFailure> {
        let index = &self.delta.index;
        let source = extent.source as usize;
        let id = match index.bases.get(source) {
            Some(base) => *base,
            None => {
                let made = source - index.bases.len();
                let mut state = self.state();
                loop {
                    if state.error.is_some() {
                        return Err(MakeFailure::All(DeltaError::Interrupted));
                    }
                    let id = index.objects[made].id;
                    match state.states[made] {
                        ObjectState::There => break id,
                        ObjectState::Failed => {
                            return Err(MakeFailure::Object(format!(
                                "it needs {id}, which could not be made"
                            )));
                        }
                        ObjectState::Waiting => {}
                    }
                    let waited = self.changed.wait_timeout(state, Duration::from_millis(200));
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
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

    /// Unpacks a frame. Missing parts of its prefix are taken as zeros: objects that do not need
    /// them come out right.
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
