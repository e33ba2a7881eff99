//! What a machine does by itself: a target is brought to what a channel has for the machine, and a
//! repository is repaired.
//!
//! Joins [`crate::transfer`], which follows channels, and [`crate::deploy`], which changes targets;
//! neither knows the other. Commands, the timer and a machine that boots ask for the same thing
//! here. Nothing here prints, or reads the environment.

mod adopt;
mod child;
mod config;
mod config_shape;
mod gateway;
mod health;
mod inhibit;
mod live;
mod memory;
mod outlook;
mod proof;
mod repair;
mod round;
mod tell;
mod window;

pub use adopt::{AdoptionReport, HostFacts, SharedPackage, carry, compare, holds_files};
pub use config::AgentConfig;
pub use config_shape::AGENT;
pub use health::CheckedHealth;
pub use live::{LiveReport, UnitReport, WayBack, complete_live, system};
pub use outlook::{LayerOutlook, outlook};
pub use proof::{Host, Proof, look, problem_of, prove, recorded};
pub use repair::{RepairOptions, RepairReport, RepairedThing, repair, verify};
pub use round::{Round, RoundReport, fill, is_own_return};
pub use tell::{Event, EventKind, tell};
pub use window::Window;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::builder::BuildError;
use crate::deploy::{
    self, DeployError, DeployMode, DeployOptions, DeployReport, HistoryAction, ImageParts, Note,
    SourceRelease, Subscription, Target, TargetLocation,
};
use crate::format::release::{ChannelName, Release, ReleaseKind};
use crate::recipe::RecipeError;
use crate::store::Repository;
use crate::transfer::{
    ChannelForecast, ChannelPreview, FollowOptions, FollowOutcome, NoUpdate, Pulled,
    ReleasePreview, TransferError, follow, forecast_channel, preview_channel,
};

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
    /// A recipe could not be locked.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// `agent.toml` says what it must not.
    #[error(transparent)]
    Config(#[from] RecipeError),
    /// It cannot be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The system did not do what it was asked for.
    #[error("{message}")]
    Host { message: String },
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
    /// Nothing was changed, as asked.
    Planned {
        /// What would become of the target.
        planned: DeployReport,
        /// What would be fetched.
        forecast: Box<ChannelForecast>,
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
                if let Value::Object(fields) = &mut value {
                    fields.insert("pull".to_owned(), json!(pulled));
                }
                value
            }
            Self::Planned { planned, forecast } => {
                let mut value = json!(planned);
                if let Value::Object(fields) = &mut value {
                    fields.insert("pull".to_owned(), json!(forecast));
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
    let (channel, following) = subscribed(location, channel, following)?;
    let deploying = DeployOptions {
        action: HistoryAction::Update,
        ..deploying.clone()
    };
    deploy_channel(location, repository, &channel, &following, &deploying)
}

/// Returns the channel to follow, and how: the one that the target follows, unless another is named.
fn subscribed<'a>(
    location: &TargetLocation,
    channel: Option<ChannelName>,
    following: &FollowOptions<'a>,
) -> Result<(ChannelName, FollowOptions<'a>), AgentError> {
    let known = location.open()?.subscription()?;
    let mut following = following.clone();
    // Another channel may be on another remote.
    let is_same = |known: &Subscription| channel.as_ref().is_none_or(|name| *name == known.channel);
    if let Some(known) = known.as_ref().filter(|known| is_same(known)) {
        let remote = &mut following.origins.remote;
        remote.get_or_insert_with(|| known.remote.clone());
    }
    let channel = channel.or(known.map(|known| known.channel));
    Ok((channel.ok_or(AgentError::NoChannel)?, following))
}

/// Says why a target does not take a release, if it does not.
fn refusal(
    target: &Target,
    channel: &ChannelName,
    again: bool,
    release: &Release,
) -> Option<String> {
    let (serial, image) = (release.serial, release.id.image());
    if let Some(reason) = target.bad_image(&image) {
        return Some(format!(
            "release {serial} of '{channel}' is marked bad on this target: {reason}"
        ));
    }
    // A list that cannot be read is found by the deployment.
    let is_held = !again && target.held().is_ok_and(|held| held.contains(&image));
    is_held.then(|| {
        format!(
            "a rollback left release {serial} of '{channel}', so it is held until there is a \
             newer one; --again takes it"
        )
    })
}

/// What a channel has for a target.
#[derive(Debug)]
pub enum News {
    /// A release that the target does not have, and what it would take.
    Release(Box<ChannelForecast>),
    /// Nothing, and why.
    Nothing {
        /// The channel.
        channel: ChannelName,
        /// Why.
        why: String,
    },
}

/// Says whether [`update`] would bring something; changes nothing.
pub fn news(
    location: &TargetLocation,
    repository: &Repository,
    channel: Option<ChannelName>,
    following: &FollowOptions<'_>,
    again: bool,
) -> Result<News, AgentError> {
    let (channel, following) = subscribed(location, channel, following)?;
    let target = location.open()?;
    let refuse = |release: &Release| refusal(&target, &channel, again, release);
    let forecast = match forecast_channel(repository, &channel, &refuse, &following)? {
        Ok(forecast) => forecast,
        Err(why) => {
            let why = why.to_string();
            return Ok(News::Nothing { channel, why });
        }
    };
    if target.runs(&forecast.release.id.image())? {
        let serial = forecast.release.serial;
        let why = format!("release {serial} of {channel} is already current");
        return Ok(News::Nothing { channel, why });
    }
    Ok(News::Release(Box::new(forecast)))
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
    let again = deploying.again;
    let refuse = |release: &Release| refusal(target.as_ref()?, channel, again, release);
    if deploying.mode == DeployMode::Plan {
        return plan_channel(location, repository, channel, &refuse, following, deploying);
    }
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

/// Looks into what a channel has for this machine, by a repository that is thrown away afterwards.
pub fn preview_for_adoption(
    repository: &Repository,
    channel: &ChannelName,
    following: &FollowOptions<'_>,
) -> Result<Result<ChannelPreview, NoUpdate>, AgentError> {
    if channel.kind != ReleaseKind::Image {
        return Err(AgentError::LayerChannel {
            channel: channel.clone(),
        });
    }
    let nothing = |_: &ReleasePreview| BTreeSet::new();
    let found = preview_channel(repository, channel, &|_| None, &nothing, following)?;
    Ok(found)
}

/// Says what [`deploy_channel`] would do: fetches no more of the release than that takes, and moves
/// nothing.
fn plan_channel(
    location: &TargetLocation,
    repository: &Repository,
    channel: &ChannelName,
    refuse: &dyn Fn(&Release) -> Option<String>,
    following: &FollowOptions<'_>,
    deploying: &DeployOptions<'_>,
) -> Result<ChannelReport, AgentError> {
    let before = match location.open() {
        Ok(target) => target.current_parts(repository)?,
        Err(DeployError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let parts = |release: &ReleasePreview| ImageParts {
        tree: release.tree.clone(),
        layers: release.layers.clone(),
    };
    let wanted = |release: &ReleasePreview| deploy::wanted(before.as_ref(), &parts(release));
    let found = preview_channel(repository, channel, refuse, &wanted, following)?;
    let preview = match found {
        Ok(preview) => preview,
        Err(why) => {
            let channel = channel.clone();
            return Ok(ChannelReport::Nothing { channel, why });
        }
    };
    let image = preview.forecast.release.id.image();
    let parts = parts(&preview.release);
    let planned = deploy::plan_parts(location, repository, &image, &parts, deploying)?;
    Ok(ChannelReport::Planned {
        planned,
        forecast: Box::new(preview.forecast),
    })
}
