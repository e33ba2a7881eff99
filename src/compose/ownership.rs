//! Owners and modes that programs insist on, and that a layer above has changed: an archive that is
//! unpacked over the root, or a `chown -R` that goes too far.
//!
//! systemd-tmpfiles makes nothing below a directory that somebody else could exchange ("unsafe path
//! transition"), sshd asks the same of the way to a home, and sudo, cron and logrotate ignore files
//! that others could write.

use super::composition::Composition;
use super::member::Member;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::within;
use crate::path::RelPath;
use crate::tree::{Inode, Node, Owner};

/// Directories on the way to everything.
const ROADS: [&[u8]; 12] = [
    b"",
    b"etc",
    b"home",
    b"root",
    b"usr",
    b"usr/bin",
    b"usr/lib",
    b"usr/sbin",
    b"var",
    b"var/cache",
    b"var/lib",
    b"var/log",
];
/// Those of them on the way to a home.
const TO_HOMES: [&[u8]; 3] = [b"", b"home", b"root"];
/// What sudo, cron and logrotate ignore where it is not root's alone to write.
const STRICT: [&[u8]; 9] = [
    b"etc/cron.d",
    b"etc/crontab",
    b"etc/logrotate.conf",
    b"etc/logrotate.d",
    b"etc/sudo.conf",
    b"etc/sudoers",
    b"etc/sudoers.d",
    b"root/.ssh",
    b"usr/libexec/sudo",
];
const CAPABILITY: &[u8] = b"security.capability";
/// Who may write beside the owner.
const OTHERS: u16 = 0o022;
const SPECIAL: u16 = 0o6000;

/// Finds what layers have given away of those below them: `disabled:PATH`.
pub(super) fn given_away(composition: &Composition, members: &[Member]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, by) in members.iter().enumerate().skip(1) {
        for (path, change) in by.changeset.iter() {
            let (Some(before), Some(now)) = (&change.pre, composition.tree.get(path.as_bytes()))
            else {
                continue;
            };
            let is_link = |inode: &Inode| matches!(inode.node, Node::Symlink { .. });
            let is_last = composition.origin.get(path) == Some(&number);
            if !is_last || is_link(before) || is_link(now) {
                continue;
            }
            if let Some((weight, what)) = fault(path.as_bytes(), before, now) {
                problems.push(problem(path, weight, &what));
            }
        }
    }
    problems
}

/// Says what of `before` is gone, and how much that matters.
fn fault(path: &[u8], before: &Inode, now: &Inode) -> Option<(Weight, String)> {
    let root = Owner::root();
    let is_given = before.owner == root && now.owner != root;
    let gains = |bits: u16| before.mode & bits == 0 && now.mode & bits != 0;
    let owner = &now.owner;
    if now.is_dir() && ROADS.contains(&path) {
        if is_given {
            let what = format!(
                "belongs to '{owner}' now, who could exchange what is in it: systemd-tmpfiles makes nothing below it, and sshd trusts no key there"
            );
            return Some((Weight::Grave, what));
        }
        if TO_HOMES.contains(&path) && gains(OTHERS) {
            let what = "can be written by others now: sshd trusts no key below it".to_owned();
            return Some((Weight::Grave, what));
        }
    }
    if STRICT.iter().any(|strict| within(path, strict)) && (is_given || gains(OTHERS)) {
        let what = "is not root's alone to write any more: what reads it ignores it then";
        return Some((Weight::Grave, what.to_owned()));
    }
    if now.object().is_some() && rights(before) && !rights(now) {
        // Some take these rights away on purpose; none do that by another owner.
        return Some(match is_given {
            true => (
                Weight::Grave,
                format!("belongs to '{owner}' now, and has lost the rights that it had"),
            ),
            false => (
                Weight::Minor,
                "has lost the rights that it had: others than root cannot use it as before".into(),
            ),
        });
    }
    None
}

/// Says whether a program has other rights than who starts it.
fn rights(inode: &Inode) -> bool {
    let is_special = inode.mode & SPECIAL != 0 && inode.mode & 0o111 != 0;
    inode.object().is_some() && (is_special || inode.xattrs.contains_key(CAPABILITY))
}

fn problem(path: &RelPath, weight: Weight, what: &str) -> Problem {
    Problem {
        id: FindingKind::Disabled.at(path),
        subject: Subject::Path(path.clone()),
        package: None,
        other: None,
        weight,
        reason: format!("'{path}' {what}"),
        hint: "leave owner and mode as the layer below has them; `tar --no-same-owner \
               --no-overwrite-dir` unpacks an archive so"
            .to_owned(),
    }
}
