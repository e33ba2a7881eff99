//! Locking: from the names in a recipe to exact package files, layer by layer, each held under the
//! next.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::epoch::epoch_of;
use super::{BuildError, BuildProgress, misnamed};
use crate::apt::{AptRoot, DebCache, LowerPackages, PackageRequest, Resolver};
use crate::recipe::{Definition, LOCK_VERSION, LayerLock, LockedPackage, RecipeLock, Workspace};
use crate::store::{LockWait, Repository};

/// Options of [`lock`].
pub struct LockOptions<'a> {
    /// The layers whose packages may change. All of them, when this is empty.
    pub update: Vec<String>,
    /// A sources file to use instead of the distribution's default archives.
    pub apt_sources: Option<PathBuf>,
    /// How to wait for another command that uses the archives.
    pub waiting: LockWait<'a>,
    /// Where progress goes.
    pub progress: &'a dyn BuildProgress,
}

/// One package that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockChange {
    /// The layer.
    pub layer: String,
    /// The package.
    pub package: String,
    /// The version before; absent for a new package.
    pub before: Option<String>,
    /// The version now; absent for a package that is gone.
    pub after: Option<String>,
}

/// What locking came to.
#[derive(Debug, Clone, Serialize)]
pub struct LockReport {
    /// The lock file.
    pub path: PathBuf,
    /// What moved.
    pub changes: Vec<LockChange>,
    /// Packages in all.
    pub packages: usize,
}

/// Resolves the packages of a recipe and writes its lock; the commit point is the rename of the
/// lock file.
///
/// With [`LockOptions::update`], only the named layers move; the others keep their packages.
pub fn lock(
    workspace: &Workspace,
    repository: &Repository,
    options: &LockOptions<'_>,
) -> Result<LockReport, BuildError> {
    // apt's state below the cache serves one command at a time.
    let _alone = repository.work_lock("apt", "layerset lock", options.waiting)?;
    let before = workspace.read_lock()?;
    let base = |error| misnamed::in_base(workspace, error);
    let root = open_apt(workspace, repository, options.apt_sources.as_deref())?;
    options.progress.step("", "fetching package lists", None);
    let resolver = root.update().map_err(base)?;
    misnamed::refuse_unknown(workspace, &resolver, &|layer| {
        let known = before.as_ref().and_then(|lock| lock.layer(&layer.name));
        known.is_none_or(|known| is_moving(layer, known, options))
    })?;
    let mut layers: Vec<LayerLock> = Vec::new();
    for layer in workspace.layers() {
        let definition = &layer.definition;
        let known = before
            .as_ref()
            .and_then(|lock| lock.layer(&definition.name));
        let entry = match known {
            Some(known) if !is_moving(definition, known, options) => known.clone(),
            _ => {
                options
                    .progress
                    .step(&definition.name, "resolving packages", None);
                resolve(workspace, &resolver, definition, &layers)?
            }
        };
        layers.push(entry);
    }
    let packages: Vec<LockedPackage> = layers
        .iter()
        .flat_map(|layer| layer.packages.clone())
        .collect();
    let cache = DebCache::new(repository.cache_dir("debs")?);
    let missing: u64 = cache.missing(&packages).iter().map(|p| p.size).sum();
    repository.require_space(missing)?;
    fetch(&root, &packages, options.progress)?;
    let mut lock = RecipeLock {
        version: LOCK_VERSION,
        recipe: workspace.recipe().name.clone(),
        architecture: workspace.recipe().architecture.clone(),
        layers,
    };
    set_epochs(&mut lock, before.as_ref(), &cache)?;
    let changes = changes(before.as_ref(), &lock);
    let text = lock.to_toml();
    let path = workspace.lock_path();
    if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
        crate::durable::replace_file(repository.disk().as_ref(), &path, 0o644, text.as_bytes())?;
    }
    let packages = lock.layers.iter().map(|layer| layer.packages.len()).sum();
    Ok(LockReport {
        path,
        changes,
        packages,
    })
}

/// Says whether the packages of a layer are resolved anew.
fn is_moving(definition: &Definition, known: &LayerLock, options: &LockOptions<'_>) -> bool {
    options.update.is_empty()
        || options.update.contains(&definition.name)
        || known.requested != definition.packages()
}

/// Opens the private apt state of a recipe's base.
pub(super) fn open_apt(
    workspace: &Workspace,
    repository: &Repository,
    sources: Option<&Path>,
) -> Result<AptRoot, BuildError> {
    let debs = DebCache::new(repository.cache_dir("debs")?);
    let work = repository.cache_dir("apt")?;
    let architecture = &workspace.recipe().architecture;
    AptRoot::open(&work, debs, workspace.base(), architecture, sources)
        .map_err(|error| misnamed::in_base(workspace, error))
}

fn resolve(
    workspace: &Workspace,
    resolver: &Resolver<'_>,
    definition: &Definition,
    done: &[LayerLock],
) -> Result<LayerLock, BuildError> {
    let closure = workspace.closure(&definition.name);
    let below: Vec<&LayerLock> = done
        .iter()
        .filter(|layer| closure.contains(&layer.name.as_str()))
        .collect();
    let lower: Vec<LowerPackages<'_>> = below
        .iter()
        .map(|layer| LowerPackages {
            layer: &layer.name,
            packages: &layer.packages,
        })
        .collect();
    let base = definition.bootstrap();
    let apt = definition.apt();
    let packages = if base.is_none() && apt.is_none() {
        Vec::new()
    } else {
        let request = PackageRequest {
            layer: &definition.name,
            packages: apt.map_or(&[], |apt| &apt.packages),
            recommends: apt.is_some_and(|apt| apt.recommends),
            base,
        };
        let resolved = resolver.resolve(request, &lower);
        resolved.map_err(|error| misnamed::at_its_place(workspace, &definition.name, error))?
    };
    Ok(LayerLock {
        name: definition.name.clone(),
        // Known when the packages are here: see `set_epochs`.
        epoch: 0,
        requested: definition.packages().to_vec(),
        packages,
    })
}

/// Sets the epochs. A layer whose packages did not change keeps its epoch: layerset 0.1 took epochs
/// from the archives, and a new epoch would give the layer a new build key and a new id.
fn set_epochs(
    lock: &mut RecipeLock,
    before: Option<&RecipeLock>,
    cache: &DebCache,
) -> Result<(), BuildError> {
    for layer in &mut lock.layers {
        let known = before.and_then(|lock| lock.layer(&layer.name));
        layer.epoch = match known.filter(|known| known.packages == layer.packages) {
            Some(known) => known.epoch,
            None => epoch_of(cache, &layer.packages)?,
        };
    }
    Ok(())
}

fn fetch(
    root: &AptRoot,
    packages: &[LockedPackage],
    progress: &dyn BuildProgress,
) -> Result<(), BuildError> {
    root.fetch(packages, &|done, all| {
        let fraction = (all > 0).then(|| done as f64 / all as f64);
        progress.step("", "fetching packages", fraction);
    })?;
    Ok(())
}

fn changes(before: Option<&RecipeLock>, after: &RecipeLock) -> Vec<LockChange> {
    let mut changes = Vec::new();
    let versions = |layer: Option<&LayerLock>| -> std::collections::BTreeMap<String, String> {
        let packages = layer.map_or(&[][..], |layer| &layer.packages);
        packages
            .iter()
            .map(|package| (package.name.clone(), package.version.clone()))
            .collect()
    };
    for layer in &after.layers {
        let old = versions(before.and_then(|lock| lock.layer(&layer.name)));
        let new = versions(Some(layer));
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (before, after) = (old.get(name).cloned(), new.get(name).cloned());
            if before != after {
                changes.push(LockChange {
                    layer: layer.name.clone(),
                    package: name.clone(),
                    before,
                    after,
                });
            }
        }
    }
    changes
}
