//! How a build sees a tree, and what of a root directory is no part of it.

use std::path::Path;

use super::BuildError;
use crate::materialise::{Capabilities, ScanOptions};
use crate::path::RelPath;
use crate::sandbox::LowerKind;
use crate::store::WorkDir;

/// Says how a view gets at what is below it, by what the system can do.
pub fn lower_kind<'o>(work: &WorkDir, objects: &'o Path) -> Result<LowerKind<'o>, BuildError> {
    Ok(if Capabilities::probe(work.path())?.composefs.works() {
        LowerKind::Image(objects)
    } else {
        LowerKind::Checkout
    })
}

/// Directories whose contents belong to the running system.
pub fn volatile() -> ScanOptions {
    let closed = ["dev", "proc", "run", "sys", "tmp"];
    let closed = closed
        .iter()
        .filter_map(|path| RelPath::from_text(path).ok())
        .collect();
    ScanOptions {
        closed,
        ..ScanOptions::default()
    }
}
