//! dpkg's file triggers over layers: the trigger of a package has not seen the files of a layer
//! that was built before it.

use super::member::Member;
use super::packages::database;
use super::view::TreeView;
use crate::check::paths::{Interests, interests, touched};
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::{dpkg, within};
use crate::tree::Tree;
use crate::tree::view::{ImageView as _, ViewError};

/// Interests of triggers whose work every composition repeats, or a running system does: they
/// reload a daemon, or fill a cache that an image does not keep. Directories of one architecture
/// are written without it.
const DERIVED: &[&[u8]] = &[
    b"etc/dbus-1",
    b"etc/php",
    b"usr/lib/binfmt.d",
    b"usr/lib/gdk-pixbuf-2.0",
    b"usr/lib/gio",
    b"usr/lib/gtk-2.0",
    b"usr/lib/gtk-3.0",
    b"usr/lib/gtk-4.0",
    b"usr/lib/mime",
    b"usr/lib/sysctl.d",
    b"usr/lib/systemd/catalog",
    b"usr/lib/udev/hwdb.d",
    b"etc/sgml",
    b"usr/share/app-info",
    b"usr/share/applications",
    b"usr/share/dbus-1",
    b"usr/share/fonts",
    b"usr/share/ghostscript/fonts",
    b"usr/share/glib-2.0/schemas",
    b"usr/share/hunspell",
    b"usr/share/icons",
    b"usr/share/info",
    b"usr/share/man",
    b"usr/share/mime",
    b"usr/share/myspell",
    b"usr/share/postgresql",
    b"usr/share/sgml",
    b"usr/share/texmf/fonts",
    b"usr/share/xml",
];

/// Finds, for each layer, the packages with triggers for files that it has. Their triggers ran in
/// the build of the layer, unless the packages came later.
pub(super) fn unheard(
    tree: &Tree,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ViewError> {
    let Some(file) = database(tree, dpkg::FILE_TRIGGERS) else {
        return Ok(Vec::new());
    };
    let Interests {
        mut interests,
        mut problems,
    } = interests(&view.read(file.as_bytes())?);
    interests.retain(|interest| !is_derived(interest.path.as_bytes()));
    for member in members {
        let posts = member
            .changeset
            .iter()
            .filter(|(_, change)| change.post.is_some());
        let mut paths = posts.map(|(path, _)| path);
        for interest in touched(&interests, &mut paths) {
            let (package, place, layer) = (&interest.package, &interest.path, &member.layer.name);
            problems.push(Problem {
                id: FindingKind::Trigger.at(format_args!("{layer}:{package}:{place}")),
                subject: Subject::Layer(layer.clone()),
                package: Some(package.clone()),
                other: None,
                weight: Weight::Grave,
                reason: format!(
                    "'{package}' has a trigger for files below '{place}', and the layer has such files"
                ),
                hint: format!(
                    "rebuild '{layer}', so that the trigger of '{package}' sees its files"
                ),
            });
        }
    }
    Ok(problems)
}

/// Says whether what happens for files below a path is derived, or a running system's business.
fn is_derived(path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let is_triplet = |part: &&[u8]| part.windows(10).any(|window| window == b"-linux-gnu");
    let plain: Vec<&[u8]> = parts.into_iter().filter(|part| !is_triplet(part)).collect();
    let mut plain = plain.join(&b'/');
    if plain.starts_with(b"lib/") {
        plain = [b"usr/".as_slice(), &plain].concat();
    }
    DERIVED.iter().any(|dir| within(&plain, dir))
}

#[cfg(test)]
mod tests {
    use super::is_derived;

    #[test]
    fn what_is_made_anew_or_reloads_a_daemon_asks_for_nothing() {
        for (path, expect) in [
            ("usr/share/glib-2.0/schemas", true),
            ("usr/lib/x86_64-linux-gnu/gio/modules", true),
            ("lib/udev/hwdb.d", true),
            ("etc/php/8.4/fpm/conf.d", true),
            ("usr/share/xml", true),
            ("usr/share/debianutils/shells.d", false),
            ("usr/share/iconsets", false),
        ] {
            assert_eq!(is_derived(path.as_bytes()), expect, "{path}");
        }
    }
}
