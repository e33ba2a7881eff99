//! The build of a recipe's image: its layers, then the layers composed.
//!
//! When a kept layer does not work on today's lower layers, the build starts over and builds that
//! layer too. Each layer is forced a few times at most, so this ends.

use std::collections::BTreeMap;
use std::time::Instant;

use super::forced::{ForcedRebuild, forced_by, tell_tried};
use super::inputs::LayerInputs;
use super::session::BuildSession;
use super::{BuildError, BuildOptions, BuildReport, Composer, LayerAction, LayerReport};
use crate::id::LayerId;
use crate::recipe::Workspace;
use crate::store::{Repository, Untouched};

/// Builds the image of a recipe.
pub fn build(
    workspace: &Workspace,
    repository: &Repository,
    options: &BuildOptions<'_>,
) -> Result<BuildReport, BuildError> {
    let started = Instant::now();
    // Two builds of one recipe would do the same work twice, and write the same log.
    let title = format!("layerset build of {}", workspace.recipe().name);
    let _alone = repository.work_lock(
        &format!("build-{}", workspace.recipe().name),
        &title,
        options.waiting,
    )?;
    let lock = workspace.require_lock()?;
    let inputs: Vec<LayerInputs> = workspace
        .layers()
        .iter()
        .map(|layer| LayerInputs::read(layer, &lock))
        .collect::<Result<_, _>>()?;
    let mut forced: BTreeMap<String, ForcedRebuild> = options
        .rebuild
        .iter()
        .map(|name| (name.clone(), ForcedRebuild::default()))
        .collect();
    let mut tried: BTreeMap<String, usize> = options
        .rebuild
        .iter()
        .map(|name| (name.clone(), 1))
        .collect();
    let composer = Composer::new(repository, options.cancel, options.progress);
    let mut built: BTreeMap<String, LayerReport> = BTreeMap::new();
    let known_ids = workspace.read_ids()?;
    let untouched = Untouched::default();
    loop {
        let ids = workspace.read_ids()?;
        let mut build = BuildSession {
            workspace,
            repository,
            options,
            known_ids: &known_ids,
            ids,
            composer: &composer,
            forced: &forced,
            untouched: &untouched,
            built: BTreeMap::new(),
        };
        match build.run(&inputs, &mut built) {
            Ok(mut report) => {
                report.seconds = started.elapsed().as_secs_f64();
                return Ok(report);
            }
            // Some kept layers do not work on today's lower layers: build those layers again.
            Err(BuildError::RebuildNeeded { mut findings }) => {
                forced = forced_by(&findings, &tried);
                if forced.is_empty() {
                    tell_tried(&mut findings, &tried);
                    return Err(BuildError::Refused { findings });
                }
                for name in forced.keys() {
                    *tried.entry(name.clone()).or_default() += 1;
                }
            }
            Err(BuildError::Refused { mut findings }) => {
                tell_tried(&mut findings, &tried);
                return Err(BuildError::Refused { findings });
            }
            Err(error) => return Err(error),
        }
    }
}

impl BuildSession<'_> {
    /// Builds or keeps every layer, and composes the image. `earlier` holds the reports of layers
    /// that an attempt before this one built.
    fn run(
        &mut self,
        inputs: &[LayerInputs],
        earlier: &mut BTreeMap<String, LayerReport>,
    ) -> Result<BuildReport, BuildError> {
        let mut layers = self.layers_of(inputs)?;
        for layer in &mut layers {
            match layer.action {
                LayerAction::Built => drop(earlier.insert(layer.name.clone(), layer.clone())),
                LayerAction::Kept => {
                    if let Some(report) = earlier.get(&layer.name) {
                        *layer = report.clone();
                    }
                }
            }
        }
        let new_ids = self.save_ids()?;
        let image = self.image()?;
        for layer in layers.iter_mut().filter(|l| l.action == LayerAction::Kept) {
            if let Some(reason) = self.safe_on(&layer.id)? {
                layer.reason = reason;
            }
        }
        Ok(BuildReport {
            recipe: self.workspace.recipe().name.clone(),
            image: image.id,
            changed: image.changed,
            layers,
            findings: image.findings,
            new_ids,
            seconds: 0.0,
            image_bytes_written: image.bytes_written,
        })
    }

    /// Names the layers on which a kept layer was found to be safe, other than those it was built
    /// on.
    fn safe_on(&self, id: &LayerId) -> Result<Option<String>, BuildError> {
        let layer = self.repository.read_layer(id)?;
        let on = layer.build.on.iter();
        let moved: Vec<String> = on
            .filter_map(|on| {
                let today = self.built.get(&on.name).filter(|id| **id != on.id)?;
                Some(format!("{} {}", on.name, today.short()))
            })
            .collect();
        Ok((!moved.is_empty()).then(|| format!("it is safe on {}", moved.join(" and "))))
    }
}
