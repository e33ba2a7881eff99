//! Baselines: one small file a layer or image, beside the manifests.

use super::{Repository, StoreError, Transaction};
use crate::format::{self, Baseline, BaselineOf};
use crate::id::{ImageId, LayerId};

/// The directory; repositories that layerset 0.1 made get it with their first baseline.
pub(super) const BASELINES: &str = "baselines";

impl Repository {
    /// Reads the baseline that lies beside a layer, of whatever version of the checks; `None` where
    /// there is none.
    pub fn read_baseline(&self, layer: &LayerId) -> Result<Option<Baseline>, StoreError> {
        self.read_baseline_of(BaselineOf::Layer(*layer))
    }

    /// Reads what the checks found in an image, in the same form.
    pub fn read_image_baseline(&self, image: &ImageId) -> Result<Option<Baseline>, StoreError> {
        self.read_baseline_of(BaselineOf::Image(*image))
    }

    fn read_baseline_of(&self, of: BaselineOf) -> Result<Option<Baseline>, StoreError> {
        let (hex, name) = names(of);
        let path = self.named_path(BASELINES, &hex);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(|error| StoreError::io("read", &path, error))?,
        };
        let decoded = format::decode_baseline(of, &bytes);
        decoded.map(Some).map_err(|source| StoreError::Format {
            what: "baseline",
            name,
            source,
        })
    }
}

/// Returns the hex digits and the text of an id.
fn names(of: BaselineOf) -> (String, String) {
    match of {
        BaselineOf::Layer(id) => (id.to_hex(), id.to_string()),
        BaselineOf::Image(id) => (id.to_hex(), id.to_string()),
    }
}

impl Transaction<'_> {
    /// Puts the baseline of a layer, in place of the one that it has.
    pub fn put_baseline(&self, layer: &LayerId, baseline: &Baseline) -> Result<(), StoreError> {
        self.put_baseline_of(BaselineOf::Layer(*layer), baseline)
    }

    /// Puts what the checks found in an image, in place of what is there.
    pub fn put_image_baseline(
        &self,
        image: &ImageId,
        baseline: &Baseline,
    ) -> Result<(), StoreError> {
        self.put_baseline_of(BaselineOf::Image(*image), baseline)
    }

    fn put_baseline_of(&self, of: BaselineOf, baseline: &Baseline) -> Result<(), StoreError> {
        let bytes = format::encode_baseline(of, baseline);
        let bytes = bytes.map_err(|source| StoreError::Unwritable {
            what: "baseline",
            source,
        })?;
        let repository = self.repository();
        let dir = repository.root().join(BASELINES);
        if !dir.exists() {
            repository.disk().mkdir(&dir, 0o755)?;
        }
        self.stage_replacing(BASELINES, &names(of).0, &bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;
    use crate::store::{FsckOptions, RepositoryOptions};
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
        let image = ImageId::of(b"image");
        let transaction = repository.begin().unwrap();
        transaction.put_image_baseline(&image, &of(5)).unwrap();
        transaction.store().unwrap();
        let read = repository.read_image_baseline(&image).unwrap();
        assert_eq!(read, Some(of(5)));
        let options = FsckOptions {
            threads: 1,
            progress: &|_, _| {},
        };
        let report = repository.fsck(options).unwrap();
        assert_eq!((report.manifests, report.damaged.len()), (2, 0));
        // Nothing has them.
        assert_eq!(repository.plan_gc().unwrap().files.len(), 2);
    }
}
