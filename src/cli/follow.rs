//! What commands share that follow a channel of a remote: whom to trust, where to look, and the pull itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::meter::Meter;
use super::patience::patient;
use super::{CliError, Context, authority, error, ui};
use crate::format::release::{Channel, ChannelName, Kind, Release, ReleaseId};
use crate::remote::{Location, Mirrors, OpenOptions, Remark};
use crate::store::{RefName, Repository};
use crate::time::{Clock as _, SystemClock, rfc3339};
use crate::transfer::{
    self, How, Looking, PullForecast, PullOptions, PullReport, Source, TransferError,
};
use crate::trust::{Choice, Machine, Policy, State, TrustedRemote, Verified};

/// How many requests at once.
pub const THREADS: usize = 6;

/// Which remote, where, and whom to trust.
#[derive(Debug, Clone, Args)]
pub struct Whence {
    /// The remote, by its name in the trust policy [default: the first that may have the channel]
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Look here instead of where the policy says: a mirror, or the directory of a bundle
    #[arg(long, value_name = "LOCATION")]
    from: Option<String>,
    /// Whom to trust [default: /etc/layerset/trust.toml for root, $XDG_CONFIG_HOME/layerset/trust.toml for others]
    #[arg(long, env = "LAYERSET_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// How to follow a channel.
#[derive(Debug, Clone, Args)]
pub struct Follow {
    #[command(flatten)]
    whence: Whence,
    /// Take a release that is being rolled out even where it is not this machine's turn
    #[arg(long)]
    ahead: bool,
    /// Fetch what changed in full, not as the difference to what is here
    #[arg(long)]
    no_deltas: bool,
    /// Make compressed files again even where it is quicker to fetch them: for lines that are paid by the byte
    #[arg(long, conflicts_with = "no_deltas")]
    least_bytes: bool,
}

/// What following a channel gave.
pub enum Followed {
    /// A release is here.
    Pulled(Box<Pulled>),
    /// There is nothing for this machine, and why.
    Nothing(String),
}

/// The release that a channel has for this machine.
struct Selected {
    source: Source,
    state: State,
    trusted: TrustedRemote,
    channel: Channel,
    release: Release,
    /// Whether the channel points at it; other machines may be given the one before.
    is_newest: bool,
}

/// What pulling would fetch.
pub struct Forecast {
    /// The channel.
    pub channel: ChannelName,
    /// The release.
    pub release: Release,
    /// What it would take.
    pub forecast: PullForecast,
}

/// A release that is here now.
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
    pub received: u64,
    /// How long it took.
    pub seconds: f64,
    /// The state of trust, to be told once the release is taken.
    accepted: Option<(State, Channel)>,
}

#[derive(Serialize)]
struct ForecastSummary<'a> {
    dry_run: bool,
    channel: String,
    kind: Kind,
    id: &'a ReleaseId,
    serial: u64,
    version: &'a str,
    #[serde(flatten)]
    forecast: &'a PullForecast,
}

#[derive(Serialize)]
struct Summary<'a> {
    channel: String,
    kind: Kind,
    id: &'a ReleaseId,
    serial: u64,
    version: &'a str,
    requests: u64,
    received_bytes: u64,
    seconds: f64,
    #[serde(flatten)]
    report: &'a PullReport,
}

/// Reads a channel as people write it: `web/stable` stands for the image's.
pub fn channel_name(text: &str) -> Result<ChannelName, CliError> {
    let full = if text.matches('/').count() == 1 {
        format!("images/{text}")
    } else {
        text.to_owned()
    };
    full.parse().map_err(|_| {
        CliError::usage(format!("'{text}' names no channel")).with_hint(
            "write NAME/CHANNEL for an image, as in 'web/stable', or layers/NAME/CHANNEL for a layer",
        )
    })
}

/// Opens remotes as commands do: an interrupt ends their waiting.
pub fn open_options(context: &Context) -> OpenOptions {
    OpenOptions {
        cancel: Arc::clone(&context.cancel),
        remark: Remark(Arc::new({
            let ui = context.ui.clone();
            move |text| ui.remark(text)
        })),
        ..OpenOptions::default()
    }
}

/// Returns where the trust policy is unless it is named.
pub fn default_policy() -> Result<PathBuf, CliError> {
    super::config_dir().map(|dir| dir.join("trust.toml"))
}

impl Whence {
    fn policy(&self) -> Result<Policy, CliError> {
        let path = match &self.trust {
            Some(path) => path.clone(),
            None => default_policy()?,
        };
        if !path.exists() {
            return Err(CliError::new(
                format!("there is no trust policy at '{}'", path.display()),
                error::FAILED,
            )
            .with_hint("write one: [[remote]] with name, location and root, the root.json that `layerset trust init` made; or name one with --trust"));
        }
        Ok(Policy::read(&path)?)
    }

    fn choose<'p>(
        &self,
        policy: &'p Policy,
        channel: &ChannelName,
    ) -> Result<&'p TrustedRemote, CliError> {
        let names = || {
            let names: Vec<&str> = policy
                .remotes
                .iter()
                .map(|remote| remote.name.as_str())
                .collect();
            format!("the policy has: {}", names.join(", "))
        };
        if let Some(name) = &self.remote {
            let remote = policy.remote(name).ok_or_else(|| {
                CliError::usage(format!("the trust policy has no remote '{name}'"))
                    .with_hint(names())
            })?;
            if !remote.allows(channel) {
                return Err(not_allowed(channel, &remote.name));
            }
            return Ok(remote);
        }
        let allowing = policy.remotes.iter().find(|remote| remote.allows(channel));
        allowing.ok_or_else(|| not_allowed(channel, "any remote"))
    }

    /// Asks the remote that may have the channel, and verifies what it says.
    pub fn connect(
        &self,
        context: &Context,
        channel: &ChannelName,
        meter: &Meter,
    ) -> Result<(Source, State, TrustedRemote), CliError> {
        let policy = self.policy()?;
        let trusted = self.choose(&policy, channel)?;
        let root = trusted.read_root()?;
        let locations: Vec<String> = match &self.from {
            Some(from) => vec![from.clone()],
            None => trusted.locations().map(str::to_owned).collect(),
        };
        let options = patient(open_options(context))?;
        let locations = locations.iter().map(|location| location.parse());
        let locations = locations.collect::<Result<Vec<Location>, _>>()?;
        let mirrors = Mirrors::open(&locations, &options)?;
        let state = authority::state(context, &trusted.name)?;
        let now = SystemClock.now_sec();
        let looking = Looking {
            root: &root,
            state: &state,
            now,
            needs: &|verified| needed(verified, channel),
            progress: meter,
        };
        let source = transfer::connect(mirrors, &looking)?;
        Ok((source, state, trusted.clone()))
    }
}

impl Follow {
    /// Follows the channel of the remote of this name, unless another was named on the command line.
    pub fn of_remote(&self, name: &str) -> Self {
        let mut follow = self.clone();
        follow.whence.remote.get_or_insert_with(|| name.to_owned());
        follow
    }

    /// Brings the release that the channel has for this machine into the repository, unless `refuse` has a reason against it.
    pub fn pull(
        &self,
        context: &Context,
        repository: &Repository,
        name: &ChannelName,
        refuse: &dyn Fn(&Release) -> Option<String>,
    ) -> Result<Followed, CliError> {
        let started = Instant::now();
        let meter = Meter::new(&context.ui);
        let selected = match self.select(context, name, &meter, refuse)? {
            Ok(selected) => *selected,
            Err(why) => return Ok(Followed::Nothing(why)),
        };
        let report = transfer::pull(
            repository,
            &selected.source.remote,
            &selected.source.verified,
            &selected.release,
            &RefName::channel(&selected.trusted.name, name)?,
            &self.pull_options(context, &selected.trusted, &meter),
        )?;
        let Selected {
            source,
            state,
            trusted,
            channel,
            release,
            is_newest,
        } = selected;
        Ok(Followed::Pulled(Box::new(Pulled {
            remote: trusted.name,
            channel: name.clone(),
            release,
            report,
            requests: source.remote.requests(),
            received: source.remote.received_bytes(),
            seconds: started.elapsed().as_secs_f64(),
            accepted: is_newest.then_some((state, channel)),
        })))
    }

    /// Says what [`Follow::pull`] would fetch, and changes nothing; the inner error says why there
    /// is nothing for this machine.
    pub fn forecast(
        &self,
        context: &Context,
        repository: &Repository,
        name: &ChannelName,
        refuse: &dyn Fn(&Release) -> Option<String>,
    ) -> Result<Result<Forecast, String>, CliError> {
        let meter = Meter::new(&context.ui);
        let selected = match self.select(context, name, &meter, refuse)? {
            Ok(selected) => *selected,
            Err(why) => return Ok(Err(why)),
        };
        let forecast = transfer::forecast(
            repository,
            &selected.source.remote,
            &selected.source.verified,
            &selected.release,
            &RefName::channel(&selected.trusted.name, name)?,
            &self.pull_options(context, &selected.trusted, &meter),
        )?;
        Ok(Ok(Forecast {
            channel: name.clone(),
            release: selected.release,
            forecast,
        }))
    }

    fn pull_options<'a>(
        &self,
        context: &'a Context,
        trusted: &TrustedRemote,
        meter: &'a Meter,
    ) -> PullOptions<'a> {
        PullOptions {
            threads: THREADS,
            deltas: !self.no_deltas,
            gap: None,
            recompress: self.least_bytes.then_some(true),
            recompose: trusted.recompose,
            cancel: &context.cancel,
            progress: meter,
            waiting: context.store_waiting(),
        }
    }

    /// Finds the release that the channel has for this machine; the inner error says why there is
    /// none.
    fn select(
        &self,
        context: &Context,
        name: &ChannelName,
        meter: &Meter,
        refuse: &dyn Fn(&Release) -> Option<String>,
    ) -> Result<Result<Box<Selected>, String>, CliError> {
        let (source, state, trusted) = self.whence.connect(context, name, meter)?;
        let channel = source.verified.channel(name)?;
        state.accept(&channel, None)?;
        let (id, is_newest) = match self.choice(&channel)? {
            Choice::Release(id) => (id, true),
            Choice::Others(id) => (id, false),
            Choice::NotYet { until } => {
                let text = format!("'{name}' is not for machines before {}", rfc3339(until));
                return Ok(Err(text));
            }
            Choice::NotChosen => {
                let percent = channel.rollout.percent;
                let text = format!(
                    "'{name}' goes to {percent} % of the machines so far, and this is none of them"
                );
                return Ok(Err(text));
            }
        };
        let release = source.verified.release(name.kind, &name.name, &id)?;
        let taken = state.taken(name)?.unwrap_or(0);
        if !is_newest && taken > release.serial {
            // It went ahead, or was chosen for a release that was on its way when the next one came.
            let text = format!(
                "'{name}' is being rolled out: it is not this machine's turn, which has release {taken} already"
            );
            return Ok(Err(text));
        }
        if let Some(reason) = refuse(&release) {
            return Ok(Err(reason));
        }
        Ok(Ok(Box::new(Selected {
            source,
            state,
            trusted,
            channel,
            release,
            is_newest,
        })))
    }

    fn choice(&self, channel: &Channel) -> Result<Choice, CliError> {
        if self.ahead {
            return Ok(Choice::Release(channel.release));
        }
        let now = SystemClock.now_sec();
        if matches!(channel.rollout.percent, 0 | 100) {
            // The same for every machine.
            return Ok(Machine::new("").choose(channel, now));
        }
        let path = "/etc/machine-id";
        let id = match std::env::var("LAYERSET_MACHINE_ID") {
            Ok(id) if !id.is_empty() => id,
            _ => std::fs::read_to_string(path).map_err(|error| {
                CliError::io(
                    format!("cannot read '{path}', by which a staged rollout chooses machines"),
                    error,
                )
                .with_hint(
                    "`systemd-machine-id-setup` makes one; --ahead takes the release all the same",
                )
            })?,
        };
        Ok(Machine::new(&id).choose(channel, now))
    }
}

/// Reads what following a channel takes: which it is decided later, and a mirror must have all of it.
fn needed(verified: &Verified, channel: &ChannelName) -> Result<(), TransferError> {
    let found = verified.channel(channel)?;
    for id in std::iter::once(found.release).chain(found.rollout.others) {
        let release = verified.release(channel.kind, &channel.name, &id)?;
        for layer in &release.layers {
            verified.release(Kind::Layer, &layer.name, &layer.id.into())?;
        }
    }
    Ok(())
}

fn not_allowed(channel: &ChannelName, remote: &str) -> CliError {
    CliError::new(
        format!("the trust policy does not let this machine follow '{channel}' on {remote}"),
        error::REFUSED,
    )
    .with_hint("add the channel to `channels` of a [[remote]]")
}

impl Forecast {
    /// Describes the forecast as JSON.
    pub fn json(&self) -> Result<serde_json::Value, CliError> {
        let summary = ForecastSummary {
            dry_run: true,
            channel: self.channel.to_string(),
            kind: self.release.kind,
            id: &self.release.id,
            serial: self.release.serial,
            version: &self.release.version,
            forecast: &self.forecast,
        };
        serde_json::to_value(summary).map_err(|error| CliError::bug(error.to_string()))
    }

    /// Describes the forecast for people.
    pub fn text(&self) -> String {
        let rows = self.forecast.parts.iter().map(|part| {
            let how = match part.how {
                How::Present => "here".to_owned(),
                How::Delta => format!("delta of {}", ui::size(part.bytes)),
                How::Packs => format!("in full, {}", ui::size(part.bytes)),
            };
            let (kind, id) = (part.kind.word(), part.id.layer().short());
            let (name, version) = (part.name.clone(), part.version.clone());
            vec![kind.to_owned(), name, version, id, how]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let mut text = ui::table(&["", "name", "version", "id", "how"], &rows);
        text.push_str(&format!(
            "{} release {}, {}, would take {} in {} requests; nothing was changed\n",
            self.channel,
            self.release.serial,
            self.release.id.layer().short(),
            ui::size(self.forecast.bytes),
            self.forecast.requests
        ));
        text
    }
}

impl Pulled {
    /// Remembers that this machine has taken the release: it does not take an older one by itself from now on.
    pub fn remember(&self) -> Result<(), CliError> {
        if let Some((state, channel)) = &self.accepted {
            state.record(channel)?;
        }
        Ok(())
    }

    /// Describes the pull as JSON.
    pub fn json(&self) -> Result<serde_json::Value, CliError> {
        let summary = Summary {
            channel: self.channel.to_string(),
            kind: self.release.kind,
            id: &self.release.id,
            serial: self.release.serial,
            version: &self.release.version,
            requests: self.requests,
            received_bytes: self.received,
            seconds: self.seconds,
            report: &self.report,
        };
        serde_json::to_value(summary).map_err(|error| CliError::bug(error.to_string()))
    }

    /// Describes the pull for people.
    pub fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .report
            .parts
            .iter()
            .map(|part| {
                let how = match part.how {
                    How::Present => "here".to_owned(),
                    How::Delta => format!("delta of {}", ui::size(part.delta_bytes)),
                    How::Packs => "in full".to_owned(),
                };
                let (kind, id) = (part.kind.word(), part.id.layer().short());
                let (name, version) = (part.name.clone(), part.version.clone());
                vec![kind.to_owned(), name, version, id, how]
            })
            .collect();
        let mut text = ui::table(&["", "name", "version", "id", "how"], &rows);
        for part in &self.report.parts {
            if part.quicker_objects > 0 {
                text.push_str(&format!(
                    "{} compressed files of '{}' were fetched in full, which is quicker here than making them again\n",
                    part.quicker_objects, part.name
                ));
            }
            if let Some(reason) = &part.fallback_reason {
                text.push_str(&format!(
                    "note: the delta of '{}' lacked {} objects, fetched in full: {reason}\n",
                    part.name, part.fallback_objects
                ));
            }
        }
        if self.report.fallback_bytes > 0 {
            let bytes = ui::size(self.report.fallback_bytes);
            text.push_str(&format!(
                "note: {bytes} were fetched that deltas should have saved\n"
            ));
        }
        text.push_str(&format!(
            "pulled {} release {}, {}: {} in {} requests, {}\n",
            self.channel,
            self.release.serial,
            self.release.id.layer().short(),
            ui::size(self.received),
            self.requests,
            ui::seconds(self.seconds)
        ));
        text
    }
}
