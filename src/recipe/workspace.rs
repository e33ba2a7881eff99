//! A recipe with everything it names, read from disk and checked against each other.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::definition::Bootstrap;
use super::error::{RecipeError, SourceFile};
use super::file::{self, Recipe};
use super::ids::IdTable;
use super::layer::{RecipeLayer, find_layers, read_layer};
use super::lock::RecipeLock;
use super::reader::Document;
use super::sources::PackageArchive;
use super::together::all;
use super::words;

const RELOCK: &str = "run `layerset lock`";

/// What a definition names, and only the archives can confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// The suite of a base.
    Suite,
    /// One of its components.
    Component(&'a str),
    /// One package, as the definition writes it.
    Package(&'a str),
    /// All packages together.
    Packages,
}

/// A recipe and its layers.
#[derive(Debug, Clone)]
pub struct Workspace {
    recipe: Recipe,
    source: SourceFile,
    layers_dir: PathBuf,
    layers: Vec<RecipeLayer>,
    base: Bootstrap,
}

impl Workspace {
    /// Reads the recipe at `recipe_path` and the layers it names.
    ///
    /// Layers are looked for in `layers_dir`; else in `layers/` beside the recipe; else in
    /// `layers/` beside its folder.
    pub fn open(
        recipe_path: &Path,
        layers_dir: Option<&Path>,
        host_architecture: &str,
    ) -> Result<Self, RecipeError> {
        let stem = recipe_stem(recipe_path)?;
        let source = SourceFile::read(recipe_path)?;
        let (recipe, places) = file::parse(&source, stem, host_architecture)?;
        let layers_dir = match layers_dir {
            Some(dir) => dir.to_owned(),
            None => find_layers(recipe_path),
        };
        // Without the folder, each layer would be missing.
        let looked_at = match layers_dir.is_dir() {
            true => recipe.layers.len(),
            false => 1,
        };
        let named = recipe.layers.iter().zip(places).take(looked_at);
        let layers =
            all(named.map(|(name, place)| read_layer(&layers_dir, name, &source, place, &recipe)))?;
        let Some(base) = layers
            .first()
            .and_then(|layer| layer.definition.bootstrap())
            .cloned()
        else {
            return Err(source.fault(0..0, "a recipe needs a base as its first layer"));
        };
        refuse_conflicts(&layers)?;
        Ok(Self {
            recipe,
            source,
            layers_dir,
            layers,
            base,
        })
    }

    /// Returns the recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Returns the base, from whose archives all packages come.
    pub fn base(&self) -> &Bootstrap {
        &self.base
    }

    /// Returns the layers in the recipe's order, the base first.
    pub fn layers(&self) -> &[RecipeLayer] {
        &self.layers
    }

    /// Returns the layer called `name`.
    pub fn layer(&self, name: &str) -> Option<&RecipeLayer> {
        self.layers.iter().find(|l| l.definition.name == name)
    }

    /// Returns every layer that `name` is built on, directly or not, in the recipe's order; not
    /// `name` itself.
    pub fn closure(&self, name: &str) -> Vec<&str> {
        let mut wanted = BTreeSet::from([name]);
        // `on` names earlier layers only, so one walk backwards sees every layer after all that
        // stand on it.
        for layer in self.layers.iter().rev() {
            if wanted.contains(layer.definition.name.as_str()) {
                wanted.extend(layer.definition.on().iter().map(String::as_str));
            }
        }
        let names = self.layers.iter().map(|l| l.definition.name.as_str());
        names.filter(|n| *n != name && wanted.contains(n)).collect()
    }

    /// Makes the error about something that a definition names, at its place; `help` says what to
    /// write instead, where that is known.
    pub fn fault_at(
        &self,
        layer: &str,
        at: Named<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> RecipeError {
        let Some(layer) = self.layer(layer) else {
            return self.source.fault_with(0..0, message, help);
        };
        let RecipeLayer {
            definition,
            places,
            source,
            ..
        } = layer;
        let of = |names: &[String], places: &[Range<usize>], name: &str| {
            // A package may be written with its architecture, version or suite.
            let plain = |known: &str| known.split([':', '=', '/']).next() == Some(name);
            let is_it = |known: &String| known == name || plain(known);
            let at = names.iter().position(is_it)?;
            places.get(at).cloned()
        };
        let components = definition
            .bootstrap()
            .map_or(&[][..], |base| &base.components);
        let place = match at {
            Named::Suite => places.suite.clone(),
            Named::Component(name) => of(components, &places.components, name),
            Named::Package(name) => of(definition.packages(), &places.packages, name),
            Named::Packages => places
                .packages
                .first()
                .zip(places.packages.last())
                .map(|(first, last)| first.start..last.end),
        };
        source.fault_with(place.unwrap_or(0..0), message, help)
    }

    /// Returns the path of the recipe, as given.
    pub fn recipe_path(&self) -> &Path {
        self.source.path()
    }

    /// Returns the path of the lock, which need not exist.
    pub fn lock_path(&self) -> PathBuf {
        self.source.path().with_extension("lock")
    }

    /// Returns the folder of the layers.
    pub fn layers_dir(&self) -> &Path {
        &self.layers_dir
    }

    /// Returns the path of the ids table, which need not exist.
    pub fn ids_path(&self) -> PathBuf {
        self.layers_dir.join("ids.toml")
    }

    /// Reads the ids table. A missing one is empty.
    pub fn read_ids(&self) -> Result<IdTable, RecipeError> {
        IdTable::read(&self.ids_path())
    }

    /// Reads the lock as it is, or `None` where there is none. `layerset lock` starts from it.
    pub fn read_lock(&self) -> Result<Option<RecipeLock>, RecipeError> {
        match SourceFile::read(self.lock_path()) {
            Ok(source) => RecipeLock::parse(&source).map(Some),
            Err(RecipeError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the lock and checks that it fits the recipe as it is now. A build starts from it.
    pub fn require_lock(&self) -> Result<RecipeLock, RecipeError> {
        let path = self.lock_path();
        let source = match SourceFile::read(path.as_path()) {
            Err(RecipeError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(RecipeError::NoLock { path });
            }
            other => other?,
        };
        let lock = RecipeLock::parse(&source)?;
        let document = Document::parse(&source)?;
        for (key, locked, wanted) in [
            ("recipe", &lock.recipe, &self.recipe.name),
            (
                "architecture",
                &lock.architecture,
                &self.recipe.architecture,
            ),
        ] {
            if locked != wanted {
                return Err(document.any_table().need(key)?.fault_with(
                    format!("the lock is for {key} '{locked}', not '{wanted}'"),
                    Some(RELOCK.into()),
                ));
            }
        }
        let layers = self.layers.iter();
        all(layers.map(|layer| self.check_layer_lock(layer, &lock)))?;
        Ok(lock)
    }

    fn check_layer_lock(&self, layer: &RecipeLayer, lock: &RecipeLock) -> Result<(), RecipeError> {
        let definition = &layer.definition;
        let path = self.lock_path();
        let Some(locked) = lock.layer(&definition.name) else {
            return Err(self.source.fault_with(
                layer.named_at.clone(),
                format!("layer '{}' is not in '{}'", definition.name, path.display()),
                Some(RELOCK.into()),
            ));
        };
        for (package, place) in definition.packages().iter().zip(&layer.places.packages) {
            if !locked.requested.contains(package) {
                return Err(layer.source.fault_with(
                    place.clone(),
                    format!("package '{package}' is not in '{}'", path.display()),
                    Some(RELOCK.into()),
                ));
            }
        }
        if let Some(gone) = locked
            .requested
            .iter()
            .find(|name| !definition.packages().contains(name))
        {
            return Err(self.source.fault_with(
                layer.named_at.clone(),
                format!(
                    "'{}' still locks '{gone}', which layer '{}' no longer asks for",
                    path.display(),
                    definition.name
                ),
                Some(RELOCK.into()),
            ));
        }
        Ok(())
    }
}

/// Refuses archives that definitions name twice, each time with another trust: which of them would
/// hold is not for the order of layers to say.
fn refuse_conflicts(layers: &[RecipeLayer]) -> Result<(), RecipeError> {
    let mut named: Vec<(String, PackageArchive)> = Vec::new();
    let mut wrong = Vec::new();
    for layer in layers {
        for (archive, spans) in layer.archives()?.into_iter().zip(&layer.places.sources) {
            let pairs: BTreeSet<String> = archive.section.addresses().collect();
            for pair in pairs {
                match named.iter().find(|(other, _)| *other == pair) {
                    Some((_, first)) if !first.is_trusted_as(&archive) => {
                        wrong.push(Err(layer.source.fault_with(
                            spans.table.clone(),
                            format!("the archive '{pair}' is named with another key or other trust at {}", first.place),
                            Some("name it the same way in both, or in the lower layer only".into()),
                        )));
                    }
                    Some(_) => {}
                    None => named.push((pair, archive.clone())),
                }
            }
        }
    }
    all(wrong).map(|_: Vec<()>| ())
}

/// Returns the recipe's name from its path.
fn recipe_stem(path: &Path) -> Result<&str, RecipeError> {
    let not = |reason| RecipeError::NotARecipe {
        path: path.to_owned(),
        reason,
    };
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Err(not("its name does not end in '.toml'"));
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.filter(|stem| words::layer_name(stem).is_none())
        .ok_or_else(|| not("its name has other characters than a-z, 0-9, '+', '.', '-', '_'"))
}
