//! systemd-boot: an entry is a file of the Boot Loader Specification, whose name counts tries
//! (`layerset-7+2-1.conf`: two left, one used).
//!
//! It starts the entry with the highest version that has tries left or needs none. So a switch gives
//! an entry the next version, whatever the number of its deployment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::MachineError;
use super::loader::{BootLoader, KnownEntry, Look, Next};
use crate::boot::entry::{self, Entry, LINUX};
use crate::deploy::{DeployError, parse_generation};
use crate::durable::{Disk, replace_file};

/// FAT has no modes; this is what umask=0077 makes of every one.
const MODE: u32 = 0o700;

/// systemd-boot on an ESP.
#[derive(Debug)]
pub(super) struct SystemdBoot {
    entries: PathBuf,
}

/// A file of an entry.
#[derive(Debug, Clone)]
struct EntryFile {
    path: PathBuf,
    deployment: u64,
    tries: Option<u8>,
    used: u8,
    version: u64,
    text: String,
}

impl SystemdBoot {
    /// Finds it on the ESP at `esp`.
    pub(super) fn find(esp: &Path) -> Option<Self> {
        let entries = esp.join(entry::ENTRIES);
        entries.is_dir().then_some(Self { entries })
    }

    /// Reads the entries of deployments, best first for each deployment.
    fn files(&self) -> Result<Vec<EntryFile>, DeployError> {
        let list = |error| MachineError::io("list", &self.entries, error);
        let mut files = Vec::new();
        for found in std::fs::read_dir(&self.entries).map_err(list)? {
            let path = found.map_err(list)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((deployment, tries, used)) = name.and_then(parse_name) else {
                continue;
            };
            let text = std::fs::read_to_string(&path)
                .map_err(|error| MachineError::io("read", &path, error))?;
            let version = value(&text, "version").and_then(|text| text.parse().ok());
            files.push(EntryFile {
                version: version.unwrap_or(0),
                path,
                deployment,
                tries,
                used,
                text,
            });
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.rank()));
        Ok(files)
    }

    fn files_of(&self, deployment: u64) -> Result<Vec<EntryFile>, DeployError> {
        let mut files = self.files()?;
        files.retain(|file| file.deployment == deployment);
        Ok(files)
    }

    /// Renames the best file of a deployment, and removes the others.
    fn rename(
        &self,
        disk: &dyn Disk,
        deployment: u64,
        name: impl Fn(&EntryFile) -> Option<String>,
    ) -> Result<(), DeployError> {
        let files = self.files_of(deployment)?;
        let Some((best, others)) = files.split_first() else {
            return Ok(());
        };
        if let Some(name) = name(best) {
            let to = self.entries.join(name);
            if to != best.path {
                disk.rename(&best.path, &to)?;
                disk.sync_fs(&self.entries)?;
            }
            self.remove_files(disk, others.iter().filter(|other| other.path != to))?;
        }
        Ok(())
    }

    fn remove_files<'f>(
        &self,
        disk: &dyn Disk,
        files: impl Iterator<Item = &'f EntryFile>,
    ) -> Result<(), DeployError> {
        let mut any = false;
        for file in files {
            disk.remove(&file.path)?;
            any = true;
        }
        if any {
            disk.sync_fs(&self.entries)?;
        }
        Ok(())
    }
}

impl EntryFile {
    /// What systemd-boot compares: whether it may be tried, and the version.
    fn rank(&self) -> (bool, u64) {
        (self.tries != Some(0), self.version)
    }
}

impl BootLoader for SystemdBoot {
    fn look(&self) -> Result<Look, DeployError> {
        let files = self.files()?;
        let next = files.first().map_or(Next::default(), |first| Next {
            deployment: Some(first.deployment),
            tries: first.tries,
        });
        let mut entries: BTreeMap<u64, KnownEntry> = BTreeMap::new();
        for file in files {
            let directory = value(&file.text, "linux").and_then(|path| {
                path.strip_prefix('/')?
                    .strip_suffix(LINUX)?
                    .strip_suffix('/')
            });
            entries.entry(file.deployment).or_insert(KnownEntry {
                deployment: file.deployment,
                tries: file.tries,
                // One that was never tried has no count of starts.
                failed: file.tries == Some(0) && file.used > 0,
                kernel_directory: directory.unwrap_or_default().to_owned(),
                options: value(&file.text, "options").map(str::to_owned),
            });
        }
        Ok(Look {
            next,
            entries: entries.into_values().collect(),
        })
    }

    fn add(&self, disk: &dyn Disk, entry: &Entry<'_>) -> Result<(), DeployError> {
        let never = Entry {
            version: 0,
            ..entry.clone()
        };
        let text = never.text().map_err(crate::boot::BootError::from);
        let text = text.map_err(MachineError::from)?;
        let path = self.entries.join(never.file_name(Some(0)));
        replace_file(disk, &path, MODE, text.as_bytes())?;
        disk.sync_fs(&self.entries)?;
        Ok(())
    }

    fn prefer(&self, disk: &dyn Disk, deployment: u64, tries: u8) -> Result<(), DeployError> {
        let files = self.files()?;
        let last = files.iter().map(|file| file.version).max().unwrap_or(0);
        let own: Vec<&EntryFile> = files
            .iter()
            .filter(|file| file.deployment == deployment)
            .collect();
        let Some(best) = own.first() else {
            return Err(MachineError::NotStartable {
                generation: deployment,
            }
            .into());
        };
        let version = format!("version {}", last + 1);
        let lines = best.text.lines().map(|line| match line {
            line if line.starts_with("version ") => version.as_str(),
            line => line,
        });
        let text = lines.fold(String::new(), |text, line| text + line + "\n");
        let path = self
            .entries
            .join(format!("layerset-{deployment}+{tries}.conf"));
        replace_file(disk, &path, MODE, text.as_bytes())?;
        disk.sync_fs(&self.entries)?;
        self.remove_files(disk, own.into_iter().filter(|file| file.path != path))
    }

    fn bless(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError> {
        self.rename(disk, deployment, |_| {
            Some(format!("layerset-{deployment}.conf"))
        })
    }

    fn give_up(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError> {
        self.rename(disk, deployment, |file| {
            // The count of what was used says that it was tried.
            let used = file.used.max(1);
            file.tries
                .map(|_| format!("layerset-{deployment}+0-{used}.conf"))
        })
    }

    fn entries_dir(&self) -> &Path {
        &self.entries
    }

    fn remove(&self, disk: &dyn Disk, deployment: u64) -> Result<(), DeployError> {
        self.remove_files(disk, self.files_of(deployment)?.iter())
    }
}

/// Reads the name of an entry's file: its deployment, the tries that are left, and those used.
fn parse_name(name: &str) -> Option<(u64, Option<u8>, u8)> {
    let name = name.strip_prefix("layerset-")?.strip_suffix(".conf")?;
    let Some((number, counter)) = name.split_once('+') else {
        return Some((parse_generation(name)?, None, 0));
    };
    let (left, used) = counter.split_once('-').unwrap_or((counter, "0"));
    Some((
        parse_generation(number)?,
        Some(left.parse().ok()?),
        used.parse().ok()?,
    ))
}

/// Returns the value of a key in an entry's text.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;

    fn esp(names: &[(&str, u64)]) -> (tempfile::TempDir, SystemdBoot) {
        let dir = tempfile::tempdir().unwrap();
        let entries = dir.path().join(entry::ENTRIES);
        std::fs::create_dir_all(&entries).unwrap();
        for (name, version) in names {
            let text = format!(
                "title x\nsort-key layerset\nversion {version}\nlinux /layerset/k{version}/linux\n\
                 options ro layerset.deployment=1\n"
            );
            std::fs::write(entries.join(name), text).unwrap();
        }
        std::fs::write(entries.join("other.conf"), "title y\nversion 99\n").unwrap();
        let loader = SystemdBoot::find(dir.path()).unwrap();
        (dir, loader)
    }

    fn names(loader: &SystemdBoot) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&loader.entries)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "other.conf")
            .collect();
        names.sort();
        names
    }

    fn next(loader: &SystemdBoot) -> (Option<u64>, Option<u8>) {
        let next = loader.look().unwrap().next;
        (next.deployment, next.tries)
    }

    #[test]
    fn what_is_preferred_starts_next_and_what_failed_does_not() {
        let (_dir, loader) = esp(&[("layerset-1.conf", 1)]);
        assert_eq!(next(&loader), (Some(1), None));
        let entry = Entry {
            title: "web",
            deployment: 2,
            version: 2,
            kernel_directory: "layerset/k",
            options: "ro",
        };
        loader.add(&RealDisk, &entry).unwrap();
        assert_eq!(next(&loader), (Some(1), None), "nothing chooses it yet");
        assert!(!loader.look().unwrap().entry(2).unwrap().failed);
        loader.prefer(&RealDisk, 2, 3).unwrap();
        assert_eq!(names(&loader), ["layerset-1.conf", "layerset-2+3.conf"]);
        assert_eq!(next(&loader), (Some(2), Some(3)));
        loader.give_up(&RealDisk, 2).unwrap();
        assert_eq!(names(&loader), ["layerset-1.conf", "layerset-2+0-1.conf"]);
        assert_eq!(next(&loader), (Some(1), None));
        assert!(loader.look().unwrap().entry(2).unwrap().failed);
        // Asked for by its number, it may try again.
        loader.prefer(&RealDisk, 2, 3).unwrap();
        loader.bless(&RealDisk, 2).unwrap();
        assert_eq!(names(&loader), ["layerset-1.conf", "layerset-2.conf"]);
        assert_eq!(next(&loader), (Some(2), None));
        // A way back goes to a lower number.
        loader.prefer(&RealDisk, 1, 3).unwrap();
        assert_eq!(names(&loader), ["layerset-1+3.conf", "layerset-2.conf"]);
        assert_eq!(next(&loader), (Some(1), Some(3)));
        loader.remove(&RealDisk, 2).unwrap();
        assert_eq!(names(&loader), ["layerset-1+3.conf"]);
    }

    #[test]
    fn a_power_cut_between_two_files_of_one_deployment_leaves_one_that_counts() {
        let (_dir, loader) = esp(&[
            ("layerset-1.conf", 1),
            ("layerset-1+3.conf", 4),
            ("layerset-2.conf", 3),
        ]);
        assert_eq!(next(&loader), (Some(1), Some(3)));
        loader.bless(&RealDisk, 1).unwrap();
        assert_eq!(names(&loader), ["layerset-1.conf", "layerset-2.conf"]);
        assert_eq!(next(&loader), (Some(1), None));
        assert_eq!(
            loader.look().unwrap().entry(1).unwrap().kernel_directory,
            "layerset/k4"
        );
    }

    #[test]
    fn names_are_read_as_systemd_boot_writes_them() {
        assert_eq!(parse_name("layerset-7.conf"), Some((7, None, 0)));
        assert_eq!(parse_name("layerset-7+3.conf"), Some((7, Some(3), 0)));
        assert_eq!(parse_name("layerset-7+1-2.conf"), Some((7, Some(1), 2)));
        for other in [
            "layerset-.conf",
            "layerset-7+x.conf",
            "layerset-07.conf",
            ".layerset-7.conf.new",
            "debian.conf",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
