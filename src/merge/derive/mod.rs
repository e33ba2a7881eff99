//! Files that are functions of the rest of the tree, computed again after every merge; a layer
//! never carries one.
//!
//! A deriver is pure: it looks at a composed tree through
//! [`ImageView`](crate::tree::view::ImageView) and says what should be there. Equal trees give
//! equal bytes, in whatever order their layers came.

/// The version of what is derived, and how: raised with every change that gives another tree for
/// the same layers.
pub const DERIVE_VERSION: u32 = 2;

pub mod alternatives;
pub mod generators;
pub mod javacerts;
pub mod ldsocache;

/// A file whose content was derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Where it belongs.
    pub path: Vec<u8>,
    /// What it holds.
    pub contents: Vec<u8>,
}

/// A symlink that a generator would make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DerivedLink {
    /// Where it belongs.
    pub path: Vec<u8>,
    /// What it points to, verbatim.
    pub target: Vec<u8>,
}
