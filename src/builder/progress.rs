//! How far a build is, for whoever waits for it.

use super::report::LayerReport;

/// Tells a person how far the work is.
pub trait BuildProgress: Sync {
    /// Says what is being done, about which layer, and how far it is (0 to 1), where known.
    fn step(&self, layer: &str, what: &str, fraction: Option<f64>);
    /// Says that a layer is finished.
    fn finished(&self, layer: &LayerReport);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentBuild;

impl BuildProgress for SilentBuild {
    fn step(&self, _: &str, _: &str, _: Option<f64>) {}
    fn finished(&self, _: &LayerReport) {}
}
