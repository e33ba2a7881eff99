//! Why bytes are refused.

/// Why some bytes are not what they claim to be.
#[allow(missing_docs, reason = "the names of the fields say it")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are no canonical tree or changeset.
    #[error("not a canonical {what}: {reason}")]
    Binary {
        /// `tree` or `changeset`.
        what: &'static str,
        reason: String,
    },
    /// The bytes are no canonical manifest.
    #[error("not a canonical {what} manifest: {reason}")]
    Manifest {
        /// `layer`, `image` or `baseline`.
        what: &'static str,
        reason: String,
    },
    /// A line of a text twin does not parse.
    #[error("line {line}: {reason}")]
    Text {
        /// Line number from 1.
        line: usize,
        reason: String,
    },
}
