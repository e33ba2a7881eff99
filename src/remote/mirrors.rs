//! Mirrors: several remotes with the same contents, asked in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::patience::Endpoint;
use super::{BlobSink, Head, Location, Remote, RemoteError, RemoteOptions, open};
use crate::sha256::Sha256;

/// Remotes with the same contents. One that failed is asked last for the rest of the run.
///
/// Blobs are named by their digest, so that one may come from several remotes. Heads may differ,
/// because a mirror may be behind: callers read each and decide.
pub struct Mirrors {
    remotes: Vec<Box<dyn Remote>>,
    /// Indices into `remotes`, in the order in which they are asked.
    order: Mutex<Vec<usize>>,
    /// Which remotes sent bytes of a blob that were not found damaged.
    senders: Mutex<BTreeMap<Sha256, BTreeSet<usize>>>,
    /// How often and how patiently all are asked again when none answered; `None` for once.
    patience: Option<Endpoint>,
}

impl Mirrors {
    /// Takes the remotes in order of preference.
    pub fn new(remotes: Vec<Box<dyn Remote>>) -> Self {
        let order = Mutex::new((0..remotes.len()).collect());
        Self {
            remotes,
            order,
            senders: Mutex::default(),
            patience: None,
        }
    }

    /// Opens them in order of preference. Where there are several, each is asked once before the
    /// next one is: one that is silent costs one wait, and tries again are rounds of all.
    pub fn open(locations: &[Location], options: &RemoteOptions) -> Result<Self, RemoteError> {
        let once = RemoteOptions {
            attempts: 1,
            ..options.clone()
        };
        let (each, patience) = match locations {
            [_] => (options, None),
            _ => {
                let name = "all mirrors".to_owned();
                let options = options.clone();
                (&once, Some(Endpoint { name, options }))
            }
        };
        let remotes = locations.iter().map(|location| open(location, each));
        Ok(Self {
            patience,
            ..Self::new(remotes.collect::<Result<_, _>>()?)
        })
    }

    /// Waits before all are asked again, of whom none answered `rounds` times; false where that was
    /// often enough.
    pub fn again(&self, rounds: u32) -> Result<bool, RemoteError> {
        match &self.patience {
            Some(endpoint) if rounds < endpoint.options.attempts => {
                endpoint.back_off(rounds)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.remotes.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.remotes.is_empty()
    }

    /// Returns the indices in the order in which they are asked now.
    pub fn order(&self) -> Vec<usize> {
        lock(&self.order).clone()
    }

    /// Returns one of them, by its place in the list that they were made of.
    pub fn get(&self, index: usize) -> Option<&dyn Remote> {
        self.remotes.get(index).map(AsRef::as_ref)
    }

    /// Asks this one last from now on; also for callers that found its contents wrong.
    pub fn demote(&self, index: usize) {
        let mut order = lock(&self.order);
        if let Some(at) = order.iter().position(|other| *other == index) {
            let index = order.remove(at);
            order.push(index);
        }
    }

    /// Asks one after the other. When all fail, the first fault is reported, because the first one
    /// is the preferred one.
    fn ask<T>(
        &self,
        mut ask: impl FnMut(usize, &dyn Remote) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let mut rounds = 0;
        loop {
            let (mut first, mut may_pass) = (None, false);
            let mut whole = None;
            for index in self.order() {
                match ask(index, self.remotes[index].as_ref()) {
                    // No mirror is at fault.
                    Err(error @ (RemoteError::Interrupted | RemoteError::Local { .. })) => {
                        return Err(error);
                    }
                    // It can be asked for all of it, once nobody sends a part.
                    Err(error @ RemoteError::WholeOnly { .. }) => {
                        whole.get_or_insert(error);
                    }
                    Err(error) => {
                        may_pass |= matches!(error, RemoteError::Unreachable { .. });
                        self.demote(index);
                        first.get_or_insert(error);
                    }
                    result => return result,
                }
            }
            if let Some(error) = whole {
                return Err(error);
            }
            rounds += 1;
            if !may_pass || !self.again(rounds)? {
                return Err(first.unwrap_or_else(|| RemoteError::Location {
                    location: String::new(),
                    reason: "there is no remote to ask".to_owned(),
                }));
            }
        }
    }
}

impl Remote for Mirrors {
    fn location(&self) -> &str {
        self.order()
            .first()
            .map_or("", |index| self.remotes[*index].location())
    }

    /// Reads the head of the first one that answers; callers that verify go through
    /// [`Mirrors::get`].
    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        self.ask(|_, remote| remote.read_head(limit))
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        for index in self.order() {
            match self.remotes[index].blob_size(blob) {
                // A mirror that is behind is not a bad mirror.
                Ok(None) => {}
                Ok(size) => return Ok(size),
                Err(RemoteError::Interrupted) => return Err(RemoteError::Interrupted),
                Err(_) => self.demote(index),
            }
        }
        // Either none has it, or those that may have it do not answer: one more round tells.
        self.ask(|_, remote| remote.blob_size(blob))
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        let mut at = range.start;
        self.ask(|index, remote| {
            let rest = at..range.end;
            let mut has_sent = false;
            let mut count = |bytes: &[u8]| {
                if !has_sent {
                    has_sent = true;
                    lock(&self.senders).entry(*blob).or_default().insert(index);
                }
                sink(bytes)?;
                at += bytes.len() as u64;
                Ok(())
            };
            remote.read_blob(blob, rest, &mut count)
        })
    }

    fn distrust(&self, blob: &Sha256) -> Vec<String> {
        let senders = lock(&self.senders).remove(blob).unwrap_or_default();
        let mut locations = Vec::new();
        for index in senders {
            self.demote(index);
            locations.push(self.remotes[index].location().to_owned());
        }
        locations
    }

    fn places(&self) -> usize {
        self.remotes.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
