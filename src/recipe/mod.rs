//! Layer definitions, recipes, locks and the ids table: files that people write, read strictly.
//!
//! [`Workspace::open`] reads a recipe and the layers it names; whatever is wrong in a file is a
//! [`RecipeError`] that points at the place. Parsing, rules and keys are pure; only [`Workspace`],
//! [`SourceFile::read`] and [`IdTable::read`] read.

mod definition;
mod disk;
mod error;
mod fields;
mod file;
mod ids;
mod key;
mod layer;
mod lock;
mod parse;
pub(crate) mod reader;
mod script;
mod sections;
pub(crate) mod shapes;
mod sources;
mod state;
pub(crate) mod together;
mod toml_text;
pub(crate) mod words;
mod workspace;

pub use crate::glob::Glob;
pub use crate::sha256::{NotSha256, Sha256};
pub use definition::{
    AllowedSecret, AptSection, Bootstrap, BootstrapVariant, Definition, FilesSection, LayerContent,
    Pocket, RunSection, SecretRule, UpperLayer,
};
pub use disk::DiskSection;
pub use error::{RecipeError, RecipeFault, RecipeFaults, SourceFile};
pub use file::{DEFAULT_KEEP, Recipe, RecipePolicy};
pub use ids::{AllocateError, FIRST_ID, IdKind, IdTable, LAST_ID};
pub use key::{FileContent, FileInput, KeyInputs, build_key, canonical_inputs};
pub use layer::RecipeLayer;
pub use lock::{LOCK_VERSION, LayerLock, LockedPackage, RecipeLock, pool_path_problem};
pub use script::{SCRIPT_START, ScriptStart, script_start};
pub use shapes::{LAYER, RECIPE};
pub use sources::{ArchiveSection, PackageArchive, SignedBy, key_problem};
pub use state::{Classification, StateClass, StateClassifier, StateRule};
pub use toml_text::quote;
pub use workspace::{Named, Workspace};

/// Says what keeps a text from being the name of a layer or a recipe, if anything does.
pub fn name_problem(text: &str) -> Option<&'static str> {
    words::layer_name(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
