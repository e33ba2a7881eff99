//! `layerset export bundle`.

use std::path::PathBuf;

use clap::Args;

use crate::builder;
use crate::cli::follow::{OriginArgs, THREADS, channel_name};
use crate::cli::meter::Meter;
use crate::cli::remotes::open_options;
use crate::cli::{CliError, Context, error, secrets, ui};
use crate::durable::LockMode;
use crate::format::release::{ChannelName, Release, ReleaseId, ReleaseKind};
use crate::id::LayerId;
use crate::remote::{Location, open_writable};
use crate::store::Repository;
use crate::time::rfc3339;
use crate::transfer::{self, BundleOptions, Connection, PullOptions};

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
again to bring it up to date.

Keys, passwords and tokens in its layers refuse it. Layers that were not searched for these yet are
fetched into the repository first.")]
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
        let repository = context.open(LockMode::Shared, "layerset export bundle")?;
        let mut sources: Vec<Connection> = Vec::new();
        let origins = self.origin.origins(context)?;
        for channel in &channels {
            let connection = origins.connect(channel, &meter)?;
            let first = sources.first().map(|first| &first.remote.name);
            if first.is_some_and(|first| *first != connection.remote.name) {
                return Err(CliError::usage(format!("'{channel}' is on another remote"))
                    .with_hint("a bundle holds one remote: make one for each"));
            }
            sources.push(connection);
        }
        let Some(connection) = sources.pop() else {
            return Err(CliError::bug("no channel was asked for"));
        };
        refuse_secrets(context, &repository, &connection, &channels, &meter)?;
        let Connection { source, remote, .. } = connection;
        std::fs::create_dir_all(&self.dir).map_err(|error| {
            let what = format!("cannot make the directory '{}'", self.dir.display());
            CliError::io(what, error).hinted(error::of_place(&self.dir))
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
            "dir": self.dir, "remote": remote.name, "channels": self.channel, "bundle": bundled,
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

/// Refuses what holds secrets. A remote is no proof that somebody looked: its publisher may have had
/// an older version, or none of ours.
fn refuse_secrets(
    context: &Context,
    repository: &Repository,
    connection: &Connection,
    channels: &[ChannelName],
    meter: &Meter,
) -> Result<(), CliError> {
    let Connection { source, remote, .. } = connection;
    let pull = PullOptions {
        threads: THREADS,
        deltas: true,
        gap: None,
        recompress: None,
        recompose: remote.recompose,
        cancel: &context.cancel,
        progress: meter,
        waiting: context.store_waiting(),
    };
    let bring = |release: &Release| {
        transfer::restore(repository, &source.remote, &source.verified, release, &pull)
    };
    for release in transfer::channel_releases(source, channels)? {
        let layers: Vec<(String, LayerId)> = match release.kind {
            ReleaseKind::Layer => vec![(release.name.clone(), release.id.layer())],
            ReleaseKind::Image => {
                let layers = release.layers.iter();
                layers.map(|layer| (layer.name.clone(), layer.id)).collect()
            }
        };
        for (name, id) in &layers {
            if !builder::is_known_clean(repository, id) {
                let (kind, id) = (ReleaseKind::Layer, ReleaseId::from(*id));
                bring(&source.verified.release(kind, name, &id)?)?;
            }
        }
        let ids: Vec<LayerId> = layers.into_iter().map(|(_, id)| id).collect();
        secrets::refuse(context, repository, &ids, &|| match release.kind {
            ReleaseKind::Layer => Ok(Vec::new()),
            ReleaseKind::Image => {
                bring(&release)?;
                Ok(repository.read_image(&release.id.image())?.waivers)
            }
        })?;
    }
    Ok(())
}
