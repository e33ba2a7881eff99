//! Whom the agent tells of what became of a machine: the journal, programs of the administrator, and
//! an address on the web. None of them can stop an update or a way back.

mod hooks;
mod journal;
mod metrics;
mod webhook;

pub(super) use metrics::{Metrics, write_metrics};

use serde::Serialize;

use super::AgentConfig;
use crate::id::ImageId;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A release is here, checked and staged, and waits for its time.
    Staged,
    /// Another deployment is current, and its health checks passed.
    Switched,
    /// Something did not work; the target is as it was.
    Failed,
    /// A deployment was not well, and the one before it is current again.
    Returned,
}

impl EventKind {
    /// Returns its name: what hooks get as their argument.
    pub fn word(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Switched => "switched",
            Self::Failed => "failed",
            Self::Returned => "returned",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// What happened.
    pub event: EventKind,
    /// What it means, for people.
    pub message: String,
    /// The machine's name.
    pub host: String,
    /// The target.
    pub target: String,
    /// When, in seconds since 1970.
    pub when: i64,
    /// The deployment that it is about.
    pub generation: Option<u64>,
    /// The one that was current before.
    pub from: Option<u64>,
    /// Its image.
    pub image: Option<ImageId>,
    /// The channel that the target follows.
    pub channel: Option<String>,
    /// The release.
    pub serial: Option<u64>,
    /// Its version.
    pub version: Option<String>,
}

impl Event {
    /// Makes one about a target, of which nothing more is known.
    pub fn new(event: EventKind, target: &std::path::Path, when: i64, message: String) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            event,
            message,
            host: host.trim_end().to_owned(),
            target: target.display().to_string(),
            when,
            generation: None,
            from: None,
            image: None,
            channel: None,
            serial: None,
            version: None,
        }
    }
}

/// Tells everybody of an event, and says whom that did not reach.
pub fn tell(config: &AgentConfig, event: &Event) -> Vec<String> {
    let mut remarks = Vec::new();
    journal::send(event);
    remarks.extend(hooks::run(&config.hooks, event));
    if let Some(url) = &config.webhook
        && let Err(problem) = webhook::post(url, event)
    {
        remarks.push(problem);
    }
    remarks
}
