//! The source-date-epoch of a layer: what files that its build makes are dated, and none of its
//! files is newer.
//!
//! It follows from the layer's own packages alone. The same packages give the same layer then,
//! whoever locks them, on whatever day and from whichever archives. Rejected: the date of the
//! archives' Release files, which moves every few hours and differs from archive to archive.

use super::BuildError;
use crate::apt::DebCache;
use crate::recipe::LockedPackage;

/// The epoch of a layer without packages, and the least of any: 2000-01-01. Files have no dates of
/// their own that are the same everywhere, and zip archives none before 1980.
pub const EARLIEST: i64 = 946_684_800;

/// Returns the epoch of a layer with these packages, whose files are in the cache: the date of the
/// newest.
pub fn epoch_of(cache: &DebCache, packages: &[LockedPackage]) -> Result<i64, BuildError> {
    let mut newest = EARLIEST;
    for package in packages {
        newest = newest.max(cache.date(package)?);
    }
    Ok(newest)
}
