//! What the units of a running machine need after an exchange of the trees.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::deploy::ServiceRestart;
use crate::path::RelPath;
use crate::tree::{Node, Tree, diff};

/// What to do so that what runs belongs to the new trees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnitChanges {
    /// Services to restart, or to reload where that suffices.
    pub restart: Vec<ServiceRestart>,
    /// Units that run and are gone.
    pub stop: Vec<String>,
    /// Units that are wanted now and were not before.
    pub start: Vec<String>,
    /// Other things that somebody has to be told.
    pub notices: BTreeSet<Notice>,
}

/// What somebody has to be told after an exchange, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// There are new accounts (`systemd-sysusers`).
    Accounts,
    /// There are new files and directories to make (`systemd-tmpfiles`).
    Files,
    /// Units differ (`systemctl daemon-reload`).
    Units,
    /// Rules for devices differ (`udevadm control --reload`).
    Devices,
    /// What the message bus allows differs.
    Bus,
}

/// Where what a notice is about lies.
const NOTICES: [(Notice, &[&[u8]]); 5] = [
    (
        Notice::Accounts,
        &[b"usr/lib/sysusers.d", b"etc/sysusers.d"],
    ),
    (Notice::Files, &[b"usr/lib/tmpfiles.d", b"etc/tmpfiles.d"]),
    (
        Notice::Units,
        &[
            b"usr/lib/systemd/system",
            b"etc/systemd/system",
            b"usr/lib/systemd/system-generators",
            b"etc/fstab",
        ],
    ),
    (
        Notice::Devices,
        &[
            b"usr/lib/udev/rules.d",
            b"etc/udev/rules.d",
            b"usr/lib/udev/hwdb.bin",
            b"etc/udev/hwdb.bin",
        ],
    ),
    (
        Notice::Bus,
        &[
            b"usr/share/dbus-1/system.d",
            b"usr/share/dbus-1/system-services",
            b"etc/dbus-1/system.d",
        ],
    ),
];

/// Where units are; the first that has one wins (systemd.unit(5)).
const UNIT_DIRS: [&str; 2] = ["etc/systemd/system", "usr/lib/systemd/system"];
/// What a machine that runs has reached: what these want is to run.
const REACHED: [&str; 6] = [
    "basic.target",
    "multi-user.target",
    "paths.target",
    "sockets.target",
    "sysinit.target",
    "timers.target",
];

/// Compares two trees, each with the machine's `/etc` of its time; `running` names the units that are
/// active.
pub(in crate::deploy) fn compare(before: &Tree, after: &Tree, running: &[String]) -> UnitChanges {
    let mut changes = UnitChanges::default();
    for (path, difference) in diff(before, after) {
        let is_same = difference.before.zip(difference.after);
        if is_same.is_some_and(|(old, new)| old.same_content(new)) {
            continue;
        }
        for (notice, places) in NOTICES {
            if places.iter().any(|place| path.starts_with(place)) {
                changes.notices.insert(notice);
            }
        }
    }
    let gone = |unit: &&String| has_unit(before, unit) && !has_unit(after, unit);
    changes.stop = running.iter().filter(gone).cloned().collect();
    let (was_wanted, is_wanted) = (wanted(before), wanted(after));
    let new = is_wanted.difference(&was_wanted);
    let is_new = |unit: &&String| has_unit(after, unit) && !running.contains(unit);
    changes.start = new.filter(is_new).cloned().collect();
    changes
}

/// Says whether a tree has a unit, or the template of which it is an instance.
pub(in crate::deploy) fn has_unit(tree: &Tree, unit: &str) -> bool {
    let template = unit.split_once('@').and_then(|(name, rest)| {
        let (_, kind) = rest.rsplit_once('.')?;
        Some(format!("{name}@.{kind}"))
    });
    let names = [Some(unit.to_owned()), template].into_iter().flatten();
    names
        .flat_map(|name| UNIT_DIRS.map(|dir| format!("{dir}/{name}")))
        .any(|path| tree.get(path.as_bytes()).is_some())
}

/// Returns the units that something wants which a machine that runs has reached.
fn wanted(tree: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let dirs = UNIT_DIRS.iter().flat_map(|dir| {
        let targets = REACHED.iter();
        targets.flat_map(move |target| {
            ["wants", "requires"].map(|kind| format!("{dir}/{target}.{kind}"))
        })
    });
    for dir in dirs {
        let links = tree.below(dir.as_bytes());
        let links = links.filter(|(_, inode)| matches!(inode.node, Node::Symlink { .. }));
        let name = |path: &RelPath| String::from_utf8_lossy(path.name()).into_owned();
        found.extend(links.map(|(path, _)| name(path)));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::tree::Inode;

    fn tree(files: &[(&str, &str)], links: &[&str]) -> Tree {
        let mut tree = Tree::new();
        let path = |text: &str| RelPath::from_text(text).unwrap();
        for (at, text) in files {
            let id = ObjectId::of(text.as_bytes());
            tree.insert(path(at), Inode::file(id, text.len() as u64, 0o644));
        }
        for at in links {
            tree.insert(path(at), Inode::symlink("x"));
        }
        tree
    }

    #[test]
    fn what_comes_starts_what_goes_stops_and_who_reads_is_told() {
        let old = tree(
            &[
                ("usr/lib/systemd/system/stays.service", "1"),
                ("usr/lib/systemd/system/goes.service", "1"),
                ("usr/lib/systemd/system/goes@.service", "1"),
                ("usr/lib/tmpfiles.d/x.conf", "1"),
            ],
            &["etc/systemd/system/multi-user.target.wants/stays.service"],
        );
        let new = tree(
            &[
                ("usr/lib/systemd/system/stays.service", "1"),
                ("usr/lib/systemd/system/comes.timer", "1"),
                ("usr/lib/systemd/system/late.service", "1"),
                ("usr/lib/tmpfiles.d/x.conf", "2"),
            ],
            &[
                "etc/systemd/system/multi-user.target.wants/stays.service",
                "etc/systemd/system/timers.target.wants/comes.timer",
                // A target that nobody has reached.
                "etc/systemd/system/reboot.target.wants/late.service",
                // A link that leads nowhere.
                "etc/systemd/system/multi-user.target.wants/none.service",
            ],
        );
        let running = [
            "stays.service",
            "goes.service",
            "goes@a.service",
            "run-1.scope",
        ];
        let running = running.map(str::to_owned);
        let found = compare(&old, &new, &running);
        assert_eq!(found.stop, ["goes.service", "goes@a.service"]);
        assert_eq!(found.start, ["comes.timer"]);
        assert_eq!(found.notices, [Notice::Files, Notice::Units].into());
        assert_eq!(compare(&old, &old, &running), UnitChanges::default());
    }
}
