//! Layers that several recipes have: what is the same question has the same answer, so that one base
//! is one layer.

use super::BuildError;
use super::archives::RecipeArchives;
use super::lock::below;
use crate::recipe::{Definition, LayerLock, PackageArchive, RecipeLock, Workspace};

/// Layers that are locked, and on what.
#[derive(Default)]
pub(super) struct CommonLayers(Vec<CommonLayer>);

/// What decides about the packages of a layer, and the packages.
struct CommonLayer {
    definition: Definition,
    architecture: String,
    base: Vec<PackageArchive>,
    seen: Vec<PackageArchive>,
    below: Vec<LayerLock>,
    entry: LayerLock,
}

impl CommonLayers {
    /// Remembers the layers of a locked recipe; the first of equals stays.
    pub(super) fn add(
        &mut self,
        workspace: &Workspace,
        lock: &RecipeLock,
    ) -> Result<(), BuildError> {
        for layer in workspace.layers() {
            let definition = &layer.definition;
            let Some(entry) = lock.layer(&definition.name) else {
                continue;
            };
            if self.find(workspace, definition, &lock.layers)?.is_none() {
                let common = CommonLayer::new(workspace, definition, &lock.layers, entry)?;
                self.0.push(common);
            }
        }
        Ok(())
    }

    /// Says whether there is such a layer, whatever it stands on.
    pub(super) fn has(&self, definition: &Definition) -> bool {
        self.0.iter().any(|known| known.definition == *definition)
    }

    /// Returns the packages of the same layer on the same packages.
    pub(super) fn find(
        &self,
        workspace: &Workspace,
        definition: &Definition,
        done: &[LayerLock],
    ) -> Result<Option<LayerLock>, BuildError> {
        let nothing = LayerLock {
            name: String::new(),
            epoch: 0,
            requested: Vec::new(),
            packages: Vec::new(),
        };
        let wanted = CommonLayer::new(workspace, definition, done, &nothing)?;
        let found = self.0.iter().find(|known| known.is_as(&wanted));
        Ok(found.map(|known| known.entry.clone()))
    }
}

impl CommonLayer {
    fn new(
        workspace: &Workspace,
        definition: &Definition,
        done: &[LayerLock],
        entry: &LayerLock,
    ) -> Result<Self, BuildError> {
        let archives = RecipeArchives::read(workspace)?;
        Ok(Self {
            definition: definition.clone(),
            architecture: workspace.recipe().architecture.clone(),
            seen: archives.seen_by(workspace, &definition.name),
            base: archives.base,
            below: below(workspace, definition, done)
                .into_iter()
                .cloned()
                .collect(),
            entry: entry.clone(),
        })
    }

    /// Says whether the same question was asked.
    fn is_as(&self, other: &Self) -> bool {
        self.architecture == other.architecture
            && self.definition == other.definition
            && self.base == other.base
            && self.seen == other.seen
            && self.below.len() == other.below.len()
            && self
                .below
                .iter()
                .zip(&other.below)
                .all(|(a, b)| a.packages == b.packages)
    }
}
