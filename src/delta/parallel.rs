//! Work by several threads, the first error of which ends it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::DeltaError;

/// Runs `work` for 0 to `count`, by several threads, each with a state of its own.
pub(super) fn in_parallel<S>(
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
