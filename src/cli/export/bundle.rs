//! `layerset export bundle`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::follow::{OriginArgs, THREADS, channel_name};
use crate::cli::meter::Meter;
use crate::cli::remotes::open_options;
use crate::cli::{CliError, Context, ui};
use crate::remote::{Location, open_writable};
use crate::time::rfc3339;
use crate::transfer::{self, BundleOptions, Connection};

/// Copies what channels need, with its signatures, to a directory: for machines that reach no
/// remote.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset export bundle /media/usb/images --channel web/stable
  layerset pull web/stable --from /media/usb/images                            # there
  layerset update --target /srv/web --from /media/usb/images

The bundle is a remote in a directory. Machines check the same signatures by the same root, so
they refuse a bundle that was changed on its way, or that is older than what they have seen. It is
usable until the first of its signatures expires; the command prints when. Run the same command
again to bring it up to date.")]
pub(super) struct Bundle {
    /// The directory; it is made when absent
    dir: PathBuf,
    /// A channel: NAME/CHANNEL of an image, or layers/NAME/CHANNEL; may be given more than once
    #[arg(long, value_name = "CHANNEL", required = true)]
    channel: Vec<String>,
    #[command(flatten)]
    origin: OriginArgs,
    /// Leave out the deltas from earlier releases: the bundle is smaller, but updates read more of
    /// it
    #[arg(long)]
    no_deltas: bool,
}

impl Bundle {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let channels = self.channel.iter().map(|channel| channel_name(channel));
        let channels = channels.collect::<Result<Vec<_>, _>>()?;
        let meter = Meter::new(&context.ui);
        let mut sources = Vec::new();
        let origins = self.origin.origins(context)?;
        for channel in &channels {
            let Connection { source, remote, .. } = origins.connect(channel, &meter)?;
            if sources
                .first()
                .is_some_and(|(_, first)| *first != remote.name)
            {
                return Err(CliError::usage(format!("'{channel}' is on another remote"))
                    .with_hint("a bundle holds one remote: make one for each"));
            }
            sources.push((source, remote.name));
        }
        let Some((source, name)) = sources.pop() else {
            return Err(CliError::bug("no channel was asked for"));
        };
        std::fs::create_dir_all(&self.dir).map_err(|error| {
            let what = format!("cannot make the directory '{}'", self.dir.display());
            CliError::io(what, error)
        })?;
        let to = open_writable(
            &Location::Directory(self.dir.clone()),
            &open_options(context),
        )?;
        let options = BundleOptions {
            incoming: self.dir.join(".incoming"),
            deltas: !self.no_deltas,
            threads: THREADS,
            cancel: &context.cancel,
            progress: &meter,
        };
        let bundled = transfer::bundle(&source, to.as_ref(), &channels, &options)?;
        let (expires, role) = source.verified.expires_for(&channels)?;
        context.ui.print_json(&serde_json::json!({
            "dir": self.dir, "remote": name, "channels": self.channel, "bundle": bundled,
            "expires": rfc3339(expires), "expires_first": role,
        }))?;
        context.ui.print(&format!(
            "{} releases in {} blobs, {}; {} copied now\n'{}' is usable until {}, when role '{role}' expires\n",
            bundled.releases,
            bundled.blobs,
            ui::size(bundled.bytes),
            ui::size(bundled.bytes_copied),
            self.dir.display(),
            rfc3339(expires),
        ));
        Ok(())
    }
}
