//! What a layer is built from: definition, files, scripts and locked packages, read from disk and
//! keyed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::BuildError;
use crate::id::{BuildKey, ObjectId};
use crate::path::RelPath;
use crate::recipe::{
    self, Definition, FileContent, FileInput, IdTable, KeyInputs, LayerLock, RecipeLock,
    ScriptStart, build_key, canonical_inputs,
};

/// The version of the builder. Raise it when capture, classification or composition change so that
/// the same inputs give another layer. Every build key contains it, so raising it rebuilds every
/// layer.
///
/// It is 2 because layerset 0.1 raised it together with the version of the checks. Since then the
/// checks' version is no part of any key.
pub const BUILDER_VERSION: u32 = 2;

/// One layer's inputs.
#[derive(Debug, Clone)]
pub(super) struct LayerInputs {
    /// The layer's name.
    pub name: String,
    /// The definition.
    pub definition: Definition,
    /// The definition's folder.
    pub dir: PathBuf,
    /// What `[files]` copies, by path in the image.
    pub files: Vec<FileInput>,
    /// How each script is started, in their order.
    pub starts: Vec<ScriptStart>,
    /// The locked packages.
    pub lock: LayerLock,
    /// The source-date-epoch of this layer.
    pub epoch: i64,
    /// The architecture.
    pub architecture: String,
    /// The build key.
    pub key: BuildKey,
    /// The same without what only settling reads: equal inputs install the same.
    pub install_key: BuildKey,
    /// The text that the key hashes. It is compared with that of an earlier build.
    pub canonical: String,
}

impl LayerInputs {
    /// Returns the contents of the files that `[files]` copies.
    pub(super) fn brought(&self) -> BTreeSet<ObjectId> {
        let object = |file: &FileInput| match file.content {
            FileContent::File(object) => Some(object),
            _ => None,
        };
        self.files.iter().filter_map(object).collect()
    }

    /// Returns the size of the files that `[files]` copies, in bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        let Some(wanted) = self.definition.files() else {
            return 0;
        };
        let dir = self.dir.join(wanted.source.as_path());
        let sizes = self.files.iter().map(|file| match &file.content {
            FileContent::File(_) => {
                fs::metadata(dir.join(file.path.as_path())).map_or(0, |metadata| metadata.len())
            }
            _ => 0,
        });
        sizes.sum()
    }

    /// Tells which scripts have lost their run bits, and what runs them instead.
    pub(super) fn interpreted(&self) -> Vec<String> {
        let scripts = self.definition.run().map_or(&[][..], |run| &run.scripts);
        let scripts = scripts.iter().zip(&self.starts);
        let told = scripts.filter_map(|(script, start)| {
            let script = script.to_string();
            let script = script.trim_start_matches('/');
            match start {
                ScriptStart::Itself(_) => None,
                ScriptStart::Shell => Some(format!(
                    "'{script}' has no run bit: it was run by `/bin/sh -e`"
                )),
                ScriptStart::Words(words) => Some(format!(
                    "'{script}' has no run bit: it was run by `{}`, which its first line names",
                    words.join(" ")
                )),
            }
        });
        told.collect()
    }

    /// Says whether the layer is files of its own and nothing else.
    pub(super) fn is_files_only(&self) -> bool {
        let definition = &self.definition;
        definition.bootstrap().is_none() && definition.apt().is_none() && definition.run().is_none()
    }

    /// Reads what a layer is built from.
    pub(super) fn read(layer: &recipe::RecipeLayer, lock: &RecipeLock) -> Result<Self, BuildError> {
        let definition = layer.definition.clone();
        let lock_entry = lock
            .layer(&definition.name)
            .cloned()
            .unwrap_or_else(|| LayerLock {
                name: definition.name.clone(),
                epoch: 0,
                requested: Vec::new(),
                packages: Vec::new(),
            });
        let mut files = Vec::new();
        if let Some(wanted) = definition.files() {
            read_files(
                &layer.dir.join(wanted.source.as_path()),
                &RelPath::root(),
                wanted,
                &mut files,
            )?;
        }
        let mut scripts = Vec::new();
        for script in definition.run().map_or(&[][..], |run| &run.scripts) {
            let path = layer.dir.join(script.as_path());
            scripts.push((script.clone(), ObjectId::of(&read(&path)?)));
        }
        let inputs = KeyInputs {
            definition: &definition,
            files: &files,
            scripts: &scripts,
            lock: Some(&lock_entry),
            // The numbers of the names that a layer creates are compared with what it created: see
            // `keys`.
            ids: &IdTable::default(),
            architecture: &lock.architecture,
            epoch: Some(lock_entry.epoch),
            builder_version: BUILDER_VERSION,
        };
        let installed = Definition {
            version: None,
            state: Vec::new(),
            secrets: BTreeMap::new(),
            allowed_secrets: Vec::new(),
            health: Vec::new(),
            restart: Vec::new(),
            forbids_live: false,
            rebuild_when: Vec::new(),
            ..definition.clone()
        };
        let install_key = build_key(&KeyInputs {
            definition: &installed,
            ..inputs
        });
        Ok(Self {
            name: definition.name.clone(),
            install_key,
            key: build_key(&inputs),
            canonical: canonical_inputs(&inputs),
            dir: layer.dir.clone(),
            starts: layer.starts.clone(),
            epoch: lock_entry.epoch,
            architecture: lock.architecture.clone(),
            lock: lock_entry,
            files,
            definition,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| BuildError::Source {
        verb: "read",
        path: path.to_owned(),
        source,
    })
}

/// Hashes a file of any size.
fn digest(path: &Path) -> Result<ObjectId, BuildError> {
    let fail = |source| BuildError::Source {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(fs::File::open(path).map_err(fail)?)
        .map_err(fail)?;
    Ok(ObjectId::from_digest(*hasher.finalize().as_bytes()))
}

fn read_files(
    dir: &Path,
    at: &RelPath,
    wanted: &recipe::FilesSection,
    found: &mut Vec<FileInput>,
) -> Result<(), BuildError> {
    let fail = |verb| {
        move |source| BuildError::Source {
            verb,
            path: dir.to_owned(),
            source,
        }
    };
    let mut entries: Vec<_> = fs::read_dir(dir)
        .map_err(fail("list"))?
        .collect::<Result<_, _>>()
        .map_err(fail("list"))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        use std::os::unix::ffi::OsStrExt as _;
        let path = at
            .join(entry.file_name().as_bytes())
            .map_err(|source| BuildError::Path { source })?;
        let source = entry.path();
        let metadata = entry.metadata().map_err(fail("look into"))?;
        let kind = metadata.file_type();
        let (default, content) = if kind.is_symlink() {
            use std::os::unix::ffi::OsStringExt as _;
            let target = fs::read_link(&source).map_err(fail("read a link in"))?;
            (
                0o777,
                FileContent::Link(target.into_os_string().into_vec().into()),
            )
        } else if kind.is_dir() {
            read_files(&source, &path, wanted, found)?;
            (0o755, FileContent::Directory)
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            (
                if executable { 0o755 } else { 0o644 },
                FileContent::File(digest(&source)?),
            )
        } else {
            return Err(BuildError::SourceKind {
                path: source,
                what: "neither a file, a directory nor a symlink",
            });
        };
        let mode = wanted.mode.get(&path).copied().unwrap_or(default);
        found.push(FileInput {
            path,
            mode,
            content,
        });
    }
    Ok(())
}
