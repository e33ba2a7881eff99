//! How a transfer goes: bytes, rate and time left, for people who watch.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ui::{self, Ui};
use crate::transfer::TransferProgress;

/// How often the line is drawn anew, at most.
const EVERY: Duration = Duration::from_millis(100);

/// Where nothing can be drawn, phases of so many bytes are said; smaller ones are over soon.
const WORTH_A_LINE: u64 = 10_000_000;

/// Draws the progress of transfers.
pub(super) struct Meter {
    ui: Ui,
    state: Mutex<Phase>,
}

struct Phase {
    what: String,
    total: Option<u64>,
    done: u64,
    started: Instant,
    drawn: Instant,
}

impl Meter {
    /// Makes a meter that draws through `ui`.
    pub(super) fn new(ui: &Ui) -> Self {
        let now = Instant::now();
        Self {
            ui: ui.clone(),
            state: Mutex::new(Phase {
                what: String::new(),
                total: None,
                done: 0,
                started: now,
                drawn: now,
            }),
        }
    }
}

impl TransferProgress for Meter {
    fn phase(&self, what: &str, bytes: Option<u64>) {
        let now = Instant::now();
        let state = Phase {
            what: what.to_owned(),
            total: bytes,
            done: 0,
            started: now,
            drawn: now,
        };
        if bytes.is_some_and(|bytes| bytes >= WORTH_A_LINE) {
            self.ui
                .line("", &format!("{what} {}", ui::size(bytes.unwrap_or(0))));
        }
        self.ui.doing(&state.line(now));
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done = state.done.saturating_add(bytes);
        let now = Instant::now();
        if now.duration_since(state.drawn) >= EVERY {
            state.drawn = now;
            self.ui.doing(&state.line(now));
        }
    }

    fn remark(&self, text: &str) {
        self.ui.remark(text);
    }
}

impl Phase {
    fn line(&self, now: Instant) -> String {
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return self.what.clone();
        };
        let elapsed = now.duration_since(self.started).as_secs_f64();
        // Nobody sees the rounding error in a drawing.
        let part = self.done as f64 / total as f64;
        let mut line = format!(
            "{}  {} {} of {}",
            self.what,
            ui::bar(part),
            ui::size(self.done),
            ui::size(total)
        );
        if elapsed > 0.5 && self.done > 0 {
            let rate = self.done as f64 / elapsed;
            let left = total.saturating_sub(self.done) as f64 / rate;
            line.push_str(&format!(
                ", {}/s, {} left",
                ui::size(rate as u64),
                ui::seconds(left)
            ));
        }
        line
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_bytes_rate_and_time_left() {
        let started = Instant::now();
        let state = Phase {
            what: "fetching".to_owned(),
            total: Some(40_000_000),
            done: 10_000_000,
            started,
            drawn: started,
        };
        let line = state.line(started + Duration::from_secs(2));
        assert_eq!(
            line,
            "fetching  [=====               ]  25 % 10 MB of 40 MB, 5.0 MB/s, 6.0 s left"
        );
        let unknown = Phase {
            total: None,
            ..state
        };
        assert_eq!(unknown.line(started), "fetching");
    }
}
