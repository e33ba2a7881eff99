//! Locking: from the names in a recipe to exact package files, layer by layer, each held under the
//! next.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::archives::RecipeArchives;
use super::common_layers::CommonLayers;
use super::epoch::epoch_of;
use super::{BuildError, BuildProgress, FetchPlaces, misnamed};
use crate::apt::{
    AptError, AptRoot, DebCache, LowerPackages, PackageRequest, ReleaseChange, Resolver,
};
use crate::recipe::{Definition, LOCK_VERSION, LayerLock, LockedPackage, RecipeLock, Workspace};
use crate::store::{LockWait, Repository};

/// The epoch of a layer that was just resolved.
const NO_EPOCH: i64 = 0;

/// Options of [`lock`].
pub struct LockOptions<'a> {
    /// The layers whose packages may change. All of them, when this is empty.
    pub update: Vec<String>,
    /// Where packages come from.
    pub packages: FetchPlaces,
    /// A recipe that is locked already: layers that are the same in it get the same packages.
    pub like: Option<&'a Workspace>,
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
    /// Archives that call themselves something else than at the last update.
    pub archive_changes: Vec<ReleaseChange>,
    /// Where definitions name archives that are taken without a signature.
    pub unsigned: Vec<String>,
}

/// Resolves the packages of recipes and writes their locks. Each has its commit point: the rename
/// of its lock file, after all are resolved and their packages are here.
///
/// Layers that are the same in several recipes get the same packages, so that they are one layer.
/// With [`LockOptions::update`], only the named layers move; the others keep their packages.
pub fn lock(
    workspaces: &[Workspace],
    repository: &Repository,
    options: &LockOptions<'_>,
) -> Result<Vec<LockReport>, BuildError> {
    // apt's state below the cache serves one command at a time.
    let _alone = repository.work_lock("apt", "layerset lock", options.waiting)?;
    let mut locking = Locking {
        repository,
        options,
        updated: BTreeSet::new(),
        common: CommonLayers::default(),
    };
    if let Some(like) = options.like {
        locking.common.add(like, &like.require_lock()?)?;
    }
    let locked: Vec<(RecipeLock, LockReport)> = workspaces
        .iter()
        .map(|workspace| locking.recipe(workspace))
        .collect::<Result<_, _>>()?;
    let mut reports = Vec::new();
    for (lock, report) in locked {
        let text = lock.to_toml();
        if std::fs::read(&report.path).ok().as_deref() != Some(text.as_bytes()) {
            let disk = repository.disk();
            crate::durable::replace_file(disk.as_ref(), &report.path, 0o644, text.as_bytes())?;
        }
        reports.push(report);
    }
    Ok(reports)
}

/// What the recipes of one command share.
struct Locking<'a> {
    repository: &'a Repository,
    options: &'a LockOptions<'a>,
    /// The states of apt whose indexes this command has fetched.
    updated: BTreeSet<PathBuf>,
    common: CommonLayers,
}

impl Locking<'_> {
    /// Resolves one recipe, and fetches its packages.
    fn recipe(&mut self, workspace: &Workspace) -> Result<(RecipeLock, LockReport), BuildError> {
        let options = self.options;
        let before = workspace.read_lock()?;
        let archives = RecipeArchives::read(workspace)?;
        let root = archives.open(workspace, self.repository, &options.packages)?;
        let in_base = |error: AptError| misnamed::in_base(workspace, error);
        let indexes = match self.updated.insert(root.dir().to_owned()) {
            true => {
                let progress = options.progress;
                progress.step("", "fetching package lists", None);
                root.update().map_err(in_base)?
            }
            false => root.resolver()?,
        };
        let (archive_changes, unsigned) = tell(&indexes, &archives, options.progress);
        let known = |definition: &Definition| {
            let known = before
                .as_ref()
                .and_then(|lock| lock.layer(&definition.name));
            known.filter(|known| !is_moving(definition, known, options))
        };
        let views = archives.views(workspace, &root, &|definition| known(definition).is_none())?;
        let views = views.resolve_with(&indexes)?;
        misnamed::refuse_unknown(workspace, &|definition| {
            let is_settled = known(definition).is_some() || self.common.has(definition);
            (!is_settled).then(|| views.of(&archives.seen_by(workspace, &definition.name)))
        })?;
        let mut layers: Vec<LayerLock> = Vec::new();
        for layer in workspace.layers() {
            let definition = &layer.definition;
            let settled = match known(definition) {
                Some(known) => Some(known.clone()),
                None => self.common.find(workspace, definition, &layers)?,
            };
            let entry = match settled {
                Some(entry) => entry,
                None => {
                    let progress = options.progress;
                    progress.step(&definition.name, "resolving packages", None);
                    let resolver = views.of(&archives.seen_by(workspace, &definition.name));
                    resolve(workspace, resolver, definition, &layers)?
                }
            };
            layers.push(entry);
        }
        let mut lock = RecipeLock {
            version: LOCK_VERSION,
            recipe: workspace.recipe().name.clone(),
            architecture: workspace.recipe().architecture.clone(),
            layers,
        };
        self.fetch(&root, &lock)?;
        let cache = DebCache::new(self.repository.cache_dir("debs")?);
        set_epochs(&mut lock, before.as_ref(), &cache)?;
        self.common.add(workspace, &lock)?;
        let report = LockReport {
            path: workspace.lock_path(),
            changes: changes(before.as_ref(), &lock),
            packages: lock.layers.iter().map(|layer| layer.packages.len()).sum(),
            archive_changes,
            unsigned,
        };
        Ok((lock, report))
    }

    fn fetch(&self, root: &AptRoot, lock: &RecipeLock) -> Result<(), BuildError> {
        let layers = lock.layers.iter();
        let packages: Vec<LockedPackage> = layers.flat_map(|l| l.packages.clone()).collect();
        let cache = DebCache::new(self.repository.cache_dir("debs")?);
        let missing: u64 = cache.missing(&packages).iter().map(|p| p.size).sum();
        self.repository.require_space(missing)?;
        fetch(root, &packages, self.options.progress)
    }
}

/// Says whether the packages of a layer are resolved anew.
fn is_moving(definition: &Definition, known: &LayerLock, options: &LockOptions<'_>) -> bool {
    options.update.is_empty()
        || options.update.contains(&definition.name)
        || known.requested != definition.packages()
}

/// Says at once what people should know of the archives, whatever becomes of the lock.
fn tell(
    indexes: &Resolver<'_>,
    archives: &RecipeArchives,
    progress: &dyn BuildProgress,
) -> (Vec<ReleaseChange>, Vec<String>) {
    for change in indexes.changes() {
        let ReleaseChange {
            archive,
            field,
            before,
            after,
        } = change;
        progress.note(&format!(
            "the archive '{archive}' changed its {field} from '{before}' to '{after}'"
        ));
    }
    let mut unsigned = Vec::new();
    for archive in archives.unsigned() {
        progress.note(&format!(
            "{}: the archive is taken without a signature",
            archive.place
        ));
        unsigned.push(archive.place.clone());
    }
    (indexes.changes().to_vec(), unsigned)
}

/// Returns the layers among `done` that a layer stands on.
pub(super) fn below<'d>(
    workspace: &Workspace,
    definition: &Definition,
    done: &'d [LayerLock],
) -> Vec<&'d LayerLock> {
    let closure = workspace.closure(&definition.name);
    let stands_on = |layer: &&LayerLock| closure.contains(&layer.name.as_str());
    done.iter().filter(stands_on).collect()
}

fn resolve(
    workspace: &Workspace,
    resolver: &Resolver<'_>,
    definition: &Definition,
    done: &[LayerLock],
) -> Result<LayerLock, BuildError> {
    let below = below(workspace, definition, done);
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
        epoch: NO_EPOCH,
        requested: definition.packages().to_vec(),
        packages,
    })
}

/// Sets the epochs. A layer whose packages did not change keeps its epoch: layerset 0.1 took epochs
/// from the archives, and a new epoch would give the layer a new build key and a new id. One that
/// has the packages of another recipe's layer has its epoch, for both are to be one.
fn set_epochs(
    lock: &mut RecipeLock,
    before: Option<&RecipeLock>,
    cache: &DebCache,
) -> Result<(), BuildError> {
    let files = |layer: &LayerLock| -> Vec<_> {
        let packages = layer.packages.iter();
        packages
            .map(|p| (p.sha256, p.version.clone(), p.manual))
            .collect()
    };
    for layer in lock
        .layers
        .iter_mut()
        .filter(|layer| layer.epoch == NO_EPOCH)
    {
        let known = before.and_then(|lock| lock.layer(&layer.name));
        // The archive may call itself something else.
        layer.epoch = match known.filter(|known| files(known) == files(layer)) {
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
