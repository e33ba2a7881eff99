//! The archives of a recipe: those of its base, and those that other layers add for themselves and
//! for what stands on them.

use super::options::FetchPlaces;
use super::{BuildError, misnamed};
use crate::apt::{AptRoot, DebCache, PackageSources, Resolver};
use crate::recipe::{Definition, PackageArchive, Workspace};
use crate::store::Repository;

/// The archives that the definitions of a recipe name, with their keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecipeArchives {
    /// Those of the base; none where the default ones are used.
    pub(super) base: Vec<PackageArchive>,
    /// By layer, in the recipe's order; layers that name none are left out.
    added: Vec<(String, Vec<PackageArchive>)>,
}

impl RecipeArchives {
    /// Reads the keys of all archives.
    pub(super) fn read(workspace: &Workspace) -> Result<Self, BuildError> {
        let (mut base, mut added) = (Vec::new(), Vec::new());
        for layer in workspace.layers() {
            let archives = layer.archives()?;
            if layer.definition.bootstrap().is_some() {
                base = archives;
            } else if !archives.is_empty() {
                added.push((layer.definition.name.clone(), archives));
            }
        }
        Ok(Self { base, added })
    }

    /// Opens the private apt that knows all of them.
    pub(super) fn open(
        &self,
        workspace: &Workspace,
        repository: &Repository,
        from: &FetchPlaces,
    ) -> Result<AptRoot, BuildError> {
        let debs = DebCache::new(repository.cache_dir("debs")?);
        let work = repository.cache_dir("apt")?;
        let added: Vec<PackageArchive> = self.added.iter().flat_map(|(_, a)| a.clone()).collect();
        let sources = PackageSources {
            file: from.apt_sources.as_deref(),
            base: &self.base,
            added: &added,
        };
        let (base, architecture) = (workspace.base(), &workspace.recipe().architecture);
        let root = AptRoot::open(&work, debs, base, architecture, &sources)
            .map_err(|error| misnamed::in_base(workspace, error))?;
        let layers = workspace.layers().iter();
        let snapshots = layers.flat_map(|layer| layer.definition.snapshots().to_vec());
        let root = root.with_snapshots(snapshots.collect());
        Ok(root.with_elsewhere(from.elsewhere.clone()))
    }

    /// Returns what a layer sees beside the base's archives: its own, and those of the layers that
    /// it stands on.
    pub(super) fn seen_by(&self, workspace: &Workspace, layer: &str) -> Vec<PackageArchive> {
        let closure = workspace.closure(layer);
        let seen = |name: &str| name == layer || closure.contains(&name);
        let added = self.added.iter().filter(|(name, _)| seen(name));
        added.flat_map(|(_, archives)| archives.clone()).collect()
    }

    /// Opens what those layers see for which `is_wanted` holds, where it is not everything.
    pub(super) fn views(
        &self,
        workspace: &Workspace,
        root: &AptRoot,
        is_wanted: &dyn Fn(&Definition) -> bool,
    ) -> Result<ArchiveViews, BuildError> {
        let mut views = ArchiveViews(Vec::new());
        let all: Vec<PackageArchive> = self.added.iter().flat_map(|(_, a)| a.clone()).collect();
        for layer in workspace.layers() {
            let seen = self.seen_by(workspace, &layer.definition.name);
            let is_there = views.0.iter().any(|(other, _)| *other == seen);
            if seen != all && !is_there && is_wanted(&layer.definition) {
                let view = root.view(&seen)?;
                views.0.push((seen, view));
            }
        }
        Ok(views)
    }

    /// Returns those that are taken without a signature.
    pub(super) fn unsigned(&self) -> impl Iterator<Item = &PackageArchive> {
        let added = self.added.iter().flat_map(|(_, archives)| archives);
        self.base.iter().chain(added).filter(|a| a.section.trusted)
    }
}

/// Parts of the archives of a recipe, each as some of its layers see them.
pub(super) struct ArchiveViews(Vec<(Vec<PackageArchive>, AptRoot)>);

impl ArchiveViews {
    /// Returns what resolves with each of them, and with all archives by `indexes`.
    pub(super) fn resolve_with<'v>(
        &'v self,
        indexes: &'v Resolver<'v>,
    ) -> Result<ViewResolvers<'v>, BuildError> {
        let views = self.0.iter();
        let resolvers = views.map(|(seen, view)| Ok((seen.as_slice(), indexes.within(view)?)));
        Ok(ViewResolvers {
            indexes,
            views: resolvers.collect::<Result<_, BuildError>>()?,
        })
    }
}

/// What resolves with each part of the archives.
pub(super) struct ViewResolvers<'v> {
    indexes: &'v Resolver<'v>,
    views: Vec<(&'v [PackageArchive], Resolver<'v>)>,
}

impl ViewResolvers<'_> {
    /// Returns what resolves for a layer that sees these archives beside those of the base.
    pub(super) fn of(&self, seen: &[PackageArchive]) -> &Resolver<'_> {
        let view = self.views.iter().find(|(other, _)| *other == seen);
        view.map_or(self.indexes, |(_, resolver)| resolver)
    }
}
