//! `config.toml`: the format version and ext4-style feature flags.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;

/// The format version that this program reads and writes.
const FORMAT: u32 = 1;

/// A layer says what it swept or shipped, in fields that layerset 0.1 takes for mistakes. The feature
/// is added with the first such layer, so that a repository without one can go on being used by both.
pub(super) const LAYER_SWEEPS: &str = "layer-sweeps";

/// A layer says which of its files look like secrets and are none; added as the one above.
pub(super) const PUBLIC_SECRETS: &str = "public-secrets";

/// The features that this program knows.
const KNOWN: [&str; 2] = [LAYER_SWEEPS, PUBLIC_SECRETS];

fn is_unknown(feature: &&String) -> bool {
    !KNOWN.contains(&feature.as_str())
}

/// A repository's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryConfig {
    /// Version of the layout; another one is refused.
    pub format: u32,
    /// What the repository uses beyond the layout.
    #[serde(default)]
    pub features: FeatureFlags,
}

/// Feature flags, as ext4 has them: an unknown one means what its list says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureFlags {
    /// Unknown ones may be ignored.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Unknown ones allow reading only.
    #[serde(default)]
    pub read_only: Vec<String>,
    /// Unknown ones forbid opening.
    #[serde(default)]
    pub incompatible: Vec<String>,
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            format: FORMAT,
            features: FeatureFlags::default(),
        }
    }
}

impl RepositoryConfig {
    /// Returns the configuration of a repository that may use all that this program knows.
    pub(super) fn of_this_program() -> Self {
        let mut config = Self::default();
        let known = KNOWN.iter().map(|name| (*name).to_owned());
        config.features.incompatible.extend(known);
        config
    }

    /// Reads the configuration of the repository at `root`, and refuses one that this program must
    /// not touch.
    pub fn load(root: &Path) -> Result<Self, StoreError> {
        let path = root.join("config.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::Missing {
                    path: root.to_owned(),
                });
            }
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let config: Self = toml::from_str(&text).map_err(|error| StoreError::Config {
            path: path.clone(),
            reason: error.message().to_owned(),
        })?;
        let need = |need: String| StoreError::Incompatible {
            path: root.to_owned(),
            need,
        };
        if config.format != FORMAT {
            return Err(need(format!(
                "a layerset that knows repository format {}",
                config.format
            )));
        }
        if let Some(feature) = config.features.incompatible.iter().find(is_unknown) {
            return Err(need(format!(
                "a layerset that knows the feature '{feature}'"
            )));
        }
        Ok(config)
    }

    /// Returns a feature that this program does not know and that allows reading only.
    pub fn read_only_feature(&self) -> Option<&str> {
        let mut features = self.features.read_only.iter();
        features.find(is_unknown).map(String::as_str)
    }

    /// Returns it with a feature that programs must know to open the repository; `None` if it has
    /// that already.
    pub(super) fn with_incompatible(mut self, feature: &str) -> Option<Self> {
        let features = &mut self.features.incompatible;
        if features.iter().any(|known| known == feature) {
            return None;
        }
        features.push(feature.to_owned());
        Some(self)
    }

    /// Writes the configuration as TOML.
    pub fn to_toml(&self) -> String {
        let list = |names: &[String]| {
            names
                .iter()
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!(
            "# A layerset repository. Do not edit: a feature that a program does not know keeps it out.\nformat = {}\n\n\
             [features]\ncompatible = [{}]\nread_only = [{}]\nincompatible = [{}]\n",
            self.format,
            list(&self.features.compatible),
            list(&self.features.read_only),
            list(&self.features.incompatible)
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;
    use crate::format::Layer;
    use crate::store::{RefName, Repository, RepositoryOptions};
    use std::sync::Arc;

    fn open(features: &str) -> Result<Result<(), StoreError>, StoreError> {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let text = RepositoryConfig::default().to_toml().replace(
            &format!("\n{features} = []"),
            &format!("\n{features} = [\"x\"]"),
        );
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default())?;
        assert!(repository.refs().unwrap().is_empty());
        Ok(repository
            .begin()
            .map(drop)
            .and_then(|()| repository.set_ref(&RefName::new("images/a").unwrap(), "b3:0")))
    }

    #[test]
    fn an_unknown_feature_means_what_its_list_says() {
        assert!(open("compatible").unwrap().is_ok());
        let error = open("read_only").unwrap().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("to be written, a layerset that knows the feature 'x'"),
            "{error}"
        );
        let error = open("incompatible").unwrap_err();
        assert!(
            error.to_string().contains("knows the feature 'x'"),
            "{error}"
        );
    }

    #[test]
    fn a_layer_that_older_programs_cannot_read_keeps_them_out() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let options = RepositoryOptions::default();
            Repository::open(dir.path(), Arc::new(RealDisk), options).unwrap()
        };
        let incompatible = || {
            RepositoryConfig::load(dir.path())
                .unwrap()
                .features
                .incompatible
        };
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let plain = Layer::bare("plain", []);
        let path = crate::path::RelPath::from_text("etc/motd").unwrap();
        let shipped = Layer {
            shipped: std::iter::once((path, crate::id::ObjectId::of(b""))).collect(),
            ..plain.clone()
        };
        let path = crate::path::RelPath::from_text("etc/test.key").unwrap();
        let secret = crate::format::PublicSecret {
            kind: "a private key".to_owned(),
            reason: "for tests".to_owned(),
        };
        let public = Layer {
            public_secrets: std::iter::once((path, secret)).collect(),
            ..plain.clone()
        };
        for (layer, expect) in [
            (&plain, &[][..]),
            (&shipped, &[LAYER_SWEEPS]),
            (&shipped, &[LAYER_SWEEPS]),
            (&public, &[LAYER_SWEEPS, PUBLIC_SECRETS]),
        ] {
            let repository = open();
            let transaction = repository.begin().unwrap();
            transaction.put_layer(layer).unwrap();
            transaction.store().unwrap();
            assert_eq!(incompatible(), expect);
        }
    }

    #[test]
    fn another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.toml"), "format = 2\n").unwrap();
        assert!(matches!(
            RepositoryConfig::load(dir.path()),
            Err(StoreError::Incompatible { .. })
        ));
    }
}
