//! When an archive was released: the `Date` of its signed Release file.

use super::error::AptError;
use super::root::AptRoot;
use crate::time::days_from_civil;
use std::fs;

/// Returns the newest date of the archives' Release files, in seconds since 1970.
pub fn newest_release(root: &AptRoot) -> Result<i64, AptError> {
    let lists = root.dir().join("lists");
    let mut newest = None;
    for entry in fs::read_dir(&lists).map_err(AptError::io("list", &lists))? {
        let path = entry.map_err(AptError::io("list", &lists))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with("_InRelease") || name.ends_with("_Release") {
            let text = fs::read_to_string(&path).map_err(AptError::io("read", &path))?;
            newest = newest.max(
                text.lines()
                    .find_map(|l| parse_date(l.strip_prefix("Date:")?)),
            );
        }
    }
    newest.ok_or_else(|| AptError::Malformed {
        place: format!("'{}'", lists.display()),
        detail: "no Release file has a date".to_owned(),
    })
}

/// Reads a date as Release files have it, as in `Sat, 12 Sep 2026 07:55:41 UTC` (RFC 1123, always UTC).
fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.split_once(',')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [day, month, year, time, zone] = words[..] else {
        return None;
    };
    if !matches!(zone, "UTC" | "GMT" | "+0000" | "Z") {
        return None;
    }
    let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
    let mut clock = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let days = days_from_civil(year.parse().ok()?, month, day.parse().ok()?);
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_dates_become_seconds_since_1970() {
        // Expected values from `date -d … +%s`.
        for (text, seconds) in [
            (" Thu, 01 Jan 1970 00:00:00 UTC", 0),
            (" Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741),
            (" Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
        ] {
            assert_eq!(parse_date(text), Some(seconds), "{text}");
        }
        assert_eq!(parse_date(" Sat, 12 Sep 2026 07:55:41 CEST"), None);
        assert_eq!(parse_date(" tomorrow"), None);
    }
}
