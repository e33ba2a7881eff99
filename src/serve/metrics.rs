//! Counters, in the text format of Prometheus (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the durations that are counted together, in seconds as they are printed, and in
/// microseconds.
const BUCKETS: [(&str, u128); 9] = [
    ("0.001", 1_000),
    ("0.005", 5_000),
    ("0.025", 25_000),
    ("0.1", 100_000),
    ("0.5", 500_000),
    ("2.5", 2_500_000),
    ("10", 10_000_000),
    ("60", 60_000_000),
    ("300", 300_000_000),
];

/// What a server has done since it started.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Answers that are being sent.
    pub(super) in_flight: AtomicI64,
    /// Open connections.
    pub(super) connections: AtomicI64,
    /// Lines of the access log that could not be written.
    pub(super) lost_lines: AtomicU64,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// Number by kind and status.
    count: BTreeMap<(&'static str, u16), u64>,
    /// Bytes of bodies by kind.
    bytes: BTreeMap<&'static str, u64>,
    /// Number by the first bucket that fits, or by none; by kind.
    durations: BTreeMap<&'static str, ([u64; BUCKETS.len() + 1], Duration)>,
}

impl Metrics {
    /// Counts an answer that has ended.
    pub(super) fn count(&self, kind: &'static str, status: u16, bytes: u64, took: Duration) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.count.entry((kind, status)).or_default() += 1;
        *answers.bytes.entry(kind).or_default() += bytes;
        let (buckets, sum) = answers.durations.entry(kind).or_default();
        let fits = |(_, limit): &(&str, u128)| took.as_micros() <= *limit;
        let bucket = BUCKETS.iter().position(fits);
        buckets[bucket.unwrap_or(BUCKETS.len())] += 1;
        *sum += took;
    }

    /// Returns how many answers were given, and how many bytes they had.
    pub(super) fn totals(&self) -> (u64, u64) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        (answers.count.values().sum(), answers.bytes.values().sum())
    }

    /// Writes all counters, in the text format of Prometheus.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.write_totals(&mut text);
        answers.write_durations(&mut text);
        drop(answers);
        self.write_gauges(&mut text);
        let name = "layerset_access_log_lines_lost_total";
        let help = "Lines of the access log that could not be written.";
        head(&mut text, name, "counter", help);
        let lost = self.lost_lines.load(Ordering::Relaxed);
        line(&mut text, name, "", &lost);
        text
    }

    fn write_gauges(&self, text: &mut String) {
        for (name, help, value) in [
            (
                "layerset_http_requests_in_flight",
                "Answers that are being sent.",
                &self.in_flight,
            ),
            (
                "layerset_http_connections",
                "Open connections.",
                &self.connections,
            ),
        ] {
            head(text, name, "gauge", help);
            line(text, name, "", &value.load(Ordering::Relaxed));
        }
    }
}

impl Answers {
    fn write_totals(&self, text: &mut String) {
        const ANSWERS: &str = "layerset_http_requests_total";
        const BYTES: &str = "layerset_http_response_bytes_total";
        let help = "Answers that have ended, by what was asked for and by status.";
        head(text, ANSWERS, "counter", help);
        for ((kind, code), count) in &self.count {
            let labels = format!("code=\"{code}\",kind=\"{kind}\"");
            line(text, ANSWERS, &labels, count);
        }
        let help = "Bytes of bodies that were handed to the network, by what was asked for.";
        head(text, BYTES, "counter", help);
        for (kind, bytes) in &self.bytes {
            line(text, BYTES, &format!("kind=\"{kind}\""), bytes);
        }
    }

    fn write_durations(&self, text: &mut String) {
        const TOOK: &str = "layerset_http_request_duration_seconds";
        let help = "Time from the request to the end of its answer.";
        head(text, TOOK, "histogram", help);
        for (kind, (buckets, sum)) in &self.durations {
            // Each bucket of a histogram counts the lower ones too.
            let mut below = 0;
            let limits = BUCKETS.iter().map(|(limit, _)| *limit);
            for (limit, count) in limits.chain(["+Inf"]).zip(buckets) {
                below += count;
                let labels = format!("kind=\"{kind}\",le=\"{limit}\"");
                line(text, &format!("{TOOK}_bucket"), &labels, &below);
            }
            let labels = format!("kind=\"{kind}\"");
            line(text, &format!("{TOOK}_sum"), &labels, &sum.as_secs_f64());
            line(text, &format!("{TOOK}_count"), &labels, &below);
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: &dyn std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name} {value}")
    } else {
        writeln!(text, "{name}{{{labels}}} {value}")
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_everything_below_them() {
        let metrics = Metrics::default();
        for millis in [1, 2, 400, 400_000] {
            metrics.count("blob", 200, 5, Duration::from_millis(millis));
        }
        metrics.count("head", 304, 0, Duration::ZERO);
        let text = metrics.text();
        for expect in [
            "layerset_http_requests_total{code=\"200\",kind=\"blob\"} 4",
            "layerset_http_requests_total{code=\"304\",kind=\"head\"} 1",
            "layerset_http_response_bytes_total{kind=\"blob\"} 20",
            "layerset_http_request_duration_seconds_bucket{kind=\"blob\",le=\"0.001\"} 1",
            "layerset_http_request_duration_seconds_bucket{kind=\"blob\",le=\"0.005\"} 2",
            "layerset_http_request_duration_seconds_bucket{kind=\"blob\",le=\"300\"} 3",
            "layerset_http_request_duration_seconds_bucket{kind=\"blob\",le=\"+Inf\"} 4",
            "layerset_http_request_duration_seconds_sum{kind=\"blob\"} 400.403",
            "layerset_http_request_duration_seconds_count{kind=\"blob\"} 4",
            "layerset_http_requests_in_flight 0",
        ] {
            assert!(
                text.lines().any(|line| line == expect),
                "{expect} is not in\n{text}"
            );
        }
        assert_eq!(metrics.totals(), (5, 20));
    }
}
