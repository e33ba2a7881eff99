//! Moments: file timestamps, the source-date-epoch, and the injected clock.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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

/// A day of the Gregorian calendar, written `2026-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The last day that can be written.
    pub const LAST: Self = Self {
        year: 9999,
        month: 12,
        day: 31,
    };

    /// Makes a date of a year, a month (1 to 12) and a day; `None` says that there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        ((1..=9999).contains(&year) && (1..=days).contains(&day)).then_some(Self {
            year,
            month,
            day,
        })
    }

    /// Reads the text form.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let date = Self::new(
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        )?;
        (date.to_string() == text).then_some(date)
    }

    /// Returns the day, in UTC, of a moment in seconds since 1970.
    pub fn of_sec(sec: i64) -> Option<Self> {
        Self::from_text(rfc3339(sec).get(..10)?)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day } = self;
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Date {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| serde::de::Error::custom("not a date, YYYY-MM-DD"))
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

/// Returns the processor time that this thread has taken: a test that bounds work by it does not fail for what other
/// processes do meanwhile.
///
/// Fields 14 and 15 of `/proc/thread-self/stat`, in hundredths of a second (`proc(5)`).
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub fn thread_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name before may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    std::time::Duration::from_millis(ticks * 10)
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

/// Counts the days from 1970-01-01 to a day of the Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms"); months are 1 to 12.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Reads a moment as people write it, in UTC: `2026-12-24`, `2026-12-24T06:00Z` or
/// `2026-12-24T06:00:00Z`, in seconds since 1970.
pub fn parse_moment(text: &str) -> Option<i64> {
    let (day, clock) = match text.split_once('T') {
        None => (text, "00:00:00"),
        Some((day, clock)) => (day, clock.strip_suffix('Z')?),
    };
    let Date { year, month, day } = Date::from_text(day)?;
    let part = |text: &str, below: i64| -> Option<i64> {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|number| *number < below);
        number.filter(|_| is_number)
    };
    let mut parts = clock.split(':');
    let (hour, minute) = (part(parts.next()?, 24)?, part(parts.next()?, 60)?);
    let second = parts.next().map_or(Some(0), |text| part(text, 60))?;
    if parts.next().is_some() {
        return None;
    }
    let days = days_from_civil(i64::from(year), i64::from(month), i64::from(day));
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
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
    fn dates_are_days_that_exist() {
        for (text, exists) in [
            ("2024-02-29", true),
            ("2100-02-29", false),
            ("2026-04-31", false),
            ("2026-4-1", false),
            ("2026-13-01", false),
            ("2026-01-01-01", false),
        ] {
            let date = Date::from_text(text).map(|date| date.to_string());
            assert_eq!(date.as_deref(), exists.then_some(text));
        }
        assert_eq!(Date::of_sec(951_782_400), Date::new(2000, 2, 29));
        assert!(Date::new(2026, 1, 31) < Date::new(2026, 2, 1));
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

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2026-09-12T07:55Z", 1_789_199_700),
            ("2026-09-12T07:55:41Z", 1_789_199_741),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
        ] {
            assert_eq!(parse_moment(text), Some(seconds), "{text}");
            assert!(rfc3339(seconds).starts_with(&text[..10]));
        }
        for wrong in [
            "",
            "tomorrow",
            "2026-02-30",
            "2026-09-12T07",
            "2026-09-12T24:00Z",
            "2026-09-12T07:55",
            "2026-09-12T07:55:41:00Z",
            "2026-09-12T+7:55Z",
            "2026-09-12T07:60Z",
        ] {
            assert_eq!(parse_moment(wrong), None, "{wrong}");
        }
    }
}
