//! What a head says, parsed: the base of every change.

use std::collections::{BTreeMap, HashMap};

use tough::schema::{Metafile, RoleType, Root, Signed, Snapshot, Targets, Timestamp};

use super::names::file_of;
use super::signing::{read, write};
use super::{TrustError, Verified, layout};

/// The metadata and documents of a head.
#[derive(Debug, Clone)]
pub(super) struct PublishedHead {
    /// The texts of all roots, by file name.
    pub(super) roots: BTreeMap<String, String>,
    pub(super) root: Signed<Root>,
    pub(super) targets: Signed<Targets>,
    pub(super) roles: BTreeMap<String, Signed<Targets>>,
    pub(super) snapshot: Signed<Snapshot>,
    pub(super) timestamp: Signed<Timestamp>,
    pub(super) documents: BTreeMap<String, String>,
}

impl PublishedHead {
    pub(super) fn of(verified: &Verified) -> Result<Self, TrustError> {
        let contents = verified.contents();
        let repository = verified.repository();
        let root = repository.root().clone();
        let mut roots = BTreeMap::new();
        for number in 1..root.signed.version.get() {
            let name = format!("{number}.root.json");
            // Machines that were given an older root need those in between.
            if let Some(text) = contents.metadata.get(&name) {
                roots.insert(name, text.clone());
            }
        }
        roots.insert(root_file(&root), write(&root)?);
        let mut targets = repository.targets().clone();
        let mut roles = BTreeMap::new();
        for role in layout::roles_mut(&mut targets.signed) {
            if let Some(signed) = role.targets.take() {
                roles.insert(role.name.clone(), signed);
            }
        }
        Ok(Self {
            roots,
            root,
            targets,
            roles,
            snapshot: repository.snapshot().clone(),
            timestamp: repository.timestamp().clone(),
            documents: contents.targets.clone(),
        })
    }

    /// Returns the version of a role that is published; also of one that was revoked, unless `root`
    /// makes machines forget it.
    pub(super) fn version(&self, role: &str, root: &Root) -> Option<u64> {
        match role {
            "root" => return Some(self.root.signed.version.get()),
            "targets" => return Some(self.targets.signed.version.get()),
            _ => {}
        }
        if let Some(signed) = self.roles.get(role) {
            return Some(signed.signed.version.get());
        }
        let listed = self.listed(root);
        listed.get(&file_of(role)).map(|meta| meta.version.get())
    }

    /// Returns what a snapshot by the keys of `root` has to list because an earlier one did:
    /// machines refuse one that lacks a role, until the keys of snapshot or timestamp are others.
    /// What else whoever had the keys wrote there goes.
    pub(super) fn listed(&self, root: &Root) -> HashMap<String, Metafile> {
        if rotates_online_keys(&self.root.signed, root) {
            return HashMap::new();
        }
        let meta = self.snapshot.signed.meta.iter();
        let bare = meta.map(|(name, meta)| {
            let bare = Metafile {
                length: None,
                hashes: None,
                version: meta.version,
                _extra: HashMap::new(),
            };
            (name.clone(), bare)
        });
        bare.collect()
    }

    /// Returns a role's text as it is published.
    pub(super) fn text(&self, role: &str) -> Result<Option<String>, TrustError> {
        match role {
            "root" => write(&self.root).map(Some),
            "targets" => write(&self.targets).map(Some),
            _ => self.roles.get(role).map(write).transpose(),
        }
    }
}

/// Returns the name of a root's file.
pub(super) fn root_file(root: &Signed<Root>) -> String {
    format!("{}.root.json", root.signed.version)
}

/// Says whether the keys of the timestamp or the snapshot differ, as tough compares them: then
/// machines forget the versions that they saw.
pub(super) fn rotates_online_keys(old: &Root, new: &Root) -> bool {
    [RoleType::Timestamp, RoleType::Snapshot]
        .into_iter()
        .any(|role| old.keys(role).ne(new.keys(role)))
}

/// Reads a role of a pending change.
pub(super) fn read_targets(role: &str, text: &str) -> Result<Signed<Targets>, TrustError> {
    read(role, text)
}
