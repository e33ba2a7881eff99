//! The access log: the combined log format of Apache and nginx, and the milliseconds at the end.

use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::metrics::Metrics;
use crate::time::rfc3339;

/// Lines that wait to be written; more are lost, for a slow disk must not hold up answers.
const WAITING_LINES: usize = 8192;

/// What is noted of an answer.
#[derive(Debug)]
pub(super) struct AccessRecord<'a> {
    /// Who asked.
    pub(super) peer: IpAddr,
    /// When the answer ended, in seconds since 1970.
    pub(super) at: i64,
    /// The first line of the request.
    pub(super) request: &'a str,
    /// The status.
    pub(super) status: u16,
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// Where a browser came from; empty for nowhere.
    pub(super) referer: &'a str,
    /// With what.
    pub(super) agent: &'a str,
    /// How long it took.
    pub(super) millis: u128,
}

impl AccessRecord<'_> {
    fn text(&self) -> String {
        let mut text = format!("{} - - [{}] \"", self.peer, clf_date(self.at));
        quote(&mut text, self.request);
        let _ = write!(text, "\" {} {} \"", self.status, self.bytes);
        quote(&mut text, or_dash(self.referer));
        text.push_str("\" \"");
        quote(&mut text, or_dash(self.agent));
        let _ = writeln!(text, "\" {}", self.millis);
        text
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Escapes what would end the field or the line, as Apache does since 2.0.46: requests are made up
/// by strangers.
fn quote(text: &mut String, field: &str) {
    for byte in field.bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
}

/// Formats seconds since 1970 as `21/Nov/2026:09:05:00 +0000`.
fn clf_date(sec: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = rfc3339(sec);
    let mut parts = text.trim_end_matches('Z').splitn(3, ['-', 'T']);
    let (year, month) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let (day, time) = parts
        .next()
        .and_then(|rest| rest.split_once('T'))
        .unwrap_or(("", ""));
    let month = month
        .parse()
        .ok()
        .and_then(|number: usize| MONTHS.get(number.checked_sub(1)?));
    format!(
        "{day}/{}/{year}:{time} +0000",
        month.copied().unwrap_or("???")
    )
}

/// Writes lines in a thread of its own.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: SyncSender<String>,
    metrics: Arc<Metrics>,
}

impl AccessLog {
    /// Starts the thread; it ends when this is dropped and all lines are written.
    pub(super) fn start(
        sink: Box<dyn Write + Send>,
        metrics: &Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let counters = Arc::clone(metrics);
        let writer = std::thread::spawn(move || write_all(sink, &waiting, &counters));
        let log = Self {
            lines,
            metrics: Arc::clone(metrics),
        };
        (log, writer)
    }

    /// Notes an answer.
    pub(super) fn note(&self, line: &AccessRecord<'_>) {
        if self.lines.try_send(line.text()).is_err() {
            self.metrics.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(mut sink: Box<dyn Write + Send>, waiting: &Receiver<String>, metrics: &Metrics) {
    while let Ok(line) = waiting.recv() {
        // One write a line, so that lines of several servers in one file do not mix.
        if sink
            .write_all(line.as_bytes())
            .and_then(|()| sink.flush())
            .is_err()
        {
            metrics.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_combined_format_and_cannot_be_forged() {
        let line = AccessRecord {
            peer: "127.0.0.1".parse().unwrap(),
            at: 1_795_263_905,
            request: "GET /head\" 200 1\n HTTP/1.1",
            status: 404,
            bytes: 10,
            referer: "",
            agent: "curl/8 \u{1b}[31m\\",
            millis: 3,
        };
        assert_eq!(
            line.text(),
            "127.0.0.1 - - [21/Nov/2026:12:25:05 +0000] \"GET /head\\\" 200 1\\x0a HTTP/1.1\" 404 10 \"-\" \"curl/8 \\x1b[31m\\\\\" 3\n"
        );
    }
}
