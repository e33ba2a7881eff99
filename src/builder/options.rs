//! Options of a build.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::progress::BuildProgress;
use crate::store::LockWait;
use crate::time::{Clock, Date};

/// Options of [`build`](super::build()).
pub struct BuildOptions<'a> {
    /// A sources file to use instead of the distribution's default archives.
    pub apt_sources: Option<PathBuf>,
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
