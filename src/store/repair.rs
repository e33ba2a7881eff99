//! What a repair needs of the repository. Where the whole bytes come from is for others to know.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};

use super::baseline::BASELINES;
use super::config::RepositoryConfig;
use super::{DamagedThing, Repository, StoreError};
use crate::durable::{Disk, replace_file};
use crate::id::{ImageId, LayerId, ObjectId, TreeId, hex};

impl Repository {
    /// Writes the configuration of a repository anew that has lost it, or in which it makes no
    /// sense; says whether it had to. One that a newer program wrote stays as it is.
    pub fn repair_config(root: &Path, disk: &dyn Disk) -> Result<bool, StoreError> {
        let is_repository = ["objects", "trees", "layers", "images", "refs"]
            .iter()
            .all(|name| root.join(name).is_dir());
        match RepositoryConfig::load(root) {
            Err(StoreError::Missing { .. } | StoreError::Config { .. }) if is_repository => {
                let text = RepositoryConfig::of_this_program().to_toml();
                replace_file(disk, &root.join("config.toml"), 0o644, text.as_bytes())?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Keeps damaged objects from being taken for whole ones: whoever brings the right bytes replaces
    /// them. They stay until then, because a mounted deployment may use them.
    pub fn doubt(&self, damaged: &[DamagedThing]) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        for thing in damaged.iter().filter(|thing| thing.what == "object") {
            if let Ok(id) = thing.name.parse::<ObjectId>() {
                let path = self.object_path(&id);
                // One that is missing is doubted already.
                let _ = rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
            }
        }
    }

    /// Says whether a thing that was damaged is whole now, or gone where nothing needs it.
    pub fn is_mended(&self, thing: &DamagedThing) -> bool {
        let (name, is_needed) = (&thing.name, !thing.users.is_empty());
        match thing.what {
            "object" => match name.parse::<ObjectId>() {
                Ok(id) if is_needed || self.has_object(&id) => self.verify_object(&id).is_ok(),
                _ => !self.path_of(thing).is_some_and(|path| path.exists()),
            },
            _ if !is_needed && !self.path_of(thing).is_some_and(|path| path.exists()) => true,
            "tree" | "changeset" => {
                let id = name.parse::<TreeId>();
                id.is_ok_and(|id| self.read_tree_bytes(&id).is_ok())
            }
            "layer" => {
                let id = name.parse::<LayerId>();
                id.is_ok_and(|id| self.read_layer(&id).is_ok())
            }
            "image" => {
                let id = name.parse::<ImageId>();
                id.is_ok_and(|id| self.read_image(&id).is_ok())
            }
            "baseline" => {
                let of_layer = name.parse().map(|id| self.read_baseline(&id));
                let of_image = name.parse().map(|id| self.read_image_baseline(&id));
                matches!(of_layer, Ok(Ok(_))) || matches!(of_image, Ok(Ok(_)))
            }
            "ref" => super::RefName::new(name).is_ok_and(|name| {
                let id = self.read_ref(&name).ok().flatten();
                id.is_some_and(|id| id.parse::<ObjectId>().is_ok())
            }),
            _ => false,
        }
    }

    /// Returns where a thing lies; refs have other places, and other remedies.
    fn path_of(&self, thing: &DamagedThing) -> Option<PathBuf> {
        let hex = thing.name.strip_prefix("b3:");
        let dir = match thing.what {
            "object" => {
                return match thing.name.parse::<ObjectId>() {
                    Ok(id) => Some(self.object_path(&id)),
                    // Not a name that an object has; it is the path below the root.
                    Err(_) => Some(self.root.join(&thing.name)),
                };
            }
            "tree" | "changeset" => "trees",
            "layer" => "layers",
            "image" => "images",
            "baseline" => BASELINES,
            _ => return None,
        };
        Some(self.named_path(dir, hex?))
    }

    /// Takes away a damaged thing that nothing needs. A baseline is made again when it is looked
    /// for.
    pub fn discard(&self, thing: &DamagedThing) -> Result<(), StoreError> {
        self.require_writable()?;
        match self.path_of(thing).filter(|_| thing.users.is_empty()) {
            Some(path) => Ok(self.disk.remove(&path)?),
            None => Ok(()),
        }
    }

    /// Takes the bytes of a thing from another repository, where they have the digest that the thing
    /// is named by.
    pub fn copy_from(&self, other: &Path, thing: &DamagedThing) -> Result<(), StoreError> {
        let Some(path) = self.path_of(thing) else {
            return Ok(());
        };
        let Ok(below) = path.strip_prefix(&self.root) else {
            return Ok(());
        };
        let source = other.join(below);
        let Ok(mut file) = File::open(&source) else {
            return Ok(());
        };
        let transaction = self.begin()?;
        if thing.what == "object" {
            let (found, _) = transaction.put_file(&mut file)?;
            if found.to_string() != thing.name {
                return Ok(());
            }
        } else {
            let read = |error| StoreError::io("read", &source, error);
            let bytes = std::fs::read(&source).map_err(read)?;
            let digest = hex(blake3::hash(&bytes).as_bytes());
            let (Some(dir), Some(name)) = (below.parent(), below.file_name()) else {
                return Ok(());
            };
            if thing.what == "baseline" || name != digest.as_str() {
                return Ok(());
            }
            transaction.stage_named(&dir.to_string_lossy(), &digest, &bytes)?;
        }
        transaction.store()?;
        Ok(())
    }
}
