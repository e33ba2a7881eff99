//! `layerset pull`.

use clap::Args;

use super::follow::{FollowArgs, channel_name, describe, describe_forecast};
use super::meter::Meter;
use super::{CliError, Context};
use crate::durable::LockMode;
use crate::format::release::ChannelName;
use crate::store::Repository;
use crate::transfer::{FollowOptions, FollowOutcome, NoUpdate, follow, forecast_channel};

/// Brings what a channel points at into the repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset pull web/stable                         # the image that the channel has here
  layerset pull layers/nginx/stable --remote main
  layerset pull web/stable --dry-run               # what it would fetch, and how
  layerset pull web/stable --from /media/usb/bundle # from a directory, with the same signatures

Only missing content is fetched, as deltas from earlier releases where there are any. An
interrupted pull keeps what arrived: run the same command to continue. `layerset deploy --channel`
pulls and deploys. --dry-run pulls nothing: it reads the head, and the indexes and manifests of
what has no delta, and remembers the versions that it saw signed. Files that are quicker to fetch
than to recompress come on top of its estimate.

A remote is given up after 3 tries in which it was silent for 30 seconds, or sent less than 1024
bytes a second for that long. LAYERSET_TIMEOUT (seconds), LAYERSET_MIN_RATE (bytes a second) and
LAYERSET_TRIES change these limits.")]
pub(super) struct Pull {
    /// The channel: NAME/CHANNEL of an image, or layers/NAME/CHANNEL
    channel: String,
    /// Say what would be fetched, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    follow: FollowArgs,
}

impl Pull {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let channel = channel_name(&self.channel)?;
        let repository = context.open(LockMode::Shared, "layerset pull")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let options = self.follow.options(context, &pull)?;
        if self.dry_run {
            return forecast(context, &repository, &channel, &options);
        }
        match follow(&repository, &channel, &|_| None, &options)? {
            FollowOutcome::Pulled(pulled) => {
                pulled.remember()?;
                context.ui.print_json(&pulled)?;
                context.ui.print(&describe(&pulled));
            }
            FollowOutcome::NoUpdate(why) => nothing(context, &channel, &why)?,
        }
        Ok(())
    }
}

fn forecast(
    context: &Context,
    repository: &Repository,
    channel: &ChannelName,
    options: &FollowOptions<'_>,
) -> Result<(), CliError> {
    match forecast_channel(repository, channel, &|_| None, options)? {
        Ok(forecast) => {
            context.ui.print_json(&forecast)?;
            context.ui.print(&describe_forecast(&forecast));
            Ok(())
        }
        Err(why) => nothing(context, channel, &why),
    }
}

fn nothing(context: &Context, channel: &ChannelName, why: &NoUpdate) -> Result<(), CliError> {
    let json =
        serde_json::json!({ "channel": channel.to_string(), "pulled": false, "reason": why });
    context.ui.print_json(&json)?;
    context.ui.print(&format!("nothing to pull: {why}\n"));
    Ok(())
}
