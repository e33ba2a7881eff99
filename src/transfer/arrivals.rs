//! Tells which parts of a fetch are complete while the rest is still on its way.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::fetch::FetchObserver;
use crate::sha256::Sha256;

/// Pieces of blobs that are worked on as soon as all of their bytes arrived.
pub(super) struct Arrivals {
    pieces: Vec<(Sha256, Range<u64>)>,
    state: Mutex<ArrivalState>,
    changed: Condvar,
}

#[derive(Default)]
struct ArrivalState {
    /// By request: the pieces that need bytes of it, each with the offset up to which it needs
    /// them. The nearest offset comes last.
    requests: Vec<Vec<(u64, usize)>>,
    /// By piece: how many requests it still waits for.
    waits: Vec<usize>,
    ready: VecDeque<usize>,
    /// Nothing more arrives.
    closed: bool,
    /// The receiver wants nothing more.
    stopped: bool,
}

impl Arrivals {
    /// Waits for `pieces`.
    pub(super) fn new(pieces: Vec<(Sha256, Range<u64>)>) -> Self {
        Self {
            pieces,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ArrivalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a piece to arrive and returns its number; `None` once no more will come.
    pub(super) fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(piece) = state.ready.pop_front() {
                return Some(piece);
            }
            if state.closed {
                return None;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that the fetch ended. Pieces that did not arrive are handed out too, so that whoever
    /// unpacks them finds them damaged.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        let left = (0..state.waits.len()).filter(|piece| state.waits[*piece] > 0);
        let left: Vec<usize> = left.collect();
        state.ready.extend(left);
        state.closed = true;
        self.changed.notify_all();
    }

    /// Ends the work when it is dropped, unless [`Arrivals::close`] came before.
    pub(super) fn stopping(&self) -> Stopping<'_> {
        Stopping(self)
    }

    /// Ends the work and the fetch.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// See [`Arrivals::stopping`].
pub(super) struct Stopping<'a>(&'a Arrivals);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        if !self.0.lock().closed {
            self.0.stop();
        }
    }
}

impl FetchObserver for Arrivals {
    fn planned(&self, requests: &[(Sha256, Range<u64>)]) {
        let mut state = self.lock();
        state.requests = vec![Vec::new(); requests.len()];
        for (number, (blob, piece)) in self.pieces.iter().enumerate() {
            let first = requests
                .partition_point(|(other, range)| (other, range.end) <= (blob, piece.start));
            let overlapping = requests[first..]
                .iter()
                .take_while(|(other, range)| other == blob && range.start < piece.end);
            let mut waits = 0;
            for (at, (_, range)) in overlapping.enumerate() {
                state.requests[first + at].push((piece.end.min(range.end), number));
                waits += 1;
            }
            if waits == 0 {
                state.ready.push_back(number);
            }
            state.waits.push(waits);
        }
        for pieces in &mut state.requests {
            pieces.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.changed.notify_all();
    }

    fn arrived(&self, request: usize, upto: u64) -> bool {
        let mut state = self.lock();
        let mut is_news = false;
        while let Some((end, piece)) = state.requests[request].last().copied() {
            if end > upto {
                break;
            }
            state.requests[request].pop();
            state.waits[piece] -= 1;
            if state.waits[piece] == 0 {
                state.ready.push_back(piece);
                is_news = true;
            }
        }
        if is_news {
            self.changed.notify_all();
        }
        !state.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(number: u8) -> Sha256 {
        Sha256::from_bytes([number; 32])
    }

    #[test]
    fn pieces_are_ready_once_all_of_their_bytes_arrived() {
        let (one, two) = (blob(1), blob(2));
        let pieces = vec![(one, 0..10), (one, 10..30), (two, 5..6), (one, 40..50)];
        let arrivals = Arrivals::new(pieces);
        // The last piece is there already.
        arrivals.planned(&[(one, 0..20), (one, 20..40), (two, 0..10)]);
        assert_eq!(arrivals.next(), Some(3));
        assert!(arrivals.arrived(0, 9));
        assert!(arrivals.arrived(0, 10));
        assert_eq!(arrivals.next(), Some(0));
        assert!(arrivals.arrived(1, 30));
        assert!(arrivals.arrived(2, 5));
        assert!(arrivals.lock().ready.is_empty());
        assert!(arrivals.arrived(0, 20));
        assert_eq!(arrivals.next(), Some(1));
        // A piece that never came is handed out too, and found damaged.
        arrivals.close();
        assert_eq!((arrivals.next(), arrivals.next()), (Some(2), None));
    }

    #[test]
    fn a_fetch_that_ends_without_a_word_ends_the_work() {
        let arrivals = Arrivals::new(vec![(blob(1), 0..10)]);
        arrivals.planned(&[(blob(1), 0..10)]);
        drop(arrivals.stopping());
        assert_eq!(arrivals.next(), None);
    }

    #[test]
    fn who_stops_gets_nothing_more() {
        let arrivals = Arrivals::new(vec![(blob(1), 0..10)]);
        arrivals.planned(&[(blob(1), 0..10)]);
        arrivals.stop();
        assert!(!arrivals.arrived(0, 10));
        assert_eq!(arrivals.next(), None);
    }
}
