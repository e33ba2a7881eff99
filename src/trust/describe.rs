//! What a change means, in sentences: nobody should sign what they cannot read.

use std::collections::{BTreeMap, BTreeSet};

use tough::TargetName;
use tough::schema::{Root, Target, Targets};

use super::names::{Document, TOP_ROLES};
use super::published::{PublishedHead, read_targets};
use super::signing::{hashes, keys_of, read};
use super::validity::{DAY, validity_in};
use super::verify::expiry;
use super::{RoleKeys, TrustError, layout};
use crate::format::from_canonical_json;
use crate::format::release::{Channel, Downgrade, Release, Rollout};
use crate::time::rfc3339;

/// What is known of the published metadata.
#[derive(Default)]
pub(super) struct KnownMetadata<'p> {
    root: Option<&'p Root>,
    /// Targets and delegated roles by name.
    roles: BTreeMap<&'p str, &'p Targets>,
    /// The texts of documents by target name.
    documents: Option<&'p BTreeMap<String, String>>,
}

impl<'p> KnownMetadata<'p> {
    pub(super) fn of(base: &'p PublishedHead) -> Self {
        let roles = base.roles.iter();
        let roles = roles.map(|(name, role)| (name.as_str(), &role.signed));
        Self {
            root: Some(&base.root.signed),
            roles: roles.chain([("targets", &base.targets.signed)]).collect(),
            documents: Some(&base.documents),
        }
    }

    /// Without delegated roles: those are shown whole.
    pub(super) fn alone(root: &'p Root, targets: &'p Targets) -> Self {
        Self {
            root: Some(root),
            roles: BTreeMap::from([("targets", targets)]),
            documents: None,
        }
    }

    /// Says whether a role signs exactly that already, under that name.
    fn signs(&self, name: &TargetName, target: &Target) -> bool {
        let mut roles = self.roles.values();
        roles.any(|role| role.targets.get(name) == Some(target))
    }
}

/// Compares changed roles, and the new documents that they sign, with what is known.
pub(super) fn changes(
    roles: &BTreeMap<String, String>,
    documents: &BTreeMap<String, String>,
    known: &KnownMetadata<'_>,
) -> Result<Vec<String>, TrustError> {
    let mut lines = Vec::new();
    for (role, text) in roles {
        if role == "root" {
            let new = read::<Root>(role, text)?.signed;
            lines.push(heading(role, new.version.get(), expiry(&new)));
            for top in TOP_ROLES {
                let old = known.root.and_then(|root| keys_in(root, top));
                key_changes(top, old, keys_in(&new, top), &mut lines);
            }
            root_changes(known.root, &new, &mut lines);
            continue;
        }
        let new = read_targets(role, text)?.signed;
        let old = known.roles.get(role.as_str()).copied();
        lines.push(heading(role, new.version.get(), expiry(&new)));
        delegation_changes(old, &new, &mut lines);
        document_changes(old, &new, documents, known, &mut lines);
    }
    Ok(lines)
}

fn heading(role: &str, version: u64, expires: i64) -> String {
    format!(
        "role '{}' becomes version {version}, good until {}",
        role.escape_debug(),
        rfc3339(expires)
    )
}

fn keys_in(root: &Root, role: &str) -> Option<RoleKeys> {
    let none = Targets::new(String::new(), root.version, root.expires);
    keys_of(root, &none, role)
}

/// What a root says beside keys.
fn root_changes(old: Option<&Root>, new: &Root, lines: &mut Vec<String>) {
    for role in TOP_ROLES.into_iter().chain(["delegated"]) {
        let days = validity_in(new, role) / DAY;
        if old.is_none_or(|old| validity_in(old, role) / DAY != days) {
            let roles = match role {
                "delegated" => "delegated roles".to_owned(),
                role => format!("role '{role}'"),
            };
            lines.push(format!(
                "  signatures of {roles} are good for {days} day(s) from when they are made"
            ));
        }
    }
    let by_version = |root: &Root| root.consistent_snapshot;
    if by_version(new) != old.is_some_and(by_version) {
        lines.push("  machines look for files under other names".to_owned());
    }
}

fn key_changes(role: &str, old: Option<RoleKeys>, new: Option<RoleKeys>, lines: &mut Vec<String>) {
    if old == new {
        return;
    }
    let role = role.escape_debug();
    let Some(new) = new else {
        lines.push(format!("  role '{role}' goes"));
        return;
    };
    let old_keys: BTreeSet<_> = old.iter().flat_map(|old| &old.keys).collect();
    let new_keys: BTreeSet<_> = new.keys.iter().collect();
    for key in new_keys.difference(&old_keys) {
        lines.push(format!("  key {} may sign for role '{role}'", key.short()));
    }
    for key in old_keys.difference(&new_keys) {
        lines.push(format!(
            "  key {} may no longer sign for role '{role}'",
            key.short()
        ));
    }
    let threshold = new.threshold;
    if old.is_none_or(|old| old.threshold != threshold) {
        lines.push(format!("  role '{role}' needs {threshold} signature(s)"));
    }
}

fn delegation_changes(old: Option<&Targets>, new: &Targets, lines: &mut Vec<String>) {
    let names = |targets: &Targets| -> BTreeSet<String> {
        let roles = layout::roles(targets).iter();
        roles.map(|role| role.name.clone()).collect()
    };
    let mut all = names(new);
    all.extend(old.map(names).unwrap_or_default());
    for name in all {
        let keys = |targets: &Targets| {
            let role = layout::roles(targets)
                .iter()
                .find(|role| role.name == name)?;
            Some(RoleKeys {
                keys: role.keyids.iter().map(|id| super::KeyId::of(id)).collect(),
                threshold: role.threshold.get(),
            })
        };
        key_changes(&name, old.and_then(keys), keys(new), lines);
    }
}

fn document_changes(
    old: Option<&Targets>,
    new: &Targets,
    documents: &BTreeMap<String, String>,
    known: &KnownMetadata<'_>,
    lines: &mut Vec<String>,
) {
    let mut names: BTreeSet<_> = new.targets.keys().collect();
    names.extend(old.iter().flat_map(|old| old.targets.keys()));
    for name in names {
        let before = old.and_then(|old| old.targets.get(name));
        let after = new.targets.get(name);
        let verb = match (before, after) {
            (None, Some(after)) if known.signs(name, after) => "comes from another role, unchanged",
            (None, Some(_)) => "is added",
            (Some(_), None) => "goes",
            (before, after) if before != after => "changes",
            _ => continue,
        };
        let name = name.raw();
        lines.push(format!("  '{}' {verb}", name.escape_debug()));
        if let Some(target) = after {
            let published = known.documents.and_then(|documents| documents.get(name));
            let mut texts = documents.get(name).into_iter().chain(published);
            // What is signed is the digest: another text says nothing.
            let text = texts.find(|text| hashes(text.as_bytes()) == target.hashes);
            lines.push(format!("    {}", facts(name, text, target)));
        }
    }
}

/// Says what matters of a document.
fn facts(name: &str, text: Option<&String>, target: &Target) -> String {
    let Some(text) = text else {
        let digest: String = target
            .hashes
            .sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        return format!("SHA-256 {digest}; what it says is not in this file");
    };
    let said = match Document::parse(name) {
        Some(Document::Channel(_)) => {
            from_canonical_json("channel", text.as_bytes()).map(channel_facts)
        }
        Some(Document::Release(..)) => {
            from_canonical_json("release", text.as_bytes()).map(release_facts)
        }
        None => return "it is not a document that machines read".to_owned(),
    };
    said.unwrap_or_else(|error| format!("machines will not read it: {error}"))
}

fn release_facts(release: Release) -> String {
    format!(
        "version {}, release {}",
        release.version.escape_debug(),
        release.serial
    )
}

fn channel_facts(channel: Channel) -> String {
    let Rollout {
        percent,
        not_before,
        others,
    } = channel.rollout;
    let mut text = format!(
        "release {}, {}, for {percent} % of the machines",
        channel.serial, channel.release
    );
    if let Some(others) = others {
        text.push_str(&format!(", {others} for the others"));
    }
    if not_before != 0 {
        text.push_str(&format!(", not before {}", rfc3339(not_before)));
    }
    if let Some(Downgrade { from, reason }) = channel.downgrade {
        text.push_str(&format!(
            "; machines go back to it from release {from} and lower: '{}'",
            reason.escape_debug()
        ));
    }
    text
}
