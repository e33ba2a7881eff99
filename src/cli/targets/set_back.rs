//! `layerset rollback --layer`: one layer as it was, the others as they are.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::agent::ConfigArgs;
use super::live::{self, When};
use super::{note, restart};
use crate::builder::{Composer, compose_as};
use crate::check::verdict;
use crate::cli::{CliError, Context, error};
use crate::deploy::{
    self, DeployMode, DeployOptions, DeployReport, HistoryAction, RecordedVerdict, StageOptions,
    SwitchReport, Target,
};
use crate::durable::LockMode;
use crate::format::{Image, ImageLayer};
use crate::id::{ImageId, LayerId};
use crate::store::Repository;
use crate::time::{Clock as _, Date, SystemClock};

/// Which layer, and to what.
pub(super) struct SetBack<'a> {
    pub(super) root: &'a Path,
    pub(super) layer: &'a str,
    /// The version; the last other one that the target had when not given.
    pub(super) to: Option<&'a str>,
    pub(super) reason: &'a str,
    /// Whether the image that is left is marked bad.
    pub(super) mark_bad: bool,
    pub(super) when: &'a When,
    pub(super) config: &'a ConfigArgs,
    /// Whether services are restarted that run something else afterwards.
    pub(super) restart: bool,
}

/// A build of the layer that the target had.
struct Earlier {
    layer: ImageLayer,
    /// The newest deployment that has it; `None` where only the repository does.
    generation: Option<u64>,
}

impl SetBack<'_> {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let target = context.target(self.root)?;
        let repository = context.open(LockMode::Shared, "layerset rollback")?;
        let (current, image) = current_image(&target, &repository)?;
        let now = image.layers.iter().find(|layer| layer.name == self.layer);
        let Some(now) = now else {
            let names: Vec<&str> = image.layers.iter().map(|one| one.name.as_str()).collect();
            return Err(CliError::usage(format!(
                "generation {current} has no layer '{}'",
                self.layer
            ))
            .with_hint(format!("it has: {}", names.join(", "))));
        };
        let earlier = self.choose(&target, &repository, current, now)?;
        let layers: Vec<LayerId> = image
            .layers
            .iter()
            .map(|layer| {
                if layer.id == now.id {
                    earlier.layer.id
                } else {
                    layer.id
                }
            })
            .collect();
        context.ui.doing("composing and checking");
        let composer = Composer::new(&repository, &context.cancel, &context.ui);
        let today = Date::of_sec(SystemClock.now_sec()).unwrap_or(Date::LAST);
        let composed = compose_as(&composer, &image, &layers, today)?;
        let reason = match self.reason {
            "" => format!(
                "{} {} -> {}",
                self.layer, now.version, earlier.layer.version
            ),
            reason => reason.to_owned(),
        };
        let options = DeployOptions {
            action: HistoryAction::Rollback,
            stage: StageOptions::default(),
            mode: DeployMode::Switch,
            pace: self.when.pace(),
            keep: None,
            note: note(&reason, verdict(&composed.findings).into()),
            release: None,
            again: false,
            cancel: &AtomicBool::new(false),
            doing: &*context.doing,
        };
        let location = context.location(self.root)?;
        let report = deploy::deploy(&location, &repository, &composed.image, &options)?;
        drop(repository);
        let deployed = match &report {
            DeployReport::Deployed(deployed) => Some(deployed),
            _ => None,
        };
        let live = match deployed.and_then(|d| Some((d.switched?, d.exchange.as_ref()?))) {
            Some((switched, _)) => {
                let moved = (switched.from.unwrap_or(current), switched.to);
                Some(live::complete(context, self.root, self.config, moved)?)
            }
            None => None,
        };
        if self.mark_bad {
            let change = target.change("layerset rollback")?;
            change.mark_bad(current, &note(&reason, RecordedVerdict::Unchecked))?;
        }
        context.ui.print_json(&serde_json::json!({
            "layer": self.layer, "from": now, "to": earlier.layer, "of_generation": earlier.generation,
            "findings": composed.findings, "deploy": report, "live": live,
        }))?;
        let of = match earlier.generation {
            Some(generation) => format!(" of generation {generation}"),
            None => String::new(),
        };
        context.ui.print(&format!(
            "{} {} -> {}{of}; the other layers stay\n",
            self.layer, now.version, earlier.layer.version,
        ));
        context
            .ui
            .print(&super::deploy::text(&report, live.as_ref()));
        match (&live, deployed) {
            (Some(live), _) => live::go_back_by_start(live),
            (None, Some(deployed)) if deployed.switched.is_some_and(|s| s.at_restart) => {
                let (way, to) = (deployed.way.as_ref(), deployed.generation);
                self.when.start_anew(context, self.root, way, to)
            }
            (None, Some(deployed)) if self.restart => {
                let Some(SwitchReport {
                    from: Some(from),
                    to,
                    // What runs then is not what was switched to.
                    at_restart: false,
                }) = deployed.switched
                else {
                    return Ok(());
                };
                let known = restart::services(context, &target, from, to);
                let services = known.as_ref().unwrap_or(&deployed.services);
                let units: Vec<&str> = services.iter().map(|s| s.unit.as_str()).collect();
                restart::restart(context, self.root, Some(&units))
            }
            _ => Ok(()),
        }
    }

    /// Chooses what the layer is set back to: the newest other build that an earlier deployment
    /// has, or that of the version that is named, which may also be elsewhere in the repository.
    fn choose(
        &self,
        target: &Target,
        repository: &Repository,
        current: u64,
        now: &ImageLayer,
    ) -> Result<Earlier, CliError> {
        let mut known: Vec<Earlier> = Vec::new();
        for generation in target.generations()?.into_iter().rev() {
            let Ok(image) = target.image_of(generation) else {
                continue;
            };
            // What failed as a whole is no way back; who names the version decides.
            let id = target.image_id_of(generation)?;
            if self.to.is_none() && (generation > current || target.bad_image(&id).is_some()) {
                continue;
            }
            let layers = image
                .layers
                .into_iter()
                .filter(|one| one.name == self.layer);
            known.extend(layers.map(|layer| Earlier {
                layer,
                generation: Some(generation),
            }));
        }
        if self.to.is_some() {
            for (name, id) in repository.refs()? {
                let layers = match (name.is_layer(), id.parse(), id.parse()) {
                    (true, Ok(id), _) => repository.read_layer(&id).map(|one| vec![one.named(id)]),
                    (false, _, Ok(id)) => repository.read_image(&id).map(|image| image.layers),
                    _ => continue,
                };
                let layers = layers.unwrap_or_default().into_iter();
                known.extend(
                    layers
                        .filter(|one| one.name == self.layer)
                        .map(|layer| Earlier {
                            layer,
                            generation: None,
                        }),
                );
            }
        }
        known.retain(|earlier| {
            earlier.layer.id != now.id && repository.is_layer_whole(&earlier.layer.id)
        });
        let mut versions: Vec<String> = known.iter().map(|one| one.layer.version.clone()).collect();
        versions.dedup();
        let is_meant = |one: &Earlier| self.to.is_none_or(|to| one.layer.version == to);
        known.into_iter().find(is_meant).ok_or_else(|| {
            let what = match self.to {
                Some(to) => format!("no other build of '{}' has version {to}", self.layer),
                None => format!(
                    "no earlier deployment has another build of '{}'",
                    self.layer
                ),
            };
            let hint = match versions.is_empty() {
                true => "`layerset list` shows the layers that the repository has".to_owned(),
                false => format!("there are: {}", versions.join(", ")),
            };
            CliError::new(what, error::FAILED).with_hint(hint)
        })
    }
}

/// Returns the current deployment and its image.
pub(in crate::cli) fn current_image(
    target: &Target,
    repository: &Repository,
) -> Result<(u64, Image), CliError> {
    let current = target.current()?.ok_or_else(|| {
        CliError::new("nothing is current on this target", error::FAILED)
            .with_hint("`layerset deploy` puts an image there")
    })?;
    let id: ImageId = target.image_id_of(current)?;
    Ok((current, repository.read_image(&id)?))
}
