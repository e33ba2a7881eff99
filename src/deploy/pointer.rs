//! The pointer: which deployment is current. It is the one mutable thing that decides what runs.
//!
//! Reading it and moving it is all that the rest of this module asks of it. A directory target has
//! one kind, the symlink `current`, so there is no trait here. A machine that boots will have the
//! second: the default boot entry on the EFI system partition. That is FAT, which has no symlinks,
//! and whose renames a crash may tear; such a pointer brings its own assumptions about the medium,
//! and stands beside this one behind the same two functions.

use std::path::{Path, PathBuf};

use super::{DeployError, parse_generation};
use crate::durable::{Disk, replace_symlink};

/// The directory that the link points into, relative to the link.
const DEPLOYMENTS: &str = "deployments";

/// The pointer of a directory target: the symlink `current -> deployments/<n>`.
#[derive(Debug)]
pub(super) struct Pointer {
    path: PathBuf,
}

impl Pointer {
    /// Names the pointer of the target whose files are in `dir`.
    pub(super) fn of_dir(dir: &Path) -> Self {
        Self {
            path: dir.join("current"),
        }
    }

    /// Returns the number of the current deployment; none before the first switch.
    pub(super) fn read(&self) -> Result<Option<u64>, DeployError> {
        let link = match std::fs::read_link(&self.path) {
            Ok(link) => link,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DeployError::io("read", &self.path, error)),
        };
        let generation = link
            .strip_prefix(DEPLOYMENTS)
            .ok()
            .and_then(|name| parse_generation(name.to_str()?));
        match generation {
            Some(generation) => Ok(Some(generation)),
            None => Err(DeployError::Damaged {
                path: self.path.clone(),
                reason: format!("it points to '{}'", link.display()),
            }),
        }
    }

    /// Returns what the link says when a deployment is current.
    pub(super) fn link_to(generation: u64) -> PathBuf {
        Path::new(DEPLOYMENTS).join(generation.to_string())
    }

    /// Points at another deployment, durably: the commit point of a switch. After a crash it points
    /// at the one or the other.
    pub(super) fn move_to(&self, disk: &dyn Disk, generation: u64) -> Result<(), DeployError> {
        Ok(replace_symlink(
            disk,
            &self.path,
            &Self::link_to(generation),
        )?)
    }
}
