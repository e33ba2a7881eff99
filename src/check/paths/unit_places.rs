//! Files that are about units that do not exist: drop-ins, and links that have another unit start
//! them.

use std::collections::BTreeSet;

use super::accounts::contents;
use super::lookup;
use super::unit_names::{DIRS, Scope, UnitNames};
use super::unit_problems::UnitProblems;
use super::units::needed_unit;
use crate::check::Weight;
use crate::layout::{dpkg, join};
use crate::path::{RelPath, escape};
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

const HINT: &str = "rebuild the layer of the file on today's lower layers, add the package of the unit, or move the file to the unit's new name";

/// Finds drop-ins for units that are not there: `unit:PATH:extends:UNIT`. What an administrator
/// wrote is without effect then; packages ship some for units of others, which weigh little.
pub(super) fn extended(
    tree: &Tree,
    view: &dyn ImageView,
    names: &UnitNames<'_>,
    problems: &mut UnitProblems,
) -> Result<(), ViewError> {
    let lost: Vec<(&[u8], &RelPath)> = names
        .files()
        .filter(|(scope, unit, drop_in, _)| *drop_in && lacks(names, *scope, unit))
        .map(|(_, unit, _, path)| (unit, path))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let packaged = conffiles(tree, view)?;
    for (unit, path) in lost {
        let shown = escape(unit);
        let weight = match packaged.contains(path.as_bytes()) {
            true => Weight::Minor,
            false => weight(path),
        };
        problems.add(
            path,
            &format!("extends:{shown}"),
            weight,
            format!("'{path}' changes the unit '{shown}', which does not exist"),
            HINT,
        );
    }
    Ok(())
}

/// Returns the files below `/etc` that packages ship, from the lines ` PATH DIGEST` of their
/// database.
fn conffiles(tree: &Tree, view: &dyn ImageView) -> Result<BTreeSet<Vec<u8>>, ViewError> {
    let mut found = BTreeSet::new();
    for dir in dpkg::DIRECTORIES {
        let status = contents(tree, view, format!("{dir}/status").as_bytes())?;
        for line in status.split(|byte| *byte == b'\n') {
            if let Some(rest) = line.strip_prefix(b" /") {
                let end = rest.iter().position(|byte| *byte == b' ');
                found.extend(end.map(|end| rest[..end].to_vec()));
            }
        }
    }
    Ok(found)
}

/// Finds units that are started with a unit that is not there: `unit:PATH:wanted-by:UNIT`.
pub(super) fn enabled(tree: &Tree, names: &UnitNames<'_>, problems: &mut UnitProblems) {
    for (scope, dir) in DIRS {
        for (path, inode) in tree.below(dir) {
            let above = lookup::parent(path.as_bytes());
            let is_link = !inode.is_dir() && lookup::parent(above) == dir;
            let name = lookup::name(above);
            let by = name
                .strip_suffix(b".wants")
                .or_else(|| name.strip_suffix(b".requires"));
            let (Some(by), true) = (by, is_link) else {
                continue;
            };
            if lacks(names, scope, by) && names.has(scope, path.name()) {
                let shown = escape(by);
                problems.add(
                    path,
                    &format!("wanted-by:{shown}"),
                    weight(path),
                    format!("'{path}' has '{shown}' start its unit, and there is no such unit"),
                    HINT,
                );
            }
        }
    }
}

fn weight(path: &RelPath) -> Weight {
    match path.starts_with(b"etc") {
        true => Weight::Grave,
        false => Weight::Minor,
    }
}

/// Says whether no file makes a unit of this name, and only a file can. A name that ends with `-`
/// stands for all units that start so, and one without a dot for all of a type.
fn lacks(names: &UnitNames<'_>, scope: Scope, unit: &[u8]) -> bool {
    let Some(dot) = unit.iter().rposition(|byte| *byte == b'.') else {
        return false;
    };
    let (stem, suffix) = unit.split_at(dot);
    if stem.ends_with(b"-") {
        let is_made = std::str::from_utf8(unit).map(needed_unit);
        return matches!(is_made, Ok(Some(_))) && !names.has_any(scope, stem, suffix);
    }
    let text = std::str::from_utf8(unit).ok();
    let is_file = text
        .and_then(needed_unit)
        .is_some_and(|name| name.as_bytes() == unit);
    is_file && !names.has(scope, unit)
}

/// Reports that systemd has the units of a boot, and none to boot into: it takes the rescue mode.
pub(super) fn booted(tree: &Tree, problems: &mut UnitProblems) {
    let place = |dir: &[u8], unit: &[u8]| tree.get(&join(dir, unit)).is_some();
    let usual: &[u8] = b"usr/lib/systemd/system";
    let dirs = [
        usual,
        b"usr/local/lib/systemd/system",
        b"etc/systemd/system",
    ];
    // Where a link leads is for others to say.
    if !place(usual, b"sysinit.target") || dirs.iter().any(|dir| place(dir, b"default.target")) {
        return;
    }
    if let Ok(program) = RelPath::from_text("usr/lib/systemd/systemd") {
        problems.add(
            &program,
            "default.target",
            Weight::Grave,
            format!("'{program}' boots into 'default.target', which does not exist"),
            "leave the link '/usr/lib/systemd/system/default.target', or make one in /etc/systemd/system",
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::check::paths::testing::{Image, assert_ids};
    use crate::check::paths::units;

    #[test]
    fn a_drop_in_for_a_unit_that_is_gone_is_said() {
        let etc = "etc/systemd/system";
        let lib = "usr/lib/systemd/system";
        let image = Image::new()
            .program("usr/lib/systemd/systemd")
            .file(&format!("{lib}/a.service"), b"")
            .file(&format!("{lib}/t@.service"), b"")
            .file(&format!("{lib}/my-one.service"), b"")
            .file(&format!("{etc}/a.service.d/x.conf"), b"")
            .file(&format!("{etc}/t@1.service.d/x.conf"), b"")
            .file(&format!("{etc}/my-.service.d/x.conf"), b"")
            .file(&format!("{etc}/service.d/x.conf"), b"")
            .file(&format!("{etc}/home.mount.d/x.conf"), b"")
            .file(&format!("{etc}/php8.2-fpm.service.d/x.conf"), b"")
            .file(&format!("{etc}/your-.service.d/x.conf"), b"")
            .file(&format!("{etc}/packaged.service.d/x.conf"), b"")
            .file(
                "usr/lib/sysimage/var/lib/dpkg/status",
                b"Package: a\nConffiles:\n /etc/systemd/system/packaged.service.d/x.conf 0123\n",
            )
            .file(&format!("{lib}/other.service.d/x.conf"), b"");
        assert_ids(
            &units(&image.tree, &image.view).unwrap(),
            &[
                "unit:/etc/systemd/system/packaged.service.d/x.conf:extends:packaged.service",
                "!unit:/etc/systemd/system/php8.2-fpm.service.d/x.conf:extends:php8.2-fpm.service",
                "!unit:/etc/systemd/system/your-.service.d/x.conf:extends:your-.service",
                "unit:/usr/lib/systemd/system/other.service.d/x.conf:extends:other.service",
            ],
        );
    }

    #[test]
    fn a_unit_that_is_started_with_one_that_is_gone_is_said() {
        let etc = "etc/systemd/system";
        let image = Image::new()
            .program("usr/lib/systemd/systemd")
            .file("usr/lib/systemd/system/a.service", b"")
            .file("usr/lib/systemd/system/b.target", b"")
            .link(
                &format!("{etc}/b.target.wants/a.service"),
                "/usr/lib/systemd/system/a.service",
            )
            .link(
                &format!("{etc}/c.target.wants/a.service"),
                "/usr/lib/systemd/system/a.service",
            )
            .link(
                &format!("{etc}/c.target.wants/gone.service"),
                "/usr/lib/systemd/system/gone.service",
            )
            .link(
                &format!("{etc}/dev-sda.device.wants/a.service"),
                "/usr/lib/systemd/system/a.service",
            );
        assert_ids(
            &units(&image.tree, &image.view).unwrap(),
            &["!unit:/etc/systemd/system/c.target.wants/a.service:wanted-by:c.target"],
        );
    }
}
