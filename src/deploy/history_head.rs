//! How far the history got, kept beside it: `history.head`.
//!
//! The chain of a log proves the lines that are there. That the last ones, or all, are gone is
//! proven by what was counted when they were written. The head is replaced after each append; a
//! command that dies in between, or an earlier version of this program, leaves a log that is longer
//! than its head says, which is no fault.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history::{self, ChainBreak, Lines as _};
use crate::durable::{Disk, DurableError, replace_file};

/// The version of `history.head` that this program reads and writes.
const FORMAT: u32 = 1;

/// The number of records that were written, and the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HistoryHead {
    format: u32,
    /// How many lines there were.
    records: u64,
    /// BLAKE3 of the last line, 64 hex digits; empty without one.
    digest: String,
}

impl HistoryHead {
    /// Counts the whole lines of a history.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut head = Self {
            format: FORMAT,
            records: 0,
            digest: String::new(),
        };
        for line in history::whole_lines(bytes).split_terminator_bytes() {
            head.records += 1;
            head.digest = history::digest(line);
        }
        head
    }

    /// Reads the head of the history at `path`; a target of an earlier version has none, and one
    /// that makes no sense proves nothing.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, DurableError> {
        let head: Option<Self> = serde_json::from_slice(&history::read(&head_path(path))?).ok();
        Ok(head.filter(|head| head.format == FORMAT))
    }

    /// Replaces the head of the history at `path`.
    pub(super) fn save(&self, disk: &dyn Disk, path: &Path) -> Result<(), DurableError> {
        let path = head_path(path);
        let mut bytes = serde_json::to_vec(self)
            .map_err(|error| DurableError::new("encode", &path, error.into()))?;
        bytes.push(b'\n');
        replace_file(disk, &path, 0o644, &bytes)
    }

    /// Says what a history lacks of what this head counted, if it lacks anything.
    pub(super) fn missing_in(&self, bytes: &[u8]) -> Option<ChainBreak> {
        let whole = history::whole_lines(bytes);
        let (mut count, mut last) = (0u64, String::new());
        for line in whole.split_terminator_bytes() {
            count += 1;
            if count == self.records {
                last = history::digest(line);
            }
        }
        if last == self.digest {
            return None;
        }
        let place = count.min(self.records.saturating_sub(1));
        let reason = match self.records.saturating_sub(count) {
            0 => format!("it is not record {} as it was written", self.records),
            lost => format!("{lost} of {} records are gone from the end", self.records),
        };
        Some(ChainBreak {
            line: usize::try_from(place)
                .unwrap_or(usize::MAX)
                .saturating_add(1),
            reason,
        })
    }
}

fn head_path(history: &Path) -> PathBuf {
    history.with_file_name("history.head")
}
