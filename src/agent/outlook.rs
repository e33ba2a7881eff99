//! What rebuilding one layer would bring to a target, before anything of it is done.
//!
//! The recipe is locked in a directory that vanishes. Package files are fetched into the cache, where
//! the update finds them; the lock, the repository's refs and the target stay as they are.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::apt::DebCache;
use crate::builder::{self, BuildError, ForecastAction, LayerForecast, LockOptions, LockReport};
use crate::deploy::{PackageChange, ServiceRestart, Services, Target, changelog_cves};
use crate::layout::dpkg;
use crate::recipe::{RecipeLock, Workspace};
use crate::store::Repository;
use crate::time::Date;

use super::AgentError;

/// What rebuilding a layer would bring.
#[derive(Debug, Clone, Serialize)]
pub struct LayerOutlook {
    /// The packages that move, sorted by layer and name.
    pub packages: Vec<PackageChange>,
    /// The size of their files, in bytes.
    pub package_bytes: u64,
    /// The layers that would be built, and why.
    pub layers: Vec<LayerForecast>,
    /// The services to restart, as far as the packages tell.
    pub services: Vec<ServiceRestart>,
    /// Whether the image that is built last is not the one that is current.
    pub is_other_image: bool,
}

impl LayerOutlook {
    /// Says whether there is anything to do.
    pub fn is_news(&self) -> bool {
        !self.packages.is_empty() || !self.layers.is_empty() || self.is_other_image
    }
}

/// Says what updating layers of a recipe would bring to a target. `locking` says which may move;
/// `None` leaves the lock as it is.
pub fn outlook(
    target: &Target,
    workspace: &Workspace,
    repository: &Repository,
    locking: Option<&LockOptions<'_>>,
    today: Date,
) -> Result<LayerOutlook, AgentError> {
    let scratch = repository.work_dir().map_err(BuildError::from)?;
    let copy = copy(workspace, scratch.path())?;
    let report = match locking {
        Some(options) => builder::lock(std::slice::from_ref(&copy), repository, options)?.pop(),
        None => None,
    };
    let lock = copy.require_lock().map_err(BuildError::from)?;
    let forecast = builder::forecast(&copy, repository, today)?;
    let layers = forecast.map_or(Vec::new(), |forecast| forecast.layers);
    let layers = layers
        .into_iter()
        .filter(|layer| layer.action != ForecastAction::Keep)
        .collect();
    let packages = moved(report.as_ref(), &lock, repository)?;
    let package_bytes = sizes(&packages, &lock);
    let image = format!("images/{}", workspace.recipe().name);
    let image = repository.resolve_image(&image).ok();
    Ok(LayerOutlook {
        services: services(target, repository, &packages)?,
        packages,
        package_bytes,
        layers,
        is_other_image: match image {
            Some(image) => !target.runs(&image)?,
            None => true,
        },
    })
}

/// Copies a recipe and its lock into a directory; its layers are those of the original.
fn copy(workspace: &Workspace, dir: &Path) -> Result<Workspace, AgentError> {
    let name = format!("{}.toml", workspace.recipe().name);
    let recipe = dir.join(name);
    for (from, to) in [
        (workspace.recipe_path().to_owned(), recipe.clone()),
        (workspace.lock_path(), recipe.with_extension("lock")),
    ] {
        match std::fs::copy(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(AgentError::Build(BuildError::Source {
                    verb: "copy",
                    path: from,
                    source,
                }));
            }
            Ok(_) => {}
        }
    }
    let architecture = &workspace.recipe().architecture;
    let opened = Workspace::open(&recipe, Some(workspace.layers_dir()), architecture);
    Ok(opened.map_err(BuildError::from)?)
}

fn moved(
    report: Option<&LockReport>,
    lock: &RecipeLock,
    repository: &Repository,
) -> Result<Vec<PackageChange>, AgentError> {
    let cache = repository.cache_dir("debs").map_err(BuildError::from)?;
    let cache = DebCache::new(cache);
    let changes = report.map_or(&[][..], |report| &report.changes);
    let packages = changes.iter().map(|change| PackageChange {
        name: change.package.clone(),
        layer: change.layer.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
        cves: match (&change.before, &change.after) {
            (Some(before), Some(_)) => cves(lock, &cache, &change.layer, &change.package, before),
            _ => BTreeSet::new(),
        },
    });
    Ok(packages.collect())
}

/// Reads the changelog of a package file; one that has none names no CVE.
fn cves(
    lock: &RecipeLock,
    cache: &DebCache,
    layer: &str,
    name: &str,
    before: &str,
) -> BTreeSet<String> {
    let package = lock.layer(layer).and_then(|layer| layer.package(name));
    let Some(path) = package.map(|package| cache.path(package)) else {
        return BTreeSet::new();
    };
    let unpack = |file: &str| -> Option<Vec<u8>> {
        let mut archive = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let unpacked = Command::new("tar")
            .args(["-xOf", "-"])
            .arg(format!("./usr/share/doc/{name}/{file}"))
            .stdin(archive.stdout.take()?)
            .stderr(Stdio::null())
            .output();
        // It ended by itself, or because nobody reads it.
        let _ = archive.wait();
        Some(unpacked.ok()?.stdout).filter(|bytes| !bytes.is_empty())
    };
    // That of a Debian package, else that of a native one.
    let packed = unpack("changelog.Debian.gz").or_else(|| unpack("changelog.gz"));
    packed.map_or(BTreeSet::new(), |packed| changelog_cves(&packed, before))
}

fn sizes(packages: &[PackageChange], lock: &RecipeLock) -> u64 {
    let sizes = packages.iter().filter_map(|package| {
        let layer = lock.layer(&package.layer)?;
        layer.package(&package.name).map(|package| package.size)
    });
    sizes.sum()
}

/// Names the services that run from files of packages that move.
fn services(
    target: &Target,
    repository: &Repository,
    packages: &[PackageChange],
) -> Result<Vec<ServiceRestart>, AgentError> {
    let Some(current) = target.current_parts(repository)? else {
        return Ok(Vec::new());
    };
    let read = |id: &crate::id::ObjectId| repository.read_object(id).ok();
    let mut files: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, inode) in current.tree.below(dpkg::INFO.as_bytes()) {
        let owner = crate::packages::package_of_list(path.name());
        let moves = packages
            .iter()
            .any(|package| owner == Some(package.name.as_bytes()));
        if let (true, Some(bytes)) = (moves, inode.object().and_then(|object| read(&object))) {
            for line in bytes.split(|byte| *byte == b'\n') {
                let line = line.strip_prefix(b"/").unwrap_or(line);
                files.extend(
                    current
                        .tree
                        .resolve(line)
                        .map(|path| path.as_bytes().to_vec()),
                );
            }
        }
    }
    let is_file = |path: &[u8]| current.tree.get(path).is_some_and(|inode| !inode.is_dir());
    let services = Services {
        before: &current.tree,
        changes: &|path| files.contains(path) && is_file(path),
        // What becomes of it is known once the layer is built.
        etc: &BTreeSet::new(),
        read: &read,
        also: &[],
    };
    let layers = current.layers.iter();
    let layers: Vec<_> = layers
        .filter(|layer| packages.iter().any(|package| package.layer == layer.name))
        .collect();
    Ok(services.restarts(&layers))
}
