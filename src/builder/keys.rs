//! The cache of build keys: small files below `cache/`. They may be deleted at any time, and are
//! checked when they are used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BuildError;
use super::accounts::CreatedNames;
use super::inputs::{BUILDER_VERSION, LayerInputs};
use crate::check::{CHECKS_VERSION, Finding};
use crate::durable::replace_file;
use crate::format::Waiver;
use crate::id::{ImageId, LayerId, ObjectId};
use crate::merge::derive::DERIVE_VERSION;
use crate::recipe::Recipe;
use crate::store::{Repository, Untouched};
use crate::time::Date;

/// A layer that was built from a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CachedLayer {
    /// The layer.
    pub layer: LayerId,
    /// The accounts that it created, with their numbers.
    pub created: CreatedNames,
}

/// An image that was composed of certain layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CachedImage {
    /// The image.
    pub image: ImageId,
    /// What its checks found.
    pub findings: Vec<Finding>,
}

/// Identifies a composition: its layers, their baselines and waivers, and the version of the code
/// that composes and checks.
#[derive(Debug, Clone)]
pub(super) struct ImageKey(String);

impl ImageKey {
    /// Makes the key of the composition of `layers`.
    pub(super) fn new(
        repository: &Repository,
        recipe: &Recipe,
        layers: &[LayerId],
        today: Date,
    ) -> Self {
        let Recipe {
            name,
            architecture,
            policy,
            waivers,
            ..
        } = recipe;
        let program = env!("CARGO_PKG_VERSION");
        let mut text = format!(
            "{BUILDER_VERSION} {CHECKS_VERSION} {DERIVE_VERSION} {program}\n{name} {architecture} {}\n",
            policy.keep
        );
        for id in layers {
            let baseline = repository.read_baseline(id).ok().flatten();
            let baseline = baseline.map_or(String::new(), |baseline| format!("{baseline:?}"));
            let baseline = ObjectId::of(baseline.as_bytes());
            text.push_str(&format!("{id} {baseline}\n"));
        }
        for waiver in waivers {
            let is_in_force = waiver.expires >= today;
            let Waiver {
                finding,
                reason,
                expires,
            } = waiver;
            text.push_str(&format!("{finding}\n{reason}\n{expires} {is_in_force}\n"));
        }
        Self(ObjectId::of(text.as_bytes()).to_hex())
    }
}

/// Finds the layer that was built from the key of `input`, here or where it was pulled from, if it
/// is still in the repository, unharmed.
pub(super) fn find(
    repository: &Repository,
    input: &LayerInputs,
    untouched: &Untouched,
) -> Result<Option<CachedLayer>, BuildError> {
    let path = repository.cache_dir("keys")?.join(input.key.to_hex());
    let cached: Option<CachedLayer> = load(&path);
    if let Some(cached) =
        cached.filter(|cached| repository.is_layer_whole_given(&cached.layer, untouched))
    {
        return Ok(Some(cached));
    }
    let pulled = super::pulled::find(repository, input)?;
    let pulled = pulled.map(|(layer, created)| CachedLayer { layer, created });
    if let Some(pulled) = &pulled {
        save(repository, &path, pulled)?;
    }
    Ok(pulled)
}

/// Remembers what was built, and from what.
pub(super) fn remember(
    repository: &Repository,
    recipe: &str,
    input: &LayerInputs,
    cached: &CachedLayer,
) -> Result<(), BuildError> {
    save(
        repository,
        &repository.cache_dir("keys")?.join(input.key.to_hex()),
        cached,
    )?;
    remember_inputs(repository, recipe, input)
}

/// Remembers what a layer of a recipe was last built from, for [`why_new`].
pub(super) fn remember_inputs(
    repository: &Repository,
    recipe: &str,
    input: &LayerInputs,
) -> Result<(), BuildError> {
    let path = inputs_path(repository, recipe, &input.name)?;
    if std::fs::read(&path).is_ok_and(|before| before == input.canonical.as_bytes()) {
        return Ok(());
    }
    Ok(replace_file(
        repository.disk().as_ref(),
        &path,
        0o644,
        input.canonical.as_bytes(),
    )?)
}

/// Finds the image that was composed for `key`, if it is still in the repository, unharmed.
pub(super) fn find_image(
    repository: &Repository,
    key: &ImageKey,
    untouched: &Untouched,
) -> Result<Option<CachedImage>, BuildError> {
    let cached: Option<CachedImage> = load(&repository.cache_dir("compositions")?.join(&key.0));
    Ok(cached.filter(|cached| repository.is_image_whole_given(&cached.image, untouched)))
}

/// Remembers a composition.
pub(super) fn remember_image(
    repository: &Repository,
    key: &ImageKey,
    image: &ImageId,
    findings: &[Finding],
) -> Result<(), BuildError> {
    let cached = CachedImage {
        image: *image,
        findings: findings.to_vec(),
    };
    save(
        repository,
        &repository.cache_dir("compositions")?.join(&key.0),
        &cached,
    )
}

fn inputs_path(repository: &Repository, recipe: &str, layer: &str) -> Result<PathBuf, BuildError> {
    Ok(repository
        .cache_dir("inputs")?
        .join(format!("{recipe}.{layer}.json")))
}

/// A file that cannot be read is a miss: the cache may be deleted or damaged at any time.
fn load<T: for<'de> Deserialize<'de>>(path: &std::path::Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn save<T: Serialize>(
    repository: &Repository,
    path: &std::path::Path,
    value: &T,
) -> Result<(), BuildError> {
    let Ok(bytes) = serde_json::to_vec(value) else {
        return Ok(());
    };
    Ok(replace_file(
        repository.disk().as_ref(),
        path,
        0o644,
        &bytes,
    )?)
}

/// Says what changed since the layer was last built for this recipe.
pub(super) fn why_new(
    repository: &Repository,
    recipe: &str,
    input: &LayerInputs,
) -> Result<String, BuildError> {
    let before: Option<Value> = load(&inputs_path(repository, recipe, &input.name)?);
    let now: Option<Value> = serde_json::from_str(&input.canonical).ok();
    let (Some(before), Some(now)) = (before, now) else {
        return Ok("never built here".to_owned());
    };
    let mut changes = Vec::new();
    for (field, what) in [
        ("packages", "package"),
        ("files", "file"),
        ("scripts", "script"),
    ] {
        changes.extend(changed_items(what, &before[field], &now[field]));
    }
    // A layer without a version of its own has that of a package.
    let own = |value: &Value| {
        let mut definition = value["definition"].clone();
        if before["packages"] != now["packages"]
            && let Some(map) = definition.as_object_mut()
        {
            map.remove("version");
        }
        definition
    };
    if own(&before) != own(&now) {
        changes.push("layer.toml changed".to_owned());
    }
    for (field, what) in [
        ("architecture", "the architecture"),
        ("builder", "layerset's builder"),
    ] {
        if before[field] != now[field] {
            changes.push(format!("{what} changed"));
        }
    }
    if changes.is_empty() && before["epoch"] != now["epoch"] {
        changes.push("the source-date-epoch changed".to_owned());
    }
    if changes.is_empty() {
        return Ok(
            "the layer built from these inputs is no longer in the repository, or damaged"
                .to_owned(),
        );
    }
    let more = changes.len().saturating_sub(3);
    changes.truncate(3);
    let mut text = changes.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    Ok(text)
}

/// Compares lists whose items start with their name.
fn changed_items(what: &str, before: &Value, now: &Value) -> Vec<String> {
    let by_name = |list: &Value| -> BTreeMap<String, Value> {
        let items = list.as_array().cloned().unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| Some((item_name(&item)?, item)))
            .collect()
    };
    let (before, now) = (by_name(before), by_name(now));
    let mut changes = Vec::new();
    for (name, item) in &now {
        match before.get(name) {
            None => changes.push(format!("{what} {name} is new")),
            Some(old) if old != item => {
                changes.push(match (item_version(old), item_version(item)) {
                    (Some(old), Some(new)) if old != new => format!("{what} {name} {old} -> {new}"),
                    _ => format!("{what} {name} changed"),
                })
            }
            Some(_) => {}
        }
    }
    changes.extend(
        before
            .keys()
            .filter(|name| !now.contains_key(*name))
            .map(|name| format!("{what} {name} is gone")),
    );
    changes
}

fn item_name(item: &Value) -> Option<String> {
    item.get(0)?.as_str().map(str::to_owned)
}

/// Packages are rows of name, architecture, version, digest and mark; see
/// `recipe::canonical_inputs`.
fn item_version(item: &Value) -> Option<&str> {
    item.as_array().filter(|row| row.len() == 5)?[2].as_str()
}
