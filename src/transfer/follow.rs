//! Following a channel: whom to trust, which mirror to ask, whether it is this machine's turn, what
//! is refused, and the pull.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Serialize, Serializer};

use super::{
    ConnectOptions, PullForecast, PullOptions, PullReport, ReleasePreview, TransferError,
    TransferProgress, VerifiedRemote, WantedContents, connect, forecast, preview, pull,
};
use crate::durable::Disk;
use crate::format::release::{Channel, ChannelName, Release, ReleaseId, ReleaseKind};
use crate::remote::{Location, Mirrors, RemoteOptions};
use crate::store::{RefName, Repository};
use crate::time::rfc3339;
use crate::trust::{
    AcceptedRelease, Machine, Policy, RolloutChoice, TrustState, TrustedRemote, Verified,
};

/// Where releases may come from, and where this machine remembers what it saw there.
#[derive(Debug, Clone)]
pub struct Origins {
    /// The trust policy.
    pub policy: PathBuf,
    /// The remote, by its name in the policy; `None` for the first one that may have the channel.
    pub remote: Option<String>,
    /// A location to use instead of those in the policy.
    pub from: Option<String>,
    /// The directory with what this machine remembers of each remote, by name.
    pub states: PathBuf,
    /// The disk that this directory is on.
    pub disk: Arc<dyn Disk>,
    /// How patient to be.
    pub open: RemoteOptions,
    /// When it is, in seconds since 1970.
    pub now: i64,
}

/// A verified remote, and what this machine remembers of it.
#[derive(Debug)]
pub struct Connection {
    /// Where blobs come from, and what is signed.
    pub source: VerifiedRemote,
    /// What is remembered.
    pub state: TrustState,
    /// What the policy says of it.
    pub remote: TrustedRemote,
}

/// A remote that was asked.
#[derive(Debug)]
pub struct TriedConnection {
    /// Its name in the policy.
    pub remote: String,
    /// What it says, once that is verified; or why it cannot be used.
    pub connected: Result<Connection, TransferError>,
}

impl Origins {
    /// Asks the remote that may have the channel, and verifies what it says.
    pub fn connect(
        &self,
        channel: &ChannelName,
        progress: &dyn TransferProgress,
    ) -> Result<Connection, TransferError> {
        let policy = self.read_policy()?;
        let trusted = self.choose(&policy, channel)?;
        self.open(trusted, &|verified| needed(verified, channel), progress)
    }

    /// Asks the remote that is named, or all of the policy, and verifies what each says; in the order
    /// of the policy.
    pub fn connect_each(
        &self,
        progress: &dyn TransferProgress,
    ) -> Result<Vec<TriedConnection>, TransferError> {
        let policy = self.read_policy()?;
        let chosen = match &self.remote {
            Some(name) => vec![self.named(&policy, name)?],
            None => policy.remotes.iter().collect(),
        };
        let tried = chosen.into_iter().map(|trusted| TriedConnection {
            remote: trusted.name.clone(),
            connected: self.open(trusted, &|_| Ok(()), progress),
        });
        Ok(tried.collect())
    }

    fn read_policy(&self) -> Result<Policy, TransferError> {
        if !self.policy.exists() {
            return Err(TransferError::NoPolicy {
                path: self.policy.clone(),
            });
        }
        Ok(Policy::read(&self.policy)?)
    }

    fn open(
        &self,
        trusted: &TrustedRemote,
        needs: &dyn Fn(&Verified) -> Result<(), TransferError>,
        progress: &dyn TransferProgress,
    ) -> Result<Connection, TransferError> {
        let root = trusted.read_root()?;
        let locations: Vec<&str> = match &self.from {
            Some(from) => vec![from],
            None => trusted.locations().collect(),
        };
        let locations = locations.iter().map(|location| location.parse());
        let locations = locations.collect::<Result<Vec<Location>, _>>()?;
        let mirrors = Mirrors::open(&locations, &self.open)?;
        let state = TrustState::open(Arc::clone(&self.disk), &self.states.join(&trusted.name))?;
        let options = ConnectOptions {
            root: &root,
            state: &state,
            now: self.now,
            needs,
            progress,
        };
        Ok(Connection {
            source: connect(mirrors, &options)?,
            state,
            remote: trusted.clone(),
        })
    }

    fn named<'p>(
        &self,
        policy: &'p Policy,
        name: &str,
    ) -> Result<&'p TrustedRemote, TransferError> {
        policy
            .remote(name)
            .ok_or_else(|| TransferError::UnknownRemote {
                name: name.to_owned(),
                known: policy.remotes.iter().map(|r| r.name.clone()).collect(),
            })
    }

    fn choose<'p>(
        &self,
        policy: &'p Policy,
        channel: &ChannelName,
    ) -> Result<&'p TrustedRemote, TransferError> {
        let not_allowed = |remote: &str| TransferError::NotAllowed {
            channel: channel.to_string(),
            remote: remote.to_owned(),
            policy: self.policy.clone(),
            allowed: policy
                .remotes
                .iter()
                .filter(|known| self.remote.is_none() || known.name == remote)
                .flat_map(TrustedRemote::patterns)
                .map(str::to_owned)
                .collect(),
        };
        let Some(name) = &self.remote else {
            let allowing = policy.remotes.iter().find(|remote| remote.allows(channel));
            return allowing.ok_or_else(|| not_allowed("any remote"));
        };
        let remote = self.named(policy, name)?;
        match remote.allows(channel) {
            true => Ok(remote),
            false => Err(not_allowed(&remote.name)),
        }
    }
}

/// Reads every document that following the channel may need: a mirror must have all of them. The
/// release is chosen later.
fn needed(verified: &Verified, channel: &ChannelName) -> Result<(), TransferError> {
    let found = verified.channel(channel)?;
    for id in std::iter::once(found.release).chain(found.rollout.others) {
        let release = verified.release(channel.kind, &channel.name, &id)?;
        for layer in &release.layers {
            verified.release(ReleaseKind::Layer, &layer.name, &layer.id.into())?;
        }
    }
    Ok(())
}

/// Whether this machine takes a release before its turn in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// The machine waits for its turn.
    #[default]
    Wait,
    /// It goes ahead.
    Ahead,
}

/// Where the id of this machine is, by which a staged rollout chooses. It is read only when a
/// rollout needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineId {
    /// The id itself.
    Given(String),
    /// The file that holds it.
    File(PathBuf),
}

impl MachineId {
    fn read(&self) -> Result<Machine, TransferError> {
        match self {
            Self::Given(id) => Ok(Machine::new(id)),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(id) => Ok(Machine::new(&id)),
                Err(source) => Err(TransferError::MachineId {
                    path: path.clone(),
                    source,
                }),
            },
        }
    }
}

/// How to follow a channel.
#[derive(Clone)]
pub struct FollowOptions<'a> {
    /// Where to look, and whom to trust.
    pub origins: Origins,
    /// Whether to wait for this machine's turn.
    pub turn: Turn,
    /// Which machine this is.
    pub machine: MachineId,
    /// How to pull. Whether images are composed again is up to the policy.
    pub pull: &'a PullOptions<'a>,
}

/// What following a channel gave.
#[derive(Debug)]
pub enum FollowOutcome {
    /// A release is here.
    Pulled(Box<Pulled>),
    /// There is nothing for this machine, and why.
    NoUpdate(NoUpdate),
}

/// Why a channel has nothing for this machine now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUpdate {
    /// The release is for later.
    #[error("'{channel}' is not for machines before {}", rfc3339(*until))]
    NotYet {
        /// The channel.
        channel: ChannelName,
        /// The first second in which it is taken.
        until: i64,
    },
    /// The release is for other machines, so far.
    #[error(
        "'{channel}' goes to {percent} % of the machines so far, and this machine is not one of them"
    )]
    NotChosen {
        /// The channel.
        channel: ChannelName,
        /// The share of the machines.
        percent: u8,
    },
    /// The machine has a newer release than the machines that wait: it went ahead, or it was chosen
    /// for a release whose rollout had not ended when the next one came.
    #[error(
        "'{channel}' is being rolled out: this machine already has release {taken}, and its turn has not come"
    )]
    WentAhead {
        /// The channel.
        channel: ChannelName,
        /// The serial that the machine has.
        taken: u64,
    },
    /// The caller refused the release.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

impl Serialize for NoUpdate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A release that is here now.
#[derive(Debug)]
pub struct Pulled {
    /// The remote that it came from, by its name in the trust policy.
    pub remote: String,
    /// The channel.
    pub channel: ChannelName,
    /// The release.
    pub release: Release,
    /// What was done.
    pub report: PullReport,
    /// Requests, that of the head among them.
    pub requests: u64,
    /// Bytes that arrived, the head among them.
    pub received_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What is to be remembered once the release is taken; none where it is not the channel's
    /// newest.
    pub accepted: Option<AcceptedRelease>,
}

impl Serialize for Pulled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Summary<'a> {
            channel: String,
            kind: ReleaseKind,
            id: &'a ReleaseId,
            serial: u64,
            version: &'a str,
            requests: u64,
            received_bytes: u64,
            seconds: f64,
            #[serde(flatten)]
            report: &'a PullReport,
        }
        let summary = Summary {
            channel: self.channel.to_string(),
            kind: self.release.kind,
            id: &self.release.id,
            serial: self.release.serial,
            version: &self.release.version,
            requests: self.requests,
            received_bytes: self.received_bytes,
            seconds: self.seconds,
            report: &self.report,
        };
        summary.serialize(serializer)
    }
}

impl Pulled {
    /// Remembers that this machine has taken the release: it does not take an older one by itself
    /// from now on.
    pub fn remember(&self) -> Result<(), TransferError> {
        match &self.accepted {
            Some(accepted) => Ok(accepted.remember()?),
            None => Ok(()),
        }
    }
}

/// What following a channel would fetch.
#[derive(Debug)]
pub struct ChannelForecast {
    /// The channel.
    pub channel: ChannelName,
    /// The release.
    pub release: Release,
    /// What it would take.
    pub forecast: PullForecast,
}

impl Serialize for ChannelForecast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Summary<'a> {
            dry_run: bool,
            channel: String,
            kind: ReleaseKind,
            id: &'a ReleaseId,
            serial: u64,
            version: &'a str,
            #[serde(flatten)]
            forecast: &'a PullForecast,
        }
        let summary = Summary {
            dry_run: true,
            channel: self.channel.to_string(),
            kind: self.release.kind,
            id: &self.release.id,
            serial: self.release.serial,
            version: &self.release.version,
            forecast: &self.forecast,
        };
        summary.serialize(serializer)
    }
}

/// The release that a channel has for this machine.
struct Selected {
    connection: Connection,
    channel: Channel,
    release: Release,
    /// Whether the channel points at it; other machines may be given the one before.
    is_newest: bool,
}

/// Brings the release that a channel has for this machine into the repository, unless `refuse` has
/// a reason against it.
///
/// The commit point is that of [`pull`]. Whoever takes the release remembers that, by
/// [`Pulled::remember`].
pub fn follow(
    repository: &Repository,
    name: &ChannelName,
    refuse: &dyn Fn(&Release) -> Option<String>,
    options: &FollowOptions<'_>,
) -> Result<FollowOutcome, TransferError> {
    let started = Instant::now();
    let selected = match options.select(name, refuse)? {
        Ok(selected) => *selected,
        Err(nothing) => return Ok(FollowOutcome::NoUpdate(nothing)),
    };
    let Connection {
        source,
        state,
        remote,
    } = selected.connection;
    let report = pull(
        repository,
        &source.remote,
        &source.verified,
        &selected.release,
        &RefName::channel(&remote.name, name)?,
        &options.pull_from(&remote),
    )?;
    Ok(FollowOutcome::Pulled(Box::new(Pulled {
        remote: remote.name,
        channel: name.clone(),
        release: selected.release,
        report,
        requests: source.remote.requests(),
        received_bytes: source.remote.received_bytes(),
        seconds: started.elapsed().as_secs_f64(),
        accepted: selected
            .is_newest
            .then(|| AcceptedRelease::new(state, selected.channel)),
    })))
}

/// Says what [`follow`] would fetch. Changes nothing but what is remembered of signatures. The
/// inner error says why there is nothing for this machine.
pub fn forecast_channel(
    repository: &Repository,
    name: &ChannelName,
    refuse: &dyn Fn(&Release) -> Option<String>,
    options: &FollowOptions<'_>,
) -> Result<Result<ChannelForecast, NoUpdate>, TransferError> {
    let selected = match options.select(name, refuse)? {
        Ok(selected) => *selected,
        Err(nothing) => return Ok(Err(nothing)),
    };
    let Connection { source, remote, .. } = selected.connection;
    let forecast = forecast(
        repository,
        &source.remote,
        &source.verified,
        &selected.release,
        &RefName::channel(&remote.name, name)?,
        &options.pull_from(&remote),
    )?;
    Ok(Ok(ChannelForecast {
        channel: name.clone(),
        release: selected.release,
        forecast,
    }))
}

/// What a channel has for this machine, looked into without taking it.
#[derive(Debug)]
pub struct ChannelPreview {
    /// What following the channel would fetch.
    pub forecast: ChannelForecast,
    /// What the release consists of.
    pub release: ReleasePreview,
}

/// Looks into the release that [`follow`] would bring: what `wanted` names of it can be read from
/// the repository afterwards. No ref moves.
pub fn preview_channel(
    repository: &Repository,
    name: &ChannelName,
    refuse: &dyn Fn(&Release) -> Option<String>,
    wanted: WantedContents<'_>,
    options: &FollowOptions<'_>,
) -> Result<Result<ChannelPreview, NoUpdate>, TransferError> {
    let selected = match options.select(name, refuse)? {
        Ok(selected) => *selected,
        Err(nothing) => return Ok(Err(nothing)),
    };
    let Connection { source, remote, .. } = selected.connection;
    let (from, catalogue) = (&source.remote, &source.verified);
    let reference = RefName::channel(&remote.name, name)?;
    let pulling = options.pull_from(&remote);
    let release = selected.release;
    let cost = forecast(repository, from, catalogue, &release, &reference, &pulling)?;
    let preview = preview(
        repository, from, catalogue, &release, &reference, wanted, &pulling,
    )?;
    Ok(Ok(ChannelPreview {
        forecast: ChannelForecast {
            channel: name.clone(),
            release,
            forecast: cost,
        },
        release: preview,
    }))
}

impl FollowOptions<'_> {
    /// Finds the release that the channel has for this machine; the inner error says why there is
    /// none.
    fn select(
        &self,
        name: &ChannelName,
        refuse: &dyn Fn(&Release) -> Option<String>,
    ) -> Result<Result<Box<Selected>, NoUpdate>, TransferError> {
        let connection = self.origins.connect(name, self.pull.progress)?;
        let verified = &connection.source.verified;
        let channel = verified.channel(name)?;
        connection.state.accept(&channel, None)?;
        let (id, is_newest) = match self.choice(&channel)? {
            RolloutChoice::Release(id) => (id, true),
            RolloutChoice::Others(id) => (id, false),
            RolloutChoice::NotYet { until } => {
                let channel = name.clone();
                return Ok(Err(NoUpdate::NotYet { channel, until }));
            }
            RolloutChoice::NotChosen => {
                return Ok(Err(NoUpdate::NotChosen {
                    channel: name.clone(),
                    percent: channel.rollout.percent,
                }));
            }
        };
        let release = verified.release(name.kind, &name.name, &id)?;
        let taken = connection.state.taken(name)?.unwrap_or(0);
        if !is_newest && taken > release.serial {
            let channel = name.clone();
            return Ok(Err(NoUpdate::WentAhead { channel, taken }));
        }
        if let Some(reason) = refuse(&release) {
            return Ok(Err(NoUpdate::Refused { reason }));
        }
        Ok(Ok(Box::new(Selected {
            connection,
            channel,
            release,
            is_newest,
        })))
    }

    /// Returns how to pull from a remote: whether images are composed again is up to the policy.
    fn pull_from(&self, remote: &TrustedRemote) -> PullOptions<'_> {
        PullOptions {
            recompose: remote.recompose,
            ..*self.pull
        }
    }

    fn choice(&self, channel: &Channel) -> Result<RolloutChoice, TransferError> {
        if self.turn == Turn::Ahead {
            return Ok(RolloutChoice::Release(channel.release));
        }
        let machine = match channel.rollout.percent {
            // The same for every machine.
            0 | 100 => Machine::new(""),
            _ => self.machine.read()?,
        };
        Ok(machine.choose(channel, self.origins.now))
    }
}
