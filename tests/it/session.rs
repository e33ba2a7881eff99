//! Runs the `layerset` program as a person does: in an empty environment, with what it says kept as a transcript.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Where commands run, and what of it must not show in a transcript.
pub struct Session {
    dir: PathBuf,
    repo: PathBuf,
    variables: Vec<(&'static str, PathBuf)>,
}

/// One finished command.
pub struct Ran {
    line: String,
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Session {
    /// Works in `dir`, with the repository at `repo`.
    pub fn new(dir: &Path, repo: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            repo: repo.to_owned(),
            variables: Vec::new(),
        }
    }

    /// Gives every command one more variable.
    pub fn with(mut self, variable: &'static str, value: &Path) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    /// Returns a command that sees nothing of the caller's environment but the way to programs.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerset"));
        command
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("LAYERSET_REPO", &self.repo)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            // Far from UTC, and without a file of zones: what shows the time of a place fails everywhere.
            .env("TZ", "ODD-14")
            .envs(other_clock())
            .stdin(Stdio::null());
        command
    }

    /// Runs `layerset` with the words of `line`, which hold no quotes.
    pub fn run(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run_words(&words)
    }

    /// Runs `layerset` with these arguments.
    pub fn run_words(&self, words: &[&str]) -> Ran {
        let output = self.command(words).output().unwrap();
        self.ran(&words.join(" "), output)
    }

    /// Takes over the output of a command that ran by itself.
    pub fn ran(&self, line: &str, output: Output) -> Ran {
        Ran {
            line: self.hide(format!("layerset {line}").trim_end()),
            status: output.status.code().unwrap_or(-1),
            stdout: self.hide(&String::from_utf8(output.stdout).unwrap()),
            stderr: self.hide(&String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// Puts placeholders for paths.
    fn hide(&self, text: &str) -> String {
        text.replace(self.repo.to_str().unwrap(), "REPO")
            .replace(self.dir.to_str().unwrap(), "DIR")
    }
}

/// The variables by which scripts/hostile-world.sh sets the clock ahead.
fn other_clock() -> impl Iterator<Item = (OsString, OsString)> {
    let is_set = std::env::var_os("FAKETIME").is_some();
    std::env::vars_os().filter(move |(name, _)| {
        let name = name.as_encoded_bytes();
        let is_of_it = name.starts_with(b"FAKETIME") || name == b"NO_FAKE_STAT";
        is_set && (is_of_it || name == b"LD_PRELOAD")
    })
}

impl Ran {
    /// Shows the command as a terminal would; lines of standard error start with `! `.
    pub fn transcript(&self) -> String {
        let mut text = format!("$ {}\n{}", self.line, self.stdout);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        for line in self.stderr.lines() {
            text.push_str(format!("! {line}").trim_end());
            text.push('\n');
        }
        text.push_str(&format!("[status {}]", self.status));
        text
    }

    /// Fails the test, with the transcript, unless the command ended with `status`.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\n{}", self.transcript());
        self
    }

    /// Fails the test unless standard error holds all of `texts`.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            let found = self.stderr.contains(text);
            assert!(found, "'{text}' is not in\n{}", self.transcript());
        }
        self
    }

    /// Fails the test if anything was said.
    #[track_caller]
    pub fn silent(self) {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(said, "", "\n{}", self.transcript());
    }

    /// Fails the test unless standard output holds `text`.
    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        let found = self.stdout.contains(text);
        assert!(found, "'{text}' is not in\n{}", self.transcript());
        self
    }

    /// Returns the JSON document that is all of standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in\n{}", self.transcript()))
    }
}

/// Joins transcripts into one session.
pub fn transcripts(ran: &[Ran]) -> String {
    let texts: Vec<String> = ran.iter().map(Ran::transcript).collect();
    texts.join("\n\n")
}
