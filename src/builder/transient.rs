//! What a build leaves that belongs to the running system or to the act of building.
//!
//! Such files go back to what they were below. A file that the layer's definition ships by its
//! name, or that one of its packages lists, is no leftover: it stays.

use std::collections::BTreeSet;

use super::rules::SettleRules;
use super::{BuildError, BuildSink};
use crate::layout::{dpkg, logical};
use crate::merge::drivers;
use crate::packages;
use crate::path::RelPath;
use crate::recipe::{StateClass, StateClassifier};
use crate::tree::{Node, Tree};

/// Directories whose contents belong to the running system.
const VOLATILE: [&[u8]; 6] = [b"dev", b"proc", b"run", b"sys", b"tmp", b"var/tmp"];
/// A file that a deriver makes, whoever ships it.
const DERIVED: &[u8] = b"etc/ld.so.cache";
const MACHINE_ID: &[u8] = b"etc/machine-id";
/// Files that are made by the machine, or by the act of building.
const LEFT: [&[u8]; 5] = [
    MACHINE_ID,
    b"etc/.pwd.lock",
    b"usr/sbin/policy-rc.d",
    b"etc/resolv.conf",
    b"etc/mtab",
];

/// Puts leftovers of the build back to what they are in `lower`.
///
/// Fails where the layer ships what no machine would see, or an identity that all machines would
/// share.
pub(super) fn drop(
    rules: SettleRules<'_>,
    lower: &Tree,
    after: &mut Tree,
    sink: &BuildSink<'_>,
) -> Result<(), BuildError> {
    refuse_volatile(rules, after)?;
    let listed = listed(lower, after, sink)?;
    let is_kept = |path: &[u8]| rules.ships(path) || listed.contains(path);
    refuse_identity(rules, after, &is_kept, sink)?;
    let classifier = StateClassifier::new(rules.state);
    // What a program wrote to `/var` by a link of a layer below is dropped as if it were there.
    let is_state = |path: &[u8]| {
        let known = logical(path);
        known.len() != path.len()
            && classifier.classify(known) == StateClass::Drop
            && !rules.ships(path)
    };
    let mut left = Vec::new();
    for (path, inode) in after.iter() {
        let bytes = path.as_bytes();
        if is_volatile(bytes)
            || bytes == DERIVED
            || LEFT.contains(&bytes) && !is_kept(bytes)
            || inode.object().is_some() && (drivers::is_backup(bytes) || is_state(bytes))
        {
            left.push(path.clone());
        }
    }
    for path in left {
        match lower.get(path.as_bytes()) {
            Some(inode) => std::mem::drop(after.insert(path, inode.clone())),
            None => std::mem::drop(after.remove(path.as_bytes())),
        }
    }
    // A leftover of a lower layer that this build removed is still there for other layers.
    for path in LEFT.into_iter().chain([DERIVED]) {
        let is_gone = after.get(path).is_none();
        if let (true, Some((path, inode))) = (is_gone, lower.get_key_value(path)) {
            after.insert(path.clone(), inode.clone());
        }
    }
    Ok(())
}

fn is_volatile(path: &[u8]) -> bool {
    let is_below = |dir: &[u8]| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.starts_with(b"/"))
    };
    VOLATILE.into_iter().any(is_below)
}

fn refuse_volatile(rules: SettleRules<'_>, after: &Tree) -> Result<(), BuildError> {
    let leads_there = |path: &RelPath| {
        // /var/run is a link.
        let dir = path.parent().and_then(|dir| after.resolve(dir.as_bytes()));
        let real = dir.and_then(|dir| dir.join(path.name()).ok());
        is_volatile(real.as_ref().unwrap_or(path).as_bytes())
    };
    let shipped = rules.files.iter().map(|file| &file.path);
    let paths: Vec<RelPath> = shipped
        .filter(|path| rules.ships(path.as_bytes()) && leads_there(path))
        .cloned()
        .collect();
    if paths.is_empty() {
        return Ok(());
    }
    Err(BuildError::Volatile {
        layer: rules.layer.to_owned(),
        paths,
    })
}

/// Refuses a kept `/etc/machine-id` that names a machine; an empty one and the word `uninitialized`
/// ask each machine to make its own (machine-id(5)).
fn refuse_identity(
    rules: SettleRules<'_>,
    after: &Tree,
    is_kept: &dyn Fn(&[u8]) -> bool,
    sink: &BuildSink<'_>,
) -> Result<(), BuildError> {
    let Some(Node::File { object, size }) = after.get(MACHINE_ID).map(|inode| &inode.node) else {
        return Ok(());
    };
    if !is_kept(MACHINE_ID) || *size == 0 {
        return Ok(());
    }
    match sink.read(object)?.trim_ascii() {
        b"" | b"uninitialized" => Ok(()),
        _ => Err(BuildError::MachineId {
            layer: rules.layer.to_owned(),
        }),
    }
}

/// Returns those of the leftovers' names that lists of packages hold which this build wrote.
fn listed(
    lower: &Tree,
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<BTreeSet<&'static [u8]>, BuildError> {
    let mut found = BTreeSet::new();
    let changed = |path: &[u8]| {
        let (now, before) = (after.get(path), lower.get(path));
        now.is_some_and(|now| before.is_none_or(|before| !before.same_content(now)))
    };
    if !LEFT.into_iter().any(changed) {
        return Ok(found);
    }
    for dir in dpkg::DIRECTORIES {
        for (path, inode) in after.below(format!("{dir}/info").as_bytes()) {
            let is_list = packages::package_of_list(path.name()).is_some();
            let Some(object) = inode
                .object()
                .filter(|_| is_list && changed(path.as_bytes()))
            else {
                continue;
            };
            let list = sink.read(&object)?;
            for line in list.split(|byte| *byte == b'\n') {
                let name = line.strip_prefix(b"/").unwrap_or(line);
                found.extend(LEFT.into_iter().find(|left| *left == name));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "transient_tests.rs"]
mod tests;
