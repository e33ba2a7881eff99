//! Changes to what is signed: documents, roles and keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use serde_json::Value;
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{
    DelegatedRole, Delegations, PathPattern, PathSet, RoleKeys as TufKeys, Root, Signed, Target,
    Targets,
};

use super::context::Context;
use super::names::{Document, TOP_ROLES, paths_of, role_of};
use super::pending::{Pending, RUN_UP, run_up};
use super::published::Published;
use super::signing::{SPEC_VERSION, hashes, internal, keys_of, moment, version, write};
use super::{KeyId, KeyStore, PublicKey, RoleKeys, TrustError, Verified, layout};
use crate::format::release::Kind;

/// How long signatures of a role are good, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Of the root.
    pub root: i64,
    /// Of the targets role.
    pub targets: i64,
    /// Of delegated roles that say nothing else.
    pub delegated: i64,
    /// Of the snapshot.
    pub snapshot: i64,
    /// Of the timestamp: how long a machine can be kept from seeing anything new.
    pub timestamp: i64,
}

const DAY: i64 = 86_400;

impl Default for Validity {
    fn default() -> Self {
        Self {
            root: 730 * DAY,
            targets: 365 * DAY,
            delegated: 365 * DAY,
            snapshot: 30 * DAY,
            timestamp: 7 * DAY,
        }
    }
}

/// The keys of a new remote.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Keys and threshold of each of the roles of [`TOP_ROLES`].
    pub keys: BTreeMap<&'static str, (Vec<PublicKey>, u64)>,
    /// How long signatures are good.
    pub validity: Validity,
}

/// What becomes of the documents of a name that loses its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// The targets role signs them from now on.
    Keep,
    /// They go.
    Drop,
}

/// A change in the making; nothing counts before it is signed and the head is replaced.
#[derive(Debug)]
pub struct Editor {
    base: Option<Published>,
    root: Root,
    targets: Targets,
    roles: BTreeMap<String, Targets>,
    documents: BTreeMap<String, String>,
    changed: BTreeSet<String>,
    now: i64,
}

const VALIDITY: &str = "validity_seconds";

impl Editor {
    /// Starts from what is published.
    pub fn open(verified: &Verified, now: i64) -> Result<Self, TrustError> {
        let base = Published::of(verified)?;
        let roles = base.roles.iter();
        Ok(Self {
            root: base.root.signed.clone(),
            targets: base.targets.signed.clone(),
            roles: roles
                .map(|(name, role)| (name.clone(), role.signed.clone()))
                .collect(),
            documents: BTreeMap::new(),
            changed: BTreeSet::new(),
            base: Some(base),
            now,
        })
    }

    /// Starts a new remote.
    pub fn create(options: &InitOptions, now: i64) -> Result<Self, TrustError> {
        let validity = &options.validity;
        let spans = [
            ("root", validity.root),
            ("targets", validity.targets),
            ("delegated", validity.delegated),
            ("snapshot", validity.snapshot),
            ("timestamp", validity.timestamp),
        ];
        if let Some((role, _)) = spans.iter().find(|(_, span)| *span <= 0) {
            return Err(TrustError::Refused(format!(
                "signatures of role '{role}' must be good for some time"
            )));
        }
        let spans = spans.map(|(role, span)| (role.to_owned(), Value::from(span)));
        let first = version(1)?;
        let mut editor = Self {
            base: None,
            root: Root {
                spec_version: SPEC_VERSION.to_owned(),
                // Names in a head are stable, and it is replaced as a whole.
                consistent_snapshot: false,
                version: first,
                expires: moment(now)?,
                keys: HashMap::new(),
                roles: HashMap::new(),
                _extra: HashMap::from([(
                    VALIDITY.to_owned(),
                    Value::Object(spans.into_iter().collect()),
                )]),
            },
            targets: Targets::new(SPEC_VERSION.to_owned(), first, moment(now)?),
            roles: BTreeMap::new(),
            documents: BTreeMap::new(),
            changed: BTreeSet::from(["root".to_owned(), "targets".to_owned()]),
            now,
        };
        for role in TOP_ROLES {
            let Some((keys, threshold)) = options.keys.get(role) else {
                return Err(TrustError::Refused(format!("role '{role}' has no keys")));
            };
            editor.set_keys(role, keys, *threshold)?;
        }
        Ok(editor)
    }

    /// Puts a document under a target name; the same bytes again change nothing.
    pub fn put(&mut self, target: &str, bytes: &[u8]) -> Result<(), TrustError> {
        let name = target_name(target)?;
        let text = std::str::from_utf8(bytes).map_err(internal)?;
        if bytes.len() as u64 > layout::MAX_DOCUMENT_BYTES {
            return Err(TrustError::TooLarge {
                what: target.to_owned(),
                limit: layout::MAX_DOCUMENT_BYTES,
            });
        }
        let role = self.signer(target)?;
        let new = Target {
            length: bytes.len() as u64,
            hashes: hashes(bytes),
            custom: HashMap::new(),
            _extra: HashMap::new(),
        };
        let targets = self.role_mut(&role)?;
        if targets.targets.get(&name) != Some(&new) {
            targets.targets.insert(name, new);
            self.changed.insert(role);
        }
        self.documents.insert(target.to_owned(), text.to_owned());
        Ok(())
    }

    /// Takes a document away; says whether it was there.
    pub fn remove(&mut self, target: &str) -> Result<bool, TrustError> {
        let name = target_name(target)?;
        let role = self.signer(target)?;
        let was_there = self.role_mut(&role)?.targets.remove(&name).is_some();
        self.documents.remove(target);
        if was_there {
            self.changed.insert(role);
        }
        Ok(was_there)
    }

    /// Returns the roles that have to be signed anew, beside snapshot and timestamp.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        self.changed.iter().map(String::as_str)
    }

    /// Returns the keys of a role as they are now.
    pub fn keys_of(&self, role: &str) -> Result<RoleKeys, TrustError> {
        keys_of(&self.root, &self.targets, role).ok_or_else(|| no_role(role))
    }

    /// Returns the public keys of a role as they are now, for [`Editor::set_keys`] with some more or fewer.
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

    /// Gives a role other keys: who had one of the old ones cannot sign any more. The role is signed anew.
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

    /// Gives a layer or image a role of its own: only these keys sign its documents from now on. What the targets role signed
    /// of it goes over.
    pub fn delegate(
        &mut self,
        kind: Kind,
        name: &str,
        keys: &[PublicKey],
        threshold: u64,
        validity: Option<i64>,
    ) -> Result<(), TrustError> {
        let role = role_of(kind, name);
        if super::names::subject_of(&role).is_none() {
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
        kind: Kind,
        name: &str,
        documents: Documents,
    ) -> Result<(), TrustError> {
        let role = role_of(kind, name);
        let Some(targets) = self.roles.remove(&role) else {
            return Err(no_role(&role));
        };
        if let Some(delegations) = &mut self.targets.delegations {
            delegations.roles.retain(|d| d.name != role);
            drop_unused(delegations);
        }
        if documents == Documents::Keep {
            self.targets.targets.extend(targets.targets);
        }
        self.changed.remove(&role);
        self.changed.insert("targets".to_owned());
        Ok(())
    }

    /// Takes a key out of every role, e.g. since it is in wrong hands; returns those roles. What it may have signed is
    /// signed anew by the others.
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

    /// Has a role signed anew without another change, so that it expires later. Snapshot and timestamp always are.
    pub fn renew(&mut self, role: &str) -> Result<(), TrustError> {
        self.keys_of(role)?;
        if role != "snapshot" && role != "timestamp" {
            self.changed.insert(role.to_owned());
        }
        Ok(())
    }

    /// Signs with the keys at hand and returns the new head; all of them must be at hand.
    pub fn sign(self, store: &KeyStore) -> Result<Vec<u8>, TrustError> {
        let now = self.now;
        let base = self.base.clone();
        self.sign_partial(store)?.finish_on(base, store, now)
    }

    /// Signs with the keys at hand, for others to add theirs.
    pub fn sign_partial(mut self, store: &KeyStore) -> Result<Pending, TrustError> {
        let mut texts = BTreeMap::new();
        for role in std::mem::take(&mut self.changed) {
            let base = self.base.as_ref();
            let number = base.and_then(|base| base.version(&role, &self.root));
            let number = number.unwrap_or(0);
            let is_new = base.is_some_and(|base| {
                !TOP_ROLES.contains(&role.as_str()) && !base.roles.contains_key(&role)
            });
            if is_new && number >= RUN_UP {
                return Err(run_up(&role, number));
            }
            let number = version(number.checked_add(1).ok_or_else(|| {
                TrustError::Refused(format!("role '{role}' has no higher version"))
            })?)?;
            let until = self.now.saturating_add(self.validity(&role));
            let text = if role == "root" {
                self.root.version = number;
                self.root.expires = moment(until)?;
                write(&unsigned(self.root.clone()))?
            } else {
                let targets = self.role_mut(&role)?;
                targets.version = number;
                targets.expires = moment(until)?;
                write(&unsigned(targets.clone()))?
            };
            texts.insert(role, text);
        }
        let context = self.base.as_ref().map(Context::of).transpose()?;
        let mut pending = Pending::new(texts, self.documents, context);
        pending.add_signatures(store)?;
        Ok(pending)
    }

    fn validity(&self, role: &str) -> i64 {
        let own = self
            .roles
            .get(role)
            .and_then(|targets| targets._extra.get(VALIDITY));
        own.and_then(Value::as_i64)
            .unwrap_or_else(|| validity_in(&self.root, role))
    }

    /// Returns the role that signs a document.
    fn signer(&self, target: &str) -> Result<String, TrustError> {
        let document = Document::parse(target).ok_or_else(|| {
            TrustError::Refused(format!(
                "'{}' is no name of a document",
                target.escape_debug()
            ))
        })?;
        let role = document.role();
        Ok(if self.roles.contains_key(&role) {
            role
        } else {
            "targets".to_owned()
        })
    }

    fn role_mut(&mut self, role: &str) -> Result<&mut Targets, TrustError> {
        match role {
            "targets" => Ok(&mut self.targets),
            _ => self.roles.get_mut(role).ok_or_else(|| no_role(role)),
        }
    }
}

/// Makes a new remote: returns its head, and the `root.json` that machines have to be given.
pub fn init(
    options: &InitOptions,
    store: &KeyStore,
    now: i64,
) -> Result<(Vec<u8>, Vec<u8>), TrustError> {
    let pending = Editor::create(options, now)?.sign_partial(store)?;
    let root = pending.text("root").unwrap_or_default().as_bytes().to_vec();
    Ok((pending.finish(None, store, now)?, root))
}

/// Returns how long signatures of a role are good by what a root says, in seconds.
pub(super) fn validity_in(root: &Root, role: &str) -> i64 {
    let role = if TOP_ROLES.contains(&role) {
        role
    } else {
        "delegated"
    };
    let default = Validity::default();
    let fallback = match role {
        "root" => default.root,
        "targets" => default.targets,
        "snapshot" => default.snapshot,
        "timestamp" => default.timestamp,
        _ => default.delegated,
    };
    let said = root
        ._extra
        .get(VALIDITY)
        .and_then(|spans| spans.get(role)?.as_i64());
    // Dates beyond the year 9999 have no text form.
    said.filter(|span| (1..=100 * 365 * DAY).contains(span))
        .unwrap_or(fallback)
}

fn unsigned<T>(signed: T) -> Signed<T> {
    Signed {
        signed,
        signatures: Vec::new(),
    }
}

fn target_name(target: &str) -> Result<TargetName, TrustError> {
    TargetName::new(target).map_err(internal)
}

fn role_of_target(target: &TargetName) -> Option<String> {
    Document::parse(target.raw()).map(|document| document.role())
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

fn no_role(role: &str) -> TrustError {
    TrustError::Refused(format!("the remote has no role '{}'", role.escape_debug()))
}
