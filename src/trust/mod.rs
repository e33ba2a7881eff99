//! Who may publish what, and whether what a remote offers is theirs and current: TUF, by `tough`,
//! over the head of a remote.
//!
//! Machines: [`Policy`] says whom to trust, [`verify`] makes a [`Verified`] of a head,
//! [`TrustState`] remembers what was seen, [`Machine`] knows whether it takes part. Publishers: an
//! [`Editor`] changes what is signed, a [`PendingChange`] collects signatures of several people,
//! and [`KeyStore`] has the keys. Nothing here reaches for the network.
//!
//! The roles: `root` says which keys count, `targets` signs documents and delegates names,
//! `layer.NAME` and `image.NAME` sign those of one name, `snapshot` and `timestamp` say what
//! belongs together and what is current.

mod context;
mod describe;
mod editor;
mod error;
mod explain;
mod keys;
mod layout;
mod names;
mod overview;
mod pending;
mod policy;
mod policy_shape;
mod published;
mod rollout;
mod signing;
mod start;
mod state;
mod transport;
mod validity;
mod verify;

pub use editor::{DocumentPolicy, Editor, InitOptions, init};
pub use error::TrustError;
pub use keys::{KeyId, KeyStore, PublicKey};
pub use names::{TOP_ROLES, role_of};
pub use overview::{RoleOverview, first_root};
pub use pending::{MissingSignatures, PendingChange};
pub use policy::{Policy, TrustedRemote};
pub use policy_shape::TRUST;
pub use rollout::{Machine, RolloutChoice};
pub use signing::RoleKeys;
pub use state::{AcceptedRelease, TrustState};
pub use validity::Validity;
pub use verify::{Verified, verify, verify_to_edit};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
