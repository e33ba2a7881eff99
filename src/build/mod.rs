//! Building: recipe + lock → layers → image. Only what changed is built.
//!
//! For each layer the build key is computed from its inputs (`inputs`); a layer whose key is known is kept. The others
//! are built on the composition of the layers that they stand on, each in its own sandbox (`layer`), settled
//! (`settle`), and committed one by one: the commit point of a layer is the rename of its ref. Then the image is
//! composed and checked, and committed by the rename of `images/<recipe>`.

mod accounts;
pub mod apt;
mod error;
mod files;
mod inputs;
mod keys;
mod layer;
pub mod lock;
mod manifest;
mod secrets;
mod settle;
mod sink;
mod steps;
mod verify;

pub use error::BuildError;
pub use lock::{LockChange, LockOptions, LockReport, lock};
pub use sink::Sink;
pub use verify::{Unreproducible, Verification, verify_reproducible};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::inputs::LayerInputs;
use self::keys::{Cached, ImageKey};
use crate::check::{Finding, Verdict};
use crate::compose::{Composition, compose};
use crate::format::{Image, Layer};
use crate::id::{ImageId, LayerId};
use crate::materialise::Metadata;
use crate::recipe::{IdKind, Ids, Workspace};
use crate::store::{RefName, Repository, Waiting};

/// The version of what the builder makes of its inputs: raised when capture, classification or composition change.
pub const BUILDER_VERSION: u32 = 1;

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
    /// The only layer that may be built; that another one changed too is an error.
    pub only: Option<String>,
    /// How to wait for another command that does the same.
    pub waiting: Waiting<'a>,
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
    let mut forced: BTreeMap<String, String> = options
        .rebuild
        .iter()
        .map(|name| (name.clone(), "asked for".to_owned()))
        .collect();
    let mut tried: BTreeSet<String> = options.rebuild.iter().cloned().collect();
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
            forced: &forced,
            built: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        match build.run(&inputs, &mut built) {
            Ok(mut report) => {
                report.seconds = started.elapsed().as_secs_f64();
                return Ok(report);
            }
            Err(BuildError::Refused { findings }) => {
                // A layer that was kept may no longer merge with what stands below it now: it is built on that once.
                let stale = findings
                    .iter()
                    .filter(|f| build.kept.contains(&f.layer) && !tried.contains(&f.layer));
                forced = stale
                    .map(|f| {
                        (
                            f.layer.clone(),
                            format!("it no longer merges: {}", f.reason),
                        )
                    })
                    .collect();
                if forced.is_empty() {
                    return Err(BuildError::Refused { findings });
                }
                tried.extend(forced.keys().cloned());
            }
            Err(error) => return Err(error),
        }
    }
}

struct Build<'a> {
    workspace: &'a Workspace,
    repository: &'a Repository,
    options: &'a BuildOptions<'a>,
    /// The ids table.
    ids: Ids,
    /// The ids table when the command began.
    known_ids: &'a Ids,
    /// Layers to build even when they are known, with the reason.
    forced: &'a BTreeMap<String, String>,
    /// All layers that are there by now.
    built: BTreeMap<String, LayerId>,
    /// Those of them that were there before.
    kept: BTreeSet<String>,
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
        let (image, changed, findings, image_bytes_written) = self.image()?;
        Ok(BuildReport {
            recipe: self.workspace.recipe().name.clone(),
            image,
            changed,
            layers,
            findings,
            new_ids,
            seconds: 0.0,
            image_bytes_written,
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
        let reason = match keys::find(self.repository, &input.key)? {
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
            Some(_) => self.forced.get(&input.name).cloned().unwrap_or_default(),
            None => keys::why_new(self.repository, &self.workspace.recipe().name, input)?,
        };
        if self
            .options
            .only
            .as_ref()
            .is_some_and(|only| *only != input.name)
        {
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
            seconds: started.elapsed().as_secs_f64(),
            bytes_written: built.bytes_written,
        };
        self.options.progress.finished(&report);
        Ok(report)
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
        self.kept.insert(input.name.clone());
        let layer = self.repository.read_layer(&cached.layer)?;
        Ok(LayerReport {
            name: input.name.clone(),
            id: cached.layer,
            version: layer.version,
            action: Action::Kept,
            reason: "nothing that it is built from changed".to_owned(),
            seconds: took.as_secs_f64(),
            bytes_written: 0,
        })
    }

    /// Returns a name of the cached layer whose number is another one in the table, or another's.
    fn number_that_moved(&self, cached: &Cached) -> Option<String> {
        let moved = |kind, names: &BTreeMap<String, u32>| {
            let is_moved = |name: &str, number: u32| match self.ids.get(kind, name) {
                Some(fixed) => fixed != number,
                None => self.ids.iter(kind).any(|(_, used)| used == number),
            };
            names
                .iter()
                .find(|(name, number)| is_moved(name, **number))
                .map(|(name, _)| name.clone())
        };
        moved(IdKind::User, &cached.created.users)
            .or_else(|| moved(IdKind::Group, &cached.created.groups))
    }

    /// Numbers that a kept layer uses and the table does not list yet, e.g. in a fresh checkout, enter the table.
    fn adopt_numbers(&mut self, cached: &Cached) -> Result<(), BuildError> {
        for (kind, names) in [
            (IdKind::User, &cached.created.users),
            (IdKind::Group, &cached.created.groups),
        ] {
            for (name, number) in names {
                self.ids
                    .fix(kind, name, *number)
                    .map_err(|source| BuildError::Ids { source })?;
            }
        }
        Ok(())
    }

    fn save_ids_file(&self) -> Result<(), BuildError> {
        let path = self.workspace.ids_path();
        if self.ids != *self.known_ids {
            let disk = self.repository.disk().as_ref();
            crate::durable::replace_file(disk, &path, 0o644, self.ids.to_toml().as_bytes())?;
        }
        Ok(())
    }

    fn save_ids(&self) -> Result<Vec<String>, BuildError> {
        self.save_ids_file()?;
        let mut new = Vec::new();
        for kind in [IdKind::User, IdKind::Group] {
            for (name, number) in self.ids.iter(kind) {
                if self.known_ids.get(kind, name).is_none() {
                    let word = if kind == IdKind::User {
                        "user"
                    } else {
                        "group"
                    };
                    new.push(format!("{word} {name} = {number}"));
                }
            }
        }
        Ok(new)
    }

    /// Returns the built or kept layers with these names, in order.
    fn layers<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<(LayerId, Layer)>, BuildError> {
        let mut layers = Vec::new();
        for name in names {
            let id = self.built[name];
            layers.push((id, self.repository.read_layer(&id)?));
        }
        Ok(layers)
    }

    fn image(&self) -> Result<(ImageId, bool, Vec<Finding>, u64), BuildError> {
        let recipe = self.workspace.recipe();
        let layers = self.layers(recipe.layers.iter().map(String::as_str))?;
        let name = RefName::image(&recipe.name)?;
        let before = self.repository.read_ref(&name)?;
        let key = ImageKey::new(recipe, &layers);
        if let Some(cached) = keys::find_image(self.repository, &key)? {
            let changed = before.as_deref() != Some(&cached.image.to_string());
            if changed {
                self.repository.set_ref(&name, &cached.image.to_string())?;
            }
            return Ok((cached.image, changed, cached.findings, 0));
        }
        self.options.progress.step(&recipe.name, "composing", None);
        let transaction = self.repository.begin()?;
        let index = self.repository.index();
        let composition = compose(&layers, &transaction, &index)?;
        if composition.verdict() == Verdict::Refused {
            return Err(BuildError::Refused {
                findings: composition.findings,
            });
        }
        let Composition { tree, findings, .. } = composition;
        tree.validate()
            .map_err(|source| BuildError::Tree { source })?;
        let image = Image {
            format: 1,
            name: recipe.name.clone(),
            architecture: recipe.architecture.clone(),
            layers: layers.iter().map(|(id, layer)| layer.named(*id)).collect(),
            keep: recipe.policy.keep,
            bytes: tree.bytes(),
            entries: tree.len() as u64,
            tree: transaction.put_tree(&tree)?,
            waivers: Vec::new(),
        };
        let id = transaction.put_image(&image)?;
        let numbers = crate::compose::ids_of(&tree, &|object| transaction.read_object(object))?;
        let committed = transaction.commit(&name, &id.to_string())?;
        // What every deployment of this image mounts is made once, here.
        let disk = self.repository.disk().as_ref();
        Metadata::find_or_make(
            &self.repository.cache_dir("erofs")?,
            &image.tree,
            &tree,
            &numbers,
        )?
        .remember(disk);
        keys::remember_image(self.repository, &key, &id, &findings)?;
        Ok((
            id,
            before.as_deref() != Some(&id.to_string()),
            findings,
            committed.bytes_written,
        ))
    }
}
