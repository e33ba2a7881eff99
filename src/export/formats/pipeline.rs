//! Work on the pieces of a disk by several threads, whose results come back in the disk's order.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::error::Share;
use super::source::is_zero;
use super::{FormatError, FormatOptions, Source};

/// What a thread takes at once, in bytes: so often it looks whether it is to end.
const BATCH: u64 = 1 << 20;

/// How many finished results a thread may be ahead.
const AHEAD: usize = 2;

/// Does `count` pieces of work on `threads` threads, and gives the results to `sink` in order.
///
/// `worker` makes what one thread works with. Piece `n` is done by thread `n` modulo their number,
/// so that little is ever waiting, and nothing has to be sorted.
pub(super) fn ordered<T: Send, W: FnMut(usize) -> Result<T, FormatError>>(
    threads: usize,
    count: usize,
    worker: impl Fn() -> W + Sync,
    mut sink: impl FnMut(T) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let threads = threads.clamp(1, count.max(1));
    if threads == 1 {
        let mut work = worker();
        return (0..count).try_for_each(|piece| sink(work(piece)?));
    }
    thread::scope(|scope| {
        let start = |first: usize| {
            let (results, received) = sync_channel(AHEAD);
            let worker = &worker;
            scope.spawn(move || do_every(first, threads, count, worker(), &results));
            received
        };
        let receivers: Vec<Receiver<_>> = (0..threads).map(start).collect();
        for piece in 0..count {
            // A thread says every result before it ends; one that panicked has said no more.
            let result = receivers[piece % threads].recv();
            let Ok(result) = result else { break };
            // Returning drops the receivers, which ends the threads.
            sink(result?)?;
        }
        Ok(())
    })
}

fn do_every<T>(
    first: usize,
    step: usize,
    count: usize,
    mut work: impl FnMut(usize) -> Result<T, FormatError>,
    results: &SyncSender<Result<T, FormatError>>,
) {
    for piece in (first..count).step_by(step) {
        let result = work(piece);
        let is_over = result.is_err();
        if results.send(result).is_err() || is_over {
            return;
        }
    }
}

/// One piece of a disk: where it lies, and what was made of it.
pub(super) struct Unit<T> {
    /// The number of the unit, from the start of the disk.
    pub(super) index: u64,
    pub(super) made: T,
}

/// Gives each unit of `unit` bytes that is not zero to a worker, and what it makes to `sink`, in
/// order. The last unit is padded with zeros.
pub(super) fn for_each_unit<T: Send, W: FnMut(&[u8]) -> Result<T, FormatError>>(
    source: &Source<'_>,
    options: &FormatOptions<'_>,
    unit: u64,
    worker: impl Fn() -> W + Sync,
    mut sink: impl FnMut(Unit<T>, Share) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let batches = batches(source, unit)?;
    let length = |batch: &Range<u64>| batch.end - batch.start;
    let mut share = Share {
        done: 0,
        total: batches.iter().map(length).sum(),
    };
    let cancel = options.cancel;
    let make = || {
        let mut work = worker();
        let mut buffer = Vec::new();
        let batches = &batches;
        move |piece: usize| {
            if cancel.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(FormatError::Interrupted);
            }
            let batch = &batches[piece];
            let length = (batch.end - batch.start).next_multiple_of(unit);
            buffer.resize(length as usize, 0);
            source.read(batch.start, &mut buffer)?;
            let mut made = Vec::new();
            for (number, bytes) in (batch.start / unit..).zip(buffer.chunks(unit as usize)) {
                if !is_zero(bytes) {
                    made.push(Unit {
                        index: number,
                        made: work(bytes)?,
                    });
                }
            }
            Ok((batch.end - batch.start, made))
        }
    };
    ordered(options.threads, batches.len(), make, |(length, made)| {
        share.done += length;
        for one in made {
            sink(one, share)?;
        }
        options.require_going_on()?;
        (options.progress)(share.of(source.size()), source.size());
        Ok(())
    })?;
    options.require_going_on()?;
    (options.progress)(source.size(), source.size());
    Ok(())
}

/// Cuts where there is data into batches of whole units.
fn batches(source: &Source<'_>, unit: u64) -> Result<Vec<Range<u64>>, FormatError> {
    let step = BATCH.max(unit);
    let cut = |extent: Range<u64>| {
        let end = extent.end;
        let starts = extent.step_by(step as usize);
        starts.map(move |start| start..(start + step).min(end))
    };
    Ok(source.extents(unit)?.into_iter().flat_map(cut).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn results_come_in_order_and_the_first_error_ends_it() {
        let run = |threads: usize, fails: usize| {
            let seen = Cell::new(0);
            let worker = || {
                move |piece: usize| match piece == fails {
                    true => Err(FormatError::Interrupted),
                    false => Ok(piece),
                }
            };
            let result = ordered(threads, 1000, worker, |piece| {
                assert_eq!(piece, seen.get());
                seen.set(piece + 1);
                Ok(())
            });
            (result.is_ok(), seen.get())
        };
        for threads in [1, 2, 3, 7] {
            assert_eq!(run(threads, 5000), (true, 1000));
            assert_eq!(run(threads, 500), (false, 500));
        }
    }

    #[test]
    fn a_sink_that_fails_ends_the_threads() {
        let result = ordered(
            3,
            1000,
            || |piece| Ok(piece),
            |piece| match piece {
                10 => Err(FormatError::Interrupted),
                _ => Ok(()),
            },
        );
        assert!(result.is_err());
    }
}
