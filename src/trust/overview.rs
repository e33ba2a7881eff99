//! The roles of a remote, for people who look after it.

use super::signing::keys_of;
use super::verify::expiry;
use super::{RoleKeys, TOP_ROLES, Verified, layout};

/// A role as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleOverview {
    /// Its name.
    pub role: String,
    /// Whose signatures count, and how many are needed.
    pub keys: RoleKeys,
    /// Its version.
    pub version: u64,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
    /// How many documents it signs.
    pub documents: usize,
}

impl Verified {
    /// Returns the roles: those that every remote has, then the delegated ones by name.
    pub fn roles(&self) -> Vec<RoleOverview> {
        let repository = self.repository();
        let root = &repository.root().signed;
        let targets = &repository.targets().signed;
        let snapshot = &repository.snapshot().signed;
        let timestamp = &repository.timestamp().signed;
        let mut facts: Vec<(&str, u64, i64, usize)> = TOP_ROLES
            .into_iter()
            .map(|role| match role {
                "root" => (role, root.version.get(), expiry(root), 0),
                "targets" => {
                    let documents = targets.targets.len();
                    (role, targets.version.get(), expiry(targets), documents)
                }
                "snapshot" => (role, snapshot.version.get(), expiry(snapshot), 0),
                _ => (role, timestamp.version.get(), expiry(timestamp), 0),
            })
            .collect();
        let delegated = layout::roles(targets).iter().filter_map(|role| {
            let signed = &role.targets.as_ref()?.signed;
            let documents = signed.targets.len();
            Some((
                role.name.as_str(),
                signed.version.get(),
                expiry(signed),
                documents,
            ))
        });
        let mut delegated: Vec<_> = delegated.collect();
        delegated.sort_unstable();
        facts.extend(delegated);
        let overview = |(role, version, expires, documents): (&str, u64, i64, usize)| {
            Some(RoleOverview {
                role: role.to_owned(),
                keys: keys_of(root, targets, role)?,
                version,
                expires,
                documents,
            })
        };
        facts.into_iter().filter_map(overview).collect()
    }
}

/// Returns the first root of a head that was just made: what machines have to be given.
pub fn first_root(head: &[u8]) -> Result<Vec<u8>, super::TrustError> {
    let contents = crate::format::decode_head(head).map_err(super::TrustError::Damaged)?;
    let root = contents.metadata.get("1.root.json");
    let root = root.ok_or_else(|| super::TrustError::Missing {
        what: "1.root.json".to_owned(),
    })?;
    Ok(root.clone().into_bytes())
}
