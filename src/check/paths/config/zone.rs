//! Time zones by name that no file describes.

use super::faults::Faults;
use super::image::Image;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

/// Where the zones are.
const ZONES: &str = "/usr/share/zoneinfo";

/// Finds the zone of `/etc/timezone` where it is not there: `zone:PATH:NAME`. `/etc/localtime` is a
/// link, and judged as one.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let Some(path) = image.file(b"etc/timezone") else {
        return Ok(());
    };
    let text = image.text(path.as_bytes())?;
    let name = text.lines().next().unwrap_or_default().trim();
    judge(image, &path, name, Weight::Minor, faults);
    Ok(())
}

/// Judges a zone that a file names. Rules written out (`CET-1CEST`), `UTC` and paths are no names
/// of the database.
pub(super) fn judge(
    image: &Image<'_>,
    path: &RelPath,
    name: &str,
    weight: Weight,
    faults: &mut Faults,
) {
    let name = name.strip_prefix(':').unwrap_or(name);
    let is_name = name.contains('/')
        && !name.starts_with('/')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_-+".contains(c));
    if is_name && image.lacks(&format!("{ZONES}/{name}")) {
        faults.add(
            FindingKind::Zone,
            path,
            name,
            weight,
            &format!("names the time zone '{name}', which {ZONES} does not have"),
            "name a zone that the image has, or add the package of the old names (tzdata-legacy)",
        );
    }
}
