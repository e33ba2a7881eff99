//! Errors of the sandbox.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::materialise::MaterialiseError;

/// Why a build in the sandbox failed.
#[allow(missing_docs)] // Most fields are what their names say.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Mounting, writing or reading a tree failed.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// The program that makes the sandbox is not installed.
    #[error("cannot run '{program}', which the sandbox needs")]
    Missing {
        program: &'static str,
        source: io::Error,
    },
    /// The command ran and failed: its log says why.
    #[error("'{command}' failed with {status}; the log is '{}'", .log.display())]
    Failed {
        command: String,
        status: ExitStatus,
        last_lines: Vec<String>,
        /// Where the whole output is.
        log: PathBuf,
    },
    /// The command took more than it may: see [`Limits`](super::Limits).
    #[error("'{command}' was stopped because it {reason}; the log is '{}'", .log.display())]
    Limit {
        command: String,
        /// What it did, in words that follow "it".
        reason: String,
        last_lines: Vec<String>,
        /// Where the output so far is.
        log: PathBuf,
    },
    /// The caller asked to stop.
    #[error("'{command}' was cancelled; the log is '{}'", .log.display())]
    Cancelled {
        command: String,
        /// Where the output so far is.
        log: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {verb} '{}'", .path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl SandboxError {
    /// Makes the mapper for `map_err` that adds verb and path.
    pub(super) fn io<E: Into<io::Error>>(
        verb: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            verb,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}
