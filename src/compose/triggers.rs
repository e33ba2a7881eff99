//! dpkg's file triggers over layers: the trigger of a package has not seen the files of a layer
//! that was built before it.

use std::collections::BTreeMap;

use super::member::Member;
use super::packages::database;
use super::remedy::stand_on;
use super::view::TreeView;
use crate::check::paths::{Interests, interests, touched};
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::{dpkg, within};
use crate::packages::{Interest, only_tells_daemons};
use crate::tree::Tree;
use crate::tree::view::{ImageView as _, ViewError};

/// Interests of triggers whose work every composition repeats, or a running system does: they
/// reload a daemon, or fill a cache that an image does not keep. Directories of one architecture
/// are written without it.
const DERIVED: &[&[u8]] = &[
    b"etc/dbus-1",
    b"etc/php",
    // Rules that name a profile are written again; a new image has none.
    b"etc/ufw/applications.d",
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

/// Packages whose triggers fill caches that an image does not keep, or that only save time.
const CACHING: &[&str] = &["appstream", "cracklib-runtime", "cups", "man-db"];

/// Finds, for each layer, the packages with triggers for files of its packages. dpkg runs no trigger
/// for what `[files]` and scripts bring.
///
/// Their triggers ran in the build of the layer, unless the packages came later or beside it:
/// [`ran`] says which.
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
    interests.retain(|interest| {
        let package = name_of(&interest.package);
        !is_derived(interest.path.as_bytes()) && !CACHING.contains(&package)
    });
    let mut works: BTreeMap<&str, bool> = BTreeMap::new();
    for member in members.iter().filter(|m| !m.layer.packages.is_empty()) {
        let posts = member
            .changeset
            .iter()
            .filter(|(_, change)| change.post.is_some());
        let mut paths = posts.map(|(path, _)| path);
        for interest in touched(&interests, &mut paths) {
            let package = interest.package.as_str();
            let does_work = match works.get(package) {
                Some(known) => *known,
                None => does_work(package, tree, view)?,
            };
            works.insert(package, does_work);
            if does_work {
                problems.push(problem(interest, member, members));
            }
        }
    }
    Ok(problems)
}

fn problem(interest: &Interest, member: &Member, members: &[Member]) -> Problem {
    let (package, place, layer) = (&interest.package, &interest.path, &member.layer.name);
    let hint = match holder(package, members) {
        Some(holder) if !is_related(holder, member) => stand_on(layer, &holder.layer.name),
        _ => format!("rebuild '{layer}', so that the trigger of '{package}' sees its files"),
    };
    Problem {
        id: FindingKind::Trigger.at(format_args!("{layer}:{package}:{place}")),
        subject: Subject::Layer(layer.clone()),
        package: Some(package.clone()),
        other: None,
        weight: Weight::Grave,
        reason: format!(
            "'{package}' has a trigger for files below '{place}', and the layer has such files"
        ),
        hint,
    }
}

/// Says whether a trigger leaves files behind. Where all that it does is to tell a daemon, a machine
/// that boots has nothing to catch up on.
fn does_work(package: &str, tree: &Tree, view: &TreeView<'_>) -> Result<bool, ViewError> {
    let script = database(tree, &format!("info/{package}.postinst"))
        .or_else(|| database(tree, &format!("info/{}.postinst", name_of(package))));
    match script {
        Some(script) => Ok(!only_tells_daemons(&view.read(script.as_bytes())?)),
        // Without a script, dpkg has nothing to run.
        None => Ok(false),
    }
}

/// Says whether dpkg ran a trigger in the build of a layer of the set: the layer with the package
/// and the layer with the files stand on each other, and the upper one stands on what it was built
/// on.
pub(super) fn ran(problem: &Problem, members: &[Member]) -> bool {
    pair(problem, members).is_some_and(|(holder, member)| {
        let upper = if holder.stands_on(&member.layer.name) {
            holder
        } else {
            member
        };
        is_related(holder, member) && !upper.is_moved(members)
    })
}

/// Says whether dpkg ran a trigger in the build of the last of `members`; `None` for a problem that
/// is none of one layer's trigger for another's files.
pub(super) fn ran_in_last(problem: &Problem, members: &[Member]) -> Option<bool> {
    let (holder, member) = pair(problem, members)?;
    let last = members.last()?;
    let is_last = |member: &Member| member.layer.name == last.layer.name;
    Some(is_last(holder) || is_last(member))
}

/// Returns the layer that holds the package of a trigger, and the layer with the files.
fn pair<'m>(problem: &Problem, members: &'m [Member]) -> Option<(&'m Member, &'m Member)> {
    let (FindingKind::Trigger, Subject::Layer(name), Some(package)) =
        (problem.id.kind(), &problem.subject, &problem.package)
    else {
        return None;
    };
    let member = members.iter().find(|member| member.layer.name == *name)?;
    Some((holder(package, members)?, member))
}

/// Returns the uppermost layer that has a package.
fn holder<'m>(package: &str, members: &'m [Member]) -> Option<&'m Member> {
    let name = name_of(package);
    let has = |member: &&Member| {
        let mut packages = member.layer.packages.iter();
        packages.any(|package| package.name == name)
    };
    members.iter().rev().find(has)
}

/// Says whether one of two layers was built on the other, or they are one.
pub(super) fn is_related(a: &Member, b: &Member) -> bool {
    let (a_name, b_name) = (&a.layer.name, &b.layer.name);
    a_name == b_name || a.stands_on(b_name) || b.stands_on(a_name)
}

/// Returns a package's name without its architecture.
fn name_of(package: &str) -> &str {
    package.split(':').next().unwrap_or(package)
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
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compose::tests::{member, with_package};
    use crate::durable::RealDisk;
    use crate::path::RelPath;
    use crate::store::{Repository, RepositoryOptions};
    use crate::tree::{Changeset, Inode};

    const WORK: &str = "#!/bin/sh\ncase $1 in triggered) update-x ;; esac\n";
    const RESTART: &str = "#!/bin/sh\ncase $1 in triggered) invoke-rc.d x restart ;; esac\n";

    /// Examines 'app', which has `/etc/x/a`, in a set with 'db', whose package 'server' has
    /// `postinst` and an interest in `/etc/x`.
    fn unheard_by(postinst: Option<&str>, packages: &[&str]) -> Vec<Problem> {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        let transaction = repository.begin().unwrap();
        let index = repository.index();
        let mut tree = Tree::new();
        let mut put = |place: &str, text: &str| {
            let object = transaction.put_object(text.as_bytes()).unwrap();
            let path = RelPath::from_text(place).unwrap();
            let above: Vec<RelPath> =
                std::iter::successors(path.parent(), RelPath::parent).collect();
            for dir in above {
                tree.insert(dir, Inode::directory(0o755));
            }
            tree.insert(path, Inode::file(object, text.len() as u64, 0o644));
        };
        put(
            "var/lib/dpkg/triggers/File",
            "/etc/x server/noawait\n/opt/man man-db/noawait\n",
        );
        put("var/lib/dpkg/info/man-db.postinst", WORK);
        if let Some(postinst) = postinst {
            put("var/lib/dpkg/info/server.postinst", postinst);
        }
        put("etc/x/a", "");
        put("opt/man/a", "");
        let mut app = member("app", "app", &[("base", "base")]);
        for package in packages {
            app = with_package(app, package, "1");
        }
        app.changeset = Changeset::between(&Tree::new(), &tree);
        let db = with_package(member("db", "db", &[("base", "base")]), "server", "1");
        let view = TreeView::new(&tree, &transaction, &index);
        unheard(&tree, &[member("base", "base", &[]), db, app], &view).unwrap()
    }

    #[test]
    fn a_trigger_that_restarts_a_daemon_or_fills_a_cache_asks_for_nothing() {
        let ids = |postinst, packages: &[&str]| -> Vec<String> {
            let found = unheard_by(postinst, packages);
            found.iter().map(|problem| problem.id.to_string()).collect()
        };
        assert_eq!(ids(Some(WORK), &["lib"]), ["trigger:app:server:/etc/x"]);
        assert!(ids(Some(RESTART), &["lib"]).is_empty());
        assert!(ids(None, &["lib"]).is_empty());
        // dpkg runs no trigger for files that no package brings.
        assert!(ids(Some(WORK), &[]).is_empty());
        let hint = unheard_by(Some(WORK), &["lib"]).remove(0).hint;
        assert!(
            hint.contains("add \"db\" to `on` in layers/app/layer.toml"),
            "{hint}"
        );
    }

    #[test]
    fn what_is_made_anew_or_reloads_a_daemon_asks_for_nothing() {
        for (path, expect) in [
            ("usr/share/glib-2.0/schemas", true),
            ("usr/lib/x86_64-linux-gnu/gio/modules", true),
            ("lib/udev/hwdb.d", true),
            ("etc/php/8.4/fpm/conf.d", true),
            ("etc/ufw/applications.d", true),
            ("usr/share/xml", true),
            ("usr/share/debianutils/shells.d", false),
            ("usr/share/iconsets", false),
        ] {
            assert_eq!(is_derived(path.as_bytes()), expect, "{path}");
        }
    }
}
