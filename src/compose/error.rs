//! Why a composition stops.

use super::generate::GenerateError;
use crate::merge::MergeError;
use crate::merge::derive::ldsocache::LdSoCacheError;
use crate::path::RelPath;
use crate::store::StoreError;
use crate::tree::view::ViewError;

/// Why a composition stopped; findings are not errors.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The repository refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Contents could not be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// What a deriver reads could not be had.
    #[error("cannot derive '/{path}'")]
    View {
        /// What was to be derived.
        path: &'static str,
        /// Why.
        source: ViewError,
    },
    /// What a check reads could not be had.
    #[error("cannot check the composed tree")]
    Check {
        /// Why.
        source: ViewError,
    },
    /// The image's own programs could not make what they make.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A derived file could not be made.
    #[error("cannot derive '{path}'")]
    Derive {
        /// The derived file.
        path: RelPath,
        /// Why.
        source: LdSoCacheError,
    },
}
