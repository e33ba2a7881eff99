//! The composition itself: merge in order, then derive, then look at the owners.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::covered::covered;
use super::error::ComposeError;
use super::generate::{self, Generate, GenerateError};
use super::member::Member;
use super::remedy::stand_on;
use super::{derive, judge, places};
use crate::check::{self, Finding, FindingKind, Severity, Verdict};
use crate::id::ObjectId;
use crate::layout::dpkg;
use crate::materialise::{IdLookup as _, PasswdIds};
use crate::merge::derive::ldsocache::CacheEntry;
use crate::merge::packages::{PackageDecision, Winner, arbitrate};
use crate::merge::{ApplyReport, Blobs, Conflict, MergeError, apply};
use crate::path::RelPath;
use crate::store::{Index, StoreError, Transaction};
use crate::tree::{Changeset, Inode, Tree};

/// A composed tree with what the composition found.
#[derive(Debug, Clone, Default)]
pub struct Composition {
    /// The tree, derived files included.
    pub tree: Tree,
    /// The tree as the layers merged, before anything was derived: what the changes of a next layer
    /// apply to.
    pub merged: Tree,
    /// Conflicts, and owners without an account.
    pub findings: Vec<Finding>,
    /// Which layer each path comes from, by index into the layers; derived paths are absent.
    pub origin: BTreeMap<RelPath, usize>,
    /// The lines of the loader's cache, in the order in which it is searched.
    pub libraries: Vec<CacheEntry>,
}

impl Composition {
    /// Returns what the findings add up to.
    pub fn verdict(&self) -> Verdict {
        check::verdict(&self.findings)
    }

    /// Returns the numbers of the image's owners.
    pub fn ids(&self, transaction: &Transaction<'_>) -> Result<PasswdIds, StoreError> {
        ids_of(&self.tree, &|id| transaction.read_object(id))
    }
}

/// Reads the numbers of a tree's owners from its own `passwd` and `group`.
pub fn ids_of(
    tree: &Tree,
    read: &dyn Fn(&ObjectId) -> Result<Vec<u8>, StoreError>,
) -> Result<PasswdIds, StoreError> {
    PasswdIds::read(|place| {
        let object = tree.get(place.as_bytes()).and_then(Inode::object);
        object.map_or(Ok(Vec::new()), |id| read(&id))
    })
}

struct TransactionBlobs<'a, 'r>(&'a Transaction<'r>);

impl Blobs for TransactionBlobs<'_, '_> {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        let fail = |error| MergeError {
            object: id.to_string(),
            source: Box::new(error),
        };
        self.0.read_object(id).map_err(fail)
    }

    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        let fail = |error| MergeError {
            object: "a merged file".to_owned(),
            source: Box::new(error),
        };
        self.0.put_object(bytes).map_err(fail)
    }
}

/// Composes `members`, lowest first. New contents (merged and derived files) are put into
/// `transaction`; what programs of the image make of it comes from `generate`.
pub fn compose(
    members: &[Member],
    transaction: &Transaction<'_>,
    index: &Index,
    generate: &dyn Generate,
) -> Result<Composition, ComposeError> {
    let blobs = TransactionBlobs(transaction);
    let mut composition = Composition::default();
    for (number, member) in members.iter().enumerate() {
        let mut changeset = Cow::Borrowed(&member.changeset);
        if needs_arbitration(&composition.tree, &changeset) {
            let decisions = arbitrate(&mut composition.tree, changeset.to_mut(), &blobs)?;
            let decided = decisions.into_iter();
            composition
                .findings
                .extend(decided.map(|decision| package_finding(&member.layer.name, decision)));
        }
        let otherwise = covered(&composition, members, number, &blobs);
        composition.findings.extend(otherwise);
        let applied = apply(&mut composition.tree, &changeset, &blobs)?;
        let severity = judge::severity(member, members);
        let tree = &composition.tree;
        let found = conflict_findings(member, severity, applied, tree, &|path| {
            let other = composition.origin.get(path)?;
            members.get(*other).map(|other| other.layer.name.as_str())
        });
        composition.findings.extend(found);
        for (path, change) in changeset.iter() {
            if change.post.is_some() {
                composition.origin.insert(path.clone(), number);
            }
        }
    }
    composition.merged = composition.tree.clone();
    let tree = &mut composition.tree;
    generate::clear(tree);
    composition.libraries = derive::derive_files(tree, transaction, index)?;
    match generate::fill(tree, transaction, generate) {
        Err(error) if error.ran && members.iter().any(|member| member.is_moved(members)) => {
            let found = generate_findings(&error, members);
            composition.findings.extend(found);
        }
        result => result?,
    }
    derive::derive_java_certificates(tree, transaction, index)?;
    check_owners(&mut composition, members, transaction)?;
    composition
        .findings
        .sort_by(|a, b| (&a.layer, &a.id).cmp(&(&b.layer, &b.id)));
    Ok(composition)
}

/// Says whether both sides may have brought packages. Copying the changes of a large layer costs
/// time, so this asks first.
fn needs_arbitration(tree: &Tree, changeset: &Changeset) -> bool {
    let Some(change) = changeset.get(dpkg::STATUS.as_bytes()) else {
        return false;
    };
    let object = |inode: Option<&Inode>| inode.and_then(Inode::object);
    let (pre, post) = (object(change.pre.as_ref()), object(change.post.as_ref()));
    let now = object(tree.get(dpkg::STATUS.as_bytes()));
    now != pre && now != post && pre != post
}

/// Names the version of a package that wins; dpkg's relations are checked against it.
fn package_finding(layer: &str, decision: PackageDecision) -> Finding {
    let PackageDecision {
        package,
        tree_version,
        layer_version,
        ..
    } = &decision;
    let (verb, hint) = match decision.winner {
        Winner::Tree => (
            "gives way to",
            format!(
                "lock '{layer}' again on these lower layers, so that it uses their '{package}'"
            ),
        ),
        Winner::Layer => (
            "replaces",
            format!("update '{package}' in the lower layer that brings it, or remove it there"),
        ),
    };
    Finding {
        id: FindingKind::Package.at(package),
        severity: Severity::Note,
        layer: layer.to_owned(),
        reason: format!(
            "{package} {layer_version} of layer '{layer}' {verb} {tree_version}, which is below it"
        ),
        package: Some(decision.package),
        path: None,
        hint,
        waived: None,
    }
}

/// Makes findings of conflicts; `whose` names the lower layer that a path comes from.
fn conflict_findings<'m>(
    member: &Member,
    severity: Severity,
    applied: ApplyReport,
    tree: &Tree,
    whose: &dyn Fn(&RelPath) -> Option<&'m str>,
) -> Vec<Finding> {
    let layer = &member.layer.name;
    let finding = |conflict: Conflict| {
        let place = conflict
            .record
            .as_ref()
            .map_or(String::new(), |record| format!("#{record}"));
        let line = conflict
            .line
            .map_or(String::new(), |line| format!(", line {line}"));
        let sibling = whose(&conflict.path).filter(|other| !member.stands_on(other));
        let mut finding = Finding {
            id: FindingKind::Conflict.at(format_args!("{}{place}", conflict.path)),
            severity,
            layer: layer.clone(),
            package: None,
            reason: format!("'{}'{line}: {}", conflict.path, conflict.reason),
            hint: match sibling {
                Some(other) if other != layer => stand_on(layer, other),
                _ => format!(
                    "build '{layer}' on the layer that it conflicts with, so that it sees its files"
                ),
            },
            path: Some(conflict.path.clone()),
            waived: None,
        };
        if let Some(missing) = &conflict.missing {
            places::ask(&mut finding, member, missing, tree);
        }
        finding
    };
    applied.conflicts.into_iter().map(finding).collect()
}

/// Reports a program of the image that fails on today's layers. A failure does not tell whose fault
/// it is, so each layer that may lack something gets a finding.
fn generate_findings(error: &GenerateError, members: &[Member]) -> Vec<Finding> {
    let moved = members.iter().filter(|member| member.is_moved(members));
    let finding = |member: &Member| {
        let (layer, generator) = (&member.layer.name, &error.generator);
        Finding {
            id: FindingKind::Derive.at(format_args!("{layer}:{generator}")),
            severity: judge::severity(member, members),
            layer: layer.clone(),
            package: None,
            path: None,
            reason: format!("'{generator}' failed in this tree: {}", error.source),
            hint: format!("rebuild '{layer}' on the layers below it"),
            waived: None,
        }
    };
    moved.map(finding).collect()
}

fn check_owners(
    composition: &mut Composition,
    members: &[Member],
    transaction: &Transaction<'_>,
) -> Result<(), ComposeError> {
    let ids = composition.ids(transaction)?;
    let known = |owner: &crate::tree::Owner, is_user: bool| {
        if is_user {
            ids.uid(owner).is_some()
        } else {
            ids.gid(owner).is_some()
        }
    };
    let origin = &composition.origin;
    let layer_of = |path: &RelPath| {
        origin
            .get(path)
            .and_then(|number| members.get(*number))
            .map_or(String::new(), |member| member.layer.name.clone())
    };
    let mut findings = check::owners(&composition.tree, &known, &layer_of);
    for finding in &mut findings {
        if let Some(member) = members.iter().find(|m| m.layer.name == finding.layer) {
            finding.severity = judge::severity(member, members);
        }
    }
    composition.findings.extend(findings);
    Ok(())
}
