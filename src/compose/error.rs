//! Why a composition stops.

use super::generate::GenerateError;
use crate::merge::MergeError;
use crate::merge::derive::ldsocache::LdSoCacheError;
use crate::path::RelPath;
use crate::store::StoreError;
use crate::tree::view::ViewError;

/// Why a composition stopped; findings are not errors.
#[allow(missing_docs, reason = "the names of the fields say it")]
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The repository refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Contents could not be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A deriver could not read something.
    #[error("cannot derive '/{path}'")]
    View {
        path: &'static str,
        source: ViewError,
    },
    /// A check could not read something.
    #[error("cannot check the composed tree")]
    Check { source: ViewError },
    /// A program of the image failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A derived file could not be made.
    #[error("cannot derive '{path}'")]
    Derive {
        path: RelPath,
        source: LdSoCacheError,
    },
}
