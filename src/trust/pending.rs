//! A change that is being signed by several people: a file that travels between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tough::schema::{Metafile, Root, Signed, Snapshot, Targets, Timestamp};

use super::context::PendingContext;
use super::describe::KnownMetadata;
use super::names::file_of;
use super::published::{PublishedHead, read_targets, root_file, rotates_online_keys};
use super::signing::{
    SPEC_VERSION, count, hashes, internal, keys_of, metafile, moment, read, sign, version, write,
};
use super::validity::validity_in;
use super::{KeyId, KeyStore, TrustError, Verified, layout};
use crate::format::{
    HeadContents, MAX_HEAD_BYTES, encode_head, from_canonical_json, to_canonical_json,
};

/// Changed roles with the signatures that they have so far, and the documents that they sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingChange {
    format: u32,
    /// The changed roles by name, as text.
    roles: BTreeMap<String, String>,
    /// New documents by target name, as text.
    documents: BTreeMap<String, String>,
    /// The metadata that says whose signatures count, unless the change says so itself; none for a
    /// new remote.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    context: Option<PendingContext>,
}

/// A role that still lacks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSignatures {
    /// The role.
    pub role: String,
    /// How many signatures it needs.
    pub threshold: u64,
    /// How many it has.
    pub have: u64,
    /// The keys whose signatures would count.
    pub keys: Vec<KeyId>,
}

impl PendingChange {
    pub(super) fn new(
        roles: BTreeMap<String, String>,
        documents: BTreeMap<String, String>,
        context: Option<PendingContext>,
    ) -> Self {
        Self {
            format: 1,
            roles,
            documents,
            context,
        }
    }

    /// Reads a pending file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrustError> {
        let malformed = |reason: String| TrustError::Malformed {
            what: "the pending file".to_owned(),
            reason,
        };
        let pending: Self =
            from_canonical_json("pending", bytes).map_err(|error| malformed(error.to_string()))?;
        match pending.format {
            1 => Ok(pending),
            other => Err(malformed(format!(
                "its format version is {other}, and this program reads version 1"
            ))),
        }
    }

    /// Writes it for a file.
    pub fn to_json(&self) -> Result<Vec<u8>, TrustError> {
        to_canonical_json("pending", self).map_err(internal)
    }

    /// Adds the signatures of the keys at hand; returns the roles that got one.
    pub fn add_signatures(&mut self, store: &KeyStore) -> Result<Vec<String>, TrustError> {
        let authority = self.authority()?;
        let mut signed_roles = Vec::new();
        for (role, text) in &mut self.roles {
            let mut keys = BTreeSet::new();
            for (root, targets) in authority.judges(role) {
                let counting = keys_of(root, targets, role);
                keys.extend(counting.into_iter().flat_map(|counting| counting.keys));
            }
            let new = if role == "root" {
                let mut signed: Signed<Root> = read(role, text)?;
                sign(&mut signed, &keys, store)?;
                write(&signed)?
            } else {
                let mut signed = read_targets(role, text)?;
                sign(&mut signed, &keys, store)?;
                write(&signed)?
            };
            if new != *text {
                signed_roles.push(role.clone());
                *text = new;
            }
        }
        Ok(signed_roles)
    }

    /// Returns what is still to be signed, and by whom; a new root may stand there twice, for the
    /// keys of the old one count beside its own.
    pub fn missing_signatures(&self) -> Result<Vec<MissingSignatures>, TrustError> {
        let authority = self.authority()?;
        let mut roles = Vec::new();
        for (role, text) in &self.roles {
            for (root, targets) in authority.judges(role) {
                let keys = keys_of(root, targets, role).ok_or_else(|| TrustError::Malformed {
                    what: "the pending file".to_owned(),
                    reason: format!("nobody may sign role '{}'", role.escape_debug()),
                })?;
                let outcome = if role == "root" {
                    root.verify_role(&read::<Root>(role, text)?)
                } else if role == "targets" {
                    root.verify_role(&read_targets(role, text)?)
                } else {
                    let delegations = targets.delegations.as_ref();
                    let delegations = delegations.ok_or_else(|| internal("no delegations"))?;
                    delegations.verify_role(&read_targets(role, text)?, role)
                };
                let have = count(outcome, keys.threshold)?;
                if have < keys.threshold {
                    roles.push(MissingSignatures {
                        role: role.clone(),
                        threshold: keys.threshold,
                        have,
                        keys: keys.keys,
                    });
                }
            }
        }
        Ok(roles)
    }

    /// Returns the names of the changed roles, with the version that each gets.
    pub fn roles(&self) -> Result<Vec<(String, u64)>, TrustError> {
        let each = self.roles.iter().map(|(role, text)| {
            let number = if role == "root" {
                read::<Root>(role, text)?.signed.version
            } else {
                read_targets(role, text)?.signed.version
            };
            Ok((role.clone(), number.get()))
        });
        each.collect()
    }

    /// Says what signing this means, in sentences: what comes, changes and goes, and whose keys
    /// count.
    pub fn describe(&self, published: Option<&Verified>) -> Result<Vec<String>, TrustError> {
        let published = published.map(PublishedHead::of).transpose()?;
        if published.is_none() {
            // A change of a remote without what it was made on would look like all of a new one.
            self.check_versions(|_| Some(0))?;
        }
        let known = published
            .as_ref()
            .map(KnownMetadata::of)
            .unwrap_or_default();
        super::describe::changes(&self.roles, &self.documents, &known)
    }

    /// Says what signing this means against what the file itself tells was published when it was
    /// made. Whoever passed it on may have changed that: only what comes from `trusted_root` is
    /// believed.
    pub fn describe_alone(&self, trusted_root: &[u8]) -> Result<Vec<String>, TrustError> {
        let Some(context) = &self.context else {
            return self.describe(None);
        };
        let (root, targets) = context.verified(trusted_root)?;
        self.check_versions(|role| match role {
            "root" => Some(root.version.get()),
            "targets" => Some(targets.version.get()),
            _ => None,
        })?;
        super::describe::changes(
            &self.roles,
            &self.documents,
            &KnownMetadata::alone(&root, &targets),
        )
    }

    /// Checks that each role is the next version after the one that is known, where one is.
    fn check_versions(&self, known: impl Fn(&str) -> Option<u64>) -> Result<(), TrustError> {
        for (role, prepared) in self.roles()? {
            match known(&role) {
                Some(published) if published.checked_add(1) != Some(prepared) => {
                    return Err(TrustError::Unvouched {
                        reason: format!(
                            "role '{}' is version {prepared} in it, after version {published}",
                            role.escape_debug()
                        ),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Says whether this makes a new remote.
    pub fn is_new_remote(&self) -> bool {
        self.context.is_none()
    }

    /// Makes the head of what is published now and this change; all its signatures must be there,
    /// and the keys of snapshot and timestamp at hand. What others published in the meantime stays.
    pub fn finish(
        self,
        published: Option<&Verified>,
        store: &KeyStore,
        now: i64,
    ) -> Result<Vec<u8>, TrustError> {
        self.finish_on(published.map(PublishedHead::of).transpose()?, store, now)
    }

    pub(super) fn text(&self, role: &str) -> Option<&str> {
        self.roles.get(role).map(String::as_str)
    }

    pub(super) fn finish_on(
        self,
        base: Option<PublishedHead>,
        store: &KeyStore,
        now: i64,
    ) -> Result<Vec<u8>, TrustError> {
        if let Some(role) = self.missing_signatures()?.into_iter().next() {
            return Err(missing(role, store));
        }
        let base = base.as_ref();
        let root: Signed<Root> = match (self.roles.get("root"), base) {
            (Some(text), _) => read("root", text)?,
            (None, Some(base)) => base.root.clone(),
            (None, None) => return Err(internal("a new remote without a root")),
        };
        self.check_follows(base, &root.signed)?;
        let targets_text = self.text_or_published("targets", base)?;
        let targets = read_targets("targets", &targets_text)?;

        let mut contents = HeadContents {
            format: 1,
            ..HeadContents::default()
        };
        let roots = base.iter().flat_map(|base| base.roots.clone());
        contents.metadata.extend(roots);
        contents.metadata.insert(root_file(&root), write(&root)?);
        let mut meta = base.map_or_else(Default::default, |base| base.listed(&root.signed));
        self.add_targets(&mut contents, &mut meta, base, (targets_text, &targets))?;
        self.add_snapshot_and_timestamp(
            &mut contents,
            meta,
            base,
            (&root, &targets),
            (store, now),
        )?;
        self.add_documents(&mut contents, base)?;

        check(&contents, &root)?;
        let head = encode_head(&contents).map_err(TrustError::Damaged)?;
        if head.len() as u64 > MAX_HEAD_BYTES {
            return Err(TrustError::TooLarge {
                what: "head".to_owned(),
                limit: MAX_HEAD_BYTES,
            });
        }
        Ok(head)
    }

    /// Returns a role's text: the changed one, or the published one.
    fn text_or_published(
        &self,
        role: &str,
        base: Option<&PublishedHead>,
    ) -> Result<String, TrustError> {
        match (self.roles.get(role), base) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(base)) => base.text(role)?.ok_or_else(|| TrustError::Missing {
                what: file_of(role),
            }),
            (None, None) => Err(internal("a new remote without its roles")),
        }
    }

    /// Adds the targets role and the roles that it delegates to; `meta` lists them for the
    /// snapshot.
    fn add_targets(
        &self,
        contents: &mut HeadContents,
        meta: &mut HashMap<String, Metafile>,
        base: Option<&PublishedHead>,
        (text, targets): (String, &Signed<Targets>),
    ) -> Result<(), TrustError> {
        meta.insert(file_of("targets"), metafile(&text, targets.signed.version));
        contents.metadata.insert(file_of("targets"), text);
        for delegated in layout::roles(&targets.signed) {
            let text = self.text_or_published(&delegated.name, base)?;
            let number = read_targets(&delegated.name, &text)?.signed.version;
            meta.insert(file_of(&delegated.name), metafile(&text, number));
            contents.metadata.insert(file_of(&delegated.name), text);
        }
        Ok(())
    }

    /// Makes and signs the snapshot, then the timestamp, each with the version after the published
    /// one.
    fn add_snapshot_and_timestamp(
        &self,
        contents: &mut HeadContents,
        meta: HashMap<String, Metafile>,
        base: Option<&PublishedHead>,
        (root, targets): (&Signed<Root>, &Signed<Targets>),
        (store, now): (&KeyStore, i64),
    ) -> Result<(), TrustError> {
        let rotated = base.is_some_and(|base| rotates_online_keys(&base.root.signed, &root.signed));
        let next = |role: &str, last: Option<u64>| match last {
            None => version(1),
            Some(last) if last < RUN_UP => version(last + 1),
            // Machines forget the versions that they saw, because the keys changed.
            Some(_) if rotated => version(1),
            Some(last) => Err(run_up(role, last)),
        };
        let expires = |role| now.saturating_add(validity_in(&root.signed, role));

        let last = base.map(|base| base.snapshot.signed.version.get());
        let mut snapshot = Snapshot::new(
            SPEC_VERSION.to_owned(),
            next("snapshot", last)?,
            moment(expires("snapshot"))?,
        );
        snapshot.meta = meta;
        let snapshot = self.seal("snapshot", snapshot, root, targets, store)?;
        let snapshot_text = write(&snapshot)?;

        let last = base.map(|base| base.timestamp.signed.version.get());
        let mut timestamp = Timestamp::new(
            SPEC_VERSION.to_owned(),
            next("timestamp", last)?,
            moment(expires("timestamp"))?,
        );
        let listed = metafile(&snapshot_text, snapshot.signed.version);
        timestamp.meta.insert(file_of("snapshot"), listed);
        let timestamp = self.seal("timestamp", timestamp, root, targets, store)?;

        let metadata = &mut contents.metadata;
        metadata.insert(file_of("snapshot"), snapshot_text);
        metadata.insert(file_of("timestamp"), write(&timestamp)?);
        Ok(())
    }

    /// Signs snapshot or timestamp with the keys at hand.
    fn seal<T: tough::schema::Role>(
        &self,
        role: &str,
        value: T,
        root: &Signed<Root>,
        targets: &Signed<Targets>,
        store: &KeyStore,
    ) -> Result<Signed<T>, TrustError> {
        let keys = keys_of(&root.signed, &targets.signed, role)
            .ok_or_else(|| internal("a root without its roles"))?;
        let mut signed = Signed {
            signed: value,
            signatures: Vec::new(),
        };
        sign(&mut signed, &keys.keys.iter().cloned().collect(), store)?;
        let have = count(root.signed.verify_role(&signed), keys.threshold)?;
        if have < keys.threshold {
            let role = MissingSignatures {
                role: role.to_owned(),
                threshold: keys.threshold,
                have,
                keys: keys.keys,
            };
            return Err(missing(role, store));
        }
        Ok(signed)
    }

    /// Each role must be the next version: otherwise the change would undo what others did in the
    /// meantime.
    fn check_follows(&self, base: Option<&PublishedHead>, root: &Root) -> Result<(), TrustError> {
        for (role, prepared) in self.roles()? {
            let published = base.and_then(|base| base.version(&role, root));
            let published = published.unwrap_or(0);
            if published.checked_add(1) != Some(prepared) {
                return Err(TrustError::Outdated {
                    role,
                    prepared,
                    published,
                });
            }
        }
        Ok(())
    }

    /// Puts in the documents that are signed, and no others.
    fn add_documents(
        &self,
        contents: &mut HeadContents,
        base: Option<&PublishedHead>,
    ) -> Result<(), TrustError> {
        let targets = layout::of_head(contents)?;
        for (name, target) in targets.targets_iter() {
            let name = name.raw();
            let published = base.and_then(|base| base.documents.get(name));
            let candidates = self.documents.get(name).into_iter().chain(published);
            let text = candidates
                .into_iter()
                .find(|text| hashes(text.as_bytes()) == target.hashes)
                .ok_or_else(|| TrustError::Missing {
                    what: name.to_owned(),
                })?;
            contents.targets.insert(name.to_owned(), text.clone());
        }
        Ok(())
    }

    fn authority(&self) -> Result<Authority, TrustError> {
        let old = match &self.context {
            Some(context) => {
                let (root, targets) = context.claimed()?;
                Some((root.signed, targets.signed))
            }
            None => None,
        };
        let new_root = self.roles.get("root").map(|text| read("root", text));
        let new_targets = self.roles.get("targets");
        let new_targets = new_targets.map(|text| read_targets("targets", text));
        let root = match (new_root.transpose()?, &old) {
            (Some(root), _) => root.signed,
            (None, Some((root, _))) => root.clone(),
            (None, None) => return Err(internal("a pending change without a root")),
        };
        let targets = match (new_targets.transpose()?, &old) {
            (Some(targets), _) => targets.signed,
            (None, Some((_, targets))) => targets.clone(),
            (None, None) => return Err(internal("a pending change without targets")),
        };
        Ok(Authority { root, targets, old })
    }
}

/// What says whose signatures count for a change.
struct Authority {
    root: Root,
    targets: Targets,
    old: Option<(Root, Targets)>,
}

impl Authority {
    /// Returns by whom a role is judged: a new root by the old one too.
    fn judges(&self, role: &str) -> Vec<(&Root, &Targets)> {
        let old = self.old.as_ref().filter(|_| role == "root");
        let old = old.map(|(root, targets)| (root, targets));
        old.into_iter()
            .chain([(&self.root, &self.targets)])
            .collect()
    }
}

/// Checks a finished head as a machine would: no head leaves that machines would refuse.
fn check(contents: &HeadContents, root: &Signed<Root>) -> Result<(), TrustError> {
    layout::check_sizes(contents)?;
    let targets = layout::of_head(contents)?;
    layout::check(&targets)?;
    let fail = |role: &str| {
        let what = format!("role '{role}'");
        move |error: tough::schema::Error| TrustError::Malformed {
            what: what.clone(),
            reason: error.to_string(),
        }
    };
    let text = contents
        .metadata
        .get("targets.json")
        .map_or("", String::as_str);
    let signed = read_targets("targets", text)?;
    root.signed.verify_role(&signed).map_err(fail("targets"))?;
    let delegations = signed.signed.delegations.unwrap_or_default();
    for role in layout::roles(&targets) {
        if let Some(signed) = &role.targets {
            delegations
                .verify_role(signed, &role.name)
                .map_err(fail(&role.name))?;
        }
    }
    Ok(())
}

/// No publisher counts up to this version: whoever had the keys of snapshot and timestamp ran it
/// up.
pub(super) const RUN_UP: u64 = 1 << 40;

pub(super) fn run_up(role: &str, last: u64) -> TrustError {
    TrustError::Refused(format!(
        "role '{role}' has version {last}, which no publisher can have reached: the key of the snapshot or the timestamp is in the wrong hands; run `layerset trust rotate REMOTE snapshot timestamp`"
    ))
}

fn missing(role: MissingSignatures, store: &KeyStore) -> TrustError {
    TrustError::MissingKeys {
        role: role.role,
        threshold: role.threshold,
        have: role.have,
        keys: role.keys.iter().map(|id| id.short().to_owned()).collect(),
        dir: store.dir().to_owned(),
    }
}
