//! The roles of a remote, for people who look after it.

use std::collections::BTreeSet;

use super::signing::keys_of;
use super::verify::expiry;
use super::{RoleKeys, TOP_ROLES, TrustError, Verified, layout, role_of};
use crate::format::release::{ChannelName, ReleaseKind};

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

    /// Returns when the first of all roles expires, in seconds since 1970, and which one that is.
    pub fn expires(&self) -> (i64, String) {
        self.first_to_expire(|_| true)
    }

    /// Returns when the first of the roles expires that machines need for some channels, in seconds
    /// since 1970, and which one that is: those that every remote has, and those of the channels
    /// and of the layers of their images.
    pub fn expires_for(&self, channels: &[ChannelName]) -> Result<(i64, String), TrustError> {
        let mut needed: BTreeSet<String> = TOP_ROLES.map(str::to_owned).into();
        for name in channels {
            needed.insert(role_of(name.kind, &name.name));
            let channel = self.channel(name)?;
            for id in [Some(channel.release), channel.rollout.others] {
                let Some(id) = id else { continue };
                let release = self.release(name.kind, &name.name, &id)?;
                let layers = release.layers.iter();
                needed.extend(layers.map(|layer| role_of(ReleaseKind::Layer, &layer.name)));
            }
        }
        Ok(self.first_to_expire(|role| needed.contains(role)))
    }

    fn first_to_expire(&self, counts: impl Fn(&str) -> bool) -> (i64, String) {
        let roles = self.roles().into_iter().filter(|role| counts(&role.role));
        let first = roles.map(|role| (role.expires, role.role)).min();
        // Every remote has roles.
        first.unwrap_or((i64::MAX, String::new()))
    }
}

/// Returns the first root of a head that was just made: what machines have to be given.
pub fn first_root(head: &[u8]) -> Result<Vec<u8>, TrustError> {
    let contents = crate::format::decode_head(head).map_err(TrustError::Damaged)?;
    let root = contents.metadata.get("1.root.json");
    let root = root.ok_or_else(|| TrustError::Missing {
        what: "1.root.json".to_owned(),
    })?;
    Ok(root.clone().into_bytes())
}
