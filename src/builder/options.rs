//! Options of a build.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::progress::BuildProgress;
use crate::apt::DebFinder;
use crate::store::LockWait;
use crate::time::{Clock, Date};

/// Where packages come from, beside the archives of the definitions.
#[derive(Debug, Clone, Default)]
pub struct FetchPlaces {
    /// A sources file to use instead of the base's archives.
    pub apt_sources: Option<PathBuf>,
    /// Who may have files that left their archive.
    pub elsewhere: Option<DebFinder>,
}

/// Options of [`build`](super::build()).
pub struct BuildOptions<'a> {
    /// Where packages come from.
    pub packages: FetchPlaces,
    /// Layers to build even when they are known.
    pub rebuild: Vec<String>,
    /// The only layer that may change. A change of another layer is an error, but layers that must
    /// be rebuilt because of this one are rebuilt.
    pub only: Option<String>,
    /// Decides which waivers have expired.
    pub clock: &'a dyn Clock,
    /// How to wait for another command that builds the same recipe.
    pub waiting: LockWait<'a>,
    /// Set by the caller to stop the build.
    pub cancel: &'a AtomicBool,
    /// Where progress goes.
    pub progress: &'a dyn BuildProgress,
}

impl BuildOptions<'_> {
    /// Returns the day on which the build runs.
    pub(super) fn today(&self) -> Date {
        Date::of_sec(self.clock.now_sec()).unwrap_or(Date::LAST)
    }
}
