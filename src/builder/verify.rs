//! `--verify-reproducible`: builds every layer again in a scratch repository, and compares.

use std::collections::BTreeMap;

use serde::Serialize;

use super::private::{IS_SECRET, is_private};
use super::{BuildError, BuildOptions, BuildReport, build};
use crate::format::{Baseline, ImageLayer, Layer};
use crate::id::LayerId;
use crate::path::RelPath;
use crate::recipe::Workspace;
use crate::store::{Repository, RepositoryOptions};
use crate::tree::{Change, Inode};

/// What building everything a second time showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReproducibilityReport {
    /// Layers that came out differently.
    pub differing: Vec<UnreproducibleLayer>,
    /// Kept layers whose lower layers have changed since they were built. The second build used
    /// other lower layers, so a comparison would say nothing.
    pub not_compared: Vec<String>,
}

/// A layer that came out differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreproducibleLayer {
    /// The layer.
    pub layer: String,
    /// The first build's id.
    pub first: LayerId,
    /// The second build's id.
    pub second: LayerId,
    /// Paths that differ, and how.
    pub paths: Vec<(RelPath, String)>,
}

/// Builds the recipe again from nothing but the lock and the cached packages, and compares with
/// `first`.
pub fn verify_reproducible(
    workspace: &Workspace,
    repository: &Repository,
    first: &BuildReport,
    options: &BuildOptions<'_>,
) -> Result<ReproducibilityReport, BuildError> {
    let work = repository.work_dir()?;
    let root = work.path().join("second");
    let disk = std::sync::Arc::clone(repository.disk());
    Repository::init(&root, std::sync::Arc::clone(&disk))?;
    let second = Repository::open(
        &root,
        disk,
        RepositoryOptions {
            title: "layerset build",
            ..RepositoryOptions::default()
        },
    )?;
    // Only the package files are shared: they are verified against the lock whenever they are used.
    for name in ["debs", "apt"] {
        let (from, to) = (repository.cache_dir(name)?, second.cache_dir(name)?);
        std::fs::remove_dir(&to).map_err(|source| BuildError::Source {
            verb: "replace",
            path: to.clone(),
            source,
        })?;
        second.disk().symlink(&from, &to)?;
    }
    let options = BuildOptions {
        packages: options.packages.clone(),
        rebuild: Vec::new(),
        only: None,
        clock: options.clock,
        waiting: options.waiting,
        cancel: options.cancel,
        progress: options.progress,
    };
    let again = build(workspace, &second, &options)?;
    let mut verification = ReproducibilityReport {
        differing: Vec::new(),
        not_compared: Vec::new(),
    };
    let mut same = BTreeMap::new();
    for (a, b) in first.layers.iter().zip(&again.layers) {
        let layer = repository.read_layer(&a.id)?;
        let below = layer.build.on.clone();
        if plain(layer, &same) == second.read_layer(&b.id)? {
            same.insert(a.id, b.id);
            continue;
        }
        let stands_on_today =
            |below: &ImageLayer| first.layers.iter().any(|layer| layer.id == below.id);
        if below.iter().all(stands_on_today) {
            let paths = differences(repository, &a.id, &second, &b.id)?;
            let layer = a.name.clone();
            verification.differing.push(UnreproducibleLayer {
                layer,
                first: a.id,
                second: b.id,
                paths,
            });
        } else {
            verification.not_compared.push(a.name.clone());
        }
    }
    Ok(verification)
}

/// Returns a layer as today's builder would write it: without the baseline, which layerset 0.1 put
/// into the manifest, and on the second build's layers, whose ids are in `same`.
fn plain(mut layer: Layer, same: &BTreeMap<LayerId, LayerId>) -> Layer {
    layer.baseline = Baseline::default();
    for below in &mut layer.build.on {
        below.id = same.get(&below.id).copied().unwrap_or(below.id);
    }
    layer
}

fn differences(
    first: &Repository,
    a: &LayerId,
    second: &Repository,
    b: &LayerId,
) -> Result<Vec<(RelPath, String)>, BuildError> {
    let (left, right): (Layer, Layer) = (first.read_layer(a)?, second.read_layer(b)?);
    let (old, new) = (
        first.read_changeset(&left.changeset)?,
        second.read_changeset(&right.changeset)?,
    );
    let mut paths = Vec::new();
    for (path, change) in old.iter() {
        match new.get(path.as_bytes()) {
            None => paths.push((path.clone(), "only in the first build".to_owned())),
            Some(other) if other != change => paths.push((path.clone(), how(change, other))),
            Some(_) => {}
        }
    }
    let only_new = new
        .iter()
        .filter(|(path, _)| old.get(path.as_bytes()).is_none());
    paths.extend(only_new.map(|(path, _)| (path.clone(), "only in the second build".to_owned())));
    paths.sort();
    Ok(paths)
}

fn how(a: &Change, b: &Change) -> String {
    let word = |a: Option<&Inode>, b: Option<&Inode>| match (a, b) {
        (Some(a), Some(b)) if a.node != b.node => "contents",
        (Some(a), Some(b)) if a.mode != b.mode => "mode",
        (Some(a), Some(b)) if (&a.owner, &a.group) != (&b.owner, &b.group) => "owner",
        (Some(a), Some(b)) if a.mtime != b.mtime => "time",
        (Some(a), Some(b)) if a != b => "extended attributes or hard links",
        (None, None) => "nothing",
        (Some(_), Some(_)) => "nothing",
        _ => "existence",
    };
    let post = word(a.post.as_ref(), b.post.as_ref());
    if post == "nothing" {
        format!(
            "the layer below differed in {}",
            word(a.pre.as_ref(), b.pre.as_ref())
        )
    } else if post == "contents" && a.post.as_ref().is_some_and(is_private) {
        format!("contents differ, and {IS_SECRET}")
    } else {
        format!("{post} differ")
    }
}
