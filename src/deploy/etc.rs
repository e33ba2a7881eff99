//! `/etc` of a new deployment: the image's own the first time, then the machine's merged with what
//! the image changed.
//!
//! The merge is the one of [`crate::merge`], with pre = the current deployment's image, current =
//! the machine's directory, post = the new image. Owners meet by name: the machine's numbers are
//! read by the machine's passwd and group, the result is written with the merged ones. Planning
//! writes nothing and can be repeated at any time.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::DeployError;
use super::contents::EtcContents;
use super::decide::{self, ConflictSide, Decisions};
use super::record::{DeploymentDir, EtcOrigin};
use super::stamp::{self, Seen};
use crate::format;
use crate::id::TreeId;
use crate::materialise::{IdLookup, PasswdIds, ScanOptions, scan};
use crate::merge::{ApplyReport, Blobs as _, Conflict, apply};
use crate::path::RelPath;
use crate::store::Repository;
use crate::tree::{Changeset, Inode, Owner, Tree};

/// Files that say who the machine is: once it has made its own, no image changes or removes them.
const MACHINE_FILES: [&[u8]; 5] = [
    b"etc/machine-id",
    b"etc/hostname",
    b"etc/adjtime",
    b"etc/.updated",
    b"etc/.pwd.lock",
];
const MACHINE_PREFIXES: [&[u8]; 1] = [b"etc/ssh/ssh_host_"];

/// What the merge of `/etc` comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcReport {
    /// The deployment whose `/etc` is merged; `None` when the image's own is used.
    pub from: Option<u64>,
    /// Conflicts that nobody decided about.
    pub conflicts: Vec<Conflict>,
    /// Conflicting paths with a decision.
    pub resolved: Vec<(RelPath, ConflictSide)>,
    /// Paths with a decision and without a conflict; the decision has no effect.
    pub unused: Vec<RelPath>,
    /// Files that were merged from both sides.
    pub merged: Vec<RelPath>,
}

impl Serialize for EtcReport {
    /// As people read it: what was merged, what conflicts and where, which conflicts were decided.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            path: &'a RelPath,
            record: &'a Option<String>,
            line: Option<usize>,
            reason: &'a str,
        }
        let conflicts = self.conflicts.iter().map(|conflict| Shown {
            path: &conflict.path,
            record: &conflict.record,
            line: conflict.line,
            reason: &conflict.reason,
        });
        let resolved = self.resolved.iter().map(|(path, _)| path);
        let mut report = serializer.serialize_struct("EtcReport", 3)?;
        report.serialize_field("merged", &self.merged)?;
        report.serialize_field("conflicts", &conflicts.collect::<Vec<_>>())?;
        report.serialize_field("resolved", &resolved.collect::<Vec<_>>())?;
        report.end()
    }
}

/// A planned `/etc`, with all that is needed to write it.
pub(super) struct EtcPlan<'r> {
    pub(super) report: EtcReport,
    /// The new `etc` below a root; `None` when the image has no such directory.
    pub(super) tree: Option<Tree>,
    /// The image's own `etc` below a root.
    pub(super) image: Tree,
    pub(super) contents: EtcContents<'r>,
    pub(super) ids: ChainedIds,
    pub(super) origin: Option<EtcOrigin>,
    /// The machine's directory as it was before it was read.
    pub(super) seen: Option<Seen>,
    /// What the image was, what the machine has, what the image is: the conflicting paths only.
    pub(super) saved: Option<[Tree; 3]>,
}

/// Finds numbers of owners in several databases, the first that knows a name wins.
#[derive(Default)]
pub(super) struct ChainedIds(pub(super) Vec<PasswdIds>);

impl IdLookup for ChainedIds {
    fn uid(&self, owner: &Owner) -> Option<u32> {
        self.0.iter().find_map(|ids| ids.uid(owner))
    }
    fn gid(&self, group: &Owner) -> Option<u32> {
        self.0.iter().find_map(|ids| ids.gid(group))
    }
}

/// Plans `/etc` for an image with `tree`, merged with that of `current` where there is one.
pub(super) fn plan<'r>(
    repository: &'r Repository,
    tree: &Tree,
    current: Option<&DeploymentDir>,
    decisions: &Decisions,
) -> Result<EtcPlan<'r>, DeployError> {
    let image = subtree(tree, b"etc");
    let has_etc = image.get(b"etc").is_some_and(Inode::is_dir);
    let dir = current.map(DeploymentDir::etc).unwrap_or_default();
    let mut plan = EtcPlan {
        report: EtcReport::default(),
        tree: None,
        contents: EtcContents::new(repository, dir.clone()),
        ids: ChainedIds::default(),
        origin: None,
        seen: None,
        saved: None,
        image,
    };
    let image_ids = ids_of(&plan.image, &plan.contents)?;
    plan.ids.0.push(image_ids);
    if !has_etc {
        return Ok(plan);
    }
    let Some(current) = current.filter(|deployment| deployment.facts.has_etc) else {
        plan.tree = Some(plan.image.clone());
        return Ok(plan);
    };
    // Before anything is read: an edit from here on changes the stamp.
    let seen = stamp::look(&dir)?;
    plan.origin = Some(EtcOrigin {
        generation: current.facts.generation,
        stamp: seen.stamp.clone(),
    });
    plan.seen = Some(seen);
    let before = base_of(current)?;
    let (machine, machine_ids) = machine_tree(current, &before, &plan.contents)?;
    let mut changes = Changeset::between(&before, &plan.image);
    leave_machine_files(&mut changes, &machine);
    let (merged, applied) = merge(machine.clone(), &changes, &plan.contents)?;
    let (merged, applied) = if applied.conflicts.is_empty() {
        (merged, applied)
    } else {
        let conflicting = decide::conflict_paths(&applied);
        plan.report.resolved = decide::resolved(&conflicting, decisions);
        let mut tree = machine.clone();
        decide::decide(&mut tree, &mut changes, &plan.report.resolved, &plan.image);
        plan.saved = (!plan.report.resolved.is_empty()).then(|| {
            let paths: Vec<&RelPath> = plan.report.resolved.iter().map(|(path, _)| path).collect();
            [&before, &machine, &plan.image].map(|side| decide::excerpt(side, &paths))
        });
        merge(tree, &changes, &plan.contents)?
    };
    plan.report.unused = decisions
        .keep
        .union(&decisions.take)
        .filter(|path| !plan.report.resolved.iter().any(|(found, _)| found == *path))
        .cloned()
        .collect();
    plan.report.from = Some(current.facts.generation);
    plan.report.conflicts = applied.conflicts;
    plan.report.merged = applied.merged;
    plan.ids.0.insert(0, ids_of(&merged, &plan.contents)?);
    plan.ids.0.push(machine_ids);
    plan.tree = Some(merged);
    Ok(plan)
}

fn merge(
    mut tree: Tree,
    changes: &Changeset,
    contents: &EtcContents<'_>,
) -> Result<(Tree, ApplyReport), DeployError> {
    let applied = apply(&mut tree, changes, contents)?;
    Ok((tree, applied))
}

/// Returns the part of `tree` at `path`, below a root.
fn subtree(tree: &Tree, path: &[u8]) -> Tree {
    let mut part: Tree = tree
        .subtree(path)
        .map(|(path, inode)| (path.clone(), inode.clone()))
        .collect();
    let root = tree.get(b"").cloned();
    part.insert(
        RelPath::root(),
        root.unwrap_or_else(|| Inode::directory(0o755)),
    );
    part.canonicalize_hardlinks();
    part
}

/// Reads the users and groups of an `etc`.
pub(super) fn ids_of(tree: &Tree, contents: &EtcContents<'_>) -> Result<PasswdIds, DeployError> {
    PasswdIds::read(
        |file| match tree.get(file.as_bytes()).and_then(Inode::object) {
            Some(object) => Ok(contents.read(&object)?),
            None => Ok(Vec::new()),
        },
    )
}

/// Reads the `etc` of a deployment's image, which was kept with it.
pub(super) fn base_of(deployment: &DeploymentDir) -> Result<Tree, DeployError> {
    let path = deployment.dir.join("etc.tree");
    let bytes = std::fs::read(&path).map_err(|error| DeployError::io("read", &path, error))?;
    let damaged = |reason: String| DeployError::Damaged {
        path: path.clone(),
        reason,
    };
    let found = TreeId::of(&bytes);
    if deployment.facts.etc_tree != found {
        return Err(damaged(format!("its digest is {found}")));
    }
    format::decode_tree(&bytes).map_err(|error| damaged(error.to_string()))
}

/// Reads the machine's `etc` as a tree below a root.
pub(super) fn machine_tree(
    deployment: &DeploymentDir,
    before: &Tree,
    contents: &EtcContents<'_>,
) -> Result<(Tree, PasswdIds), DeployError> {
    let dir = deployment.etc();
    let ids = PasswdIds::read(|file| {
        let path = deployment.dir.join(file);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| DeployError::io("read", &path, error)),
        }
    })?;
    let scanned = scan(&dir, &ScanOptions::default(), &ids, contents)?;
    let mut tree: Tree = scanned
        .into_iter()
        .filter_map(|(path, inode)| Some((path.rebase(b"", b"etc")?, inode)))
        .collect();
    let root = before.get(b"").cloned();
    tree.insert(
        RelPath::root(),
        root.unwrap_or_else(|| Inode::directory(0o755)),
    );
    if !rustix::process::geteuid().is_root() {
        tree = with_owners_of(tree, before);
    }
    Ok((tree, ids))
}

/// Counts the paths of a deployment's `etc` that are not as its image has them.
pub(super) fn count_edits(
    repository: &Repository,
    deployment: &DeploymentDir,
) -> Result<usize, DeployError> {
    let contents = EtcContents::new(repository, deployment.etc());
    let before = base_of(deployment)?;
    let (machine, _) = machine_tree(deployment, &before, &contents)?;
    Ok(Changeset::between(&before, &machine).iter().count())
}

/// Gives every entry the owners that the image gave it: without root, the files could not say.
fn with_owners_of(tree: Tree, before: &Tree) -> Tree {
    tree.into_iter()
        .map(|(path, inode)| {
            let (owner, group) = match before.get(path.as_bytes()) {
                Some(known) => (known.owner.clone(), known.group.clone()),
                None => (Owner::root(), Owner::root()),
            };
            let inode = Inode {
                owner,
                group,
                ..inode
            };
            (path, inode)
        })
        .collect()
}

fn leave_machine_files(changes: &mut Changeset, machine: &Tree) {
    let is_machine_file = |path: &RelPath| {
        MACHINE_FILES.contains(&path.as_bytes())
            || MACHINE_PREFIXES
                .iter()
                .any(|prefix| path.as_bytes().starts_with(prefix))
    };
    let own: Vec<RelPath> = changes
        .iter()
        .filter(|(path, change)| {
            is_machine_file(path)
                && machine.get(path.as_bytes()).is_some_and(|inode| {
                    !change
                        .pre
                        .as_ref()
                        .is_some_and(|pre| pre.same_content(inode))
                })
        })
        .map(|(path, _)| path.clone())
        .collect();
    for path in own {
        changes.remove(path.as_bytes());
    }
}
