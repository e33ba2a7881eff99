//! Which targets take their objects from this repository, and where they are: `targets/<id>`. Their
//! refs hold images; this says whose they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Repository, StoreError};
use crate::durable::replace_file;

/// The directory; older repositories get it with the first deployment.
pub(super) const TARGETS: &str = "targets";

const FORMAT: u32 = 1;

/// What `targets/<id>` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownTarget {
    format: u32,
    /// The directory that the target was made in, absolute.
    root: PathBuf,
}

impl Repository {
    /// Remembers where a target is.
    pub fn remember_target(&self, id: &str, root: &Path) -> Result<(), StoreError> {
        if self.target_root(id).as_deref() == Some(root) {
            return Ok(());
        }
        self.require_writable()?;
        let dir = self.root.join(TARGETS);
        if !dir.is_dir() {
            self.disk.mkdir(&dir, 0o755)?;
        }
        let known = KnownTarget {
            format: FORMAT,
            root: root.to_owned(),
        };
        // A path that JSON cannot spell is not remembered.
        let Ok(mut bytes) = serde_json::to_vec(&known) else {
            return Ok(());
        };
        bytes.push(b'\n');
        Ok(replace_file(
            self.disk.as_ref(),
            &dir.join(id),
            0o644,
            &bytes,
        )?)
    }

    /// Forgets where a target was.
    pub fn forget_target(&self, id: &str) -> Result<(), StoreError> {
        self.require_writable()?;
        Ok(self.disk.remove(&self.root.join(TARGETS).join(id))?)
    }

    /// Returns where a target was when it was deployed to last, if that is known.
    pub fn target_root(&self, id: &str) -> Option<PathBuf> {
        let bytes = std::fs::read(self.root.join(TARGETS).join(id)).ok()?;
        let known: KnownTarget = serde_json::from_slice(&bytes).ok()?;
        (known.format == FORMAT).then_some(known.root)
    }

    /// Lists the targets that are known, or whose images are kept, with where they are, as far as that
    /// is known.
    pub fn targets(&self) -> Result<BTreeMap<String, Option<PathBuf>>, StoreError> {
        let mut found = BTreeMap::new();
        let entries = std::fs::read_dir(self.root.join(TARGETS));
        for entry in entries.into_iter().flatten().flatten() {
            if let Ok(id) = entry.file_name().into_string() {
                let root = self.target_root(&id);
                found.insert(id, root);
            }
        }
        for (name, _) in self.refs()? {
            let id = name.as_str().strip_prefix("deployments/");
            if let Some((id, _)) = id.and_then(|rest| rest.split_once('/')) {
                found.insert(id.to_owned(), self.target_root(id));
            }
        }
        Ok(found)
    }
}
