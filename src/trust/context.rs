//! What a pending change was made on, as the file itself tells: to be believed by a root that its
//! reader trusts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tough::schema::{Role as _, Root, Signed, Targets};

use super::TrustError;
use super::published::{PublishedHead, read_targets, root_file};
use super::signing::{internal, read, write};

/// Root and targets as they were published, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PendingContext {
    /// The roots before that one: who signs may know an old one only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    roots: Vec<String>,
    root: String,
    targets: String,
}

impl PendingContext {
    pub(super) fn of(base: &PublishedHead) -> Result<Self, TrustError> {
        let newest = root_file(&base.root);
        let earlier = base.roots.iter().filter(|(name, _)| **name != newest);
        Ok(Self {
            roots: earlier.map(|(_, text)| text.clone()).collect(),
            root: write(&base.root)?,
            targets: write(&base.targets)?,
        })
    }

    /// Returns what the file says, which nobody may have signed.
    pub(super) fn claimed(&self) -> Result<(Signed<Root>, Signed<Targets>), TrustError> {
        Ok((
            read("root", &self.root)?,
            read_targets("targets", &self.targets)?,
        ))
    }

    /// Returns what the file says, if its root comes from `trusted_root` step by step, and its
    /// targets are signed by that.
    pub(super) fn verified(&self, trusted_root: &[u8]) -> Result<(Root, Targets), TrustError> {
        let trusted: Signed<Root> =
            serde_json::from_slice(trusted_root).map_err(|error| TrustError::TrustedRoot {
                reason: error.to_string(),
            })?;
        let (root, targets) = self.claimed()?;
        let newest = root.signed.version.get();
        let mut chain = BTreeMap::from([(newest, root.clone())]);
        for text in &self.roots {
            let earlier: Signed<Root> = read("root", text)?;
            chain.entry(earlier.signed.version.get()).or_insert(earlier);
        }
        let mut current = trusted.signed;
        let first = current.version.get();
        for version in first.saturating_add(1)..=newest {
            let next = chain.remove(&version);
            let next =
                next.ok_or_else(|| foreign(format!("version {version} of the root is not in it")))?;
            for judge in [&current, &next.signed] {
                judge.verify_role(&next).map_err(|error| {
                    foreign(format!(
                        "version {version} of the root is not signed as it must be: {error}"
                    ))
                })?;
            }
            current = next.signed;
        }
        let form = |root: &Root| root.canonical_form().map_err(internal);
        if form(&current)? != form(&root.signed)? {
            return Err(foreign(format!(
                "its root, version {newest}, does not follow from the trusted root, version {first}"
            )));
        }
        current.verify_role(&targets).map_err(|error| {
            foreign(format!(
                "its role 'targets' is not signed as it must be: {error}"
            ))
        })?;
        Ok((current, targets.signed))
    }
}

fn foreign(reason: String) -> TrustError {
    TrustError::Unvouched { reason }
}
