//! Who may sign what: keys, thresholds, delegation and revocation.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

use serde_json::Value;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{
    DelegatedRole, Delegations, PathPattern, PathSet, RoleKeys as TufKeys, Targets,
};

use super::super::names::{TOP_ROLES, paths_of, role_of, subject_of};
use super::super::signing::{SPEC_VERSION, internal, keys_of, moment, version};
use super::super::validity::VALIDITY;
use super::super::{KeyId, PublicKey, RoleKeys, TrustError};
use super::{DocumentPolicy, Editor, no_role, role_of_target};
use crate::format::release::ReleaseKind;

impl Editor {
    /// Returns the keys of a role as they are now.
    pub fn keys_of(&self, role: &str) -> Result<RoleKeys, TrustError> {
        keys_of(&self.root, &self.targets, role).ok_or_else(|| no_role(role))
    }

    /// Returns the public keys of a role as they are now, for [`Editor::set_keys`] with some more
    /// or fewer.
    pub fn public_keys_of(&self, role: &str) -> Result<Vec<PublicKey>, TrustError> {
        let known = if TOP_ROLES.contains(&role) {
            Some(&self.root.keys)
        } else {
            self.targets.delegations.as_ref().map(|all| &all.keys)
        };
        self.keys_of(role)?
            .keys
            .iter()
            .map(|id| {
                let id = id.decoded()?;
                let key = known.and_then(|keys| keys.get(&id));
                PublicKey::of(key.ok_or_else(|| internal("a key of a role is missing"))?)
            })
            .collect()
    }

    /// Gives a role other keys: who had one of the old ones cannot sign any more. The role is
    /// signed anew.
    pub fn set_keys(
        &mut self,
        role: &str,
        keys: &[PublicKey],
        threshold: u64,
    ) -> Result<(), TrustError> {
        let (ids, threshold) = checked(role, keys, threshold)?;
        let table = keys
            .iter()
            .map(|key| Ok((key.id().decoded()?, key.key().clone())));
        let table: Vec<(Decoded<Hex>, Key)> = table.collect::<Result<_, TrustError>>()?;
        if TOP_ROLES.contains(&role) {
            self.root.keys.extend(table);
            let kind = role.parse().map_err(|_| no_role(role))?;
            let new = TufKeys {
                keyids: ids,
                threshold,
                _extra: HashMap::new(),
            };
            self.root.roles.insert(kind, new);
            let used: BTreeSet<Decoded<Hex>> = self
                .root
                .roles
                .values()
                .flat_map(|role| role.keyids.iter().cloned())
                .collect();
            self.root.keys.retain(|id, _| used.contains(id));
            self.changed.insert("root".to_owned());
            if role == "targets" {
                self.changed.insert(role.to_owned());
            }
            return Ok(());
        }
        let delegations = self
            .targets
            .delegations
            .get_or_insert_with(Delegations::new);
        let delegated = delegations.roles.iter_mut().find(|d| d.name == role);
        let delegated = delegated.ok_or_else(|| no_role(role))?;
        delegated.keyids = ids;
        delegated.threshold = threshold;
        delegations.keys.extend(table);
        drop_unused(delegations);
        self.changed.insert("targets".to_owned());
        self.changed.insert(role.to_owned());
        Ok(())
    }

    /// Gives a layer or image a role of its own: only these keys sign its documents from now on.
    /// What the targets role signed of it goes over.
    pub fn delegate(
        &mut self,
        kind: ReleaseKind,
        name: &str,
        keys: &[PublicKey],
        threshold: u64,
        validity: Option<i64>,
    ) -> Result<(), TrustError> {
        let role = role_of(kind, name);
        if subject_of(&role).is_none() {
            return Err(TrustError::Refused(format!(
                "'{}' cannot be the name of a {}",
                name.escape_debug(),
                kind.word()
            )));
        }
        if validity.is_some_and(|span| span <= 0) {
            return Err(TrustError::Refused(format!(
                "signatures of role '{role}' must be good for some time"
            )));
        }
        // Before anything changes.
        checked(&role, keys, threshold)?;
        if !self.roles.contains_key(&role) {
            let mut targets = Targets::new(SPEC_VERSION.to_owned(), version(1)?, moment(self.now)?);
            targets.delegations = None;
            let own = self.targets.targets.iter();
            let own = own.filter(|(target, _)| role_of_target(target) == Some(role.clone()));
            targets.targets = own
                .map(|(name, target)| (name.clone(), target.clone()))
                .collect();
            self.targets
                .targets
                .retain(|target, _| !targets.targets.contains_key(target));
            let paths = paths_of(kind, name).map(PathPattern::new);
            let paths = paths
                .into_iter()
                .collect::<Result<_, _>>()
                .map_err(internal)?;
            let delegations = self
                .targets
                .delegations
                .get_or_insert_with(Delegations::new);
            delegations.roles.push(DelegatedRole {
                name: role.clone(),
                keyids: Vec::new(),
                threshold: NonZeroU64::MIN,
                paths: PathSet::Paths(paths),
                terminating: true,
                targets: None,
            });
            self.roles.insert(role.clone(), targets);
        }
        if let (Some(span), Some(targets)) = (validity, self.roles.get_mut(&role)) {
            targets
                ._extra
                .insert(VALIDITY.to_owned(), Value::from(span));
        }
        self.set_keys(&role, keys, threshold)
    }

    /// Takes a layer's or image's role away.
    pub fn revoke(
        &mut self,
        kind: ReleaseKind,
        name: &str,
        documents: DocumentPolicy,
    ) -> Result<(), TrustError> {
        let role = role_of(kind, name);
        let Some(targets) = self.roles.remove(&role) else {
            return Err(no_role(&role));
        };
        if let Some(delegations) = &mut self.targets.delegations {
            delegations.roles.retain(|d| d.name != role);
            drop_unused(delegations);
        }
        if documents == DocumentPolicy::Keep {
            self.targets.targets.extend(targets.targets);
        }
        self.changed.remove(&role);
        self.changed.insert("targets".to_owned());
        Ok(())
    }

    /// Takes a key out of every role, e.g. since it is in the wrong hands; returns those roles.
    /// What it may have signed is signed anew by the others.
    pub fn revoke_key(&mut self, id: &KeyId) -> Result<Vec<String>, TrustError> {
        let names = self.roles.keys().map(String::as_str).chain(TOP_ROLES);
        let mut with = Vec::new();
        for role in names {
            let keys = self.keys_of(role)?;
            if !keys.keys.contains(id) {
                continue;
            }
            let rest = keys.keys.len() as u64 - 1;
            if rest < keys.threshold {
                return Err(TrustError::Refused(format!(
                    "without key {} role '{role}' has {rest} key(s) and needs {}: give it another key first, with `layerset trust rotate REMOTE {role}`",
                    id.short(),
                    keys.threshold
                )));
            }
            with.push((role.to_owned(), keys.threshold));
        }
        if with.is_empty() {
            return Err(TrustError::Refused(format!(
                "no role has a key {}",
                id.short()
            )));
        }
        for (role, threshold) in &with {
            let mut keys = self.public_keys_of(role)?;
            keys.retain(|key| key.id() != id);
            self.set_keys(role, &keys, *threshold)?;
        }
        Ok(with.into_iter().map(|(role, _)| role).collect())
    }
}

fn checked(
    role: &str,
    keys: &[PublicKey],
    threshold: u64,
) -> Result<(Vec<Decoded<Hex>>, NonZeroU64), TrustError> {
    let ids: BTreeSet<&KeyId> = keys.iter().map(PublicKey::id).collect();
    if ids.len() != keys.len() {
        return Err(TrustError::Refused(format!(
            "role '{role}' would have a key twice"
        )));
    }
    let number = NonZeroU64::new(threshold).filter(|number| number.get() <= keys.len() as u64);
    let number = number.ok_or_else(|| {
        TrustError::Refused(format!(
            "role '{role}' would have {} key(s) and need {threshold}",
            keys.len()
        ))
    })?;
    let ids = ids
        .into_iter()
        .map(KeyId::decoded)
        .collect::<Result<_, _>>()?;
    Ok((ids, number))
}

fn drop_unused(delegations: &mut Delegations) {
    let used: BTreeSet<Decoded<Hex>> = delegations
        .roles
        .iter()
        .flat_map(|role| role.keyids.iter().cloned())
        .collect();
    delegations.keys.retain(|id, _| used.contains(id));
}
