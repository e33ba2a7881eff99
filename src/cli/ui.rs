//! The only printing: results on standard output, everything else on standard error.
//!
//! Progress is drawn on a terminal only, colours obey `NO_COLOR` and vanish off a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::error::CliError;
use crate::builder::{BuildProgress, LayerAction, LayerReport};

/// How this process talks.
#[derive(Debug, Clone)]
pub struct Ui {
    json: bool,
    quiet: bool,
    color: bool,
    terminal: bool,
    bar: ProgressBar,
    /// The step of each layer that was said last, where a step is a line.
    said: Arc<Mutex<BTreeMap<String, String>>>,
    /// Whether the one JSON document was printed.
    spoken: Arc<AtomicBool>,
}

impl Ui {
    /// Looks at the terminal and the environment once.
    pub fn new(json: bool, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let target = if terminal && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        let template = if color {
            "{spinner:.cyan} {wide_msg}"
        } else {
            "{spinner} {wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            json,
            quiet,
            color,
            terminal,
            bar,
            said: Arc::default(),
            spoken: Arc::default(),
        }
    }

    /// Says whether the result is to be JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints text that is the result, for those who want more than the exit status.
    pub fn print(&self, text: &str) {
        self.bar.finish_and_clear();
        if !self.json && !self.quiet {
            write_out(text.as_bytes());
        }
    }

    /// Prints bytes that are the result, as they are.
    pub fn print_bytes(&self, bytes: &[u8]) {
        self.bar.finish_and_clear();
        write_out(bytes);
    }

    /// Prints the result as JSON, when that was asked for.
    pub fn print_json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        if self.json {
            self.bar.finish_and_clear();
            let mut text = serde_json::to_string_pretty(value)
                .map_err(|error| CliError::bug(error.to_string()))?;
            text.push('\n');
            write_out(text.as_bytes());
            self.spoken.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Says something that is not the result.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Shows what is being done, on a terminal.
    pub fn doing(&self, text: &str) {
        self.bar.enable_steady_tick(Duration::from_millis(120));
        self.bar.set_message(text.to_owned());
    }

    /// Says what is being done where nothing can be drawn: a line for each step of `place`.
    pub fn line(&self, place: &str, step: &str) {
        if self.terminal || self.quiet || self.json {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = said.insert(place.to_owned(), step.to_owned()).as_deref() != Some(step);
        if is_news {
            eprintln!("{place}{step}");
        }
    }

    /// Prints an error and returns its exit status.
    pub fn fail(&self, error: &CliError) -> ExitCode {
        self.bar.finish_and_clear();
        let (red, bold, plain) = if self.color {
            ("\x1b[31;1m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut text = format!("{red}error:{plain} {}\n", error.message);
        for cause in &error.causes {
            text.push_str(&format!("{bold}caused by:{plain} {cause}\n"));
        }
        if let Some(excerpt) = error.excerpt(self.color) {
            text.push_str(&excerpt);
        }
        if let Some(hint) = &error.hint {
            text.push_str(&format!("{bold}hint:{plain} {hint}\n"));
        }
        eprint!("{text}");
        // A report that was already printed says more about what is wrong, and there is only one
        // document.
        if self.json && !self.spoken.load(Ordering::Relaxed) {
            let mut value = serde_json::json!({
                "error": { "message": error.message, "causes": error.causes, "hint": error.hint, "exit": error.exit }
            });
            if let Some(details) = &error.details {
                value["error"]["details"] = details.clone();
            }
            write_out(format!("{value:#}\n").as_bytes());
        }
        ExitCode::from(error.exit)
    }
}

/// Set once standard output did not take a result.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// The exit status of a command that succeeds.
static STATUS: AtomicU8 = AtomicU8::new(0);

/// Lets the program end with another status than 0: an answer, not an error.
pub fn answer_with(status: u8) {
    STATUS.store(status, Ordering::Relaxed);
}

/// Returns the exit status of a command that succeeded: its result must have arrived.
pub fn success() -> ExitCode {
    if OUTPUT_FAILED.load(Ordering::Relaxed) {
        ExitCode::FAILURE
    } else {
        ExitCode::from(STATUS.load(Ordering::Relaxed))
    }
}

/// A reader that went away wants no more: that is no error (`layerset list | head`). A full disk is
/// one.
fn write_out(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            OUTPUT_FAILED.store(true, Ordering::Relaxed);
            eprintln!("error: cannot write the result: {error}");
        }
        _ => {}
    }
}

/// Returns standard output, for lines that come as long as a command runs.
pub fn standard_output() -> Box<dyn std::io::Write + Send> {
    Box::new(std::io::stdout())
}

impl BuildProgress for Ui {
    fn note(&self, what: &str) {
        self.remark(&format!("note: {what}"));
    }

    fn step(&self, layer: &str, what: &str, fraction: Option<f64>) {
        let place = if layer.is_empty() {
            String::new()
        } else {
            format!("[{layer}] ")
        };
        // What follows two blanks counts on.
        self.line(&place, what.split("  ").next().unwrap_or(what));
        let done = fraction.map_or(String::new(), |part| format!("  {}", bar(part)));
        self.doing(&format!("{place}{what}{done}"));
    }

    fn finished(&self, layer: &LayerReport) {
        if layer.action == LayerAction::Built && !self.json {
            self.remark(&format!(
                "built {} {} in {:.1} s ({})",
                layer.name, layer.version, layer.seconds, layer.reason
            ));
        }
    }
}

/// Draws a part of a whole: `[=====     ]  50 %`.
pub fn bar(part: f64) -> String {
    const WIDTH: usize = 20;
    let part = part.clamp(0.0, 1.0);
    // In range by the line above.
    let full = (part * WIDTH as f64).round() as usize;
    format!(
        "[{}{}] {:3.0} %",
        "=".repeat(full),
        " ".repeat(WIDTH - full),
        part * 100.0
    )
}

/// Prints what the argument parser has to say, which may be help.
pub fn clap_exit(error: &clap::Error) -> ExitCode {
    // Nothing can be said when standard error is gone.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Lays out rows in columns; numbers (cells that start with a digit) are set to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let right: Vec<bool> = (0..head.len())
        .map(|column| {
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| row[column].starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let gap = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            if column > 0 {
                text.push_str("  ");
            }
            if right[column] {
                text.push_str(&gap);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&gap);
            }
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Formats a size for people: `4.2 MB`, in powers of 1000.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// Formats seconds for people: `42 ms`, `3.1 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.2} ms", seconds * 1000.0)
    } else if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_say_1000_kb() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_600, "1.0 MB"),
            (728_000_000, "728 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_bar_never_leaves_its_frame() {
        assert_eq!(bar(0.5), "[==========          ]  50 %");
        assert_eq!(bar(-1.0).len(), bar(7.0).len());
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = vec![
            vec!["a".into(), "5 B".into()],
            vec!["long".into(), "15 B".into()],
        ];
        assert_eq!(
            table(&["name", "size"], &rows),
            "name  size\na      5 B\nlong  15 B\n"
        );
    }
}
