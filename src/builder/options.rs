//! How to build.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::progress::BuildProgress;
use crate::store::Waiting;
use crate::time::Clock;

/// How to build.
pub struct BuildOptions<'a> {
    /// A sources file to use instead of the distribution's default archives.
    pub apt_sources: Option<PathBuf>,
    /// Layers to build even when they are known.
    pub rebuild: Vec<String>,
    /// The only layer that may change; that another one changed too is an error. Layers that must be rebuilt because of it are.
    pub only: Option<String>,
    /// Tells which waivers have expired.
    pub clock: &'a dyn Clock,
    /// How to wait for another command that does the same.
    pub waiting: Waiting<'a>,
    /// Set when the work is to stop.
    pub cancel: &'a AtomicBool,
    /// Told how far the work is.
    pub progress: &'a dyn BuildProgress,
}
