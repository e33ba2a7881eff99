//! Progress of a build.

use super::report::LayerReport;

/// Shows a person the progress of a build.
pub trait BuildProgress: Sync {
    /// Reports a step of a layer's build. `fraction` goes from 0 to 1, where it is known.
    fn step(&self, layer: &str, what: &str, fraction: Option<f64>);
    /// Tells something that is no result and that somebody should know at once.
    fn note(&self, what: &str);
    /// Reports a finished layer.
    fn finished(&self, layer: &LayerReport);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentBuild;

impl BuildProgress for SilentBuild {
    fn step(&self, _: &str, _: &str, _: Option<f64>) {}
    fn note(&self, _: &str) {}
    fn finished(&self, _: &LayerReport) {}
}
