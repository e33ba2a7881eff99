//! What a machine knows before it looks at a head: the root that it was given, and what it
//! remembers.

use sha2::{Digest as _, Sha256};
use tough::schema::{Role as _, Root, Signed};

use super::TrustError;
use super::state::StoredMetadata;

/// Where a verification starts from.
pub(super) struct StartingPoint {
    /// The root that the machine was given.
    pub(super) trusted: String,
    /// The newest root that is trusted.
    pub(super) root: String,
    /// The remembered metadata that still applies.
    pub(super) remembered: Option<StoredMetadata>,
    /// Whether the machine was given the root of another remote than the one that it remembers.
    pub(super) is_other_remote: bool,
}

impl StartingPoint {
    /// Starts from the newest root that was verified, not from the one that the machine was given:
    /// seen from there, keys of the timestamp that were rotated long ago would look rotated now,
    /// and tough would forget the versions that it saw.
    pub(super) fn of(
        trusted_root: &[u8],
        remembered: Option<StoredMetadata>,
    ) -> Result<Self, TrustError> {
        let fail = |error: std::str::Utf8Error| TrustError::TrustedRoot {
            reason: error.to_string(),
        };
        let trusted = std::str::from_utf8(trusted_root).map_err(fail)?.to_owned();
        let given = root_of(&trusted)?;
        let version = given.version.get();
        let own = Self {
            root: trusted.clone(),
            trusted,
            remembered: None,
            is_other_remote: false,
        };
        let Some(known) = remembered else {
            return Ok(own);
        };
        let newest = known.roots.keys().next_back().copied().unwrap_or(0);
        if known.roots.get(&version) == Some(&digest(&given)?) {
            let root = known.files.get("root.json").unwrap_or(&own.root).clone();
            return Ok(Self {
                root,
                remembered: Some(known),
                ..own
            });
        }
        // A later root than any that was seen: somebody put it there, and the versions still count.
        if version > newest {
            return Ok(Self {
                remembered: Some(known),
                ..own
            });
        }
        Ok(Self {
            is_other_remote: true,
            ..own
        })
    }
}

pub(super) fn root_of(text: &str) -> Result<Root, TrustError> {
    let signed: Result<Signed<Root>, _> = serde_json::from_str(text);
    signed
        .map(|signed| signed.signed)
        .map_err(|error| TrustError::TrustedRoot {
            reason: error.to_string(),
        })
}

pub(super) fn digest(root: &Root) -> Result<String, TrustError> {
    let bytes = root
        .canonical_form()
        .map_err(|error| TrustError::Internal(error.to_string()))?;
    Ok(crate::sha256::Sha256::from_bytes(Sha256::digest(bytes).into()).to_string())
}
