//! Keeps or builds each layer of a build. Layers that do not stand on each other are built at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::inputs::LayerInputs;
use super::keys::{self, CachedLayer};
use super::layer;
use super::require;
use super::session::BuildSession;
use super::{BuildError, LayerAction, LayerReport};
use crate::store::RefName;

/// What to do with a layer.
enum Decision {
    /// Its key is known: use the layer that was built from it.
    Keep(CachedLayer),
    /// Build it.
    Build {
        /// Why, for people.
        reason: String,
    },
}

/// A layer that is to be built.
struct PendingLayer<'i> {
    /// Its place in the recipe.
    index: usize,
    input: &'i LayerInputs,
    /// Why it is built.
    reason: String,
}

impl BuildSession<'_> {
    /// Keeps what is known and builds the rest, layers that do not stand on each other at the same
    /// time.
    pub(super) fn layers_of(
        &mut self,
        inputs: &[LayerInputs],
    ) -> Result<Vec<LayerReport>, BuildError> {
        let mut reports: BTreeMap<usize, LayerReport> = BTreeMap::new();
        let mut pending: Vec<PendingLayer<'_>> = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            let started = Instant::now();
            match self.decide(input)? {
                Decision::Keep(cached) => {
                    let report = self.keep(input, cached, started.elapsed())?;
                    self.options.progress.finished(&report);
                    reports.insert(index, report);
                }
                Decision::Build { reason } => pending.push(PendingLayer {
                    index,
                    input,
                    reason,
                }),
            }
        }
        while !pending.is_empty() {
            self.check_cancel()?;
            // Lower layers come first in the recipe, so at least one layer is always ready.
            let (ready, rest): (Vec<_>, Vec<_>) = pending
                .into_iter()
                .partition(|layer| self.is_ready(layer.input));
            pending = rest;
            for (index, report) in self.build_wave(ready)? {
                reports.insert(index, report);
            }
        }
        Ok(reports.into_values().collect())
    }

    /// Says whether all layers that a layer stands on are there.
    fn is_ready(&self, input: &LayerInputs) -> bool {
        let below = self.workspace.closure(&input.name);
        below.iter().all(|name| self.built.contains_key(*name))
    }

    /// Decides whether a layer is kept. With [`only`](super::BuildOptions::only), another layer
    /// that must be built is an error, unless this build forced it.
    fn decide(&self, input: &LayerInputs) -> Result<Decision, BuildError> {
        let forced = self.forced.get(&input.name);
        let reason = match (keys::find(self.repository, input, self.untouched)?, forced) {
            (Some(_), Some(forced)) => forced.reason(),
            (Some(cached), None) => match self.number_that_moved(&cached) {
                None => return Ok(Decision::Keep(cached)),
                Some(name) => format!("the ids table gives '{name}' another number"),
            },
            (None, _) => keys::why_new(self.repository, &self.workspace.recipe().name, input)?,
        };
        let only = self.options.only.as_ref();
        if forced.is_none() && only.is_some_and(|only| *only != input.name) {
            return Err(BuildError::AnotherChanged {
                layer: input.name.clone(),
                reason,
            });
        }
        Ok(Decision::Build { reason })
    }

    /// Builds layers that do not stand on each other. When one fails, the others are still
    /// committed.
    fn build_wave(
        &mut self,
        wave: Vec<PendingLayer<'_>>,
    ) -> Result<Vec<(usize, LayerReport)>, BuildError> {
        if let Some(first) = wave.first() {
            let architecture = &self.workspace.recipe().architecture;
            require::able(&first.input.name, architecture)?;
        }
        let this = &*self;
        let prepared: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = wave
                .iter()
                .map(|PendingLayer { input, .. }| {
                    this.options.progress.step(&input.name, "starting", None);
                    scope.spawn(move || (Instant::now(), layer::prepare(this, input)))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut reports = Vec::new();
        let mut failed = None;
        for (layer, (started, prepared)) in wave.into_iter().zip(prepared) {
            let PendingLayer {
                index,
                input,
                reason,
            } = layer;
            match prepared.and_then(|prepared| layer::finish(self, input, prepared)) {
                Ok(built) => {
                    reports.push((index, self.report_built(input, reason, started, built)?))
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(reports), Err)
    }

    fn report_built(
        &mut self,
        input: &LayerInputs,
        reason: String,
        started: Instant,
        built: layer::BuiltLayer,
    ) -> Result<LayerReport, BuildError> {
        self.built.insert(input.name.clone(), built.id);
        keys::remember(
            self.repository,
            &self.workspace.recipe().name,
            input,
            &built.cached,
        )?;
        // Written at once, so that this layer keeps its numbers if a later layer fails.
        self.save_ids_file()?;
        let report = LayerReport {
            name: input.name.clone(),
            id: built.id,
            version: built.version,
            action: LayerAction::Built,
            reason,
            findings: self
                .forced
                .get(&input.name)
                .cloned()
                .unwrap_or_default()
                .findings,
            seconds: started.elapsed().as_secs_f64(),
            bytes_written: built.bytes_written,
            notes: built.notes,
        };
        self.options.progress.finished(&report);
        Ok(report)
    }

    fn keep(
        &mut self,
        input: &LayerInputs,
        cached: CachedLayer,
        took: Duration,
    ) -> Result<LayerReport, BuildError> {
        self.adopt_numbers(&cached)?;
        let name = RefName::layer(&self.workspace.recipe().name, &input.name)?;
        let id = cached.layer.to_string();
        if self.repository.read_ref(&name)?.as_deref() != Some(&id) {
            self.repository.set_ref(&name, &id)?;
        }
        keys::remember_inputs(self.repository, &self.workspace.recipe().name, input)?;
        self.built.insert(input.name.clone(), cached.layer);
        let layer = self.repository.read_layer(&cached.layer)?;
        Ok(LayerReport {
            name: input.name.clone(),
            id: cached.layer,
            version: layer.version,
            action: LayerAction::Kept,
            reason: "its inputs have not changed".to_owned(),
            findings: Vec::new(),
            seconds: took.as_secs_f64(),
            bytes_written: 0,
            notes: Vec::new(),
        })
    }
}
