//! Edits of `/etc` between the staging of what starts next and the restart: merged once more before the
//! machine goes down.

use std::path::Path;

use super::live::NEXT_ROOT;
use crate::causes::chain;
use crate::deploy::change::Change;
use crate::deploy::history::History;
use crate::deploy::{Decisions, DeployError, canonical, moving};
use crate::durable::replace_file;
use crate::materialise::{Ownership, checkout_subtree, is_mountpoint};
use crate::store::Repository;

impl Change<'_> {
    /// Merges `/etc` again for the deployment that starts next, if it was edited since that was staged;
    /// returns its number if so. The commit point is the exchange of the two directories.
    ///
    /// What starts next by a way back has an `/etc` of its own, and keeps it. Where the edits conflict, or
    /// somebody decided about conflicts when it was staged, it stays as it was staged, and that is told.
    pub fn renew_next_etc(&self, repository: &Repository) -> Result<Option<u64>, DeployError> {
        let target = self.target;
        let Some(machine) = &target.machine else {
            return Err(DeployError::NoMachine);
        };
        let running = machine.running();
        let Some(to) = machine.next()?.deployment.filter(|next| *next != running) else {
            return Ok(None);
        };
        // A soft reboot has it mounted already, and has merged it a moment ago.
        if is_mountpoint(Path::new(NEXT_ROOT))? {
            return Ok(None);
        }
        let (current, next) = (target.deployment(running)?, target.deployment(to)?);
        let was_used = History::load_unverified(&target.history_path())?.ever_current();
        let origin = next.facts.etc_origin.as_ref();
        let origin = origin.filter(|origin| origin.generation == running);
        let Some(origin) = origin.filter(|_| !was_used.contains(&to)) else {
            return Ok(None);
        };
        if target.is_unmoved(running, &origin.stamp)? {
            return Ok(None);
        }
        if next.dir.join("etc-conflicts").exists() {
            self.tell_left(to, "its conflicts were decided when it was staged");
            return Ok(None);
        }
        let tree = repository.read_tree(&repository.read_image(&next.facts.image)?.tree)?;
        let plan = moving::plan(repository, &tree, Some(&current), &Decisions::default())?;
        if !plan.report.conflicts.is_empty() {
            let conflicts = DeployError::Conflicts(plan.report.conflicts);
            self.tell_left(to, &chain(&conflicts));
            return Ok(None);
        }
        let Some(etc) = &plan.tree else {
            return Ok(None);
        };
        let disk = target.disk.as_ref();
        let new = target.deployments_dir().join(format!(".new-etc-{to}"));
        disk.mkdir(&new, 0o755)?;
        let at = new.join("etc");
        let ownership = match rustix::process::geteuid().is_root() {
            true => Ownership::Exact,
            false => Ownership::Current,
        };
        checkout_subtree(etc, b"etc", &plan.contents, &at, &plan.ids, ownership)?;
        disk.sync_fs(&new)?;
        disk.exchange(&at, &next.etc())?;
        disk.sync_dir(&next.dir)?;
        let mut facts = next.facts.clone();
        facts.etc_origin = plan.origin;
        let path = next.dir.join("deployment.json");
        replace_file(disk, &path, 0o644, &canonical(&path, "deployment", &facts)?)?;
        self.remove_leftover(&new)?;
        Ok(Some(to))
    }

    fn tell_left(&self, to: u64, why: &str) {
        (self.target.waiting.remark)(&format!(
            "what was edited in /etc since generation {to} was staged is not in it: {why}"
        ));
    }
}
