//! What a machine does by itself: a target is brought to what a channel has for the machine, and a
//! repository is repaired.
//!
//! Joins [`crate::transfer`], which follows channels, and [`crate::deploy`], which changes targets;
//! neither knows the other. Commands, the timer and a machine that boots ask for the same thing
//! here. Nothing here prints, or reads the environment.

mod repair;

pub use repair::{RepairOptions, RepairReport, RepairedThing, repair, verify};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::deploy::{
    self, DeployError, DeployOptions, DeployReport, HistoryAction, Note, SourceRelease,
    Subscription, TargetLocation,
};
use crate::format::release::{ChannelName, Release, ReleaseKind};
use crate::store::Repository;
use crate::transfer::{FollowOptions, FollowOutcome, NoUpdate, Pulled, TransferError, follow};

/// Why a target is not at what its channel has.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The target follows no channel, and none was named.
    #[error("the target follows no channel yet")]
    NoChannel,
    /// Targets take images.
    #[error("'{channel}' is the channel of a layer")]
    LayerChannel { channel: ChannelName },
    /// Following the channel failed: the target is as it was.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// Changing the target failed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
}

/// What became of a target that follows a channel.
#[derive(Debug)]
pub enum ChannelReport {
    /// A release is here; the target has it, or would have.
    Deployed {
        /// What became of the target.
        deployed: DeployReport,
        /// The release.
        pulled: Box<Pulled>,
    },
    /// The channel has nothing for this machine.
    Nothing {
        /// The channel.
        channel: ChannelName,
        /// Why.
        why: NoUpdate,
    },
}

impl Serialize for ChannelReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Self::Deployed { deployed, pulled } => {
                let mut value = json!(deployed);
                if let (Value::Object(fields), false) =
                    (&mut value, matches!(deployed, DeployReport::Planned { .. }))
                {
                    fields.insert("pull".to_owned(), json!(pulled));
                }
                value
            }
            Self::Nothing { channel, why } => {
                json!({ "channel": channel.to_string(), "switched": false, "reason": why })
            }
        };
        value.serialize(serializer)
    }
}

/// Brings a target to what the channel that it follows has for this machine.
///
/// With `channel`, the target follows that one from then on.
pub fn update(
    location: &TargetLocation,
    repository: &Repository,
    channel: Option<ChannelName>,
    following: &FollowOptions<'_>,
    deploying: &DeployOptions<'_>,
) -> Result<ChannelReport, AgentError> {
    let known = location.open()?.subscription()?;
    let mut following = following.clone();
    // Another channel may be on another remote.
    let is_same = |known: &Subscription| channel.as_ref().is_none_or(|name| *name == known.channel);
    if let Some(known) = known.as_ref().filter(|known| is_same(known)) {
        let remote = &mut following.origins.remote;
        remote.get_or_insert_with(|| known.remote.clone());
    }
    let channel = channel.or(known.map(|known| known.channel));
    let channel = channel.ok_or(AgentError::NoChannel)?;
    let deploying = DeployOptions {
        action: HistoryAction::Update,
        ..deploying.clone()
    };
    deploy_channel(location, repository, &channel, &following, &deploying)
}

/// Pulls what a channel has for this machine, brings it onto a target, and lets the target follow
/// the channel.
///
/// A release whose image was marked bad on the target is not even pulled, nor is one that a rollback
/// left.
pub fn deploy_channel(
    location: &TargetLocation,
    repository: &Repository,
    channel: &ChannelName,
    following: &FollowOptions<'_>,
    deploying: &DeployOptions<'_>,
) -> Result<ChannelReport, AgentError> {
    if channel.kind != ReleaseKind::Image {
        return Err(AgentError::LayerChannel {
            channel: channel.clone(),
        });
    }
    // A new target has marked nothing.
    let target = location.open().ok();
    let refuse = |release: &Release| {
        let (target, serial) = (target.as_ref()?, release.serial);
        let image = release.id.image();
        if let Some(reason) = target.bad_image(&image) {
            return Some(format!(
                "release {serial} of '{channel}' is marked bad on this target: {reason}"
            ));
        }
        // A list that cannot be read is found by the deployment.
        let is_held = !deploying.again && target.held().is_ok_and(|held| held.contains(&image));
        is_held.then(|| {
            format!(
                "a rollback left release {serial} of '{channel}', so it is held until there is a \
                 newer one; --again takes it"
            )
        })
    };
    let pulled = match follow(repository, channel, &refuse, following)? {
        FollowOutcome::Pulled(pulled) => pulled,
        FollowOutcome::NoUpdate(why) => {
            let channel = channel.clone();
            return Ok(ChannelReport::Nothing { channel, why });
        }
    };
    let serial = pulled.release.serial;
    let reason = match deploying.note.reason.as_str() {
        "" => format!("release {serial} of {channel} on {}", pulled.remote),
        given => given.to_owned(),
    };
    let options = DeployOptions {
        note: Note {
            reason,
            ..deploying.note.clone()
        },
        release: Some(SourceRelease {
            subscription: Subscription::new(&pulled.remote, channel, serial),
            accepted: pulled.accepted.clone(),
        }),
        ..deploying.clone()
    };
    let image = pulled.release.id.image();
    let deployed = deploy::deploy(location, repository, &image, &options)?;
    Ok(ChannelReport::Deployed { deployed, pulled })
}
