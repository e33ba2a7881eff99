//! Refs: names that point at images or layers, one small file each; the roots of garbage
//! collection.

use std::fmt;
use std::path::PathBuf;

use super::{Repository, StoreError};
use crate::format::release::ChannelName;

/// The name of a ref: `images/web`, `layers/web/nginx`, `deployments/<target>/<generation>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefName(String);

impl RefName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let part_is_good = |part: &str| {
            !part.is_empty()
                && part.len() <= 200
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        };
        if name.split('/').all(part_is_good) {
            Ok(Self(name.to_owned()))
        } else {
            Err(StoreError::RefName {
                name: name.to_owned(),
            })
        }
    }

    /// Returns the name of the newest image of a recipe.
    pub fn image(recipe: &str) -> Result<Self, StoreError> {
        Self::new(&format!("images/{recipe}"))
    }

    /// Returns the name of what was pulled last from a channel of a remote.
    pub fn channel(remote: &str, channel: &ChannelName) -> Result<Self, StoreError> {
        Self::new(&format!("remotes/{remote}/{channel}"))
    }

    /// Says whether the name stands for a layer; every other one stands for an image.
    pub fn is_layer(&self) -> bool {
        let mut parts = self.0.split('/');
        match parts.next() {
            Some("layers") => true,
            Some("remotes") => parts.nth(1) == Some("layers"),
            _ => false,
        }
    }

    /// Returns the name of the newest build of one layer of a recipe.
    pub fn layer(recipe: &str, layer: &str) -> Result<Self, StoreError> {
        Self::new(&format!("layers/{recipe}/{layer}"))
    }

    /// Returns the name that keeps a deployment's image.
    pub fn deployment(target: &str, generation: u64) -> Result<Self, StoreError> {
        Self::new(&format!("deployments/{target}/{generation}"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Repository {
    pub(super) fn ref_path(&self, name: &RefName) -> PathBuf {
        self.root.join("refs").join(&name.0)
    }

    /// Returns the id that a ref points at, in text form; `None` when there is no such ref.
    pub fn read_ref(&self, name: &RefName) -> Result<Option<String>, StoreError> {
        let path = self.ref_path(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound
                        | std::io::ErrorKind::IsADirectory
                        | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Lists all refs with what they point at, sorted by name.
    pub fn refs(&self) -> Result<Vec<(RefName, String)>, StoreError> {
        let mut found = Vec::new();
        let mut pending = vec![(self.root.join("refs"), String::new())];
        while let Some((dir, prefix)) = pending.pop() {
            let entries =
                std::fs::read_dir(&dir).map_err(|error| StoreError::io("list", &dir, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| StoreError::io("list", &dir, error))?;
                let file_name = entry.file_name();
                let Some(part) = file_name.to_str().filter(|part| !part.starts_with('.')) else {
                    continue;
                };
                let name = if prefix.is_empty() {
                    part.to_owned()
                } else {
                    format!("{prefix}/{part}")
                };
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    pending.push((entry.path(), name));
                } else {
                    let name = RefName::new(&name)?;
                    if let Some(id) = self.read_ref(&name)? {
                        found.push((name, id));
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }

    pub(super) fn make_ref_dirs(&self, name: &RefName) -> Result<(), StoreError> {
        let mut dir = self.root.join("refs");
        let parts: Vec<&str> = name.0.split('/').collect();
        for part in &parts[..parts.len() - 1] {
            let parent = dir.clone();
            dir.push(part);
            if !dir.is_dir() {
                self.disk.mkdir(&dir, 0o755)?;
                self.disk.sync_dir(&parent)?;
            }
        }
        Ok(())
    }

    /// Points a ref at something that is already in the repository, durably; the commit point is
    /// the rename.
    pub fn set_ref(&self, name: &RefName, id: &str) -> Result<(), StoreError> {
        self.require_writable()?;
        self.make_ref_dirs(name)?;
        crate::durable::replace_file(
            self.disk.as_ref(),
            &self.ref_path(name),
            0o644,
            format!("{id}\n").as_bytes(),
        )?;
        Ok(())
    }

    /// Removes a ref, durably; removing an absent one succeeds.
    pub fn remove_ref(&self, name: &RefName) -> Result<(), StoreError> {
        self.require_writable()?;
        let path = self.ref_path(name);
        if !path.exists() {
            return Ok(());
        }
        self.disk.remove(&path)?;
        if let Some(parent) = path.parent() {
            self.disk.sync_dir(parent)?;
        }
        Ok(())
    }
}
