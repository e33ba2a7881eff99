//! A full disk: what a way back needs is kept in reserve, and what cannot be written down is told.

use std::collections::BTreeSet;

use super::change::Change;
use super::pointer::Pointer;
use super::{DeployError, Target};
use crate::causes::chain;

impl Target {
    /// Keeps what switches, pins and marks need when there is no room: spare files, a link to each
    /// deployment, room in the history, and the directory of marks. What cannot be made now is made
    /// by a later command; nothing depends on it before the disk is full.
    pub(super) fn keep_reserve(&self) {
        let Some(reserve) = self.disk.reserve() else {
            return;
        };
        let generations = self.generations().unwrap_or_default();
        let links: BTreeSet<_> = generations.into_iter().map(Pointer::link_to).collect();
        let marks = self.dir.join("bad");
        if !marks.is_dir() {
            let _ = self.disk.mkdir(&marks, 0o755);
        }
        let _ = reserve.refill(self.disk.as_ref(), &links, &self.history_path());
    }
}

impl Change<'_> {
    /// Tells what could not be written down for want of room, and goes on: no record is worth being
    /// stuck for. Earlier records are as they were.
    pub(super) fn unless_full(
        &self,
        lost: impl FnOnce() -> String,
        result: Result<(), DeployError>,
    ) -> Result<(), DeployError> {
        match result {
            Err(DeployError::Durable(error)) if error.is_no_room() => {
                self.target.disk.require_unharmed()?;
                (self.target.waiting.remark)(&format!("{}: {}", lost(), chain(&error)));
                Ok(())
            }
            result => result,
        }
    }

    /// Tells what went wrong, and goes on, unless what was written earlier may be lost.
    pub(super) fn tolerate(
        &self,
        what: &str,
        result: Result<(), DeployError>,
    ) -> Result<(), DeployError> {
        if let Err(error) = result {
            self.target.disk.require_unharmed()?;
            (self.target.waiting.remark)(&format!("{what}: {}", chain(&error)));
        }
        Ok(())
    }
}

impl Drop for Change<'_> {
    /// Fills the reserve again for the next command, and says that it was needed.
    fn drop(&mut self) {
        let target = self.target;
        let was_used = target.disk.reserve().is_some_and(|one| one.was_used());
        target.keep_reserve();
        if was_used {
            (target.waiting.remark)(&format!(
                "the disk of '{}' is full: this was written into room kept for it; make room soon",
                target.root.display()
            ));
        }
    }
}
