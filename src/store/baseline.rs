//! Baselines: one small file a layer, beside the manifests.

use super::{Repository, StoreError, Transaction};
use crate::format::{self, Baseline};
use crate::id::LayerId;

/// The directory; repositories that layerset 0.1 made get it with their first baseline.
pub(super) const BASELINES: &str = "baselines";

impl Repository {
    /// Reads the baseline that lies beside a layer, of whatever version of the checks; `None` where
    /// there is none.
    pub fn read_baseline(&self, layer: &LayerId) -> Result<Option<Baseline>, StoreError> {
        let path = self.named_path(BASELINES, &layer.to_hex());
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(|error| StoreError::io("read", &path, error))?,
        };
        let decoded = format::decode_baseline(layer, &bytes);
        decoded.map(Some).map_err(|source| StoreError::Format {
            what: "baseline",
            name: layer.to_string(),
            source,
        })
    }
}

impl Transaction<'_> {
    /// Puts the baseline of a layer, in place of the one that it has.
    pub fn put_baseline(&self, layer: &LayerId, baseline: &Baseline) -> Result<(), StoreError> {
        let bytes = format::encode_baseline(layer, baseline);
        let bytes = bytes.map_err(|source| StoreError::Unwritable {
            what: "baseline",
            source,
        })?;
        let repository = self.repository();
        let dir = repository.root().join(BASELINES);
        if !dir.exists() {
            repository.disk().mkdir(&dir, 0o755)?;
        }
        self.stage_replacing(BASELINES, &layer.to_hex(), &bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;
    use crate::store::RepositoryOptions;
    use std::sync::Arc;

    #[test]
    fn the_last_baseline_of_a_layer_counts_and_repositories_without_any_get_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        std::fs::remove_dir(dir.path().join(BASELINES)).unwrap();
        let layer = LayerId::of(b"layer");
        assert_eq!(repository.read_baseline(&layer).unwrap(), None);
        assert_eq!(repository.plan_gc().unwrap().files, []);
        let of = |checks| Baseline {
            checks,
            ..Baseline::default()
        };
        for versions in [[1, 2], [4, 3]] {
            let transaction = repository.begin().unwrap();
            for checks in versions {
                transaction.put_baseline(&layer, &of(checks)).unwrap();
            }
            transaction.store().unwrap();
            let read = repository.read_baseline(&layer).unwrap();
            assert_eq!(read, Some(of(versions[1])));
        }
        // No layer has it.
        assert_eq!(repository.plan_gc().unwrap().files.len(), 1);
    }
}
