//! Checks of single paths of a composed tree: what a file names has to exist, in the version that
//! it was made for.
//!
//! Each check looks at one tree alone, and reports freely: problems that a layer had when it was
//! built are recognised by id afterwards and do no harm, while a break that nobody reports would be
//! the worst outcome.

mod abi;
mod accounts;
mod bodies;
mod config;
mod dbus;
mod launch;
mod links;
pub(super) mod lookup;
mod php;
mod python;
mod scripts;
mod shadow;
mod shell;
mod started;
pub(super) mod told;
mod triggers;
pub(super) mod unit_file;
mod unit_keys;
mod unit_names;
mod unit_places;
mod unit_problems;
mod units;

#[cfg(test)]
pub(super) mod testing;

pub use abi::{abi, kernel_of};
pub use config::config;
pub(super) use launch::ModuleOf;
pub use links::links;
pub use php::php;
pub use python::python;
pub use scripts::scripts;
pub(super) use scripts::{command, interpreter_of, is_paper};
pub use shadow::{CachedLibrary, OwnerOf, libraries, replaced};
pub use started::{UnitSetting, started, unit_settings};
pub use triggers::{Interests, interests, touched};
pub use units::{started_by_shell, started_by_units, units};

use super::Problem;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// Runs all checks of paths and returns their problems, sorted by id.
///
/// `view` has to look at `tree`: it gives the contents of the files that the tree lists. Fails only
/// when a file that the tree lists cannot be read.
pub fn problems(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let mut problems = links(tree);
    problems.extend(scripts(tree, view)?);
    problems.extend(bodies::bodies(tree, view)?);
    problems.extend(units(tree, view)?);
    problems.extend(config(tree, view)?);
    problems.extend(python(tree, view)?);
    problems.extend(php(tree));
    problems.extend(abi(tree));
    problems.sort();
    Ok(problems)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
