//! Building: recipe + lock → layers → image. Only what changed is built.
//!
//! For each layer the build key is computed from its inputs (`inputs`); a layer whose key is known is kept. The others
//! are built on the composition of the layers that they stand on, each in its own sandbox (`layer`), settled
//! (`settle`), and committed one by one: the commit point of a layer is the rename of its ref. Then the image is
//! composed and checked, and committed by the rename of `images/<recipe>`.

mod accounts;
mod baselines;
mod check;
mod composed;
mod composer;
mod derive;
mod epoch;
mod error;
mod files;
mod ground;
mod image;
mod inputs;
mod keys;
mod layer;
pub mod lock;
mod manifest;
mod numbers;
mod oracle;
mod pulled;
mod secrets;
mod settle;
mod sink;
mod steps;
mod verify;

pub use check::{CheckReport, CheckedSet, check};
pub use composed::{ComposeReport, compose_built};
pub use composer::Composer;
pub use derive::Sandboxed;
pub use error::BuildError;
pub use lock::{LockChange, LockOptions, LockReport, lock};
pub use oracle::{AllowError, Difference, Explained, Facts, OracleReport, Rule, Sample, oracle};
pub use sink::Sink;
pub use verify::{Unreproducible, Verification, verify_reproducible};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::inputs::LayerInputs;
use self::keys::Cached;
use crate::check::{Finding, Severity};
use crate::compose::Member;
use crate::id::{ImageId, LayerId};
use crate::recipe::{Ids, Workspace};
use crate::store::{LockWait, RefName, Repository};
use crate::time::Clock;

/// The version of what the builder makes of its inputs: raised when capture, classification or
/// composition change, so that the same inputs give another layer. Every build key has it, and so
/// each step of it builds every layer again.
///
/// It is 2 from layerset 0.1 on, which raised it with the version of the checks; those move no key
/// any more.
pub const BUILDER_VERSION: u32 = 2;

/// Tells a person how far the work is.
pub trait Progress: Sync {
    /// Says what is being done, about which layer, and how far it is (0 to 1), where known.
    fn step(&self, layer: &str, what: &str, fraction: Option<f64>);
    /// Says that a layer is finished.
    fn finished(&self, layer: &LayerReport);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str, _: &str, _: Option<f64>) {}
    fn finished(&self, _: &LayerReport) {}
}

/// How to build.
pub struct BuildOptions<'a> {
    /// A sources file to use instead of the distribution's default archives.
    pub apt_sources: Option<PathBuf>,
    /// Layers to build even when they are known.
    pub rebuild: Vec<String>,
    /// The only layer that may change; that another one changed too is an error. Layers that must be rebuilt because of it are.
    pub only: Option<String>,
    /// Tells which waivers have expired.
    pub clock: &'a dyn Clock,
    /// How to wait for another command that does the same.
    pub waiting: LockWait<'a>,
    /// Set when the work is to stop.
    pub cancel: &'a AtomicBool,
    /// Told how far the work is.
    pub progress: &'a dyn Progress,
}

/// What became of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was there already.
    Kept,
    /// It was built.
    Built,
}

/// What a build did with one layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// The layer's name.
    pub name: String,
    /// Its id.
    pub id: LayerId,
    /// Its version.
    pub version: String,
    /// What became of it.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// The findings that decided that it was built, if any did.
    pub findings: Vec<Finding>,
    /// Seconds that it took.
    pub seconds: f64,
    /// Bytes written to the repository for it.
    pub bytes_written: u64,
}

/// What a build did.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// The recipe's name.
    pub recipe: String,
    /// The image.
    pub image: ImageId,
    /// Whether the image is another one than before.
    pub changed: bool,
    /// The layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// What the checks found; nothing of it refuses the image.
    pub findings: Vec<Finding>,
    /// Names that were added to the ids table.
    pub new_ids: Vec<String>,
    /// Seconds in all.
    pub seconds: f64,
    /// Bytes written for the composed image, besides its layers.
    pub image_bytes_written: u64,
}

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
    let mut forced: BTreeMap<String, Forced> = options
        .rebuild
        .iter()
        .map(|name| (name.clone(), Forced::default()))
        .collect();
    let mut tried: BTreeSet<String> = options.rebuild.iter().cloned().collect();
    let composer = Composer::new(repository, options.cancel, options.progress);
    let mut built: BTreeMap<String, LayerReport> = BTreeMap::new();
    let known_ids = workspace.read_ids()?;
    loop {
        let ids = workspace.read_ids()?;
        let mut build = Build {
            workspace,
            repository,
            options,
            known_ids: &known_ids,
            ids,
            composer: &composer,
            forced: &forced,
            built: BTreeMap::new(),
        };
        match build.run(&inputs, &mut built) {
            Ok(mut report) => {
                report.seconds = started.elapsed().as_secs_f64();
                return Ok(report);
            }
            // Layers that were kept do not hold on today's lower layers: they are built on those, once.
            Err(BuildError::RebuildNeeded { findings }) => {
                forced = forced_by(&findings, &tried);
                if forced.is_empty() {
                    return Err(BuildError::Refused { findings });
                }
                tried.extend(forced.keys().cloned());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Why a layer is built although it is known.
#[derive(Debug, Clone, Default)]
struct Forced {
    /// The findings that ask for it; none when somebody asked.
    findings: Vec<Finding>,
}

impl Forced {
    fn reason(&self) -> String {
        match self.findings.as_slice() {
            [] => "asked for".to_owned(),
            [only] => format!("it must be rebuilt: {}", only.reason),
            [first, rest @ ..] => {
                format!(
                    "it must be rebuilt: {} (and {} more)",
                    first.reason,
                    rest.len()
                )
            }
        }
    }
}

/// Returns the layers that findings ask to rebuild and that were not tried yet.
fn forced_by(findings: &[Finding], tried: &BTreeSet<String>) -> BTreeMap<String, Forced> {
    let mut forced: BTreeMap<String, Forced> = BTreeMap::new();
    for finding in findings {
        if finding.severity == Severity::Rebuild && !tried.contains(&finding.layer) {
            let entry = forced.entry(finding.layer.clone()).or_default();
            entry.findings.push(finding.clone());
        }
    }
    forced
}

struct Build<'a> {
    workspace: &'a Workspace,
    repository: &'a Repository,
    options: &'a BuildOptions<'a>,
    /// The ids table.
    ids: Ids,
    /// The ids table when the command began.
    known_ids: &'a Ids,
    /// Composes, for all threads.
    composer: &'a Composer<'a>,
    /// Layers to build even when they are known.
    forced: &'a BTreeMap<String, Forced>,
    /// All layers that are there by now.
    built: BTreeMap<String, LayerId>,
}

impl Build<'_> {
    fn check_cancel(&self) -> Result<(), BuildError> {
        if self
            .options
            .cancel
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            return Err(BuildError::Interrupted);
        }
        Ok(())
    }

    /// Builds or keeps every layer, and composes the image. `earlier` holds the reports of layers that an attempt before
    /// this one built.
    fn run(
        &mut self,
        inputs: &[LayerInputs],
        earlier: &mut BTreeMap<String, LayerReport>,
    ) -> Result<BuildReport, BuildError> {
        let mut layers = self.layers_of(inputs)?;
        for layer in &mut layers {
            match layer.action {
                Action::Built => drop(earlier.insert(layer.name.clone(), layer.clone())),
                Action::Kept => {
                    if let Some(report) = earlier.get(&layer.name) {
                        *layer = report.clone();
                    }
                }
            }
        }
        let new_ids = self.save_ids()?;
        let image = self.image()?;
        for layer in layers.iter_mut().filter(|l| l.action == Action::Kept) {
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

    /// Keeps what is known and builds the rest, layers that do not stand on each other at the same time.
    fn layers_of(&mut self, inputs: &[LayerInputs]) -> Result<Vec<LayerReport>, BuildError> {
        let mut reports: BTreeMap<usize, LayerReport> = BTreeMap::new();
        let mut waiting: Vec<(usize, &LayerInputs, String)> = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            match self.keep_or_reason(input)? {
                Ok(report) => drop(reports.insert(index, report)),
                Err(reason) => waiting.push((index, input, reason)),
            }
        }
        while !waiting.is_empty() {
            self.check_cancel()?;
            // A lower layer stands before those on it, so there is always one that can be built.
            let is_ready = |input: &LayerInputs| {
                self.workspace
                    .closure(&input.name)
                    .iter()
                    .all(|below| self.built.contains_key(*below))
            };
            let (ready, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, input, _)| is_ready(input));
            waiting = rest;
            for (index, report) in self.build_wave(ready)? {
                reports.insert(index, report);
            }
        }
        Ok(reports.into_values().collect())
    }

    /// Returns the report on a layer that is kept, or why it must be built.
    fn keep_or_reason(
        &mut self,
        input: &LayerInputs,
    ) -> Result<Result<LayerReport, String>, BuildError> {
        let started = Instant::now();
        let reason = match keys::find(self.repository, input)? {
            Some(cached) if !self.forced.contains_key(&input.name) => {
                match self.number_that_moved(&cached) {
                    None => {
                        let report = self.keep(input, cached, started.elapsed())?;
                        self.options.progress.finished(&report);
                        return Ok(Ok(report));
                    }
                    Some(name) => format!("the ids table gives '{name}' another number"),
                }
            }
            Some(_) => self
                .forced
                .get(&input.name)
                .map(Forced::reason)
                .unwrap_or_default(),
            None => keys::why_new(self.repository, &self.workspace.recipe().name, input)?,
        };
        let is_other = self
            .options
            .only
            .as_ref()
            .is_some_and(|only| *only != input.name);
        if is_other && !self.forced.contains_key(&input.name) {
            return Err(BuildError::AnotherChanged {
                layer: input.name.clone(),
                reason,
            });
        }
        Ok(Err(reason))
    }

    /// Builds layers that do not stand on each other. When one fails, those that did not are kept.
    fn build_wave(
        &mut self,
        wave: Vec<(usize, &LayerInputs, String)>,
    ) -> Result<Vec<(usize, LayerReport)>, BuildError> {
        if let (Some((_, input, _)), false) = (wave.first(), rustix::process::geteuid().is_root()) {
            return Err(BuildError::NeedsRoot {
                layer: input.name.clone(),
            });
        }
        let this = &*self;
        let prepared: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = wave
                .iter()
                .map(|(_, input, _)| {
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
        for ((index, input, reason), (started, prepared)) in wave.into_iter().zip(prepared) {
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
        built: layer::Built,
    ) -> Result<LayerReport, BuildError> {
        self.built.insert(input.name.clone(), built.id);
        keys::remember(
            self.repository,
            &self.workspace.recipe().name,
            input,
            &built.cached,
        )?;
        // Written at once: if a later layer fails, the numbers of this one are still its numbers next time.
        self.save_ids_file()?;
        let report = LayerReport {
            name: input.name.clone(),
            id: built.id,
            version: built.version,
            action: Action::Built,
            reason,
            findings: self
                .forced
                .get(&input.name)
                .cloned()
                .unwrap_or_default()
                .findings,
            seconds: started.elapsed().as_secs_f64(),
            bytes_written: built.bytes_written,
        };
        self.options.progress.finished(&report);
        Ok(report)
    }

    /// Says on which layers, other ones than it was built on, a kept layer was found to be safe.
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

    fn keep(
        &mut self,
        input: &LayerInputs,
        cached: Cached,
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
            action: Action::Kept,
            reason: "nothing that it is built from changed".to_owned(),
            findings: Vec::new(),
            seconds: took.as_secs_f64(),
            bytes_written: 0,
        })
    }

    /// Returns the built or kept layers with these names, in order.
    fn members<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<Member>, BuildError> {
        let ids = names.into_iter().map(|name| self.built[name]);
        Ok(ids
            .map(|id| Member::read(self.repository, &id))
            .collect::<Result<_, _>>()?)
    }
}
