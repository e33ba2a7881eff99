//! What an image changes against the one that is current: packages, what their changelogs say, and
//! the services that run something else afterwards.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::changelog;
use super::contents::EtcContents;
use super::etc::machine_tree;
use super::machine::{UnitChanges, units};
use super::record::DeploymentDir;
use super::restart::{ServiceRestart, Services, differing_etc};
use super::{DeployError, Target};
use crate::format::Layer;
use crate::id::{ImageId, ObjectId};
use crate::merge::Blobs as _;
use crate::path::RelPath;
use crate::store::{Repository, StoreError};
use crate::tree::{Inode, Tree};

/// An image, taken apart.
#[derive(Debug, Clone)]
pub struct ImageParts {
    /// Its tree.
    pub tree: Tree,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

impl ImageParts {
    /// Reads an image of the repository.
    pub fn read(repository: &Repository, id: &ImageId) -> Result<Self, StoreError> {
        let image = repository.read_image(id)?;
        let layers = image
            .layers
            .iter()
            .map(|layer| repository.read_layer(&layer.id));
        Ok(Self {
            tree: repository.read_tree(&image.tree)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }
}

impl Target {
    /// Takes the current image apart; `None` where nothing is current, or what is current is no
    /// longer in the repository.
    pub fn current_parts(
        &self,
        repository: &Repository,
    ) -> Result<Option<ImageParts>, DeployError> {
        let Some(current) = self.current()? else {
            return Ok(None);
        };
        let image = self.deployment(current)?.facts.image;
        match ImageParts::read(repository, &image) {
            Ok(parts) => Ok(Some(parts)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Names the services that run something else when generation `to` is current instead of
    /// `from`. Each generation has the machine's `/etc` of its time; `also` names services that
    /// run though nothing in the image starts them.
    pub fn restarts_between(
        &self,
        repository: &Repository,
        from: u64,
        to: u64,
        also: &[String],
    ) -> Result<Vec<ServiceRestart>, DeployError> {
        let services = self.compare(repository, from, to, &|_, _| (), also)?.0;
        Ok(services)
    }

    /// Says what the units of the machine need that ran generation `from` and now runs `to`; `running`
    /// names the units that are active.
    pub fn unit_changes(
        &self,
        repository: &Repository,
        (from, to): (u64, u64),
        running: &[String],
    ) -> Result<UnitChanges, DeployError> {
        let compare = |before: &Tree, after: &Tree| units::compare(before, after, running);
        let services = running.iter().filter(|unit| unit.ends_with(".service"));
        let services: Vec<String> = services.cloned().collect();
        let (restart, mut changes) = self.compare(repository, from, to, &compare, &services)?;
        changes.restart = restart;
        Ok(changes)
    }

    /// Compares two generations with their `/etc`: names services to restart, and returns what
    /// `compare` says of their trees.
    fn compare<T>(
        &self,
        repository: &Repository,
        from: u64,
        to: u64,
        compare: &dyn Fn(&Tree, &Tree) -> T,
        also: &[String],
    ) -> Result<(Vec<ServiceRestart>, T), DeployError> {
        let (from, to) = (self.deployment(from)?, self.deployment(to)?);
        let (machine_before, machine_after) = (
            EtcContents::new(repository, from.etc()),
            EtcContents::new(repository, to.etc()),
        );
        let before = with_machine_etc(repository, &from, &machine_before)?;
        let after = with_machine_etc(repository, &to, &machine_after)?;
        let etc = differing_etc(&before.tree, &after.tree);
        let read = |id: &ObjectId| {
            let own = machine_before.read(id).ok();
            own.or_else(|| repository.read_object(id).ok())
        };
        // What systemd or a generator made has no unit in the image, and does not run from it.
        let is_known =
            |unit: &&String| self.machine.is_none() || units::has_unit(&before.tree, unit);
        let also: Vec<String> = also.iter().filter(is_known).cloned().collect();
        let services = services(&before, &after, &etc, &read, &also);
        Ok((services, compare(&before.tree, &after.tree)))
    }
}

/// Takes the image of a deployment apart, and puts the machine's `/etc` into its tree.
fn with_machine_etc(
    repository: &Repository,
    deployment: &DeploymentDir,
    contents: &EtcContents<'_>,
) -> Result<ImageParts, DeployError> {
    let mut parts = ImageParts::read(repository, &deployment.facts.image)?;
    if deployment.facts.has_etc {
        let (machine, _) = machine_tree(deployment, &parts.tree, contents)?;
        let is_image_etc = |path: &RelPath| path.as_bytes().starts_with(b"etc/");
        let image = parts
            .tree
            .into_iter()
            .filter(|(path, _)| !is_image_etc(path));
        let machine = machine.into_iter().filter(|(path, _)| !path.is_root());
        parts.tree = image.chain(machine).collect();
    }
    Ok(parts)
}

/// Names the services that run something else after than before.
fn services(
    before: &ImageParts,
    after: &ImageParts,
    etc: &BTreeSet<RelPath>,
    read: &dyn Fn(&ObjectId) -> Option<Vec<u8>>,
    also: &[String],
) -> Vec<ServiceRestart> {
    let changed = |path: &[u8]| {
        let same = |a: &Inode, b: &Inode| a.same_content(b);
        match (before.tree.get(path), after.tree.get(path)) {
            (Some(a), Some(b)) => !same(a, b),
            _ => true,
        }
    };
    let is_same = |layer: &&Layer| before.layers.contains(*layer);
    let moved: Vec<&Layer> = after
        .layers
        .iter()
        .filter(|layer| !is_same(layer))
        .collect();
    let services = Services {
        before: &before.tree,
        changes: &changed,
        etc,
        read,
        also,
    };
    services.restarts(&moved)
}

/// A package that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// The layer that it is in.
    pub layer: String,
    /// The version before; absent for a new package.
    pub before: Option<String>,
    /// The version after; absent for one that goes.
    pub after: Option<String>,
    /// The CVEs that its changelog names since the version before, sorted.
    pub cves: BTreeSet<String>,
}

/// What an image changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImageChanges {
    /// The packages that move, sorted.
    pub packages: Vec<PackageChange>,
    /// The services to restart, sorted.
    pub services: Vec<ServiceRestart>,
}

/// Compares the packages of two sets of layers.
pub fn package_changes(before: &[Layer], after: &[Layer]) -> Vec<PackageChange> {
    let all = |layers: &[Layer]| -> BTreeMap<String, (String, String)> {
        let each = layers.iter().flat_map(|layer| {
            let named = move |package: &crate::format::LayerPackage| {
                let place = (layer.name.clone(), package.version.clone());
                (package.name.clone(), place)
            };
            layer.packages.iter().map(named)
        });
        each.collect()
    };
    let (old, new) = (all(before), all(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let (a, b) = (old.get(name), new.get(name));
        let version = |side: Option<&(String, String)>| side.map(|(_, version)| version.clone());
        (version(a) != version(b)).then(|| PackageChange {
            name: name.clone(),
            layer: b.or(a).map_or(String::new(), |(layer, _)| layer.clone()),
            before: version(a),
            after: version(b),
            cves: BTreeSet::new(),
        })
    });
    changes.collect()
}

/// Returns the contents of a new image that [`changes`] and a merge of `/etc` read.
pub fn wanted(before: Option<&ImageParts>, after: &ImageParts) -> BTreeSet<ObjectId> {
    let etc = after
        .tree
        .below(b"etc")
        .filter_map(|(_, inode)| inode.object());
    let moved = before.map_or(Vec::new(), |before| {
        package_changes(&before.layers, &after.layers)
    });
    let changelogs = moved.iter().filter_map(|package| {
        let path = changelog::path(&after.tree, &package.name)?;
        after.tree.get(path.as_bytes())?.object()
    });
    etc.chain(changelogs).collect()
}

/// Says what `after` changes against `before`. Contents that the repository lacks say nothing.
pub fn changes(before: &ImageParts, after: &ImageParts, repository: &Repository) -> ImageChanges {
    let read = |id: &ObjectId| repository.read_object(id).ok();
    let mut packages = package_changes(&before.layers, &after.layers);
    for package in &mut packages {
        let (Some(old), Some(_)) = (&package.before, &package.after) else {
            continue;
        };
        let path = changelog::path(&after.tree, &package.name);
        let object = path.and_then(|path| after.tree.get(path.as_bytes())?.object());
        if let Some(bytes) = object.and_then(|object| read(&object)) {
            package.cves = changelog::cves(&bytes, old);
        }
    }
    let etc = differing_etc(&before.tree, &after.tree);
    ImageChanges {
        packages,
        services: services(before, after, &etc, &read, &[]),
    }
}
