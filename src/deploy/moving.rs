//! An `/etc` that moves while it is read: a service may rewrite its own files there all the time.
//!
//! What moved is read again, a few times. Whoever edits by hand is done by then. A place that moves
//! each time is taken as it was read, and named: it must not keep the machine from its update.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::change::Change;
use super::decide::Decisions;
use super::etc::{self, EtcPlan};
use super::record::DeploymentDir;
use super::stage::StagePlan;
use super::stamp::{self, Seen};
use super::{DeployError, Target};
use crate::store::Repository;
use crate::tree::Tree;

/// How often an `/etc` is read at most.
pub(super) const ATTEMPTS: u32 = 5;

/// From which attempt on a place may move that moved before.
const PATIENT_ATTEMPTS: u32 = 3;

/// What is known of an `/etc` that moves, as long as one change of the target lasts.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Places that moved before: directories, and files directly in `/etc`.
    restless: BTreeSet<PathBuf>,
    /// What was read for a deployment that this change staged.
    seen: BTreeMap<u64, Seen>,
}

impl Moving {
    fn learn(&mut self, moved: &BTreeSet<PathBuf>) {
        // The top directory is above everything, and would make everything known.
        let inner = moved.iter().filter(|path| !path.as_os_str().is_empty());
        self.restless.extend(inner.map(|path| place(path)));
    }

    /// Says whether only what moved before has moved; that the top directory has is no news.
    fn is_known(&self, moved: &BTreeSet<PathBuf>) -> bool {
        moved.iter().all(|path| {
            path.as_os_str().is_empty() || path.ancestors().any(|at| self.restless.contains(at))
        })
    }
}

/// Returns whose place a path is in: the directory that holds it, or itself directly below `/etc`.
fn place(path: &Path) -> PathBuf {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => path.to_owned(),
    }
}

/// Waits for whoever is writing.
fn pause(attempt: u32) {
    std::thread::sleep(Duration::from_millis(20) * attempt);
}

/// Plans `/etc` as [`etc::plan`] does, again where it failed because something moved meanwhile.
pub(super) fn plan<'r>(
    repository: &'r Repository,
    tree: &Tree,
    current: Option<&DeploymentDir>,
    decisions: &Decisions,
) -> Result<EtcPlan<'r>, DeployError> {
    let decisions = &decisions.of_etc();
    let look = || current.and_then(|current| stamp::look(&current.etc()).ok());
    for attempt in 1..ATTEMPTS {
        let before = look();
        match etc::plan(repository, tree, current, decisions) {
            Err(_) if before != look() => pause(attempt),
            result => return result,
        }
    }
    etc::plan(repository, tree, current, decisions)
}

impl Change<'_> {
    /// Writes the `/etc` of a deployment to `new`, and plans and writes it again while the one that
    /// it is merged from moves.
    pub(super) fn write_etc<'r>(
        &self,
        repository: &'r Repository,
        plan: &mut StagePlan<'r>,
        decisions: &Decisions,
        new: &Path,
    ) -> Result<(), DeployError> {
        let mut attempt = 1;
        loop {
            let written = plan.write_etc(self.target.disk.as_ref(), new);
            let (Some(origin), Some(seen)) = (&plan.etc.origin, &plan.etc.seen) else {
                return written;
            };
            let current = self.target.deployment(origin.generation)?;
            let moved = seen.moved_to(&stamp::look(&current.etc())?);
            let mut moving = self.moving.borrow_mut();
            let is_taken = attempt >= PATIENT_ATTEMPTS && moving.is_known(&moved);
            if moved.is_empty() || (written.is_ok() && (is_taken || attempt >= ATTEMPTS)) {
                written?;
                moving.learn(&moved);
                moving.seen.insert(plan.generation, seen.clone());
                self.tell_moved(&moved, plan.generation);
                return Ok(());
            }
            if attempt >= ATTEMPTS {
                return written;
            }
            moving.learn(&moved);
            drop(moving);
            pause(attempt);
            attempt += 1;
            for name in ["etc", "etc-conflicts"] {
                self.target.remove_dir(&new.join(name))?;
            }
            plan.renew_etc(repository, &current, decisions)?;
        }
    }

    /// Says whether all that moved in an `/etc` since it was read for a deployment is what moved all
    /// along; remembers what moved.
    pub(super) fn moved_as_before(&self, generation: u64, etc: &Path) -> Result<bool, DeployError> {
        let mut moving = self.moving.borrow_mut();
        let Some(seen) = moving.seen.get(&generation) else {
            return Ok(false);
        };
        let moved = seen.moved_to(&stamp::look(etc)?);
        let is_known = moving.is_known(&moved);
        moving.learn(&moved);
        if is_known {
            self.tell_moved(&moved, generation);
        }
        Ok(is_known)
    }

    pub(super) fn tell_moved(&self, moved: &BTreeSet<PathBuf>, generation: u64) {
        let mut paths = moved.iter().filter(|path| !path.as_os_str().is_empty());
        let Some(first) = paths.next() else { return };
        let more = match paths.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (self.target.waiting.remark)(&format!(
            "'/etc/{}'{more} changed while /etc was merged: generation {generation} has what was read first",
            first.display()
        ));
    }
}

impl Target {
    /// Says whether an `/etc` is as it was when its stamp was made.
    pub(super) fn is_unmoved(&self, generation: u64, stamp: &str) -> Result<bool, DeployError> {
        let dir = self.deployment_dir(generation).join("etc");
        Ok(stamp::stamp(&dir)? == stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_file_of_the_top() {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let mut moving = Moving::default();
        moving.learn(&set(&["", "cups/subscriptions.conf", "resolv.conf"]));
        assert!(moving.is_known(&set(&["", "cups", "cups/other", "cups/a/b", "resolv.conf"])));
        for news in ["app.conf", "cupsd", "ssh/sshd_config"] {
            assert!(!moving.is_known(&set(&["cups/other", news])), "{news}");
        }
    }
}
