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
        let is_there = std::fs::read(dir.join(layer.to_hex())).is_ok_and(|old| old == bytes);
        match is_there {
            true => Ok(()),
            false => self.stage_replacing(BASELINES, &layer.to_hex(), &bytes),
        }
    }
}
