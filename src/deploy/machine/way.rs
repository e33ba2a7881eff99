//! The way of a running machine to another deployment, and its first step.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::class::{self, SwitchClass, SwitchWay};
use super::error::MachineError;
use super::live::{self, NewRoot};
use super::{Exchange, Machine};
use crate::boot::entry::with_deployment;
use crate::boot::{BootFiles, Firmware};
use crate::deploy::change::Change;
use crate::deploy::mounts::check_metadata;
use crate::deploy::record::DeploymentDir;
use crate::deploy::{DeployError, ImageParts, Target};
use crate::id::ObjectId;
use crate::store::{Repository, StoredTree};
use crate::tree::diff;

/// How much of what changes is read before an exchange, in bytes, so that services that restart find
/// it in memory.
const WARM: u64 = 64 << 20;

impl Target {
    /// Says how the machine comes from what runs to an image; `to` is its deployment, where there is
    /// one already. `None` where no machine runs from this target.
    pub fn way_to(
        &self,
        repository: &Repository,
        after: &ImageParts,
        to: Option<u64>,
    ) -> Result<Option<SwitchWay>, DeployError> {
        let Some(machine) = &self.machine else {
            return Ok(None);
        };
        let Some(before) = self.current_parts(repository)? else {
            let because = "what runs is no longer in the repository";
            return Ok(Some(SwitchWay::new(SwitchClass::Reboot, because)));
        };
        let read = |id: &ObjectId| repository.read_object(id).ok();
        let way = class::decide(&before, after, &read);
        if way.class == SwitchClass::Reboot {
            return Ok(Some(way));
        }
        if let Some(because) = machine.other_kernel(repository, &before, to)? {
            return Ok(Some(SwitchWay::new(SwitchClass::Reboot, because)));
        }
        let obstacle = match way.class {
            SwitchClass::Live => machine.obstacle()?,
            _ => None,
        };
        Ok(Some(match obstacle {
            Some(because) => SwitchWay::new(SwitchClass::SoftReboot, because),
            None => way,
        }))
    }

    /// Says the same of a deployment that is there.
    pub fn way_to_generation(
        &self,
        repository: &Repository,
        to: u64,
    ) -> Result<Option<SwitchWay>, DeployError> {
        if self.machine.is_none() {
            return Ok(None);
        }
        let after = ImageParts::read(repository, &self.image_id_of(to)?)?;
        self.way_to(repository, &after, Some(to))
    }
}

impl Machine {
    /// Says what is another kernel, or another call of it, for a deployment than for what runs.
    fn other_kernel(
        &self,
        repository: &Repository,
        before: &ImageParts,
        to: Option<u64>,
    ) -> Result<Option<String>, DeployError> {
        let look = self.look()?;
        let Some(runs) = look.entry(self.running()) else {
            return Ok(Some("what runs has no boot entry".to_owned()));
        };
        if let Some(next) = to.and_then(|to| look.entry(to)) {
            let call = |options: &Option<String>| {
                let options = options.as_deref();
                options.map(|options| with_deployment(options, 0))
            };
            if next.kernel_directory != runs.kernel_directory {
                return Ok(Some("kernel or initrd are others".to_owned()));
            }
            let is_same = call(&next.options) == call(&runs.options);
            return Ok((!is_same).then(|| "the kernel's arguments are others".to_owned()));
        }
        // What this program would write for what runs: another one may have written it.
        let view = StoredTree {
            tree: &before.tree,
            repository,
        };
        let firmware = Firmware {
            uefi: false,
            bios: false,
        };
        let files = BootFiles::find(&before.tree, &view, firmware).map_err(MachineError::from)?;
        let is_same = files.directory() == runs.kernel_directory;
        Ok((!is_same).then(|| "the boot script is another one".to_owned()))
    }

    /// Says what stands in the way of an exchange on the machine as it is.
    fn obstacle(&self) -> Result<Option<String>, DeployError> {
        if !self.is_own {
            return Ok(None);
        }
        let path = Path::new("/proc/1/mountinfo");
        let table = std::fs::read(path).map_err(|error| MachineError::io("read", path, error))?;
        Ok(live::obstacle(&table))
    }
}

impl Change<'_> {
    /// Puts the trees of a deployment that starts next beneath what runs. From then on it is current.
    pub fn go_live(&self, repository: &Repository, to: u64) -> Result<Exchange, DeployError> {
        let target = self.target;
        let Some(machine) = &target.machine else {
            return Err(DeployError::NoMachine);
        };
        let (from, root) = (machine.running(), self.new_root(to)?);
        // What cannot be read now is read by whoever needs it.
        let _ = self.warm(repository, from, to);
        let old = target.deployment(from)?;
        let before = crate::deploy::stamp::look(&old.etc())?;
        let done = machine.exchange(&root)?;
        // Everything that follows may be made again by the next command.
        self.follow_machine(machine)?;
        let moved = before.moved_to(&crate::deploy::stamp::look(&old.etc())?);
        self.tell_moved(&moved, to);
        let image = target.image_id_of(to)?;
        let lost = || "the release is held all the same".to_owned();
        self.unless_full(lost, self.release(&image))?;
        Ok(done)
    }

    /// Lays the root of a deployment that starts next where a soft reboot finds it.
    pub fn lay_next_root(&self, to: u64) -> Result<(), DeployError> {
        let Some(machine) = &self.target.machine else {
            return Err(DeployError::NoMachine);
        };
        Ok(machine.lay_next_root(&self.new_root(to)?)?)
    }

    fn new_root(&self, to: u64) -> Result<NewRoot, DeployError> {
        let target = self.target;
        let deployment: DeploymentDir = target.deployment(to)?;
        let image = deployment.dir.join("meta.erofs");
        check_metadata(&deployment, &image)?;
        Ok(NewRoot {
            generation: to,
            image,
            objects: target.identity.repository.join("objects"),
            etc: deployment.etc(),
            state: target.dir.join("state"),
        })
    }

    /// Reads what changes, so that it is in memory when services restart.
    fn warm(&self, repository: &Repository, from: u64, to: u64) -> Result<(), DeployError> {
        let tree = |generation| {
            let image = repository.read_image(&self.target.image_id_of(generation)?)?;
            Ok::<_, DeployError>(repository.read_tree(&image.tree)?)
        };
        let (before, after) = (tree(from)?, tree(to)?);
        let mut left = WARM;
        for (_, difference) in diff(&before, &after) {
            let old = difference.before.and_then(|inode| inode.object());
            let new = difference.after.and_then(|inode| inode.object());
            let Some(object) = new.filter(|_| new != old) else {
                continue;
            };
            let Ok(file) = File::open(repository.object_path(&object)) else {
                continue;
            };
            let read = std::io::copy(&mut file.take(left), &mut std::io::sink());
            left = left.saturating_sub(read.unwrap_or(0));
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}
