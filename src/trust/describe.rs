//! What a change means, in sentences: nobody should have to sign what they cannot read.

use std::collections::{BTreeMap, BTreeSet};

use tough::schema::{Root, Targets};

use super::names::TOP_ROLES;
use super::pending::Context;
use super::published::{Published, read_targets};
use super::signing::{keys_of, read};
use super::verify::expiry;
use super::{RoleKeys, TrustError, layout};
use crate::time::rfc3339;

/// Compares changed roles with what is published.
pub(super) fn changes(
    roles: &BTreeMap<String, String>,
    published: Option<&Published>,
) -> Result<Vec<String>, TrustError> {
    let root = published.map(|base| &base.root.signed);
    compare(roles, root, |role| match role {
        "targets" => published.map(|base| &base.targets.signed),
        _ => published.and_then(|base| Some(&base.roles.get(role)?.signed)),
    })
}

/// Compares changed roles with root and targets as the change remembers them; delegated roles are shown whole.
pub(super) fn changes_alone(
    roles: &BTreeMap<String, String>,
    context: Option<&Context>,
) -> Result<Vec<String>, TrustError> {
    let (root, targets) = match context {
        Some(context) => (
            Some(read::<Root>("root", &context.root)?.signed),
            Some(read_targets("targets", &context.targets)?.signed),
        ),
        None => (None, None),
    };
    compare(roles, root.as_ref(), |role| {
        targets.as_ref().filter(|_| role == "targets")
    })
}

fn compare<'p>(
    roles: &BTreeMap<String, String>,
    old_root: Option<&Root>,
    old_targets: impl Fn(&str) -> Option<&'p Targets>,
) -> Result<Vec<String>, TrustError> {
    let mut lines = Vec::new();
    for (role, text) in roles {
        if role == "root" {
            let new = read::<Root>(role, text)?.signed;
            lines.push(heading(role, new.version.get(), expiry(&new)));
            for top in TOP_ROLES {
                let old = old_root.and_then(|root| keys_in(root, top));
                key_changes(top, old, keys_in(&new, top), &mut lines);
            }
            continue;
        }
        let new = read_targets(role, text)?.signed;
        let old = old_targets(role);
        lines.push(heading(role, new.version.get(), expiry(&new)));
        delegation_changes(old, &new, &mut lines);
        document_changes(old, &new, &mut lines);
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
            "  key {} may sign for role '{role}' no more",
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

fn document_changes(old: Option<&Targets>, new: &Targets, lines: &mut Vec<String>) {
    let mut names: BTreeSet<_> = new.targets.keys().collect();
    names.extend(old.iter().flat_map(|old| old.targets.keys()));
    for name in names {
        let before = old.and_then(|old| old.targets.get(name));
        let verb = match (before, new.targets.get(name)) {
            (None, Some(_)) => "is added",
            (Some(_), None) => "goes",
            (before, after) if before != after => "changes",
            _ => continue,
        };
        lines.push(format!("  '{}' {verb}", name.raw().escape_debug()));
    }
}
