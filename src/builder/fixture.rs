//! What tests of the builder share.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;

use super::rules::SettleRules;
use crate::durable::RealDisk;
use crate::path::RelPath;
use crate::recipe::SecretRule;
use crate::store::{Repository, RepositoryOptions};

/// Makes a repository, which lasts as long as its directory.
pub(super) fn repository() -> (TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
    let options = RepositoryOptions::default();
    let repository = Repository::open(dir.path(), Arc::new(RealDisk), options).unwrap();
    (dir, repository)
}

/// The rules of a layer whose definition says nothing.
pub(super) fn no_rules(layer: &str) -> SettleRules<'_> {
    static NO_SECRETS: BTreeMap<RelPath, SecretRule> = BTreeMap::new();
    SettleRules {
        layer,
        state: &[],
        secrets: &NO_SECRETS,
        allowed: &[],
        packages: &[],
        files: &[],
    }
}
