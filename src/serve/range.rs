//! Which bytes of a blob a `Range` header asks for (RFC 9110, 14.1 and 14.2).

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// All: none is named, or it is not in bytes, does not parse, or names several ranges. A server
    /// may answer so to all of these.
    All,
    /// These bytes, at least one, and none beyond the end.
    Part(Range<u64>),
    /// Bytes that are not there.
    Beyond,
}

/// Reads a `Range` header for something of `size` bytes.
pub(super) fn parse(header: &str, size: u64) -> RequestedRange {
    let Some((unit, set)) = header.split_once('=') else {
        return RequestedRange::All;
    };
    let Some((first, last)) = set.trim().split_once('-') else {
        return RequestedRange::All;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return RequestedRange::All;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        // The last so many bytes.
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return RequestedRange::All,
    };
    if range.is_empty() {
        RequestedRange::Beyond
    } else {
        RequestedRange::Part(range)
    }
}

/// Reads digits; more than fit mean "to the end", for nothing is that large.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (header, size, expect) in [
            ("bytes=0-0", 10, RequestedRange::Part(0..1)),
            ("bytes=2-5", 10, RequestedRange::Part(2..6)),
            ("Bytes=2-", 10, RequestedRange::Part(2..10)),
            ("bytes=2-99", 10, RequestedRange::Part(2..10)),
            ("bytes=-3", 10, RequestedRange::Part(7..10)),
            ("bytes=-30", 10, RequestedRange::Part(0..10)),
            (
                "bytes=9-99999999999999999999999",
                10,
                RequestedRange::Part(9..10),
            ),
            ("bytes=10-", 10, RequestedRange::Beyond),
            ("bytes=10-12", 10, RequestedRange::Beyond),
            ("bytes=99999999999999999999999-", 10, RequestedRange::Beyond),
            ("bytes=-0", 10, RequestedRange::Beyond),
            ("bytes=0-", 0, RequestedRange::Beyond),
            ("bytes=5-2", 10, RequestedRange::All),
            ("bytes=0-1,3-4", 10, RequestedRange::All),
            ("bytes=+1-2", 10, RequestedRange::All),
            ("bytes=-", 10, RequestedRange::All),
            ("bytes=1", 10, RequestedRange::All),
            ("bytes=a-b", 10, RequestedRange::All),
            ("rows=0-1", 10, RequestedRange::All),
            ("0-1", 10, RequestedRange::All),
            ("", 10, RequestedRange::All),
        ] {
            assert_eq!(parse(header, size), expect, "{header} of {size}");
        }
    }
}
