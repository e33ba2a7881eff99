//! Moments: file timestamps, the source-date-epoch, and the injected clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// A file timestamp: seconds since 1970-01-01 UTC and nanoseconds below one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: u32,
}

impl Timestamp {
    /// Makes a timestamp of whole seconds.
    pub const fn from_sec(sec: i64) -> Self {
        Self { sec, nsec: 0 }
    }

    /// Returns the earlier of this moment and `epoch`, which is how builds stay repeatable.
    pub fn clamp_to(self, epoch: i64) -> Self {
        if self.sec >= epoch {
            Self::from_sec(epoch)
        } else {
            self
        }
    }
}

/// Tells the time; tests inject a fixed one.
pub trait Clock: Send + Sync {
    /// Returns the seconds since 1970-01-01 UTC.
    fn now_sec(&self) -> i64;
}

/// The machine's clock; `SOURCE_DATE_EPOCH` does not change it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_sec(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
    }
}

/// Formats seconds since 1970 as RFC 3339 in UTC, e.g. `2026-01-31T09:05:00Z`.
///
/// The calendar conversion is Howard Hinnant's `civil_from_days`.
pub fn rfc3339(sec: i64) -> String {
    let days = sec.div_euclid(86_400);
    let rest = sec.rem_euclid(86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_format_as_rfc3339() {
        for (sec, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(sec), text);
        }
    }

    #[test]
    fn clamping_never_moves_older_files() {
        assert_eq!(
            Timestamp { sec: 5, nsec: 7 }.clamp_to(10),
            Timestamp { sec: 5, nsec: 7 }
        );
        assert_eq!(
            Timestamp { sec: 10, nsec: 7 }.clamp_to(10),
            Timestamp::from_sec(10)
        );
    }
}
