//! Keeps evidence small: whole directories that were copied are one entry, and of too many origins
//! their directories are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::Evidence;
use super::ground::Ground;
use crate::compose::error::ComposeError;
use crate::format::{DerivedFile, Origin};
use crate::path::{RelPath, escape};

/// So many files that were copied from one directory to another are one entry.
const MIN_TOGETHER: usize = 4;
/// The most origins of a layer.
const MAX_ORIGINS: usize = 1024;
/// The most origins of one entry where a layer has more than that: directories.
const MAX_DIRECTORIES: usize = 8;
/// The most entries of a layer.
const MAX_FILES: usize = 128;

/// Puts files together that were copied from one directory to another.
pub(super) fn directories(found: BTreeMap<RelPath, Vec<Origin>>) -> Vec<DerivedFile> {
    let mut together: BTreeMap<(Vec<u8>, Vec<u8>), Vec<RelPath>> = BTreeMap::new();
    for (path, origins) in &found {
        if let [
            Origin {
                path: from,
                member: None,
                is_directory: false,
                object: Some(_),
                ..
            },
        ] = origins.as_slice()
        {
            together
                .entry(roots(path, from))
                .or_default()
                .push(path.clone());
        }
    }
    together.retain(|(to, _), paths| paths.len() >= MIN_TOGETHER && !to.is_empty());
    let mut files: BTreeMap<RelPath, Vec<Origin>> = found;
    for ((to, _), paths) in together {
        let Ok(dir) = RelPath::new(&to) else { continue };
        for path in paths {
            let Some(origins) = files.remove(&path) else {
                continue;
            };
            let rest = path.as_bytes()[to.len()..].trim_start_slash();
            let member = Some(escape(rest));
            let origins = origins.into_iter().map(|origin| Origin {
                member: member.clone(),
                ..origin
            });
            files.entry(dir.clone()).or_default().extend(origins);
        }
    }
    files
        .into_iter()
        .map(|(path, mut origins)| {
            origins.sort();
            DerivedFile {
                path,
                is_brought: false,
                origins,
            }
        })
        .collect()
}

trait TrimSlash {
    fn trim_start_slash(&self) -> &[u8];
}

impl TrimSlash for [u8] {
    fn trim_start_slash(&self) -> &[u8] {
        self.strip_prefix(b"/").unwrap_or(self)
    }
}

/// Takes the common end off two paths: the directories that one was copied from and to. The last
/// component always goes.
fn roots(to: &RelPath, from: &RelPath) -> (Vec<u8>, Vec<u8>) {
    let parts = |path: &RelPath| -> Vec<Vec<u8>> {
        let parts = path.as_bytes().split(|byte| *byte == b'/');
        parts.map(<[u8]>::to_vec).collect()
    };
    let (mut to, mut from) = (parts(to), parts(from));
    while !to.is_empty() && to.last() == from.last() {
        to.pop();
        from.pop();
    }
    (to.join(&b'/'), from.join(&b'/'))
}

/// Cuts what is too much. What is kept then stands for more: a change of anything in a directory
/// asks for a rebuild.
pub(super) fn limit(
    files: &mut Vec<DerivedFile>,
    evidence: &Evidence<'_>,
) -> Result<(), ComposeError> {
    let number = evidence.members.len() - 1;
    if files.len() > MAX_FILES {
        let surplus = files.split_off(MAX_FILES - 1);
        if let Some(one) = as_one(surplus) {
            match files.iter_mut().find(|file| file.path == one.path) {
                Some(same) => same.origins.extend(one.origins),
                None => files.push(one),
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let all: usize = files.iter().map(|file| file.origins.len()).sum();
    if all <= MAX_ORIGINS {
        return Ok(());
    }
    let is_large = |file: &&mut DerivedFile| file.origins.len() > MAX_DIRECTORIES;
    for file in files.iter_mut().filter(is_large) {
        let ground = Ground::new(evidence.composition, evidence.members, number);
        let dirs = directories_of(&file.origins, MAX_DIRECTORIES);
        let digests = ground.digests(&dirs);
        file.origins = dirs
            .into_iter()
            .zip(digests)
            .map(|(path, digest)| Origin {
                path,
                object: Some(digest),
                is_directory: true,
                is_stale: false,
                package: None,
                member: None,
            })
            .collect();
    }
    Ok(())
}

/// Puts files together in the directory that holds all of them.
fn as_one(files: Vec<DerivedFile>) -> Option<DerivedFile> {
    let paths: Vec<&RelPath> = files.iter().map(|file| &file.path).collect();
    let dir = common(&paths)?;
    let mut origins: Vec<Origin> = Vec::new();
    for file in files {
        let rest = &file.path.as_bytes()[dir.as_bytes().len()..];
        let name = escape(rest.trim_start_slash());
        origins.extend(file.origins.into_iter().map(|origin| Origin {
            member: Some(match &origin.member {
                Some(member) => format!("{name}/{member}"),
                None => name.clone(),
            }),
            ..origin
        }));
    }
    origins.sort();
    Some(DerivedFile {
        path: dir,
        is_brought: false,
        origins,
    })
}

/// Returns the one path, or the directory that holds all of several.
pub(super) fn common(paths: &[&RelPath]) -> Option<RelPath> {
    let (first, rest) = paths.split_first()?;
    if rest.is_empty() {
        return Some((*first).clone());
    }
    let mut dir = first.parent()?;
    while !rest.iter().all(|path| path.starts_with(dir.as_bytes())) {
        dir = dir.parent()?;
    }
    Some(dir)
}

/// Returns at most `most` directories that hold all origins.
fn directories_of(origins: &[Origin], most: usize) -> Vec<RelPath> {
    let mut dirs: BTreeSet<RelPath> = origins
        .iter()
        .map(|origin| match origin.is_directory {
            true => origin.path.clone(),
            false => origin.path.parent().unwrap_or_default(),
        })
        .collect();
    while dirs.len() > most {
        // The deepest ones say least.
        let depth = |dir: &RelPath| dir.as_bytes().iter().filter(|byte| **byte == b'/').count();
        let deepest = dirs.iter().map(depth).max().unwrap_or(0);
        dirs = dirs
            .into_iter()
            .map(|dir| match depth(&dir) == deepest {
                true => dir.parent().unwrap_or_default(),
                false => dir,
            })
            .collect();
    }
    dirs.into_iter().collect()
}
