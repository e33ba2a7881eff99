//! What can go wrong with trust, sorted by what a caller can do about it.

use std::path::PathBuf;

use crate::durable::DurableError;
use crate::format::FormatError;
use crate::recipe::RecipeError;
use crate::time::rfc3339;

/// Why something is not trusted, or cannot be signed.
// Most fields say by their names what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The head is no head; another mirror may have a good one.
    #[error("the remote's head is damaged: {0}")]
    Damaged(FormatError),
    /// Too few signatures count.
    #[error(
        "{what} is not signed as it must be: it has {valid} valid signature(s) by its keys and needs {threshold}"
    )]
    Signature {
        /// Which metadata, e.g. `role 'timestamp'`.
        what: String,
        /// How many signatures count.
        valid: u64,
        /// How many are needed.
        threshold: u64,
    },
    /// An older state than one that was verified before.
    #[error(
        "the remote offers an older state than the one seen before: {what} has version {found}, but version {seen} was seen"
    )]
    Rollback {
        /// Which metadata.
        what: String,
        /// The version that is offered.
        found: u64,
        /// The version that was verified before.
        seen: u64,
    },
    /// A role was left out that an earlier state had.
    #[error("the remote's snapshot lacks '{role}', which an earlier one had")]
    Dropped {
        /// Which role's file.
        role: String,
    },
    /// Parts that are signed, but not for each other.
    #[error("the remote mixes parts of different states: {reason}")]
    Mixed {
        /// Which do not belong together.
        reason: String,
    },
    /// Something that is signed for is not in the head.
    #[error("the remote's head lacks '{what}'")]
    Missing { what: String },
    /// Something was changed after it was signed.
    #[error("'{what}' was changed after it was signed")]
    Altered { what: String },
    /// More than this program takes.
    #[error("'{what}' is larger than the {limit} bytes that it may have")]
    TooLarge { what: String, limit: u64 },
    /// A role speaks for what is another one's.
    #[error("role '{by}' signed '{document}', which only role '{owner}' may sign")]
    Foreign {
        document: String,
        /// Who signed it.
        by: String,
        /// Who would have to.
        owner: String,
    },
    /// A document says that it is another one.
    #[error("'{document}' was signed under a wrong name: it says it is {claims}")]
    Misnamed {
        /// The name that it is signed under.
        document: String,
        /// What it says that it is.
        claims: String,
    },
    /// Metadata or a document that this program does not understand, signed or not.
    #[error("{what} cannot be used: {reason}")]
    Malformed { what: String, reason: String },
    /// Metadata is older than it may be: the remote was not refreshed, or somebody serves an old
    /// state.
    #[error("{}", expired(role, *expired_at, *now))]
    Expired {
        role: String,
        /// When it expired, in seconds since 1970.
        expired_at: i64,
        /// What this machine's clock says, in seconds since 1970.
        now: i64,
    },
    /// The trusted root that this machine was given is no root.
    #[error("the trusted root cannot be used: {reason}")]
    TrustedRoot { reason: String },
    /// The remote has no such channel.
    #[error("the remote has no channel '{name}'")]
    NoChannel {
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The remote has no such release.
    #[error("the remote has no release {id} of {kind} '{name}'")]
    NoRelease {
        /// `layer` or `image`.
        kind: &'static str,
        name: String,
        /// The text form of its id.
        id: String,
    },
    /// A channel points lower than before, and its publishers did not say that this is meant.
    #[error(
        "channel '{channel}' goes back from release {accepted} to {offered}, and is not signed as going back"
    )]
    Downgrade {
        channel: String,
        /// The serial that it has now.
        offered: u64,
        /// The highest serial that was taken before.
        accepted: u64,
    },
    /// This machine's policy says something wrong: one line for each mistake.
    #[error(transparent)]
    Policy(RecipeError),
    /// A file of this machine cannot be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// What this machine remembers of the remote is damaged.
    #[error("'{}' is damaged: {reason}", path.display())]
    State { path: PathBuf, reason: String },
    /// The state of this machine cannot be changed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A key file that is not used.
    #[error("key file '{}' is refused: {reason}", path.display())]
    KeyFile { path: PathBuf, reason: String },
    /// A text is no public key.
    #[error("'{text}' is not a public key: {reason}")]
    PublicKey { text: String, reason: String },
    /// Not enough keys are at hand to sign.
    #[error(
        "role '{role}' needs {threshold} signature(s) by its keys {}, and has {have}: '{}' holds none of the others",
        keys.join(", "), dir.display()
    )]
    MissingKeys {
        role: String,
        /// How many signatures it needs.
        threshold: u64,
        /// How many it has.
        have: u64,
        /// The ids of its keys, shortened.
        keys: Vec<String>,
        /// Where keys were looked for.
        dir: PathBuf,
    },
    /// A change of roles or keys that makes no sense.
    #[error("{0}")]
    Refused(String),
    /// What was prepared does not follow what is published now.
    #[error(
        "role '{role}' was prepared as version {prepared}, but version {published} is published already"
    )]
    Outdated {
        role: String,
        /// The version that was prepared.
        prepared: u64,
        /// The version that is published.
        published: u64,
    },
    /// What a pending change says that was published is not vouched for by the trusted root.
    #[error("the pending file cannot be trusted about what was published: {reason}")]
    Unvouched {
        /// What is not as it must be.
        reason: String,
    },
    /// A fault of this program.
    #[error("trust metadata cannot be handled: {0}")]
    Internal(String),
}

/// A day, in seconds.
const DAY: i64 = 86_400;

/// When this code was written, in seconds since 1970: no clock that is right says less.
pub(super) const WRITTEN: i64 = 1_792_000_000;

fn expired(role: &str, at: i64, now: i64) -> String {
    let text = format!(
        "role '{role}' expired at {}, and this machine's clock says {}",
        rfc3339(at),
        rfc3339(now)
    );
    if is_doubtful(at, now) {
        return format!("{text}, which looks wrong: check the clock");
    }
    let days = now.saturating_sub(at) / DAY;
    format!("{text}: the remote has been stale for {days} day(s)")
}

/// A year without a refresh is less likely than a clock that jumped.
fn is_doubtful(expired_at: i64, now: i64) -> bool {
    now < WRITTEN || now.saturating_sub(expired_at) > 365 * DAY
}

impl TrustError {
    /// Says whether something expired so long ago that this machine's clock is rather wrong.
    pub fn is_of_a_wrong_clock(&self) -> bool {
        matches!(self, Self::Expired { expired_at, now, .. } if is_doubtful(*expired_at, *now))
    }

    /// Says whether another mirror of the same remote may do better.
    pub const fn is_of_mirror(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_)
                | Self::Signature { .. }
                | Self::Rollback { .. }
                | Self::Dropped { .. }
                | Self::Mixed { .. }
                | Self::Missing { .. }
                | Self::Altered { .. }
                | Self::TooLarge { .. }
                | Self::Foreign { .. }
                | Self::Misnamed { .. }
                | Self::Malformed { .. }
                | Self::Expired { .. }
        )
    }
}
