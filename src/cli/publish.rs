//! `layerset publish`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::authority::{Publisher, PublisherArgs};
use super::meter::Meter;
use super::trust::write_pending;
use super::{CliError, Context, secrets, ui};
use crate::durable::LockMode;
use crate::format::release::{ChannelName, ReleaseKind};
use crate::store::{Repository, ResolvedId};
use crate::time::{parse_moment, rfc3339};
use crate::transfer::{
    self, HeadSigner, PackageFiles, PackageFilesReport, PrepareOptions, PreparedRelease,
    Publication, PublishOutcome, ReleaseSubject, Signer as _,
};

/// Publishes an image or a layer to channels of a remote.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset publish web --to /srv/remote --channel stable
  layerset publish web --to main --channel beta --channel stable --percent 10
  layerset publish layers/web/nginx --to s3://images/fleet --channel stable
  layerset publish b3:1f2e --to main --channel stable --rollback 'release 7 loses mail'
  layerset publish web --to main --channel stable --pending web.json   # for others to sign
  layerset publish web --to main --channel stable --debs        # keeps the lock buildable
  layerset publish web --to main --channel stable --dry-run     # the plan, with bytes

Content that the remote has is not sent again. Machines see nothing new until all of it is there:
the last step replaces one signed file. Several publishers may work at once.

With --debs, `lock` and `build` of whoever trusts the remote find packages there that no archive has
any more. Their digests in the lock decide, so nothing of that is signed.

A remote is given up after 3 tries in which it was silent for 30 seconds, or sent less than 1024
bytes a second for that long. LAYERSET_TIMEOUT (seconds), LAYERSET_MIN_RATE (bytes a second) and
LAYERSET_TRIES change these limits.")]
pub(super) struct Publish {
    /// The image or layer: a recipe's name, a ref, an id or an abbreviation of one
    what: String,
    #[command(flatten)]
    publisher: PublisherArgs,
    /// The channel to point at it; may be given more than once
    #[arg(long, value_name = "NAME", required = true)]
    channel: Vec<String>,
    /// Also point the layers' own channels of these names at the layers of an image
    #[arg(long)]
    with_layers: bool,
    /// The share of the machines that take it, 0 to 100
    #[arg(long, default_value_t = 100, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: u8,
    /// No machine takes it before this moment (UTC): 2026-12-24 or 2026-12-24T06:00Z [default: at
    /// once]
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    not_before: Option<i64>,
    /// Publish an older release, for this reason; machines refuse to go back without one
    #[arg(long, value_name = "REASON")]
    rollback: Option<String>,
    /// Send the package files of the layers too: locks can be built when these left their archives
    #[arg(long)]
    debs: bool,
    /// How many earlier releases machines can update from by a delta
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    deltas: usize,
    /// How many releases of an image to keep listed, besides those of channels
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    keep: usize,
    /// How hard packs are compressed, 1 to 19
    #[arg(long, default_value_t = 12, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Send everything but the signed files; write those to a file, with the signatures made here,
    /// for others to sign
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pending: Option<PathBuf>,
    /// Prepare everything, show what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
}

fn moment(text: &str) -> Result<i64, String> {
    parse_moment(text).ok_or_else(|| "write 2026-12-24 or 2026-12-24T06:00Z".to_owned())
}

#[derive(Serialize)]
struct ReleaseLine<'a> {
    kind: ReleaseKind,
    name: &'a str,
    id: String,
    serial: u64,
    is_known: bool,
    packs: usize,
    deltas: usize,
    bytes: u64,
}

impl Publish {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let repository = context.open(LockMode::Shared, "layerset publish")?;
        let (what, kind, name) = self.resolve(&repository)?;
        let channels = self
            .channel
            .iter()
            .map(|channel| ChannelName::new(kind, &name, channel))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CliError::usage(error.to_string()))?;
        self.refuse_secrets(context, &repository, what)?;
        let publisher = self.publisher.open(context)?;
        let meter = Meter::new(&context.ui);
        let mut signing = HeadSigner::open(publisher.authority())?;
        let options = PrepareOptions {
            level: self.level,
            deltas: self.deltas,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            now: publisher.now,
            cancel: &context.cancel,
            progress: &meter,
        };
        let prepared = transfer::prepare(
            &repository,
            publisher.remote.as_ref(),
            signing.catalogue(),
            what,
            &options,
        )?;
        let debs = match self.debs {
            true => Some(PackageFiles::find(
                &repository,
                publisher.remote.as_ref(),
                what,
                &repository.cache_dir("debs")?,
            )?),
            false => None,
        };
        let report = debs.as_ref().map(PackageFiles::report);
        let publication = Publication {
            layer_channels: self.layer_channels(&prepared)?,
            prepared,
            channels,
            percent: self.percent,
            not_before: self.not_before.unwrap_or(0),
            downgrade: self.rollback.clone(),
            keep: self.keep,
            now: publisher.now,
        };
        if self.dry_run {
            publication.change(signing.catalogue())?;
            return self.report(context, &publication, None, report);
        }
        if let Some(debs) = &debs {
            debs.send(publisher.remote.as_ref(), &meter)?;
        }
        if let Some(path) = &self.pending {
            return hand_over(context, &publisher, &signing, &publication, path, &meter);
        }
        let outcome = transfer::publish(
            publisher.remote.as_ref(),
            &mut signing,
            &publication,
            &meter,
        )?;
        self.report(context, &publication, Some(&outcome), report)
    }

    fn refuse_secrets(
        &self,
        context: &Context,
        repository: &Repository,
        what: ReleaseSubject,
    ) -> Result<(), CliError> {
        let (layers, waivers) = match what {
            ReleaseSubject::Layer(id) => (vec![id], Vec::new()),
            ReleaseSubject::Image(id) => {
                let image = repository.read_image(&id)?;
                let layers = image.layers.iter().map(|layer| layer.id);
                (layers.collect(), image.waivers)
            }
        };
        secrets::refuse(context, repository, &layers, &|| Ok(waivers.clone()))
    }

    fn layer_channels(&self, prepared: &[PreparedRelease]) -> Result<Vec<ChannelName>, CliError> {
        let layers = prepared
            .iter()
            .filter(|prepared| self.with_layers && prepared.release.kind == ReleaseKind::Layer);
        let names = layers.flat_map(|layer| {
            let name = &layer.release.name;
            self.channel
                .iter()
                .map(|channel| ChannelName::new(ReleaseKind::Layer, name, channel))
        });
        names
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CliError::usage(error.to_string()))
    }

    fn resolve(
        &self,
        repository: &Repository,
    ) -> Result<(ReleaseSubject, ReleaseKind, String), CliError> {
        match repository.resolve(&self.what)? {
            ResolvedId::Image(id) => {
                let name = repository.read_image(&id)?.name;
                Ok((ReleaseSubject::Image(id), ReleaseKind::Image, name))
            }
            ResolvedId::Layer(id) => {
                let name = repository.read_layer(&id)?.name;
                Ok((ReleaseSubject::Layer(id), ReleaseKind::Layer, name))
            }
            _ => Err(CliError::usage(format!(
                "'{}' is neither an image nor a layer",
                self.what
            ))),
        }
    }

    fn report(
        &self,
        context: &Context,
        publication: &Publication,
        outcome: Option<&PublishOutcome>,
        debs: Option<PackageFilesReport>,
    ) -> Result<(), CliError> {
        let lines: Vec<ReleaseLine<'_>> = publication.prepared.iter().map(line).collect();
        let channels: Vec<String> = publication
            .channels
            .iter()
            .chain(&publication.layer_channels)
            .map(ToString::to_string)
            .collect();
        context.ui.print_json(&serde_json::json!({
            "dry_run": outcome.is_none(), "channels": channels, "releases": lines, "outcome": outcome,
            "debs": debs,
        }))?;
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| {
                let state = if line.is_known {
                    "already there".to_owned()
                } else {
                    format!(
                        "{} in {} deltas and packs",
                        ui::size(line.bytes),
                        line.deltas + line.packs
                    )
                };
                vec![
                    line.kind.word().to_owned(),
                    line.name.to_owned(),
                    line.id.clone(),
                    line.serial.to_string(),
                    state,
                ]
            })
            .collect();
        let mut text = ui::table(&["", "name", "id", "release", "to send"], &rows);
        if let Some(PackageFilesReport { files, sent, bytes }) = debs {
            let size = ui::size(bytes);
            text.push_str(&match outcome {
                None => {
                    format!("{files} package files, of which the remote lacks {sent}, {size}\n")
                }
                Some(_) => format!("{files} package files: {sent} sent, {size}\n"),
            });
        }
        let names = channels.join(", ");
        text.push_str(&match outcome {
            None => format!("would point {names} at it; nothing was sent\n"),
            Some(outcome) if !outcome.changed => format!("{names}: unchanged\n"),
            Some(outcome) => format!(
                "published to {names}: {} blobs, {} sent{}\n",
                outcome.blobs_sent,
                ui::size(outcome.bytes_sent),
                self.staged()
            ),
        });
        context.ui.print(&text);
        Ok(())
    }

    fn staged(&self) -> String {
        let share =
            (self.percent < 100).then(|| format!(", for {} % of the machines", self.percent));
        let when = self
            .not_before
            .map(|moment| format!(", from {} on", rfc3339(moment)));
        format!("{}{}", share.unwrap_or_default(), when.unwrap_or_default())
    }
}

/// Sends the blobs, and writes what is to be signed by others too.
fn hand_over(
    context: &Context,
    publisher: &Publisher,
    signing: &HeadSigner<'_>,
    publication: &Publication,
    path: &Path,
    meter: &Meter,
) -> Result<(), CliError> {
    let change = publication.change(signing.catalogue())?;
    if change.0.is_empty() {
        return Err(CliError::usage(
            "there is nothing to sign: everything is published",
        ));
    }
    transfer::upload(publisher.remote.as_ref(), &publication.prepared, meter)?;
    let pending = signing.draft(&change)?;
    let changes = pending.describe(Some(signing.verified()))?;
    write_pending(
        context,
        &pending,
        path,
        publisher.remote.location(),
        &changes,
    )
}

fn line(prepared: &PreparedRelease) -> ReleaseLine<'_> {
    let release = &prepared.release;
    ReleaseLine {
        kind: release.kind,
        name: &release.name,
        id: release.id.layer().short(),
        serial: release.serial,
        is_known: prepared.is_known,
        packs: release.packs.len(),
        deltas: release.deltas.len(),
        bytes: prepared.bytes(),
    }
}
