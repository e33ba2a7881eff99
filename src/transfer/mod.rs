//! Publishing to a remote, and pulling from one: only what changed travels.
//!
//! A release (see [`crate::format::release`]) says what a layer or an image consists of, and which
//! blobs hold it. Publishing lays new contents into a **pack**, makes a **delta** from each earlier
//! release that machines may have, and replaces the remote's head at last: that is the commit
//! point. Pulling reads the head, then one delta for each layer that changed, or ranges of packs;
//! every content is checked by its digest before it is visible, and a ref names the release last.

mod arrivals;
mod baselines;
mod bundle;
mod connect;
mod debs;
mod deltas;
mod error;
mod fetch;
mod follow;
mod hashing;
mod inventory;
mod link;
mod outgoing;
mod pack;
mod prepare;
mod publish;
mod pull;
mod signing;
mod spool;
mod unpack;
mod verify;

pub use bundle::{BundleOptions, BundleReport, bundle, channel_releases};
pub use connect::{ConnectOptions, VerifiedRemote, connect};
pub use debs::{PackageFiles, PackageFilesOptions, PackageFilesReport, fetch_package_files};
pub use error::TransferError;
pub use follow::{
    ChannelForecast, ChannelPreview, Connection, FollowOptions, FollowOutcome, MachineId, NoUpdate,
    Origins, Pulled, TriedConnection, Turn, follow, forecast_channel, preview_channel,
};
pub use inventory::{Inventory, ObjectEntry, ObjectMap};
pub use outgoing::PrepareOptions;
pub use prepare::{PreparedRelease, ReleaseSubject, prepare};
pub use publish::{DocumentChanges, Publication, PublishOutcome, Signer, publish, upload};
pub use pull::{
    ByDelta, Delivery, DeltaSplit, ForecastPart, Holdings, InFull, PlannedPart, PullForecast,
    PullOptions, PullPlan, PullReport, PulledPart, ReleasePreview, Route, WantedContents,
    WantedObjects, forecast, preview, pull, restore,
};
pub use signing::{HeadSigner, SigningAuthority};
pub use verify::verify_composition;

use crate::format::release::{Channel, ChannelName, Release, ReleaseId, ReleaseKind};

/// What is signed on a remote.
pub trait Catalogue: Sync {
    /// Finds a release; one that nobody signed, or not the right one, is an error.
    fn release(
        &self,
        kind: ReleaseKind,
        name: &str,
        id: &ReleaseId,
    ) -> Result<Release, TransferError>;

    /// Returns all releases of a name, by serial.
    fn releases(&self, kind: ReleaseKind, name: &str) -> Result<Vec<Release>, TransferError>;

    /// Finds a channel; none where it does not exist yet.
    fn channel(&self, name: &ChannelName) -> Result<Option<Channel>, TransferError>;

    /// Returns the names of all layers or images that have releases.
    fn names(&self, kind: ReleaseKind) -> Result<Vec<String>, TransferError>;

    /// Returns all channels of a name.
    fn channels(&self, kind: ReleaseKind, name: &str) -> Result<Vec<Channel>, TransferError>;
}

/// Hears how a transfer goes.
pub trait TransferProgress: Sync {
    /// A new phase begins; `total` is its size in bytes, where known.
    fn phase(&self, what: &str, bytes: Option<u64>);
    /// Says that more bytes of it are done.
    fn advance(&self, bytes: u64);
    /// Says something that people should know.
    fn remark(&self, text: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl TransferProgress for NoProgress {
    fn phase(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn remark(&self, _: &str) {}
}
