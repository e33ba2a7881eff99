//! What was made of files that are other ones today, or gone.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::ground::Ground;
use crate::check::{Finding, FindingKind, Severity};
use crate::compose::composition::Composition;
use crate::compose::judge::severity;
use crate::compose::member::Member;
use crate::format::{DerivedFile, Origin};
use crate::id::ObjectId;
use crate::path::RelPath;

/// The most packages that a message names.
const MAX_NAMED: usize = 4;

/// Finds, for each layer, the files that were made of what is other or gone in the layers below it
/// today: `derived:LAYER:PATH`.
///
/// What a baseline says of this does not depend on the version of the checks.
pub fn moved(composition: &Composition, members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, member) in members.iter().enumerate() {
        let derived = member.baseline.derived.iter();
        let present: Vec<_> = derived
            .filter(|file| is_present(file, composition, member))
            .collect();
        if present.is_empty() {
            continue;
        }
        let ground = Ground::new(composition, members, number);
        let today = Today::new(ground, present.iter().copied());
        for file in present {
            // On the layers that it was built on, nothing can have moved since.
            let origins = file.origins.iter();
            let may_be = origins.filter(|origin| origin.is_stale || member.is_moved(members));
            let stale = may_be.filter_map(|origin| {
                let what = today.what_became_of(origin)?;
                Some((origin, what))
            });
            let stale: Vec<_> = stale.collect();
            if let Some(((first, what), more)) = stale.split_first() {
                let severity = match file.is_brought {
                    true => Severity::Refuse,
                    false => severity(member, members),
                };
                let more = more.iter().map(|(origin, _)| *origin).collect();
                findings.push(finding(member, file, severity, (first, what, more)));
            }
        }
    }
    findings
}

/// Says whether the image has the layer's file: an upper layer may have replaced or removed it.
fn is_present(file: &DerivedFile, composition: &Composition, member: &Member) -> bool {
    let path = file.path.as_bytes();
    let object = |change: &crate::tree::Change| change.post.as_ref()?.object();
    let own = member.changeset.get(path).and_then(object);
    let today = composition.tree.get(path);
    match own {
        Some(own) => today.and_then(|inode| inode.object()) == Some(own),
        None => today.is_some(),
    }
}

/// The layers below a layer today.
pub(super) struct Today<'a> {
    ground: Ground<'a>,
    /// The directories that origins stand for.
    directories: BTreeMap<RelPath, ObjectId>,
    /// All objects; computed only where a path is gone.
    objects: OnceCell<BTreeSet<ObjectId>>,
}

impl<'a> Today<'a> {
    /// Looks at what became of the origins of `files`.
    pub(super) fn new<'f>(
        ground: Ground<'a>,
        files: impl IntoIterator<Item = &'f DerivedFile>,
    ) -> Self {
        let origins = files.into_iter().flat_map(|file| &file.origins);
        let directories: BTreeSet<RelPath> = origins
            .filter(|origin| origin.is_directory)
            .map(|origin| origin.path.clone())
            .collect();
        let directories: Vec<RelPath> = directories.into_iter().collect();
        let digests = ground.digests(&directories);
        Self {
            ground,
            directories: directories.into_iter().zip(digests).collect(),
            objects: OnceCell::new(),
        }
    }

    /// Says what became of an origin, if it is not what it was: words behind its name.
    pub(super) fn what_became_of(&self, origin: &Origin) -> Option<String> {
        let Some(object) = origin.object else {
            let is_there = self.ground.get(&origin.path).is_some();
            return (!is_there).then(|| "the layers below have it no more".to_owned());
        };
        if origin.is_directory {
            let is_same = self.directories.get(&origin.path) == Some(&object);
            return (!is_same).then(|| "there is something else in it now".to_owned());
        }
        match self.ground.get(&origin.path) {
            Some((inode, _)) if inode.object() == Some(object) => None,
            Some((_, owner)) => Some(format!("'{}' has another one now", owner.layer.name)),
            // A file that only has another name now is still the same.
            None if self.objects().contains(&object) => None,
            None => Some("the layers below have it no more".to_owned()),
        }
    }

    fn objects(&self) -> &BTreeSet<ObjectId> {
        let all = || self.ground.files().map(|(_, object, _)| object).collect();
        self.objects.get_or_init(all)
    }
}

fn finding(
    member: &Member,
    file: &DerivedFile,
    severity: Severity,
    (first, what, more): (&Origin, &str, Vec<&Origin>),
) -> Finding {
    let layer = &member.layer.name;
    let mut name = format!("'{}'", first.path);
    if let Some(package) = &first.package {
        name += &format!(" ({package})");
    }
    let verb = match (first.object, first.is_directory) {
        (None, _) => "is made for",
        (_, true) => "holds copies of files of",
        _ => "holds a copy of",
    };
    let hint = match severity {
        Severity::Refuse => format!(
            "rebuilding '{layer}' would change nothing: put what is current in place of '{}', or remove it, or waive the finding",
            file.path
        ),
        _ => format!("rebuild '{layer}'"),
    };
    Finding {
        id: FindingKind::Derived.at(format_args!("{layer}:{}", file.path)),
        severity,
        layer: layer.clone(),
        package: first.package.clone(),
        path: Some(file.path.clone()),
        reason: format!(
            "'{}' of '{layer}' {verb} {name}, and {what}{}",
            file.path,
            others(first, &more)
        ),
        hint,
        waived: None,
    }
}

/// Says how many origins more are stale, and of which packages.
fn others(first: &Origin, more: &[&Origin]) -> String {
    if more.is_empty() {
        return String::new();
    }
    let packages: BTreeSet<&str> = more
        .iter()
        .filter_map(|origin| origin.package.as_deref())
        .filter(|package| first.package.as_deref() != Some(*package))
        .collect();
    let count = more.len();
    if packages.is_empty() {
        return format!(" (and {count} more)");
    }
    let mut named: Vec<&str> = packages.iter().take(MAX_NAMED).copied().collect();
    if packages.len() > MAX_NAMED {
        named.push("…");
    }
    format!(" (and {count} more, of {})", named.join(", "))
}
