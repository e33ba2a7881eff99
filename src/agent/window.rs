//! Maintenance windows: the times of the week in which a machine may be switched.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time that comes again every week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The days on which it opens, from Monday on.
    days: [bool; 7],
    /// When it opens, in minutes after midnight.
    from: u32,
    /// When it closes; on the next day where that is not after `from`.
    to: u32,
    /// Whose time it is; the machine's where none is given.
    zone: Option<TimeZone>,
}

impl Window {
    pub(super) fn new(days: [bool; 7], from: u32, to: u32, zone: Option<TimeZone>) -> Self {
        Self {
            days,
            from,
            to,
            zone,
        }
    }

    /// Finds a time zone by its name in the tz database.
    pub(super) fn zone(name: &str) -> Option<TimeZone> {
        TimeZone::get(name).ok()
    }

    /// Says whether it is open at a moment, in seconds since 1970.
    ///
    /// It goes by the clock on the wall: where that is set forward or back, a window that holds the
    /// hour is shorter or longer.
    pub(super) fn is_open(&self, now: i64) -> bool {
        let Ok(moment) = Timestamp::from_second(now) else {
            return false;
        };
        let zone = self.zone.clone().unwrap_or_else(TimeZone::system);
        let local = moment.to_zoned(zone);
        let minute = local.hour().unsigned_abs() as u32 * 60 + local.minute().unsigned_abs() as u32;
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs() % 7);
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            return self.days[today] && (self.from..self.to).contains(&minute);
        }
        self.days[today] && minute >= self.from || self.days[yesterday] && minute < self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 1 January 1970, 00:00.
    const THURSDAY: i64 = 0;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn window(days: [bool; 7], from: u32, to: u32, zone: &str) -> Window {
        Window::new(days, from * 60, to * 60, Window::zone(zone))
    }

    #[test]
    fn a_window_opens_and_closes() {
        let nights = window([true; 7], 2, 5, "UTC");
        for (at, open) in [(0, false), (2, true), (4, true), (5, false), (23, false)] {
            assert_eq!(nights.is_open(THURSDAY + at * HOUR), open, "{at}");
        }
        assert!(!nights.is_open(2 * HOUR - 1));
        assert!(nights.is_open(5 * HOUR - 1));
    }

    #[test]
    fn past_midnight_it_belongs_to_the_day_on_which_it_opened() {
        let thursday = [false, false, false, true, false, false, false];
        let late = window(thursday, 22, 4, "UTC");
        for (at, open) in [
            (3 * HOUR, false),
            (21 * HOUR, false),
            (22 * HOUR, true),
            (DAY + 3 * HOUR, true),
            (DAY + 4 * HOUR, false),
            (DAY + 22 * HOUR, false),
            (7 * DAY + 23 * HOUR, true),
        ] {
            assert_eq!(late.is_open(THURSDAY + at), open, "{at}");
        }
        // From an hour to the same hour: a whole day.
        let whole = window(thursday, 6, 6, "UTC");
        assert!(whole.is_open(6 * HOUR) && whole.is_open(DAY + 5 * HOUR));
        assert!(!whole.is_open(5 * HOUR) && !whole.is_open(DAY + 6 * HOUR));
    }

    #[test]
    fn it_goes_by_the_clock_of_its_place() {
        let lunch = window([true; 7], 12, 13, "Asia/Tokyo");
        assert!(lunch.is_open(3 * HOUR) && !lunch.is_open(12 * HOUR));
        // Summer time: 12:00 in Berlin is 10:00 UTC then, and 11:00 in winter.
        let berlin = window([true; 7], 12, 13, "Europe/Berlin");
        let (july, january) = (1_782_864_000, 1_767_225_600);
        assert!(berlin.is_open(july + 10 * HOUR) && !berlin.is_open(july + 11 * HOUR));
        assert!(berlin.is_open(january + 11 * HOUR) && !berlin.is_open(january + 10 * HOUR));
        assert_eq!(Window::zone("Europe/Nowhere"), None);
    }
}
