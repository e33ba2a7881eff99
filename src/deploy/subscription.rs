//! Which channel a target follows: `channel.json` beside the deployments.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::{DeployError, Target};
use crate::durable::replace_file;
use crate::format::release::ChannelName;

/// The version of `channel.json` that this program reads and writes.
const FORMAT: u32 = 1;

/// The channel that a target follows, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Version of this file: 1.
    format: u32,
    /// The remote, by its name in the trust policy.
    pub remote: String,
    /// The channel.
    pub channel: ChannelName,
    /// The release that was deployed last.
    pub serial: u64,
}

impl Subscription {
    /// Says that release `serial` of a channel was deployed.
    pub fn new(remote: &str, channel: &ChannelName, serial: u64) -> Self {
        Self {
            format: FORMAT,
            remote: remote.to_owned(),
            channel: channel.clone(),
            serial,
        }
    }
}

impl Target {
    /// Returns the channel that the target follows, if it follows one.
    pub fn subscription(&self) -> Result<Option<Subscription>, DeployError> {
        let path = self.subscription_path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DeployError::io("read", &path, error)),
        };
        let damaged = |reason: String| DeployError::Damaged {
            path: path.clone(),
            reason,
        };
        let found: Subscription =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if found.format != FORMAT {
            return Err(damaged(format!("it has format {}", found.format)));
        }
        Ok(Some(found))
    }

    fn subscription_path(&self) -> PathBuf {
        self.dir.join("channel.json")
    }
}

impl Change<'_> {
    /// Lets the target follow a channel from now on.
    pub fn subscribe(&self, subscription: &Subscription) -> Result<(), DeployError> {
        let path = self.target.subscription_path();
        if self.target.subscription().ok().flatten().as_ref() == Some(subscription) {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec_pretty(subscription)
            .map_err(|error| DeployError::io("write", &path, error.into()))?;
        bytes.push(b'\n');
        replace_file(self.target.disk.as_ref(), &path, 0o644, &bytes)?;
        Ok(())
    }
}
