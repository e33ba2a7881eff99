//! Shared by commands that follow a channel of a remote: the options, and how a pull is described.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::meter::Meter;
use super::remotes::{default_policy, open_options, states};
use super::timeouts::with_timeouts;
use super::{CliError, Context, ui};
use crate::format::release::ChannelName;
use crate::time::{Clock as _, SystemClock};
use crate::transfer::{
    ChannelForecast, Delivery, FollowOptions, MachineId, Origins, PullOptions, Pulled, Turn,
};

/// How many requests at once.
pub(super) const THREADS: usize = 6;

/// Which remote, where, and whom to trust.
#[derive(Debug, Clone, Args)]
pub(super) struct OriginArgs {
    /// The remote, by its name in the trust policy [default: the first that may have the channel]
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Look here instead of where the policy says: a mirror, or the directory of a bundle
    #[arg(long, value_name = "LOCATION")]
    from: Option<String>,
    /// Whom to trust [default: /etc/layerset/trust.toml for root,
    /// $XDG_CONFIG_HOME/layerset/trust.toml for others]
    #[arg(long, env = "LAYERSET_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// How to follow a channel.
#[derive(Debug, Clone, Args)]
pub(super) struct FollowArgs {
    #[command(flatten)]
    origin: OriginArgs,
    /// Take a release that is being rolled out before it is this machine's turn
    #[arg(long)]
    ahead: bool,
    /// Fetch what changed in full, without deltas
    #[arg(long)]
    no_deltas: bool,
    /// Recompress files even where fetching them is quicker: for metered connections
    #[arg(long, conflicts_with = "no_deltas")]
    least_bytes: bool,
}

/// Reads a channel as people write it: `web/stable` stands for the image's.
pub(super) fn channel_name(text: &str) -> Result<ChannelName, CliError> {
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

impl OriginArgs {
    /// Returns the place that is looked at instead of where the policy says.
    pub(super) fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// Says where to look, and whom to trust.
    pub(super) fn origins(&self, context: &Context) -> Result<Origins, CliError> {
        Ok(Origins {
            policy: match &self.trust {
                Some(path) => path.clone(),
                None => default_policy()?,
            },
            remote: self.remote.clone(),
            from: self.from.clone(),
            states: states(context)?,
            disk: Arc::clone(&context.disk),
            open: with_timeouts(open_options(context))?,
            now: SystemClock.now_sec(),
        })
    }
}

impl FollowArgs {
    /// Says how to pull.
    pub(super) fn pull<'a>(&self, context: &'a Context, meter: &'a Meter) -> PullOptions<'a> {
        PullOptions {
            threads: THREADS,
            deltas: !self.no_deltas,
            gap: None,
            recompress: self.least_bytes.then_some(true),
            recompose: true,
            cancel: &context.cancel,
            progress: meter,
            waiting: context.store_waiting(),
        }
    }

    /// Says how to follow a channel.
    pub(super) fn options<'a>(
        &self,
        context: &Context,
        pull: &'a PullOptions<'a>,
    ) -> Result<FollowOptions<'a>, CliError> {
        Ok(FollowOptions {
            origins: self.origin.origins(context)?,
            turn: if self.ahead { Turn::Ahead } else { Turn::Wait },
            machine: match std::env::var("LAYERSET_MACHINE_ID") {
                Ok(id) if !id.is_empty() => MachineId::Given(id),
                _ => MachineId::File(PathBuf::from("/etc/machine-id")),
            },
            pull,
        })
    }
}

/// Describes a pull for people.
pub(super) fn describe(pulled: &Pulled) -> String {
    let rows: Vec<Vec<String>> = pulled
        .report
        .parts
        .iter()
        .map(|part| {
            let how = match part.how {
                Delivery::Present => "here".to_owned(),
                Delivery::Delta => format!("delta of {}", ui::size(part.delta_bytes)),
                Delivery::Packs => "in full".to_owned(),
            };
            let (kind, id) = (part.kind.word(), part.id.layer().short());
            let (name, version) = (part.name.clone(), part.version.clone());
            vec![kind.to_owned(), name, version, id, how]
        })
        .collect();
    let mut text = ui::table(&["", "name", "version", "id", "how"], &rows);
    for part in &pulled.report.parts {
        if part.quicker_objects > 0 {
            text.push_str(&format!(
                    "{} compressed files of '{}' were fetched in full, which is quicker here than recompressing them\n",
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
    if pulled.report.fallback_bytes > 0 {
        let bytes = ui::size(pulled.report.fallback_bytes);
        text.push_str(&format!(
            "note: {bytes} were fetched that deltas should have saved\n"
        ));
    }
    text.push_str(&format!(
        "pulled {} release {}, {}: {} in {} requests, {}\n",
        pulled.channel,
        pulled.release.serial,
        pulled.release.id.layer().short(),
        ui::size(pulled.received_bytes),
        pulled.requests,
        ui::seconds(pulled.seconds)
    ));
    text
}

/// Describes for people what a pull would fetch.
pub(super) fn describe_forecast(channel: &ChannelForecast) -> String {
    let rows = channel.forecast.parts.iter().map(|part| {
        let how = match part.how {
            Delivery::Present => "here".to_owned(),
            Delivery::Delta => format!("delta of {}", ui::size(part.bytes)),
            Delivery::Packs => format!("in full, {}", ui::size(part.bytes)),
        };
        let (kind, id) = (part.kind.word(), part.id.layer().short());
        let (name, version) = (part.name.clone(), part.version.clone());
        vec![kind.to_owned(), name, version, id, how]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = ui::table(&["", "name", "version", "id", "how"], &rows);
    text.push_str(&format!(
        "{} release {}, {}, would take {} in {} requests; nothing was changed\n",
        channel.channel,
        channel.release.serial,
        channel.release.id.layer().short(),
        ui::size(channel.forecast.bytes),
        channel.forecast.requests
    ));
    text
}
