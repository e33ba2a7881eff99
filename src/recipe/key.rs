//! The build key: the identity of everything a layer is built from, and of nothing else.
//!
//! Inputs are hashed by meaning, as canonical JSON (sorted keys, no spaces) under BLAKE3 with a
//! context of its own: comments, spaces, the order of keys and of lists that are sets do not change
//! the key.

use serde::Serialize;
use serde_json::{Value, json};

use crate::id::{BuildKey, ObjectId};
use crate::path::{RelPath, escape};
use crate::tree::Owner;

use super::definition::{
    AllowedSecret, Bootstrap, Definition, FilesSection, LayerContent, UpperLayer,
};
use super::ids::{IdKind, IdTable};
use super::lock::LayerLock;
use super::state::StateRule;
use crate::format::HealthCheck;
use crate::glob::Glob;

/// The BLAKE3 key derivation context. A new format of the key needs a new context.
const CONTEXT: &str = "layerset 2026-01 layer build key v1";

/// One path that `[files]` copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInput {
    /// Where it goes.
    pub path: RelPath,
    /// Its permission bits in the layer.
    pub mode: u16,
    /// What it is.
    pub content: FileContent,
}

/// The content of a path that `[files]` copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A regular file.
    File(ObjectId),
    /// A symbolic link, with its target.
    Link(Box<[u8]>),
    /// A directory.
    Directory,
}

/// What a layer is built from.
#[derive(Debug, Clone, Copy)]
pub struct KeyInputs<'a> {
    /// The definition.
    pub definition: &'a Definition,
    /// The files to copy, in any order.
    pub files: &'a [FileInput],
    /// The contents of the scripts, in the order they run.
    pub scripts: &'a [(RelPath, ObjectId)],
    /// The locked packages.
    pub lock: Option<&'a LayerLock>,
    /// The numbers of the names that this layer creates, and no others.
    pub ids: &'a IdTable,
    /// The Debian architecture.
    pub architecture: &'a str,
    /// The source-date-epoch where the layer depends on it.
    pub epoch: Option<i64>,
    /// The version of the builder's output: raised when the same inputs begin to give another
    /// layer.
    pub builder_version: u32,
}

/// Computes the key of a layer's build.
pub fn build_key(inputs: &KeyInputs<'_>) -> BuildKey {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(canonical_inputs(inputs).as_bytes());
    BuildKey::from_digest(*hasher.finalize().as_bytes())
}

/// Returns the canonical JSON that [`build_key`] hashes, which `--explain` can compare with an
/// earlier one.
pub fn canonical_inputs(inputs: &KeyInputs<'_>) -> String {
    let mut files: Vec<&FileInput> = inputs.files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let files: Vec<Value> = files.into_iter().map(file_value).collect();
    let scripts: Vec<Value> = inputs
        .scripts
        .iter()
        .map(|(path, object)| json!([path.to_string(), object.to_string()]))
        .collect();
    let value = json!({
        "definition": definition_value(inputs.definition, inputs.lock),
        "files": files,
        "scripts": scripts,
        "packages": inputs.lock.map(packages_value),
        "users": ids_value(inputs.ids, IdKind::User),
        "groups": ids_value(inputs.ids, IdKind::Group),
        "architecture": inputs.architecture,
        "epoch": inputs.epoch,
        "builder": inputs.builder_version,
    });
    let mut text = String::new();
    write_canonical(&value, &mut text);
    text
}

// Every struct of the definition is taken apart by name below, so that a new field cannot be
// forgotten here.

fn definition_value(definition: &Definition, lock: Option<&LayerLock>) -> Value {
    let Definition {
        name,
        description: _,
        version: _,
        content,
        state,
        secrets,
        allowed_secrets,
        health,
        restart,
        forbids_live,
        rebuild_when,
    } = definition;
    let state = state
        .iter()
        .map(|StateRule { pattern, class }| (pattern.as_str().to_owned(), plain(class)));
    let secrets = secrets
        .iter()
        .map(|(path, secret)| (path.to_string(), plain(secret)));
    // Nothing where there is none: layers have kept their keys since before there were any.
    let allowed = allowed_secrets
        .iter()
        .map(|AllowedSecret { paths, reason }| json!([paths.as_str(), reason]));
    let allowed: Vec<Value> = allowed.collect();
    let allowed = (!allowed.is_empty()).then(|| ("allow".to_owned(), Value::Array(allowed)));
    let mut value = json!({
        "name": name,
        "version": definition.effective_version(lock),
        "content": content_value(content),
        "state": state.collect::<serde_json::Map<_, _>>(),
        "secrets": secrets.chain(allowed).collect::<serde_json::Map<_, _>>(),
        "health": health.iter().map(health_value).collect::<Vec<_>>(),
        "restart": set(restart.iter().map(String::as_str)),
        "rebuild": set(rebuild_when.iter().map(Glob::as_str)),
    });
    // Nothing where it is as always, for the same reason.
    if *forbids_live && let Value::Object(fields) = &mut value {
        fields.insert("live".to_owned(), Value::Bool(false));
    }
    value
}

/// Returns a health check in the words of the key, which are older than those of manifests.
fn health_value(check: &HealthCheck) -> Value {
    let HealthCheck {
        name,
        probe,
        timeout_ms,
    } = check;
    json!({ "name": name, "probe": plain(probe), "timeout_ms": timeout_ms })
}

fn content_value(content: &LayerContent) -> Value {
    match content {
        LayerContent::Base(Bootstrap {
            suite,
            components,
            pockets,
            variant,
            packages,
            // Whence a package comes does not change its content.
            sources: _,
            snapshots: _,
        }) => {
            let mut pockets = pockets.clone();
            pockets.sort();
            json!({"bootstrap": {
                "suite": suite,
                "components": set(components.iter().map(String::as_str)),
                "pockets": plain(&pockets),
                "variant": plain(variant),
                "packages": set(packages.iter().map(String::as_str)),
            }})
        }
        LayerContent::Upper(UpperLayer {
            on,
            apt,
            files,
            run,
        }) => json!({
            "on": set(on.iter().map(String::as_str)),
            "apt": apt.as_ref().map(|apt| json!({
                "packages": set(apt.packages.iter().map(String::as_str)),
                "recommends": apt.recommends,
            })),
            // The folder's name and the modes are in the list of files already.
            "owner": files.as_ref().map(|FilesSection { source: _, mode: _, owner }| {
                let text = |(path, (user, group)): (&RelPath, &(Owner, Owner))| {
                    (path.to_string(), Value::from(format!("{user}:{group}")))
                };
                owner.iter().map(text).collect::<serde_json::Map<_, _>>()
            }),
            "env": run.as_ref().map(|run| plain(&run.env)),
        }),
    }
}

fn packages_value(lock: &LayerLock) -> Value {
    let mut packages: Vec<_> = lock.packages.iter().collect();
    packages.sort_by_key(|package| (&package.name, &package.architecture));
    // The archive in which a file was found does not change its content.
    let rows = packages.into_iter().map(|package| {
        json!([
            package.name,
            package.architecture,
            package.version,
            package.sha256,
            package.manual
        ])
    });
    Value::Array(rows.collect())
}

fn file_value(file: &FileInput) -> Value {
    let content = match &file.content {
        FileContent::File(object) => json!(["file", object.to_string()]),
        FileContent::Link(target) => json!(["link", escape(target)]),
        FileContent::Directory => json!(["dir"]),
    };
    json!([file.path.to_string(), file.mode, content])
}

fn ids_value(ids: &IdTable, kind: IdKind) -> Value {
    let pairs = ids
        .iter(kind)
        .map(|(name, id)| (name.to_owned(), id.into()));
    Value::Object(pairs.collect())
}

fn set<'a>(items: impl Iterator<Item = &'a str>) -> Value {
    let mut items: Vec<&str> = items.collect();
    items.sort_unstable();
    items.dedup();
    items.into()
}

/// Turns a value into JSON. This cannot fail, because all its maps have string keys.
fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Writes JSON with sorted keys and no spaces, whatever map serde_json was compiled with.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (i, (key, item)) in pairs.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(item, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
