//! Counting what a remote is asked, for reports and measurements.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Artifact, BlobSink, Head, Mirrors, Remote, RemoteError, Revision, WritableRemote};
use crate::sha256::Sha256;

/// A remote, and how much it was used.
pub struct CountingRemote<R> {
    inner: R,
    requests: AtomicU64,
    received: AtomicU64,
}

impl<R> CountingRemote<R> {
    /// Counts from zero.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    /// Returns how many things were asked of the remote. A retry after a fault, or asking for a
    /// token, counts no more.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of heads and blobs arrived.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns the remote that is counted.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: Remote> Remote for CountingRemote<R> {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        self.asked();
        let head = self.inner.read_head(limit)?;
        let length = head.as_ref().map_or(0, |head| head.bytes.len() as u64);
        self.received.fetch_add(length, Ordering::Relaxed);
        Ok(head)
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        self.asked();
        self.inner.blob_size(blob)
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        if !range.is_empty() {
            self.asked();
        }
        let mut counting = |bytes: &[u8]| {
            self.received
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            sink(bytes)
        };
        self.inner.read_blob(blob, range, &mut counting)
    }

    fn distrust(&self, blob: &Sha256) -> Vec<String> {
        self.inner.distrust(blob)
    }

    fn places(&self) -> usize {
        self.inner.places()
    }
}

impl<R: WritableRemote> WritableRemote for CountingRemote<R> {
    fn put_blob(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        self.asked();
        self.inner.put_blob(blob, file, size, progress)
    }

    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError> {
        self.asked();
        self.inner.replace_head(bytes, expected)
    }

    fn announce(&self, artifact: &Artifact) -> Result<(), RemoteError> {
        self.asked();
        self.inner.announce(artifact)
    }
}

impl CountingRemote<Mirrors> {
    /// Reads the head of one of the mirrors, by its place.
    pub fn read_head_of(&self, index: usize, limit: u64) -> Result<Option<Head>, RemoteError> {
        self.asked();
        let Some(mirror) = self.inner.get(index) else {
            return Ok(None);
        };
        let head = mirror.read_head(limit)?;
        let length = head.as_ref().map_or(0, |head| head.bytes.len() as u64);
        self.received.fetch_add(length, Ordering::Relaxed);
        Ok(head)
    }
}
