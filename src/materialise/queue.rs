//! A stack of jobs that several threads work off, each job adding more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::materialise::MaterialiseError;

/// The jobs of all threads; it is finished when no job is left and none is being worked on.
pub(super) struct Queue<J> {
    state: Mutex<QueueState<J>>,
    changed: Condvar,
}

struct QueueState<J> {
    jobs: Vec<J>,
    busy: usize,
    failure: Option<MaterialiseError>,
    abandoned: bool,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self {
            state: Mutex::new(QueueState {
                jobs: Vec::new(),
                busy: 0,
                failure: None,
                abandoned: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, QueueState<J>> {
        // A panic in a worker is passed on by `run`; until then the others may finish.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds jobs; the last is taken first.
    pub(super) fn push(&self, jobs: Vec<J>) {
        let many = jobs.len();
        self.lock().jobs.extend(jobs);
        match many {
            0 => {}
            1 => self.changed.notify_one(),
            _ => self.changed.notify_all(),
        }
    }

    /// Takes a job, or waits for one; `None` when all are done or something failed.
    pub(super) fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() || state.abandoned {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a job that [`Self::next`] gave.
    pub(super) fn done(&self, error: Option<MaterialiseError>) {
        let mut state = self.lock();
        state.busy -= 1;
        if state.failure.is_none() {
            state.failure = error;
        }
        if state.failure.is_some() || (state.busy == 0 && state.jobs.is_empty()) {
            self.changed.notify_all();
        }
    }

    /// Takes the first failure out.
    pub(super) fn failure(&self) -> Option<MaterialiseError> {
        self.lock().failure.take()
    }
}

/// Lets the other threads go when this one panics, so that none waits for work that never comes.
pub(super) struct AbandonOnPanic<'a, J>(pub(super) &'a Queue<J>);

impl<J> Drop for AbandonOnPanic<'_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().abandoned = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn run(
        threads: usize,
        work: impl Fn(&Queue<u32>, u32) -> Option<MaterialiseError> + Sync,
    ) -> Queue<u32> {
        let queue = Queue::default();
        queue.push(vec![12]);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(job) = queue.next() {
                        let error = work(&queue, job);
                        queue.done(error);
                    }
                });
            }
        });
        queue
    }

    #[test]
    fn every_job_is_done_once_also_those_that_jobs_add() {
        let count = AtomicUsize::new(0);
        let queue = run(4, |queue, depth| {
            count.fetch_add(1, Ordering::Relaxed);
            if depth > 0 {
                queue.push(vec![depth - 1; 2]);
            }
            None
        });
        assert_eq!(count.into_inner(), (1 << 13) - 1);
        assert!(queue.failure().is_none());
    }

    #[test]
    fn a_failure_ends_the_work_of_all_threads() {
        let queue = run(4, |queue, depth| {
            queue.push(vec![depth + 1; 2]);
            (depth == 20).then(|| MaterialiseError::Changed { path: "x".into() })
        });
        assert!(matches!(
            queue.failure(),
            Some(MaterialiseError::Changed { .. })
        ));
    }
}
