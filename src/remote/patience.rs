//! Waiting for a network, within limits: the runtime, interrupts, silence, slowness, and when to
//! try again.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::Range;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::runtime::{Builder, Runtime};

use super::{BlobSink, RemoteError, RemoteOptions};

/// How often a wait looks whether it is interrupted.
const TICK: Duration = Duration::from_millis(200);

/// After this much progress, the next failure counts as the first one.
const PROGRESS: u64 = 1 << 20;

/// Runs a future to its end on the calling thread; input and output are driven by two threads that
/// all remotes share.
///
/// Must not be called from a thread of another tokio runtime.
pub(super) fn block_on<T>(
    endpoint: &Endpoint,
    future: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(2).thread_name("remote");
        builder.enable_all().build().ok()
    });
    match runtime {
        Some(runtime) => runtime.block_on(future),
        None => Err(endpoint.unreachable("this system cannot start the threads to wait with")),
    }
}

/// What a remote is called in errors, and how patient it is.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The location, without credentials.
    pub name: String,
    /// Limits.
    pub options: RemoteOptions,
}

impl Endpoint {
    pub(super) fn unreachable(&self, reason: impl Into<String>) -> RemoteError {
        RemoteError::Unreachable {
            location: self.name.clone(),
            reason: printable(&reason.into()),
        }
    }

    pub(super) fn untrusted(&self, reason: impl Into<String>, hint: &'static str) -> RemoteError {
        RemoteError::Untrusted {
            location: self.name.clone(),
            reason: printable(&reason.into()),
            hint,
        }
    }

    pub(super) fn protocol(&self, reason: impl Into<String>) -> RemoteError {
        RemoteError::Protocol {
            location: self.name.clone(),
            reason: printable(&reason.into()),
        }
    }

    pub(super) fn whole_only(&self, size: u64) -> RemoteError {
        RemoteError::WholeOnly {
            location: self.name.clone(),
            size,
        }
    }

    pub(super) fn full(&self, reason: impl Into<String>) -> RemoteError {
        RemoteError::Full {
            location: self.name.clone(),
            reason: printable(&reason.into()),
        }
    }

    pub(super) fn denied(&self, reason: impl Into<String>, hint: &str) -> RemoteError {
        RemoteError::Denied {
            location: self.name.clone(),
            reason: printable(&reason.into()),
            hint: hint.to_owned(),
        }
    }

    pub(super) fn moved(&self) -> RemoteError {
        RemoteError::Moved {
            location: self.name.clone(),
        }
    }

    pub(super) fn interrupted(&self) -> Result<(), RemoteError> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(RemoteError::Interrupted);
        }
        Ok(())
    }

    /// Waits for a future, at most `limit`; an interrupt ends the wait early. `doing` completes "no
    /// answer to …".
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        doing: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, RemoteError> {
        let mut future = pin!(future);
        let started = Instant::now();
        loop {
            self.interrupted()?;
            let left = limit.saturating_sub(started.elapsed());
            match tokio::time::timeout(left.min(TICK), future.as_mut()).await {
                Ok(value) => return Ok(value),
                Err(_) if left <= TICK => {
                    let limit = seconds(limit);
                    return Err(self.unreachable(format!("no answer to {doing} for {limit}")));
                }
                Err(_) => {}
            }
        }
    }

    /// Waits for a future as for the start of an answer.
    pub(super) async fn answer<T>(
        &self,
        doing: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, RemoteError> {
        self.within(self.options.stall_timeout, doing, future).await
    }

    /// Sleeps before the try after `failures` failures: 0.2 s, 0.4 s and so on up to 5 s, plus or
    /// minus half of it.
    pub(super) fn back_off(&self, failures: u32) -> Result<(), RemoteError> {
        let longest = 200u64.saturating_mul(1 << failures.saturating_sub(1).min(10));
        let around = longest.min(5000);
        let wait = Duration::from_millis(around / 2 + random() % around.max(1));
        let started = Instant::now();
        while started.elapsed() < wait {
            self.interrupted()?;
            std::thread::sleep(TICK.min(wait.saturating_sub(started.elapsed())));
        }
        self.interrupted()
    }

    /// Does something that may be done twice, and does it again after [`RemoteError::Unreachable`],
    /// as often as the options say.
    pub(super) fn retry<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let mut failures = 0;
        loop {
            self.interrupted()?;
            match attempt() {
                Err(error @ RemoteError::Unreachable { .. }) => {
                    failures += 1;
                    if failures >= self.options.attempts {
                        return Err(error);
                    }
                    self.back_off(failures)?;
                }
                result => return result,
            }
        }
    }

    /// Reads a range of something into a sink by attempts, each of which continues from the byte
    /// that arrived.
    pub(super) fn read_range(
        &self,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
        mut attempt: impl FnMut(Range<u64>, &mut BlobSink<'_>) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let (mut at, mut failures, mut since) = (range.start, 0, 0);
        while at < range.end {
            self.interrupted()?;
            let before = at;
            let mut count = |bytes: &[u8]| {
                sink(bytes)?;
                at += bytes.len() as u64;
                Ok(())
            };
            match attempt(before..range.end, &mut count) {
                Ok(()) if at == range.end => return Ok(()),
                Ok(()) => {
                    return Err(
                        self.protocol("an answer whose length is not the one that it declares")
                    );
                }
                // All that was asked for is here: an answer that does not end does not matter.
                Err(RemoteError::Unreachable { .. }) if at == range.end => return Ok(()),
                Err(error @ RemoteError::Unreachable { .. }) => {
                    since += at - before;
                    if since >= PROGRESS {
                        (failures, since) = (0, 0);
                    }
                    failures += 1;
                    if failures >= self.options.attempts {
                        return Err(error);
                    }
                    self.back_off(failures)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves a body of exactly `length` bytes into a sink, after `skip` bytes that are dropped.
    ///
    /// What follows is not read when `open_ended`; else it is an error.
    pub(super) async fn pump(
        &self,
        mut body: Body,
        mut skip: u64,
        length: u64,
        open_ended: bool,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        let mut rate = Rate::default();
        let mut left = length;
        loop {
            if left == 0 && open_ended {
                return Ok(());
            }
            let Some(chunk) = self.next(&mut body, &mut rate).await? else {
                break;
            };
            let dropped = skip.min(chunk.len() as u64);
            skip -= dropped;
            let chunk = chunk.get(dropped as usize..).unwrap_or_default();
            let taken = left.min(chunk.len() as u64);
            let (wanted, surplus) = chunk
                .split_at_checked(taken as usize)
                .unwrap_or((chunk, &[]));
            left -= taken;
            if !wanted.is_empty() {
                sink(wanted).map_err(local)?;
            }
            if !surplus.is_empty() && !open_ended {
                return Err(self.protocol(format!("more than the {length} bytes asked for")));
            }
        }
        if left > 0 {
            let arrived = length - left;
            return Err(self.unreachable(format!(
                "the answer ended after {arrived} of {length} bytes"
            )));
        }
        Ok(())
    }

    /// Waits for the first bytes of a body; none where it is empty.
    pub(super) async fn first(&self, body: &mut Body) -> Result<Bytes, RemoteError> {
        let first = self.next(body, &mut Rate::default()).await?;
        Ok(first.unwrap_or_default())
    }

    /// Collects a body of at most `limit` bytes.
    pub(super) async fn collect(
        &self,
        mut body: Body,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, RemoteError> {
        let mut rate = Rate::default();
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next(&mut body, &mut rate).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(self.too_big(what, limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    pub(super) fn too_big(&self, what: &str, limit: u64) -> RemoteError {
        self.protocol(format!("{what} has more than {limit} bytes"))
    }

    /// Waits for the next bytes; silence and slowness are errors. Only waiting counts, not what the
    /// sink takes.
    async fn next(&self, body: &mut Body, rate: &mut Rate) -> Result<Option<Bytes>, RemoteError> {
        let started = Instant::now();
        let next = self.within(self.options.stall_timeout, "a request halfway", body.next());
        let chunk = match next.await? {
            None => return Ok(None),
            Some(chunk) => chunk.map_err(|reason| self.unreachable(reason))?,
        };
        rate.waited += started.elapsed();
        rate.bytes += chunk.len() as u64;
        let window = self.options.rate_window;
        if rate.waited >= window {
            let rate = std::mem::take(rate);
            let per_second = rate.bytes as f64 / rate.waited.as_secs_f64();
            if per_second < self.options.minimum_rate as f64 {
                let window = seconds(window);
                return Err(self.unreachable(format!(
                    "it sent {per_second:.0} bytes a second for {window}, which is too slow"
                )));
            }
        }
        Ok(Some(chunk))
    }
}

/// The bytes of an answer; an error is a reason in words.
pub(super) type Body = BoxStream<'static, Result<Bytes, String>>;

#[derive(Default)]
struct Rate {
    waited: Duration,
    bytes: u64,
}

/// The sink of a read failed.
pub(super) fn local(source: std::io::Error) -> RemoteError {
    RemoteError::Local {
        verb: "take in",
        path: "what was received".into(),
        source,
    }
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds.fract() == 0.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// Makes a server's words fit for one line of a terminal.
fn printable(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    line.truncate(line.trim_end().len());
    line
}

/// Returns a random number, for jitter and for names that nobody else takes; not for secrets.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
