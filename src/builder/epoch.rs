//! The source-date-epoch of a layer. Files that its build makes get this date, and none of its
//! files is newer.
//!
//! The epoch follows from the layer's own packages alone, so the same packages give the same layer,
//! whoever locks them, on whatever day and from whichever archives. Rejected: the date of the
//! archives' Release files, which moves every few hours and differs from archive to archive.

use super::BuildError;
use crate::apt::DebCache;
use crate::recipe::LockedPackage;

/// The epoch of a layer without packages, and the earliest of any: 2000-01-01. A layer's own files
/// are dated differently on each machine, and zip archives cannot hold dates before 1980.
pub(super) const EARLIEST: i64 = 946_684_800;

/// Returns the epoch of a layer with these packages, whose files are in the cache: the date of the
/// newest.
pub(super) fn epoch_of(cache: &DebCache, packages: &[LockedPackage]) -> Result<i64, BuildError> {
    let mut newest = EARLIEST;
    for package in packages {
        newest = newest.max(cache.date(package)?);
    }
    Ok(newest)
}
