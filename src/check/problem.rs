//! What a check finds in one composed tree, before anybody knows whose it is and whether it is new.

use super::finding_id::FindingId;
use crate::path::RelPath;

/// One thing that is wrong with a composed tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Its kind and place. The place holds no white space, and no versions where another version
    /// would be the same problem.
    pub id: FindingId,
    /// What it is about: the layer that owns this is named.
    pub subject: Subject,
    /// The package, where one is to blame.
    pub package: Option<String>,
    /// The other package, where two do not fit together; with `:` and its architecture where that
    /// is foreign.
    pub other: Option<String>,
    /// How much it matters.
    pub weight: Weight,
    /// What is wrong, one line.
    pub reason: String,
    /// What to do about it, one line.
    pub hint: String,
}

/// What a problem is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A path of the tree.
    Path(RelPath),
    /// A layer as a whole.
    Layer(String),
    /// An installed package.
    Package {
        /// Its name.
        name: String,
        /// Its architecture, `all` included.
        architecture: String,
    },
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing that runs depends on it, e.g. a link between manual pages.
    Minor,
    /// Something may fail.
    Grave,
}
