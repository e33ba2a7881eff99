//! What is noted of an answer when it ends, however it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::header::{HeaderName, REFERER, USER_AGENT};
use hyper::{Request, StatusCode};

use super::access::{AccessLog, AccessRecord};
use super::metrics::Metrics;
use crate::time::{Clock as _, SystemClock};

/// Where answers are noted.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Option<Arc<AccessLog>>,
}

/// An answer that has begun. Dropping it notes the end: when all was sent, or when the connection
/// is gone.
#[derive(Debug)]
pub(super) struct Account {
    ledger: Ledger,
    began: Instant,
    peer: IpAddr,
    request: String,
    referer: String,
    agent: String,
    kind: &'static str,
    status: u16,
    bytes: u64,
}

impl Account {
    /// Begins with a request.
    pub(super) fn open<B>(ledger: &Ledger, peer: IpAddr, request: &Request<B>) -> Self {
        ledger.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        // Only for the log, so only where there is one.
        let text = |name: HeaderName| {
            let value = request.headers().get(name).filter(|_| ledger.log.is_some());
            value.map_or_else(String::new, |value| {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            })
        };
        let line = ledger.log.as_ref().map(|_| {
            format!(
                "{} {} {:?}",
                request.method(),
                request.uri(),
                request.version()
            )
        });
        Self {
            ledger: ledger.clone(),
            began: Instant::now(),
            peer,
            request: line.unwrap_or_default(),
            referer: text(REFERER),
            agent: text(USER_AGENT),
            kind: "other",
            status: 0,
            bytes: 0,
        }
    }

    /// Notes what was asked for, and the status of the answer.
    pub(super) fn answer(&mut self, kind: &'static str, status: StatusCode) {
        self.kind = kind;
        self.status = status.as_u16();
    }

    /// Notes bytes of the body.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let metrics = &self.ledger.metrics;
        metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        metrics.count(self.kind, self.status, self.bytes, took);
        if let Some(log) = &self.ledger.log {
            log.note(&AccessRecord {
                peer: self.peer,
                at: SystemClock.now_sec(),
                request: &self.request,
                status: self.status,
                bytes: self.bytes,
                referer: &self.referer,
                agent: &self.agent,
                millis: took.as_millis(),
            });
        }
    }
}
