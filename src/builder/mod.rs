//! Building: recipe + lock → layers → image. Only what changed is built.
//!
//! For each layer the build key is computed from its inputs (`inputs`). A layer whose key is known
//! (`keys`) is kept. The others (`waves`) are built on the composition of the layers that they
//! stand on, each in its own sandbox (`layer`), settled (`settle`), and committed one by one: the
//! commit point of a layer is the rename of its ref. Then the image is composed and checked
//! (`image`), and committed by the rename of `images/<recipe>`.

mod accounts;
mod archives;
mod baselines;
mod below;
mod blame;
mod build;
mod captures;
mod check;
mod common_layers;
mod composed;
mod composer;
mod damage;
mod derive;
mod epoch;
mod error;
mod files;
mod first_boot;
mod forced;
mod forecast;
mod image;
mod inputs;
mod keys;
mod layer;
mod lock;
mod lost;
mod manifest;
mod misnamed;
mod numbers;
mod options;
mod oracle;
mod parents;
mod private;
mod progress;
mod pulled;
mod recompose;
mod refuse;
mod renumbered;
mod report;
mod require;
mod rules;
mod searched;
mod secrets;
mod session;
mod set_back;
mod settle;
mod sink;
mod steps;
mod transient;
mod unclassified;
mod undeclared;
mod verify;
mod views;
mod waves;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixture;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod laws_tests;

pub use build::build;
pub use check::{CheckReport, CheckedSet, check};
pub use composed::{ComposeReport, compose_built};
pub use composer::Composer;
pub use damage::refused;
pub use derive::SandboxedGenerator;
pub use error::BuildError;
pub use first_boot::first_boot_unit;
pub use forecast::{Forecast, ForecastAction, LayerForecast, forecast};
pub use inputs::BUILDER_VERSION;
pub use lock::{LockChange, LockOptions, LockReport, lock};
pub use options::{BuildOptions, FetchPlaces};
pub use oracle::{
    AllowError, AllowRule, DifferenceKind, ExplainedDifference, InodeFacts, OracleDifference,
    OracleReport, oracle,
};
pub use progress::{BuildProgress, SilentBuild};
pub use recompose::recompose;
pub use report::{BuildReport, LayerAction, LayerReport};
pub use searched::{LayerPublicSecret, is_known_clean, secrets_in};
pub use set_back::{RecomposedImage, compose_as};
pub use sink::BuildSink;
pub use unclassified::UnclassifiedGroup;
pub use undeclared::UndeclaredSecret;
pub use verify::{ReproducibilityReport, UnreproducibleLayer, verify_reproducible};
