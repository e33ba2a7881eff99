//! The delay and rate of the link to a remote, measured while it is used.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Assumed rate of a link until enough arrived to measure it: 100 Mbit/s, in bytes a second.
const USUAL_RATE: u64 = 12_500_000;

/// Assumed bandwidth-delay product before anything is measured.
const USUAL_BYTES: u64 = 128 << 10;

/// Fewer bytes say nothing about a rate.
const TELLING_BYTES: u64 = 256 << 10;

/// The delay and the rate of a link.
#[derive(Debug, Default)]
pub(super) struct LinkStats {
    /// The shortest time from a request to the first byte of its answer, in microseconds; 0 when
    /// unknown.
    delay: AtomicU64,
    /// The most bytes a second of any fetch; 0 when unknown.
    rate: AtomicU64,
    /// All bytes that came over it.
    bytes: AtomicU64,
}

impl LinkStats {
    /// Starts with the rate that a file remembers from a try that ended early: its deltas are not
    /// fetched again, so they cannot be measured.
    pub(super) fn remembered(file: &Path) -> Self {
        let link = Self::default();
        let text = std::fs::read_to_string(file).unwrap_or_default();
        link.rate
            .store(text.parse().unwrap_or(0), Ordering::Relaxed);
        link
    }

    /// Remembers the rate in a file; where that cannot be written, it is measured again.
    pub(super) fn remember(&self, file: &Path) {
        if let Some(rate) = self.rate() {
            let _ = std::fs::write(file, rate.to_string());
        }
    }

    /// Counts bytes that arrived.
    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns all bytes that arrived, of fetches that failed as well.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records how long the first byte of an answer took.
    pub(super) fn first_byte(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX).max(1);
        let _ = self
            .delay
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |least| {
                (least == 0 || micros < least).then_some(micros)
            });
    }

    /// Records how much arrived in which time.
    pub(super) fn arrived(&self, bytes: u64, within: Duration) {
        if bytes >= TELLING_BYTES {
            let rate = bytes as f64 / within.as_secs_f64().max(1e-6);
            self.rate.fetch_max(rate as u64, Ordering::Relaxed);
        }
    }

    /// Returns the bytes a second that arrive, as far as that is known.
    pub(super) fn rate(&self) -> Option<u64> {
        match self.rate.load(Ordering::Relaxed) {
            0 => None,
            rate => Some(rate),
        }
    }

    /// Returns the bytes that arrive while one answer is on its way, 4 KiB to 8 MiB. It is quicker
    /// to fetch a gap of that size than to make another request.
    pub(super) fn delay_bytes(&self) -> u64 {
        let delay = self.delay.load(Ordering::Relaxed);
        if delay == 0 {
            return USUAL_BYTES;
        }
        let rate = self.rate().unwrap_or(USUAL_RATE);
        let bytes = u128::from(rate) * u128::from(delay) / 1_000_000;
        u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .clamp(4 << 10, 8 << 20)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_goes_on_knows_the_rate_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rate");
        assert_eq!(LinkStats::remembered(&file).rate(), None);
        let link = LinkStats::default();
        link.remember(&file);
        assert!(!file.exists());
        link.arrived(1 << 20, Duration::from_secs(1));
        link.remember(&file);
        assert_eq!(LinkStats::remembered(&file).rate(), Some(1 << 20));
        std::fs::write(&file, "nonsense").unwrap();
        assert_eq!(LinkStats::remembered(&file).rate(), None);
    }

    #[test]
    fn a_gap_is_what_arrives_within_the_delay() {
        let link = LinkStats::default();
        assert_eq!(link.delay_bytes(), USUAL_BYTES);
        link.first_byte(Duration::from_millis(30));
        link.first_byte(Duration::from_millis(20));
        link.first_byte(Duration::from_millis(50));
        assert_eq!(link.delay_bytes(), USUAL_RATE / 50);
        // Too little to tell.
        link.arrived(1000, Duration::from_secs(1));
        assert_eq!(link.delay_bytes(), USUAL_RATE / 50);
        link.arrived(1 << 20, Duration::from_secs(1));
        assert_eq!(link.delay_bytes(), (1 << 20) / 50);
        link.first_byte(Duration::from_micros(50));
        assert_eq!(link.delay_bytes(), 4 << 10);
    }
}
