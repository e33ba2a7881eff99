//! `layerset trust show`.

use clap::Args;
use serde::Serialize;

use super::access::{RemoteArgs, when};
use crate::cli::authority::KeyArgs;
use crate::cli::{CliError, Context};
use crate::format::release::Channel;
use crate::time::rfc3339;
use crate::trust::{RoleOverview, Verified};

/// Shows roles, keys, when signatures expire, and the channels with who signs them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust show main
  layerset trust show s3://images/prod --root root.json --json

A key that is in the directory of keys is marked with '*'.")]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    remote: &'a str,
    roles: Vec<RoleReport>,
    channels: Vec<ShownChannel>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct RoleReport {
    role: String,
    version: u64,
    threshold: u64,
    keys: Vec<String>,
    keys_here: Vec<String>,
    expires: String,
    documents: usize,
}

#[derive(Serialize)]
struct ShownChannel {
    channel: String,
    signer: String,
    #[serde(flatten)]
    says: Channel,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let opened = self.remote.open(context)?;
        let store = self.keys.open()?;
        let roles = opened.verified.roles();
        let now = opened.now;
        let warnings = roles.iter().filter_map(|role| warning(role, now));
        let mut warnings: Vec<String> = warnings.collect();
        let width = roles.iter().map(|role| role.role.len()).max().unwrap_or(0);
        let mut text = format!("{}\n", opened.remote.location());
        for role in &roles {
            let keys = role.keys.keys.iter().map(|id| {
                let mark = if store.has(id) { "*" } else { "" };
                format!("{}{mark}", id.short())
            });
            let keys: Vec<String> = keys.collect();
            let of = format!("{} of {}", role.keys.threshold, keys.len());
            let documents = match role.documents {
                0 => String::new(),
                count => format!(", {count} documents"),
            };
            text.push_str(&format!(
                "{:width$}  version {}{documents}, {}\n{:width$}  {of}: {}\n",
                role.role,
                role.version,
                when(role.expires, now),
                "",
                keys.join(", "),
            ));
        }
        let channels = channels(&opened.verified, &mut warnings);
        for channel in &channels {
            text.push_str(&format!(
                "{}: release {}, {}{}, signed by '{}'\n",
                channel.channel,
                channel.says.serial,
                channel.says.release,
                share(channel.says.rollout.percent),
                channel.signer
            ));
        }
        context.ui.print(&text);
        for warning in &warnings {
            context.ui.remark(&format!("warning: {warning}"));
        }
        let roles = roles.into_iter().map(|role| RoleReport {
            keys_here: role
                .keys
                .keys
                .iter()
                .filter(|id| store.has(id))
                .map(ToString::to_string)
                .collect(),
            keys: role.keys.keys.iter().map(ToString::to_string).collect(),
            role: role.role,
            version: role.version,
            threshold: role.keys.threshold,
            expires: rfc3339(role.expires),
            documents: role.documents,
        });
        context.ui.print_json(&Report {
            remote: opened.remote.location(),
            roles: roles.collect(),
            channels,
            warnings: &warnings,
        })
    }
}

/// Returns the channels that can be read, and warns of the others: whoever looks after the remote
/// has to find them.
fn channels(verified: &Verified, warnings: &mut Vec<String>) -> Vec<ShownChannel> {
    let mut reports = Vec::new();
    for name in verified.channels() {
        let signer = verified.signer(name.kind, &name.name);
        match verified.channel(&name) {
            Ok(says) => reports.push(ShownChannel {
                channel: name.to_string(),
                signer,
                says,
            }),
            Err(error) => warnings.push(format!(
                "machines refuse channel '{name}', which role '{signer}' signed: {error}"
            )),
        }
    }
    reports
}

fn share(percent: u8) -> String {
    if percent == 100 {
        String::new()
    } else {
        format!(" for {percent} % of the machines")
    }
}

/// Says what has to be signed anew soon.
fn warning(role: &RoleOverview, now: i64) -> Option<String> {
    let days = match role.role.as_str() {
        "timestamp" => 2,
        "snapshot" => 7,
        _ => 30,
    };
    let left = role.expires.saturating_sub(now);
    (left < days * 86_400).then(|| {
        format!(
            "role '{}' is {}: run `layerset trust refresh REMOTE{}`",
            role.role,
            when(role.expires, now),
            match role.role.as_str() {
                "timestamp" | "snapshot" => String::new(),
                other => format!(" --role {other}"),
            }
        )
    })
}
