//! How a view is mounted, and which directories of a root belong to the running system.

use std::path::Path;

use super::BuildError;
use crate::materialise::{Capabilities, ScanOptions};
use crate::path::RelPath;
use crate::sandbox::LowerKind;
use crate::store::WorkDir;

/// Says how a view gets at the tree below it: mounted where the system can, else checked out.
pub(super) fn lower_kind<'o>(
    work: &WorkDir,
    objects: &'o Path,
) -> Result<LowerKind<'o>, BuildError> {
    Ok(if Capabilities::probe(work.path())?.composefs.works() {
        LowerKind::Image(objects)
    } else {
        LowerKind::Checkout
    })
}

/// Directories whose contents belong to the running system.
pub(super) fn volatile() -> ScanOptions {
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
