//! Modules that programs of an interpreter import when they start, and that are not in the tree.
//!
//! A program is a script with `#!`, or a file that a unit or a cron table names (`runs`). What it
//! imports for certain, and what the modules found import in turn, is looked for where the
//! interpreter of this tree would look. The facts of a file depend on its bytes alone, and are kept
//! in the index.
//!
//! Not checked: imports that may be skipped or whose failure is caught, modules loaded by a computed
//! name, and search paths from the environment.

mod node;
mod node_source;
mod perl;
mod perl_source;
mod python;
mod python_path;
mod python_source;
mod python_tokens;
mod report;
mod ruby;
mod runs;

use super::Problem;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// Finds modules that are imported and not there, `import:PATH:MODULE`; sorted by id.
pub fn problems(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let runs = runs::collect(tree, view)?;
    let mut report = report::Report::default();
    python::check(tree, view, &runs, &mut report)?;
    perl::check(tree, view, &runs, &mut report)?;
    node::check(tree, view, &runs, &mut report)?;
    ruby::check(tree, view, &runs, &mut report)?;
    Ok(report.finish())
}
