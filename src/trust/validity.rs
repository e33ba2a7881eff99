//! How long signatures are good: the usual spans, and those that a root names for its roles.

use tough::schema::Root;

use super::names::TOP_ROLES;

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

pub(super) const DAY: i64 = 86_400;

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

/// The member of a role in which it names its span.
pub(super) const VALIDITY: &str = "validity_seconds";

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
