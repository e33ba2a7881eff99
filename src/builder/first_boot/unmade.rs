//! Data of services that an image drops and no machine makes.

use std::collections::{BTreeMap, BTreeSet};

use super::{FirstBootWork, known};
use crate::builder::rules::SettleRules;
use crate::builder::{BuildError, BuildSink};
use crate::layout::within;
use crate::path::RelPath;
use crate::tree::{Inode, Node, Owner, Tree};

/// Where units and rules of systemd-tmpfiles are.
const UNITS: [&str; 2] = ["usr/lib/systemd/system", "etc/systemd/system"];
const TMPFILES: [&str; 2] = ["usr/lib/tmpfiles.d", "etc/tmpfiles.d"];
/// Longer files are no units, in bytes.
const LIMIT: u64 = 64 << 10;

/// Says of each directory whose files `dropped` holds, and which a service of the image uses, that
/// nobody makes it: one line each.
///
/// Somebody is first-boot work, a unit that looks whether something is missing there, a rule that
/// copies something there, `StateDirectory=`, or a service that is known to make its own.
pub(in crate::builder) fn unmade(
    rules: SettleRules<'_>,
    dropped: &BTreeMap<RelPath, Inode>,
    works: &[FirstBootWork],
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<Vec<String>, BuildError> {
    let mut open: BTreeMap<Vec<u8>, BTreeSet<String>> = BTreeMap::new();
    for (path, inode) in dropped {
        let Some(dir) = data_directory(path.as_bytes()) else {
            continue;
        };
        let is_done = |work: &FirstBootWork| within(work.path.as_bytes(), dir);
        if known::is_self_made(dir) || works.iter().any(is_done) {
            continue;
        }
        // Caches, logs and the like: the built-in rules say why those may go.
        if !rules.drops(path) {
            continue;
        }
        let owners = open.entry(dir.to_vec()).or_default();
        if let (Owner::Name(name), false) = (&inode.owner, inode.owner == Owner::root()) {
            owners.insert(name.to_string());
        }
    }
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let units = texts(&UNITS, after, sink)?;
    let made = texts(&TMPFILES, after, sink)?;
    let mut lines = Vec::new();
    for (dir, owners) in open {
        let dir = String::from_utf8_lossy(&dir).into_owned();
        let is_made = units.values().any(|text| unit_makes(text, &dir))
            || made.values().any(|text| rule_makes(text, &dir));
        let mut users = units.iter().filter(|(_, text)| uses(text, &dir, &owners));
        if let (false, Some((unit, _))) = (is_made, users.next()) {
            lines.push(format!(
                "'/{dir}' is dropped, '{unit}' uses it, and nobody makes it on a machine: write \
                 \"{dir}\" = \"factory\", or a unit with ConditionPathExists=!/{dir}/… that makes it"
            ));
        }
    }
    Ok(lines)
}

/// Returns the directory of a service that a path lies in: `var/lib/NAME`.
fn data_directory(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(b"var/lib/")?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    Some(&path[..b"var/lib/".len() + end])
}

fn texts(
    dirs: &[&str],
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<BTreeMap<String, String>, BuildError> {
    let mut found = BTreeMap::new();
    for (path, inode) in dirs.iter().flat_map(|dir| after.below(dir.as_bytes())) {
        if let Node::File { object, size } = inode.node
            && size <= LIMIT
        {
            let name = String::from_utf8_lossy(path.name()).into_owned();
            let text = String::from_utf8_lossy(&sink.read(&object)?).into_owned();
            found.insert(name, text);
        }
    }
    Ok(found)
}

/// Iterates over the settings of a unit, with their values.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim);
    let settings = lines.filter(|line| !line.starts_with(['#', ';']));
    settings.filter_map(|line| line.split_once('='))
}

fn unit_makes(text: &str, dir: &str) -> bool {
    let name = dir.rsplit('/').next().unwrap_or(dir);
    settings(text).any(|(key, value)| match key {
        "ConditionPathExists" | "ConditionDirectoryNotEmpty" => {
            let path = value.strip_prefix("!/");
            path.is_some_and(|path| within(path.as_bytes(), dir.as_bytes()))
        }
        "StateDirectory" => value
            .split_whitespace()
            .any(|state| state.split('/').next() == Some(name)),
        "ExecStartPre" => mentions(value, dir),
        _ => false,
    })
}

/// Says whether a line of tmpfiles.d(5) puts something into the directory, beyond making it.
fn rule_makes(text: &str, dir: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        let (kind, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let path = path.trim_start_matches('/');
        kind.starts_with('C') && within(path.as_bytes(), dir.as_bytes())
    })
}

/// Says whether a unit is about the directory, by its user or by its name.
fn uses(text: &str, dir: &str, owners: &BTreeSet<String>) -> bool {
    settings(text).any(|(key, value)| match key {
        "User" => owners.contains(value.trim()),
        "ExecStart" | "WorkingDirectory" | "Environment" => mentions(value, dir),
        _ => false,
    })
}

fn mentions(value: &str, dir: &str) -> bool {
    let path = format!("/{dir}");
    value.match_indices(&path).any(|(at, _)| {
        let next = value[at + path.len()..].chars().next();
        next.is_none_or(|next| !(next.is_alphanumeric() || "-_.".contains(next)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_makes_the_data_or_somebody_misses_it() {
        let owners = BTreeSet::from(["shop".to_owned()]);
        for (unit, makes, is_user) in [
            (
                "[Service]\nUser=shop\nExecStart=/usr/bin/shop\n",
                false,
                true,
            ),
            (
                "[Service]\nExecStart=/usr/bin/shop --data /var/lib/shop\n",
                false,
                true,
            ),
            (
                "[Service]\nExecStart=/usr/bin/x /var/lib/shop-b\nUser=other\n",
                false,
                false,
            ),
            (
                "[Service]\nUser=shop\nStateDirectory=a shop/x\n",
                true,
                true,
            ),
            (
                "[Unit]\nConditionPathExists=!/var/lib/shop/db\n",
                true,
                false,
            ),
            (
                "[Unit]\nConditionDirectoryNotEmpty=!/var/lib/shop\n",
                true,
                false,
            ),
            (
                "[Unit]\nConditionPathExists=/var/lib/shop/db\n",
                false,
                false,
            ),
            ("[Service]\n#User=shop\n", false, false),
        ] {
            assert_eq!(unit_makes(unit, "var/lib/shop"), makes, "{unit}");
            assert_eq!(uses(unit, "var/lib/shop", &owners), is_user, "{unit}");
        }
        assert!(rule_makes(
            "C /var/lib/shop/db - - - - /usr/share/shop/db\n",
            "var/lib/shop"
        ));
        assert!(!rule_makes(
            "d /var/lib/shop 0750 shop shop -\n",
            "var/lib/shop"
        ));
        assert_eq!(
            data_directory(b"var/lib/shop/a/b"),
            Some(&b"var/lib/shop"[..])
        );
        assert_eq!(data_directory(b"var/lib/shop"), None);
    }
}
