//! Who may speak for what: stricter than the specification, so that each document has exactly one
//! role that can sign it.
//!
//! In TUF the targets role can sign what it delegated, and a delegated role can delegate further.
//! Here a name with a role of its own is signed by that role and no other, and roles have exactly
//! the paths of their name.

use std::collections::BTreeMap;

use tough::schema::{DelegatedRole, PathSet, Signed, Targets};

use super::TrustError;
use super::names::{Document, file_of, paths_of, subject_of};
use crate::format::HeadContents;

/// The most bytes that a signed document has.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Limits on metadata, in bytes and in number of roots.
pub(super) const LIMITS: tough::Limits = tough::Limits {
    max_root_size: 1 << 18,
    max_targets_size: 16 << 20,
    max_timestamp_size: 1 << 16,
    max_snapshot_size: 4 << 20,
    max_root_updates: 1024,
};

/// Checks that no metadata of a head is larger than it may be: for tough, the length that a role
/// signs for another's file replaces our limit, and what is verified is remembered.
pub(super) fn check_sizes(contents: &HeadContents) -> Result<(), TrustError> {
    for (name, text) in &contents.metadata {
        let limit = match name.as_str() {
            "snapshot.json" => LIMITS.max_snapshot_size,
            "timestamp.json" => LIMITS.max_timestamp_size,
            _ if name.ends_with(".root.json") => LIMITS.max_root_size,
            _ => LIMITS.max_targets_size,
        };
        if text.len() as u64 > limit {
            return Err(TrustError::TooLarge {
                what: name.clone(),
                limit,
            });
        }
    }
    Ok(())
}

/// Reads the targets of a head with the roles that they delegate to, without any verification.
pub(super) fn of_head(contents: &HeadContents) -> Result<Targets, TrustError> {
    let read = |role: &str| -> Result<Signed<Targets>, TrustError> {
        let what = file_of(role);
        let text = contents.metadata.get(&what);
        let text = text.ok_or_else(|| TrustError::Missing { what: what.clone() })?;
        serde_json::from_str(text).map_err(|error| TrustError::Malformed {
            what: format!("role '{role}'"),
            reason: error.to_string(),
        })
    };
    let mut targets = read("targets")?.signed;
    for role in roles_mut(&mut targets) {
        role.targets = Some(read(&role.name)?);
    }
    Ok(targets)
}

/// Checks that every role keeps to its own.
pub(super) fn check(targets: &Targets) -> Result<(), TrustError> {
    let mut owners: BTreeMap<&str, &DelegatedRole> = BTreeMap::new();
    for role in roles(targets) {
        check_delegation(role)?;
        if owners.insert(&role.name, role).is_some() {
            return Err(malformed(&role.name, "it is delegated twice"));
        }
    }
    let owner = |document: &Document| {
        let role = document.role();
        if owners.contains_key(role.as_str()) {
            role
        } else {
            "targets".to_owned()
        }
    };
    check_documents("targets", targets, &owner)?;
    for (name, role) in &owners {
        let Some(signed) = &role.targets else {
            return Err(TrustError::Missing {
                what: file_of(name),
            });
        };
        if signed
            .signed
            .delegations
            .as_ref()
            .is_some_and(|further| !further.roles.is_empty())
        {
            return Err(malformed(name, "it delegates further"));
        }
        check_documents(name, &signed.signed, &owner)?;
    }
    Ok(())
}

fn check_delegation(role: &DelegatedRole) -> Result<(), TrustError> {
    let Some((kind, name)) = subject_of(&role.name) else {
        return Err(malformed(&role.name, "it belongs to no layer and no image"));
    };
    let expected = paths_of(kind, name);
    let is_own = match &role.paths {
        PathSet::Paths(paths) => paths.iter().map(|path| path.value()).eq(expected.iter()),
        PathSet::PathHashPrefixes(_) => false,
    };
    if !is_own {
        return Err(malformed(
            &role.name,
            &format!("it has other paths than '{}'", expected.join("' and '")),
        ));
    }
    Ok(())
}

fn check_documents(
    role: &str,
    targets: &Targets,
    owner: &dyn Fn(&Document) -> String,
) -> Result<(), TrustError> {
    for (name, target) in &targets.targets {
        let Some(document) = Document::parse(name.raw()) else {
            return Err(malformed(
                role,
                &format!(
                    "it signs '{}', which is not the name of a document",
                    name.raw().escape_debug()
                ),
            ));
        };
        let owner = owner(&document);
        if owner != role {
            return Err(TrustError::Foreign {
                document: name.raw().to_owned(),
                by: role.to_owned(),
                owner,
            });
        }
        if target.length > MAX_DOCUMENT_BYTES {
            return Err(TrustError::TooLarge {
                what: name.raw().to_owned(),
                limit: MAX_DOCUMENT_BYTES,
            });
        }
    }
    Ok(())
}

/// Returns the roles that are delegated to.
pub(super) fn roles(targets: &Targets) -> &[DelegatedRole] {
    targets
        .delegations
        .as_ref()
        .map_or(&[], |delegations| &delegations.roles)
}

/// Returns the roles that are delegated to, to change them.
pub(super) fn roles_mut(targets: &mut Targets) -> &mut [DelegatedRole] {
    targets
        .delegations
        .as_mut()
        .map_or(&mut [], |delegations| &mut delegations.roles)
}

fn malformed(role: &str, reason: &str) -> TrustError {
    TrustError::Malformed {
        what: format!("role '{}'", role.escape_debug()),
        reason: reason.to_owned(),
    }
}
