//! Runs the system's tools and captures their output.

use super::error::AptError;
use std::process::{Command, Stdio};

/// Holds the outcome of a tool that ran to its end.
pub(super) struct ToolOutput {
    /// Whether it exited with zero.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ToolOutput {
    /// Returns standard output, or an error with the end of the tool's messages.
    pub(super) fn checked(self, command: &str) -> Result<String, AptError> {
        if self.success {
            return Ok(self.stdout);
        }
        Err(AptError::Tool {
            command: command.to_owned(),
            reason: self.reason(),
        })
    }

    /// Returns the lines by which apt and dpkg report errors, or else the last lines of all output.
    pub(super) fn reason(&self) -> String {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        let errors: Vec<&str> = all
            .lines()
            .filter_map(|l| l.strip_prefix("E: ").or_else(|| l.strip_prefix("W: ")))
            .collect();
        if errors.is_empty() {
            tail(&all, 5)
        } else {
            errors.join("; ")
        }
    }
}

/// Runs `command` to its end with no input, its output captured and its messages in the C locale.
pub(super) fn run(command: &mut Command) -> Result<ToolOutput, AptError> {
    let output = in_plain_words(command)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| AptError::Spawn {
            program: program(command),
            source,
        })?;
    Ok(ToolOutput {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Makes a tool print untranslated messages, so that they can be parsed. `LANGUAGE` overrides
/// `LC_ALL`.
pub(super) fn in_plain_words(command: &mut Command) -> &mut Command {
    command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE")
}

/// Returns the program's name, for messages.
pub(super) fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Returns the last `count` lines that are not blank.
pub(super) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_not_translated_whatever_the_caller_has_set() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo ${LANGUAGE-none} $LC_ALL"])
            .envs([("LANGUAGE", "tr"), ("LC_ALL", "tr_TR.UTF-8")]);
        let finished = run(&mut command).unwrap();
        assert_eq!(finished.stdout, "none C.UTF-8\n");
    }
}
