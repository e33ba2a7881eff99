//! GRUB on a BIOS: an entry is a file that the menu reads, and the environment says which one starts.

use std::path::{Path, PathBuf};

use super::error::MachineError;
use super::loader::{BootLoader, KnownEntry, Look, Next};
use crate::boot::BootError;
use crate::boot::entry::{Entry, LINUX};
use crate::boot::grub::{ENTRIES, ENVIRONMENT, Environment};
use crate::deploy::{DeployError, parse_generation};
use crate::durable::{Disk, replace_file};

/// FAT has no modes; this is what umask=0077 makes of every one.
const MODE: u32 = 0o700;

/// GRUB on an ESP.
#[derive(Debug)]
pub(super) struct Grub {
    entries: PathBuf,
    environment: PathBuf,
}

impl Grub {
    /// Finds it on the ESP at `esp`.
    pub(super) fn find(esp: &Path) -> Option<Self> {
        let environment = esp.join(ENVIRONMENT);
        environment.is_file().then(|| Self {
            entries: esp.join(ENTRIES),
            environment,
        })
    }

    fn environment(&self) -> Result<Environment, DeployError> {
        let path = &self.environment;
        let bytes = std::fs::read(path).map_err(|error| MachineError::io("read", path, error))?;
        let found = Environment::from_bytes(&bytes).map_err(|error| MachineError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(found)
    }

    /// GRUB writes the file in place, and finds its blocks anew at each start.
    fn set(&self, disk: &dyn Disk, wanted: &Environment) -> Result<(), DeployError> {
        // What cannot be read is replaced: it starts nothing.
        if self.environment().ok().as_ref() == Some(wanted) {
            return Ok(());
        }
        let bytes = wanted.to_bytes().map_err(BootError::from);
        let bytes = bytes.map_err(MachineError::from)?;
        replace_file(disk, &self.environment, MODE, &bytes)?;
        disk.sync_fs(&self.entries)?;
        Ok(())
    }

    fn path(&self, deployment: u64) -> PathBuf {
        self.entries.join(format!("layerset-{deployment}.cfg"))
    }
}

impl BootLoader for Grub {
    fn look(&self) -> Result<Look, DeployError> {
        let list = |error| MachineError::io("list", &self.entries, error);
        let environment = self.environment()?;
        let trying = environment.trying.map(|number| (number, environment.tries));
        let mut entries = Vec::new();
        for found in std::fs::read_dir(&self.entries).map_err(list)? {
            let path = found.map_err(list)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| {
                parse_generation(name.strip_prefix("layerset-")?.strip_suffix(".cfg")?)
            });
            let Some(deployment) = number else { continue };
            let text = std::fs::read_to_string(&path)
                .map_err(|error| MachineError::io("read", &path, error))?;
            entries.push(KnownEntry {
                deployment,
                tries: trying
                    .filter(|(number, _)| *number == deployment)
                    .map(|(_, tries)| tries),
                failed: trying == Some((deployment, 0)),
                kernel_directory: kernel_directory(&text).unwrap_or_default(),
                // GRUB has quotes of its own.
                options: None,
            });
        }
        entries.sort_by_key(|entry| entry.deployment);
        let next = match trying {
            Some((number, tries)) if tries > 0 => Next {
                deployment: Some(number),
                tries: Some(tries),
            },
            _ => Next {
                deployment: Some(environment.good),
                tries: None,
            },
        };
        Ok(Look { next, entries })
    }

    fn add(&self, disk: &dyn Disk, entry: &Entry<'_>) -> Result<(), DeployError> {
        let text = entry.text_of_grub().map_err(BootError::from);
        let text = text.map_err(MachineError::from)?;
        replace_file(disk, &self.path(entry.deployment), MODE, text.as_bytes())?;
        disk.sync_fs(&self.entries)?;
        Ok(())
    }

    fn prefer(&self, disk: &dyn Disk, deployment: u64, tries: u8) -> Result<(), DeployError> {
        if !self.path(deployment).is_file() {
            return Err(MachineError::NotStartable {
                generation: deployment,
            }
            .into());
        }
        let known = self.environment().unwrap_or_default();
        self.set(
            disk,
            &Environment {
                trying: Some(deployment),
                tries,
                ..known
            },
        )
    }

    fn bless(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError> {
        let known = self.environment().unwrap_or_default();
        // Somebody made another one next meanwhile.
        let other = known.trying.filter(|trying| *trying != deployment);
        self.set(
            disk,
            &Environment {
                good: deployment,
                trying: other,
                tries: other.map_or(0, |_| known.tries),
            },
        )
    }

    fn give_up(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError> {
        let known = self.environment()?;
        if known.trying != Some(deployment) {
            return Ok(());
        }
        self.set(
            disk,
            &Environment {
                trying: None,
                tries: 0,
                ..known
            },
        )
    }

    fn entries_dir(&self) -> &Path {
        &self.entries
    }

    fn remove(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError> {
        self.give_up(disk, deployment)?;
        disk.remove(&self.path(deployment))?;
        disk.sync_fs(&self.entries)?;
        Ok(())
    }
}

/// Reads from an entry where its kernel is.
fn kernel_directory(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.trim().strip_prefix("linux /"))?;
    let path = line.split(' ').next()?;
    Some(path.strip_suffix(LINUX)?.strip_suffix('/')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;

    #[test]
    fn what_is_preferred_starts_next_and_what_failed_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let first = Environment {
            good: 1,
            ..Environment::default()
        };
        std::fs::create_dir_all(dir.path().join(ENTRIES)).unwrap();
        std::fs::write(dir.path().join(ENVIRONMENT), first.to_bytes().unwrap()).unwrap();
        let loader = Grub::find(dir.path()).unwrap();
        let next = || {
            let next = loader.look().unwrap().next;
            (next.deployment, next.tries)
        };
        for deployment in [1, 2] {
            let entry = Entry {
                title: "web",
                deployment,
                version: 0,
                kernel_directory: "layerset/k",
                options: "ro a=b",
            };
            loader.add(&RealDisk, &entry).unwrap();
        }
        let entry = loader.look().unwrap().entry(2).unwrap().clone();
        assert_eq!(entry.kernel_directory, "layerset/k");
        assert_eq!(next(), (Some(1), None));
        loader.prefer(&RealDisk, 2, 3).unwrap();
        assert_eq!(next(), (Some(2), Some(3)));
        loader.give_up(&RealDisk, 2).unwrap();
        assert_eq!(next(), (Some(1), None));
        loader.prefer(&RealDisk, 2, 3).unwrap();
        loader.bless(&RealDisk, 2).unwrap();
        assert_eq!(next(), (Some(2), None));
        loader.prefer(&RealDisk, 1, 3).unwrap();
        assert_eq!(next(), (Some(1), Some(3)));
        assert!(loader.prefer(&RealDisk, 7, 3).is_err());
        loader.remove(&RealDisk, 1).unwrap();
        assert_eq!(next(), (Some(2), None));
    }
}
