//! Metadata as text: making, signing and counting signatures of it.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{self, Hashes, Metafile, Role, Root, Signature, Signed, Targets};

use super::names::TOP_ROLES;
use super::{KeyId, KeyStore, TrustError, layout};

/// The version of the specification that tough follows.
pub(super) const SPEC_VERSION: &str = "1.0.0";

/// The keys of a role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// The ids of the keys.
    pub keys: Vec<KeyId>,
    /// How many must sign.
    pub threshold: u64,
}

/// Makes tough's timestamp of seconds since 1970; its type is named by what it is assigned to.
pub(super) fn moment<T: DeserializeOwned>(sec: i64) -> Result<T, TrustError> {
    let text = crate::time::rfc3339(sec);
    serde_json::from_value(serde_json::Value::String(text)).map_err(internal)
}

pub(super) fn version(number: u64) -> Result<NonZeroU64, TrustError> {
    NonZeroU64::new(number).ok_or_else(|| TrustError::Internal("version 0".to_owned()))
}

/// Writes metadata: in one order of keys, so that the same metadata is the same text.
pub(super) fn write<T: Serialize>(value: &T) -> Result<String, TrustError> {
    let value = serde_json::to_value(value).map_err(internal)?;
    serde_json::to_string(&value).map_err(internal)
}

pub(super) fn read<T: DeserializeOwned>(role: &str, text: &str) -> Result<Signed<T>, TrustError> {
    serde_json::from_str(text).map_err(|error| TrustError::Malformed {
        what: format!("role '{role}'"),
        reason: error.to_string(),
    })
}

/// Adds the signatures of those of `keys` that are in the store.
pub(super) fn sign<T: Role>(
    signed: &mut Signed<T>,
    keys: &BTreeSet<KeyId>,
    store: &KeyStore,
) -> Result<(), TrustError> {
    let message = signed.signed.canonical_form().map_err(internal)?;
    for id in keys {
        let Some(bytes) = store.sign(id, &message) else {
            continue;
        };
        let keyid = id.decoded()?;
        signed.signatures.retain(|other| other.keyid != keyid);
        signed.signatures.push(Signature {
            keyid,
            sig: bytes.into(),
        });
    }
    signed
        .signatures
        .sort_by(|one, other| one.keyid.cmp(&other.keyid));
    Ok(())
}

/// Returns the keys of a role, by the root and the targets that say so.
pub(super) fn keys_of(root: &Root, targets: &Targets, role: &str) -> Option<RoleKeys> {
    let (keyids, threshold) = if TOP_ROLES.contains(&role) {
        let keys = root.roles.get(&role.parse().ok()?)?;
        (&keys.keyids, keys.threshold)
    } else {
        let delegated = layout::roles(targets).iter().find(|d| d.name == role)?;
        (&delegated.keyids, delegated.threshold)
    };
    Some(RoleKeys {
        keys: keyids.iter().map(|id| KeyId::of(id)).collect(),
        threshold: threshold.get(),
    })
}

/// Returns how many valid signatures an outcome of tough's check stands for.
pub(super) fn count(outcome: Result<(), schema::Error>, threshold: u64) -> Result<u64, TrustError> {
    match outcome {
        Ok(()) => Ok(threshold),
        Err(schema::Error::SignatureThreshold { valid, .. }) => Ok(valid),
        Err(error) => Err(internal(error)),
    }
}

/// Describes a metadata file for the snapshot or the timestamp.
pub(super) fn metafile(text: &str, version: NonZeroU64) -> Metafile {
    Metafile {
        length: Some(text.len() as u64),
        hashes: Some(hashes(text.as_bytes())),
        version,
        _extra: HashMap::new(),
    }
}

pub(super) fn hashes(bytes: &[u8]) -> Hashes {
    use sha2::Digest as _;
    let digest: Decoded<Hex> = sha2::Sha256::digest(bytes).to_vec().into();
    Hashes {
        sha256: digest,
        _extra: HashMap::new(),
    }
}

pub(super) fn internal(error: impl std::fmt::Display) -> TrustError {
    TrustError::Internal(error.to_string())
}
