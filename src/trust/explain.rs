//! What tough refuses, in words that say what happened.

use serde::de::DeserializeOwned;
use tough::TransportErrorKind;
use tough::error::Error;
use tough::schema::{self, RoleType, Root, Signed, Snapshot, Targets};

use super::TrustError;
use super::layout;
use crate::format::HeadContents;

/// Turns tough's refusal of the file `last` into ours; `root` is the newest root that was verified.
pub(super) fn explain(
    error: Error,
    last: &str,
    contents: &HeadContents,
    root: Option<&str>,
) -> TrustError {
    let what = describe(last);
    match error {
        Error::VerifyMetadata { source, .. } => match source {
            schema::Error::SignatureThreshold {
                threshold, valid, ..
            } => TrustError::Signature {
                what,
                valid,
                threshold,
            },
            other => malformed(what, &other),
        },
        error @ (Error::OlderMetadata { .. }
        | Error::OlderSnapshotInTimestamp { .. }
        | Error::SnapshotRoleRollback { .. }) => older(error, last),
        Error::SnapshotRoleMissing { role, .. } => TrustError::Dropped { role },
        Error::VersionMismatch {
            fetched, expected, ..
        } => TrustError::Mixed {
            reason: format!(
                "{what} has version {fetched}, and version {expected} belongs to the rest"
            ),
        },
        Error::MaxUpdatesExceeded {
            max_root_updates, ..
        } => TrustError::Malformed {
            what: "the chain of roots".to_owned(),
            reason: format!("it has more than {max_root_updates} that are new"),
        },
        Error::ParseMetadata { source, .. } => malformed(what, &source),
        Error::ParseTrustedMetadata { source, .. } => TrustError::TrustedRoot {
            reason: source.to_string(),
        },
        Error::VerifyTrustedMetadata { source, .. } => TrustError::TrustedRoot {
            reason: source.to_string(),
        },
        Error::InvalidPath { source } => {
            // All signatures are verified by then: what the head has is what was looked at.
            match layout::of_head(contents).and_then(|targets| layout::check(&targets)) {
                Err(error) => error,
                Ok(()) => malformed("the signed targets".to_owned(), &source),
            }
        }
        Error::Transport { source, .. } => transport(&source, last, contents, root),
        Error::HashMismatch { .. } => mismatch(last, contents, root),
        Error::MaxSizeExceeded { max_size, .. } => TrustError::TooLarge {
            what: last.to_owned(),
            limit: max_size,
        },
        Error::SystemTimeSteppedBackward { .. } => TrustError::Internal(
            "this machine's clock went back while a signature was checked: try again".to_owned(),
        ),
        other => malformed(what, &other),
    }
}

/// A version is lower than one that was seen.
fn older(error: Error, last: &str) -> TrustError {
    match error {
        Error::OlderMetadata {
            role: RoleType::Root,
            new_version,
            ..
        } => TrustError::Mixed {
            reason: format!("'{last}' is version {new_version} of the root"),
        },
        Error::OlderMetadata {
            role,
            current_version,
            new_version,
            ..
        } => TrustError::Rollback {
            what: format!("role '{role}'"),
            found: new_version,
            seen: current_version,
        },
        Error::OlderSnapshotInTimestamp {
            snapshot_new,
            snapshot_old,
            ..
        } => TrustError::Rollback {
            what: "role 'snapshot'".to_owned(),
            found: snapshot_new,
            seen: snapshot_old,
        },
        Error::SnapshotRoleRollback {
            role,
            old_role_version,
            new_role_version,
            ..
        } => TrustError::Rollback {
            what: describe(&role),
            found: new_role_version,
            seen: old_role_version,
        },
        other => malformed(describe(last), &other),
    }
}

fn transport(
    error: &tough::TransportError,
    last: &str,
    contents: &HeadContents,
    root: Option<&str>,
) -> TrustError {
    if error.kind() == TransportErrorKind::FileNotFound {
        return TrustError::Missing {
            what: last.to_owned(),
        };
    }
    let inner = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
    match inner {
        Some(Error::HashMismatch { .. }) => mismatch(last, contents, root),
        Some(Error::MaxSizeExceeded { max_size, .. }) => TrustError::TooLarge {
            what: last.to_owned(),
            limit: *max_size,
        },
        _ => malformed(describe(last), error),
    }
}

/// A file is not the one that the rest names: is it a signed one of another state, or was it
/// changed?
fn mismatch(file: &str, contents: &HeadContents, root: Option<&str>) -> TrustError {
    if is_signed(file, contents, root).unwrap_or(false) {
        return TrustError::Mixed {
            reason: format!("'{file}' is signed, but not the one that the rest names"),
        };
    }
    TrustError::Altered {
        what: file.to_owned(),
    }
}

fn is_signed(file: &str, contents: &HeadContents, root: Option<&str>) -> Option<bool> {
    let root: Signed<Root> = serde_json::from_str(root?).ok()?;
    let verified = match file {
        "snapshot.json" => root.signed.verify_role(&read::<Snapshot>(file, contents)?),
        "targets.json" => root.signed.verify_role(&read::<Targets>(file, contents)?),
        _ => {
            let targets = read::<Targets>("targets.json", contents)?;
            let role = file.strip_suffix(".json")?;
            let delegations = targets.signed.delegations?;
            delegations.verify_role(&read::<Targets>(file, contents)?, role)
        }
    };
    Some(verified.is_ok())
}

fn read<T: DeserializeOwned>(file: &str, contents: &HeadContents) -> Option<Signed<T>> {
    serde_json::from_str(contents.metadata.get(file)?).ok()
}

/// Says in words what a file is.
fn describe(file: &str) -> String {
    let Some(name) = file.strip_suffix(".json") else {
        return format!("'{file}'");
    };
    match name.strip_suffix(".root") {
        Some(version) => format!("version {version} of the root"),
        None if file.contains('/') => format!("'{file}'"),
        None => format!("role '{name}'"),
    }
}

fn malformed(what: String, reason: &dyn std::fmt::Display) -> TrustError {
    TrustError::Malformed {
        what,
        reason: reason.to_string(),
    }
}
