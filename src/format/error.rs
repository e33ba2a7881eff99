//! Why bytes are refused.

/// Why some bytes are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are no canonical tree or changeset.
    #[error("not a canonical {what}: {reason}")]
    Binary {
        /// `tree` or `changeset`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are no canonical manifest.
    #[error("not a canonical {what} manifest: {reason}")]
    Manifest {
        /// `layer`, `image` or `baseline`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A line of a text twin does not parse.
    #[error("line {line}: {reason}")]
    Text {
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}
