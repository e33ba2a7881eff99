//! Changes to what is signed: documents, roles and keys.

mod roles;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use tough::TargetName;
use tough::schema::{Root, Signed, Target, Targets};

use super::context::PendingContext;
use super::names::{Document, TOP_ROLES};
use super::pending::{PendingChange, RUN_UP, run_up};
use super::published::PublishedHead;
use super::signing::{SPEC_VERSION, hashes, internal, moment, version, write};
use super::validity::{VALIDITY, Validity, validity_in};
use super::{KeyStore, PublicKey, TrustError, Verified, layout};

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
pub enum DocumentPolicy {
    /// The targets role signs them from now on.
    Keep,
    /// They are removed.
    Drop,
}

/// A change that is being made; it takes effect when it is signed and the head is replaced.
#[derive(Debug)]
pub struct Editor {
    base: Option<PublishedHead>,
    root: Root,
    targets: Targets,
    roles: BTreeMap<String, Targets>,
    documents: BTreeMap<String, String>,
    changed: BTreeSet<String>,
    now: i64,
}

impl Editor {
    /// Starts from what is published.
    pub fn open(verified: &Verified, now: i64) -> Result<Self, TrustError> {
        let base = PublishedHead::of(verified)?;
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

    /// Has a role signed anew without another change, so that it expires later. Snapshot and
    /// timestamp always are.
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
    pub fn sign_partial(mut self, store: &KeyStore) -> Result<PendingChange, TrustError> {
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
        let context = self.base.as_ref().map(PendingContext::of).transpose()?;
        let mut pending = PendingChange::new(texts, self.documents, context);
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
                "'{}' is not the name of a document",
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

fn no_role(role: &str) -> TrustError {
    TrustError::Refused(format!("the remote has no role '{}'", role.escape_debug()))
}
