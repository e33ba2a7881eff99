//! `layerset pull`.

use clap::Args;

use super::follow::{Follow, channel_name, describe};
use super::meter::Meter;
use super::{CliError, Context};
use crate::durable::LockMode;
use crate::transfer::{Followed, follow};

/// Brings what a channel points at into the repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset pull web/stable                         # the image that the channel has here
  layerset pull layers/nginx/stable --remote main
  layerset pull web/stable --from /media/usb/bundle # from a directory, with the same signatures

Only what is not here is fetched, as the difference to earlier releases where there is one. What
arrived stays when it is interrupted: the same command goes on. `layerset deploy --channel` pulls
and deploys.

A remote that is silent for 30 seconds, or sends less than 1024 bytes a second for so long, is
given up after 3 tries. LAYERSET_TIMEOUT (seconds), LAYERSET_MIN_RATE (bytes a second) and
LAYERSET_TRIES say otherwise.")]
pub struct Pull {
    /// The channel: NAME/CHANNEL of an image, or layers/NAME/CHANNEL
    channel: String,
    #[command(flatten)]
    follow: Follow,
}

impl Pull {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let channel = channel_name(&self.channel)?;
        let repository = context.open(LockMode::Shared, "layerset pull")?;
        let meter = Meter::new(&context.ui);
        let pull = self.follow.pull(context, &meter);
        let options = self.follow.options(context, &pull)?;
        match follow(&repository, &channel, &|_| None, &options)? {
            Followed::Pulled(pulled) => {
                pulled.remember()?;
                context.ui.print_json(&pulled)?;
                context.ui.print(&describe(&pulled));
            }
            Followed::Nothing(why) => {
                context.ui.print_json(&serde_json::json!({ "channel": channel.to_string(), "pulled": false, "reason": why }))?;
                context.ui.print(&format!("nothing to pull: {why}\n"));
            }
        }
        Ok(())
    }
}
