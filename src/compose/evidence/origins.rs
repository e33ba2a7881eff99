//! The files below, by what is in them.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::candidates::is_no_origin;
use super::contents::Contents;
use super::ground::Ground;
use super::{Evidence, MIN_BYTES, origin_at};
use crate::compose::composition::Composition;
use crate::compose::error::ComposeError;
use crate::compose::packages::find_owners;
use crate::compose::view::TreeView;
use crate::elf::{BuildId, build_id as build_id_in};
use crate::format::{DerivedFile, Origin};
use crate::id::ObjectId;
use crate::layout::name;
use crate::path::RelPath;

/// What packed files of one content are called.
const PACKED: [&str; 3] = [".xz", ".zst", ".gz"];

/// Files that are derived from others, and the directory of those. No layer carries the first ones.
const DERIVED: [(&str, &str); 2] = [
    ("etc/ssl/certs/ca-certificates.crt", CERTIFICATES),
    ("etc/ssl/certs/java/cacerts", CERTIFICATES),
];
const CERTIFICATES: &str = "usr/share/ca-certificates";

/// Files by the last component of their paths.
type ByName<'a> = BTreeMap<&'a [u8], Vec<(&'a RelPath, ObjectId, u64)>>;

/// The files of the layers below.
pub(super) struct Origins<'a> {
    ground: &'a Ground<'a>,
    derived: BTreeMap<ObjectId, &'static str>,
    by_object: BTreeMap<ObjectId, Vec<&'a RelPath>>,
    sizes: BTreeMap<ObjectId, u64>,
    by_name: OnceCell<ByName<'a>>,
}

impl<'a> Origins<'a> {
    pub(super) fn of(ground: &'a Ground<'a>, composition: &Composition) -> Self {
        let mut by_object: BTreeMap<ObjectId, Vec<&RelPath>> = BTreeMap::new();
        let mut sizes = BTreeMap::new();
        for (path, object, size) in ground.files() {
            if size >= MIN_BYTES && !is_no_origin(path.as_bytes()) {
                by_object.entry(object).or_default().push(path);
                sizes.insert(object, size);
            }
        }
        let derived = DERIVED.into_iter().filter_map(|(path, dir)| {
            let object = composition.tree.get(path.as_bytes())?.object()?;
            Some((object, dir))
        });
        Self {
            ground,
            derived: derived.collect(),
            by_object,
            sizes,
            by_name: OnceCell::new(),
        }
    }

    /// Makes an origin of all that is in a directory.
    pub(super) fn directory(&self, dir: &str, member: Option<String>) -> Option<Origin> {
        let path = RelPath::from_text(dir).ok()?;
        let object = self.ground.digests(std::slice::from_ref(&path)).pop()?;
        Some(Origin {
            is_directory: true,
            ..origin_at(&path, object, member)
        })
    }

    /// Finds what a copy of a derived file was derived from.
    pub(super) fn derived_from(&self, object: &ObjectId, member: Option<String>) -> Option<Origin> {
        self.directory(self.derived.get(object)?, member)
    }

    /// Finds the file with the same content; of several, the one whose path has most in common with
    /// `like`, counted from its end.
    pub(super) fn same(&self, object: &ObjectId, like: &[u8]) -> Option<&'a RelPath> {
        let common = |path: &RelPath| {
            let parts = |path: &'_ [u8]| -> Vec<Vec<u8>> {
                path.split(|byte| *byte == b'/')
                    .map(<[u8]>::to_vec)
                    .collect()
            };
            let (a, b) = (parts(path.as_bytes()), parts(like));
            let pairs = a.iter().rev().zip(b.iter().rev());
            pairs.take_while(|(a, b)| a == b).count()
        };
        let paths = self.by_object.get(object)?.iter().copied();
        paths.min_by_key(|path| (Reverse(common(path)), path.as_bytes().len(), *path))
    }

    /// Finds the packed file that unpacks to what a kernel module holds.
    pub(super) fn packed(
        &self,
        module: &str,
        unpacked: &ObjectId,
        contents: &Contents<'_>,
    ) -> Result<Option<(&'a RelPath, ObjectId)>, ComposeError> {
        if !module.ends_with(".ko") {
            return Ok(None);
        }
        let module = name(module.as_bytes());
        for suffix in PACKED {
            let wanted = [module, suffix.as_bytes()].concat();
            for (path, object, _) in self.named(&wanted) {
                let held = contents.of(object, &contents.head(object)?)?;
                let is_it = held.is_some_and(|held| held.members.iter().any(|m| m.id == *unpacked));
                if is_it {
                    return Ok(Some((path, *object)));
                }
            }
        }
        Ok(None)
    }

    /// Finds the program or library of a name and a build id: what it was before it was stripped.
    pub(super) fn same_build(
        &self,
        name: &[u8],
        build_id: &BuildId,
        contents: &Contents<'_>,
    ) -> Result<Option<(&'a RelPath, ObjectId)>, ComposeError> {
        for (path, object, _) in self.named(name) {
            let found = build_id_in(&contents.head(object)?);
            if found.as_ref() == Some(build_id) {
                return Ok(Some((path, *object)));
            }
        }
        Ok(None)
    }

    /// Finds the files of a name, with their contents and sizes in bytes.
    pub(super) fn named(&self, wanted: &[u8]) -> &[(&'a RelPath, ObjectId, u64)] {
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name = ByName::new();
            for (object, paths) in &self.by_object {
                let size = self.sizes.get(object).copied().unwrap_or_default();
                for path in paths {
                    by_name
                        .entry(path.name())
                        .or_default()
                        .push((path, *object, size));
                }
            }
            by_name
        });
        by_name.get(wanted).map_or(&[], Vec::as_slice)
    }
}

/// Names the packages that origins belong to.
pub(super) fn name_packages(
    evidence: &Evidence<'_>,
    files: &mut [DerivedFile],
) -> Result<(), ComposeError> {
    let origins = files.iter().flat_map(|file| &file.origins);
    let mut owners: BTreeMap<RelPath, Option<String>> =
        origins.map(|origin| (origin.path.clone(), None)).collect();
    if owners.is_empty() {
        return Ok(());
    }
    let tree = &evidence.composition.tree;
    let view = TreeView::new(tree, evidence.transaction, evidence.index);
    find_owners(tree, &view, &mut owners).map_err(|source| ComposeError::Check { source })?;
    for origin in files.iter_mut().flat_map(|file| &mut file.origins) {
        let owner = owners.get(&origin.path).cloned().flatten();
        origin.package = owner.or(origin.package.take());
    }
    Ok(())
}
