//! What can go wrong with a transfer, sorted by what a caller can do about it.

use std::path::{Path, PathBuf};

use crate::compose::ComposeError;
use crate::delta::DeltaError;
use crate::format::FormatError;
use crate::remote::RemoteError;
use crate::sha256::Sha256;
use crate::store::StoreError;
use crate::trust::TrustError;

/// Why a transfer failed; the repository and every target are as they were.
// Most fields say by their names what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The repository refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The remote refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What the remote holds is not signed as it must be.
    #[error(transparent)]
    Trust(Box<TrustError>),
    /// No mirror can be used, each for its own reason.
    #[error("none of the {} mirrors can be used", failures.len())]
    Mirrors {
        /// Their locations, and what is wrong there.
        failures: Vec<(String, TransferError)>,
    },
    /// Nothing was published there.
    #[error("nothing has been published to '{location}' yet")]
    Unpublished { location: String },
    /// Canonical bytes could not be made, or are not what they claim to be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A delta could not be made or read.
    #[error(transparent)]
    Delta(DeltaError),
    /// Composing what arrived failed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A layer or an image contradicts itself, or its release.
    #[error("the {what} '{name}' is inconsistent: {reason}")]
    Inconsistent {
        /// `layer`, `image`, `release` or `pack`.
        what: &'static str,
        name: String,
        reason: String,
    },
    /// A blob is not what its name says, from every place that was asked.
    #[error("blob {blob} from {from} is damaged: {reason}")]
    Damaged {
        /// The places, quoted.
        from: String,
        blob: Sha256,
        reason: String,
    },
    /// No pack of a release holds something that it needs.
    #[error("the packs of {what} '{name}' lack {count} contents, {first} among them")]
    Lacking {
        /// `layer` or `image`.
        what: &'static str,
        name: String,
        count: usize,
        /// The digest of one.
        first: String,
    },
    /// The layers of an image do not compose to what was published.
    #[error(
        "image '{name}' is not what its layers make: {count} paths differ, '{first}' among them"
    )]
    NotComposed {
        name: String,
        /// How many paths differ.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// Package files are neither here nor on the remote.
    #[error("the files of {} packages are not here: {}{}", packages.len(), packages.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", "), if packages.len() > 5 { ", …" } else { "" })]
    NoPackageFiles {
        /// Name and version of each.
        packages: Vec<String>,
    },
    /// A bundle would take the place of something else.
    #[error("'{location}' holds what another publisher signed")]
    OtherRemote { location: String },
    /// There is no trust policy.
    #[error("there is no trust policy at '{}'", path.display())]
    NoPolicy { path: PathBuf },
    /// The trust policy does not know the remote.
    #[error("the trust policy has no remote '{name}'")]
    UnknownRemote {
        name: String,
        /// The names that it has.
        known: Vec<String>,
    },
    /// The trust policy does not allow it.
    #[error("the trust policy '{}' does not let this machine follow '{channel}' on {remote}", policy.display())]
    NotAllowed {
        channel: String,
        /// The remote, or that it is any.
        remote: String,
        policy: PathBuf,
        /// The patterns of the channels that it allows there.
        allowed: Vec<String>,
    },
    /// A staged rollout does not know which machine this is.
    #[error("cannot read '{}', which staged rollouts use to choose machines", path.display())]
    MachineId {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Two publishers want the same channel.
    #[error("somebody else has pointed channel '{channel}' at {now} in the meantime")]
    ChannelMoved {
        channel: String,
        /// The release that it points at now.
        now: String,
    },
    /// Publishing would take something back without saying so.
    #[error("channel '{channel}' is at release {now}, and release {wanted} is older")]
    WouldGoBack {
        channel: String,
        /// The serial that it is at.
        now: u64,
        /// The serial that was asked for.
        wanted: u64,
    },
    /// The system refused.
    #[error("cannot {verb} '{}'", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// An interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}

impl TransferError {
    /// Wraps the system's answer to `verb` on `path`.
    pub fn io(verb: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<DeltaError> for TransferError {
    fn from(error: DeltaError) -> Self {
        match error {
            DeltaError::Interrupted => Self::Interrupted,
            error => Self::Delta(error),
        }
    }
}

impl From<TrustError> for TransferError {
    fn from(error: TrustError) -> Self {
        Self::Trust(Box::new(error))
    }
}
