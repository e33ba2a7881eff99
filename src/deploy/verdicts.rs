//! What is known of images on this target, whatever becomes of their deployments: which are bad, and
//! which a rollback left.
//!
//! A bad image is never chosen automatically again. One that a rollback left is held: a target that
//! follows a channel does not take it from there until there is a newer release, or somebody asks
//! for it. Otherwise a timer would undo the rollback within the hour.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::history::{HistoryAction, Note};
use super::record::DeploymentDir;
use super::{DeployError, Target};
use crate::durable::{replace_file, retire_file};
use crate::id::ImageId;

/// The version of `held.json` that this program reads and writes.
const FORMAT: u32 = 1;

/// `held.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    format: u32,
    images: BTreeSet<ImageId>,
}

impl Target {
    fn bad_image_path(&self, image: &ImageId) -> PathBuf {
        self.dir.join("bad").join(image.to_hex())
    }

    fn held_path(&self) -> PathBuf {
        self.dir.join("held.json")
    }

    /// Returns why an image was marked bad on this target; none where it was not. Deployments of it
    /// may be pruned by now.
    pub fn bad_image(&self, image: &ImageId) -> Option<String> {
        if let Ok(reason) = std::fs::read_to_string(self.bad_image_path(image)) {
            return Some(reason.trim_end().to_owned());
        }
        // Marked by a version that kept no list.
        self.twins(image)
            .into_iter()
            .find_map(|deployment| deployment.bad())
    }

    /// Returns why a deployment is bad: it is marked, or its image is.
    pub(super) fn bad(&self, deployment: &DeploymentDir) -> Option<String> {
        deployment
            .bad()
            .or_else(|| self.bad_image(&deployment.facts.image))
    }

    /// Finds all deployments of an image, oldest first.
    pub(super) fn twins(&self, image: &ImageId) -> Vec<DeploymentDir> {
        let generations = self.generations().unwrap_or_default();
        let deployments = generations
            .into_iter()
            .filter_map(|n| self.deployment(n).ok());
        deployments
            .filter(|deployment| deployment.facts.image == *image)
            .collect()
    }

    /// Counts the images that are marked bad on this target.
    pub fn bad_images(&self) -> usize {
        let names = std::fs::read_dir(self.dir.join("bad"))
            .into_iter()
            .flatten();
        names
            .flatten()
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .count()
    }

    /// Returns the images that rollbacks left, and that the target does not take from its channel.
    pub fn held(&self) -> Result<BTreeSet<ImageId>, DeployError> {
        let path = self.held_path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeSet::new());
            }
            Err(error) => return Err(DeployError::io("read", &path, error)),
        };
        let damaged = |reason: String| DeployError::Damaged {
            path: path.clone(),
            reason,
        };
        let held: Held =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match held.format {
            FORMAT => Ok(held.images),
            format => Err(damaged(format!("it has format {format}"))),
        }
    }
}

impl Change<'_> {
    /// Marks a deployment as bad, with its image, and records that; from then on only its number
    /// chooses it or another deployment of the image.
    ///
    /// The target remembers the image apart from the deployment, which may be pruned: a machine
    /// that found an image bad never takes it again.
    pub fn mark_bad(&self, generation: u64, note: &Note) -> Result<(), DeployError> {
        let disk = self.target.disk.as_ref();
        let path = self
            .target
            .bad_image_path(&self.target.deployment(generation)?.facts.image);
        let text = format!("{}\n", note.reason);
        let listed = path
            .parent()
            .map_or(Ok(()), |dir| disk.mkdir(dir, 0o755))
            .and_then(|()| replace_file(disk, &path, 0o644, text.as_bytes()));
        let lost = || "the mark goes with the deployment when it is removed".to_owned();
        self.unless_full(lost, listed.map_err(DeployError::from))?;
        self.flag(generation, "bad", &note.reason)?;
        self.record_one(HistoryAction::Bad, generation, note)
    }

    /// Takes the mark back, from the image and from all its deployments, and records that; says
    /// whether there was one.
    pub fn mark_good(&self, generation: u64, note: &Note) -> Result<bool, DeployError> {
        let target = self.target;
        let image = target.deployment(generation)?.facts.image;
        if target.bad_image(&image).is_none() {
            return Ok(false);
        }
        for twin in target.twins(&image) {
            self.unflag(twin.facts.generation, "bad")?;
        }
        let path = target.bad_image_path(&image);
        if path.exists() {
            retire_file(target.disk.as_ref(), &path)?;
        }
        self.record_one(HistoryAction::Good, generation, note)?;
        Ok(true)
    }

    /// Records that a deployment passed its health checks, which `note` tells.
    pub fn record_health(&self, generation: u64, note: &Note) -> Result<(), DeployError> {
        self.record_one(HistoryAction::Good, generation, note)
    }

    /// Holds an image that a rollback left, where the target follows a channel.
    pub(super) fn hold(&self, image: ImageId) -> Result<(), DeployError> {
        // A subscription that cannot be read is one.
        if matches!(self.target.subscription(), Ok(None)) {
            return Ok(());
        }
        // A list that cannot be read must not stop a way back: it begins anew.
        let mut images = self.target.held().unwrap_or_default();
        if images.insert(image) {
            self.set_held(images)?;
        }
        Ok(())
    }

    /// Lets go of an image that is current again.
    pub(super) fn release(&self, image: &ImageId) -> Result<(), DeployError> {
        let mut images = self.target.held().unwrap_or_default();
        if images.remove(image) {
            self.set_held(images)?;
        }
        Ok(())
    }

    /// Lets go of all images: a newer release was taken.
    pub(super) fn release_all(&self) -> Result<(), DeployError> {
        match self.target.held() {
            Ok(images) if images.is_empty() => Ok(()),
            _ => self.set_held(BTreeSet::new()),
        }
    }

    fn set_held(&self, images: BTreeSet<ImageId>) -> Result<(), DeployError> {
        let path = self.target.held_path();
        let disk = self.target.disk.as_ref();
        if images.is_empty() {
            return Ok(retire_file(disk, &path)?);
        }
        let held = Held {
            format: FORMAT,
            images,
        };
        let bytes = super::canonical(&path, "held images", &held)?;
        replace_file(disk, &path, 0o644, &bytes)?;
        Ok(())
    }
}
