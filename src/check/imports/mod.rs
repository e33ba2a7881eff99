//! Modules that programs of an interpreter import when they start, and that are not in the tree.
//!
//! A program is a script with `#!`, a file that a unit or a cron table names, or a module that a unit
//! or a script of a shell names by an option (`runs`). What it imports for certain, and what the modules found import in turn, is looked for where the
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

/// The version of what is kept about a whole tree.
const KIND: &str = "imports-of-tree-4";

/// Finds modules that are imported and not there, `import:PATH:MODULE`; sorted by id.
///
/// The result for a tree is kept: what composes the same files again has it at once.
pub fn problems(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let mut report = report::Report::default();
    let mut find = || -> Result<Vec<u8>, ViewError> {
        let mut found = report::Report::default();
        let runs = runs::collect(tree, view)?;
        python::check(tree, view, &runs, &mut found)?;
        perl::check(tree, view, &runs, &mut found)?;
        node::check(tree, view, &runs.files, &mut found)?;
        ruby::check(tree, view, &runs.files, &mut found)?;
        Ok(found.encode())
    };
    let kept = view.concluded(KIND, tree.digest().as_bytes(), &mut find)?;
    report.decode(&kept);
    Ok(report.finish())
}
